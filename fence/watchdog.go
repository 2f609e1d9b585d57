package fence

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WatchdogAgent is the name of the agent that waits until the node's own watchdog
// must have reset it. It proves something only for a node whose watchdog is armed.
const WatchdogAgent = "fence_watchdog"

// Keys that tell the agent what the node was told and said at login, in
// milliseconds: its expiry time and its own watchdog's timeout.
const (
	keyExpiryMs = "expiry_ms"
	keyArmedMs  = "armed_ms"
)

// Watchdog says how long a node may live on after the servers have heard the
// last of it.
type Watchdog struct {
	// Expiry is the silence after which the servers expire a node. A node stops
	// feeding its watchdog earlier than that, or when it is told that it is
	// expired.
	Expiry time.Duration
	// Timeout is how long after the last feeding the watchdog fires: what the
	// node said at login, or what the configuration says if that is longer.
	Timeout time.Duration
	// Hardware is what the device may take longer than it was told to, such as
	// one that counts in coarse steps or dumps memory first.
	Hardware time.Duration
	// Margin is added on top.
	Margin time.Duration
}

// Wait returns how long after the start of the fence the node must have been
// reset: all of it together. The expiry has passed already unless an operator
// expired the node, so this is on the safe side.
func (w Watchdog) Wait() time.Duration { return w.Expiry + w.Timeout + w.Hardware + w.Margin }

// Defaults of fence_watchdog's parameters.
const (
	WatchdogHardware = 5 * time.Second
	WatchdogMargin   = 10 * time.Second
)

// WatchdogOf reads the parameters of fence_watchdog: expiry, watchdog_timeout,
// hardware_timeout and margin in seconds, expiry_ms and armed_ms in milliseconds.
// Of two values for one thing the longer one counts. What cannot be read counts as
// its default.
func WatchdogOf(params []Param) Watchdog {
	w := Watchdog{Hardware: WatchdogHardware, Margin: WatchdogMargin}
	for _, p := range params {
		n, err := strconv.ParseFloat(p.Value, 64)
		if err != nil || !(n >= 0 && n < 1e9) {
			continue
		}
		d := time.Duration(n * float64(time.Second))
		switch strings.ReplaceAll(p.Key, "-", "_") {
		case "expiry":
			w.Expiry = max(w.Expiry, d)
		case keyExpiryMs:
			w.Expiry = max(w.Expiry, d/1000)
		case "watchdog_timeout":
			w.Timeout = max(w.Timeout, d)
		case keyArmedMs:
			w.Timeout = max(w.Timeout, d/1000)
		case "hardware_timeout":
			w.Hardware = d
		case "margin":
			w.Margin = d
		}
	}
	return w
}

// needsWatchdog tells whether the step relies on the node's watchdog.
func (s Step) needsWatchdog() bool { return baseName(s.Agent) == WatchdogAgent }

// armed returns the step with what the node was told and said, and with a time
// limit that the wait fits into.
func (s Step) armed(plan Plan, limit time.Duration) Step {
	w := WatchdogOf(s.Params)
	w.Expiry, w.Timeout = max(w.Expiry, plan.Expiry), max(w.Timeout, plan.Watchdog)
	ms := func(key string, d time.Duration) Param {
		return Param{Key: key, Value: strconv.FormatInt(d.Milliseconds(), 10)}
	}
	rest := slices.DeleteFunc(slices.Clone(s.Params), func(p Param) bool { return p.Key == keyArmedMs || p.Key == keyExpiryMs })
	s.Params = append([]Param{ms(keyArmedMs, w.Timeout), ms(keyExpiryMs, w.Expiry)}, rest...)
	const slack = 10 * time.Second
	s.Timeout = max(s.Timeout, limit, w.Wait()+slack)
	return s
}

func baseName(agent string) string { return strings.TrimSuffix(path.Base(agent), ".py") }
