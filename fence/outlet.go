package fence

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// Outlet names the power of one machine at one device, as a step addresses it.
// Outlets are equal if and only if they are the same.
type Outlet struct {
	// Device is the device's name in fence.ccs.
	Device string
	// Plug is the step's plug or port, for people; empty if the device has one
	// machine only.
	Plug string
	// Print is a fingerprint of everything that decides which outlet is meant:
	// the agent and its parameters but for secrets, actions and times. What is
	// known of an outlet is forgotten when the configuration addresses another.
	Print string
}

// String returns device and plug.
func (o Outlet) String() string {
	if o.Plug == "" {
		return o.Device
	}
	return o.Device + "/" + o.Plug
}

// timing lists parameters that say how long, not which outlet.
var timing = map[string]bool{
	"delay": true, "power_timeout": true, "power_wait": true, "login_timeout": true, "shell_timeout": true,
	"retry_on": true, "verbose": true, "debug": true, "quiet": true, "method": true,
}

// Outlet returns the outlet that the step addresses.
func (s Step) Outlet() Outlet {
	o := Outlet{Device: s.Device}
	var lines []string
	for _, p := range s.Params {
		key := strings.ReplaceAll(strings.ToLower(p.Key), "-", "_")
		for _, a := range aliases {
			if key == a.older {
				key = a.newer
			}
		}
		switch {
		case p.Secret, secretKey(key), key == keyAction, key == keyOption, key == keyVerify, timing[key]:
			continue
		case key == "plug":
			o.Plug = p.Value
		}
		lines = append(lines, key+"="+p.Value)
	}
	slices.Sort(lines)
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\n%s\n%s", s.Device, s.Agent, strings.Join(slices.Compact(lines), "\n"))
	o.Print = fmt.Sprintf("%016x", h.Sum64())
	return o
}

// notFeeds lists agents that do not switch one of several power feeds, and so
// take no part when the reboots of a method become off, off, on, on.
var notFeeds = map[string]bool{
	"fence_manual": true, "fence_kdump": true, WatchdogAgent: true,
	"fence_heuristics_ping": true, "fence_evacuate": true,
}

// feed tells whether the step switches a power feed by reboot.
func (s Step) feed() bool { return s.Action() == actionReboot && !notFeeds[baseName(s.Agent)] }

// withAction returns the step with another action.
func (s Step) withAction(action string) Step {
	params := slices.DeleteFunc(slices.Clone(s.Params), func(p Param) bool { return p.Key == keyAction || p.Key == keyOption })
	s.Params = append(params, Param{Key: keyAction, Value: action})
	return s
}

// Expand returns the steps in the order in which they are run. A method that
// would reboot the node by several devices switches them all off first and all on
// at the end: a machine with two feeds that are rebooted one after the other
// never loses power.
func (m Method) Expand() []Step {
	feeds := map[Outlet]bool{}
	for _, s := range m.Steps {
		if s.feed() && feeds[s.Outlet()] {
			return m.Steps // one outlet twice is no second feed; Validate refuses it
		}
		if s.feed() {
			feeds[s.Outlet()] = true
		}
	}
	if len(feeds) < 2 {
		return m.Steps
	}
	steps := make([]Step, 0, len(m.Steps)+len(feeds))
	var on []Step
	for _, s := range m.Steps {
		if s.feed() {
			on = append(on, s.withAction(actionOn))
			s = s.withAction(actionOff)
		}
		steps = append(steps, s)
	}
	return append(steps, on...)
}
