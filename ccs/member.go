package ccs

import (
	"fmt"
	"strings"
)

// Words of switches and of what a device proves.
const (
	wordYes    = "yes"
	wordNo     = "no"
	wordPower  = "power"
	wordAccess = "access"
)

// switchSetting is one key of lock_gulm that is "yes" or "no".
type switchSetting struct {
	key, doc string
	def      bool
	to       func(g *LockGulm) *bool
}

// switchSettings are those keys in the order in which they are printed.
var switchSettings = []switchSetting{
	{
		key: "trust_reboot", doc: "a node that logs in with a new boot id proves that its earlier life is gone", def: true,
		to: func(g *LockGulm) *bool { return &g.TrustReboot },
	},
	{
		key: "fence_servers", doc: "a lock server that vanishes without logging out is expired and fenced like any node", def: true,
		to: func(g *LockGulm) *bool { return &g.FenceServers },
	},
}

func yesNo(on bool) string {
	if on {
		return wordYes
	}
	return wordNo
}

// readSwitch reads a key that is "yes" or "no".
func (l *loader) readSwitch(s *section, set switchSetting, it item) {
	text, ok := l.str(s, it)
	if !ok {
		return
	}
	switch strings.ToLower(text) {
	case wordYes:
		*set.to(&l.cfg.Lock) = true
	case wordNo:
		*set.to(&l.cfg.Lock) = false
	default:
		l.fault(s.file, it.line, fmt.Sprintf("%s = %s is neither yes nor no", it.key, quote(text)),
			fmt.Sprintf(`write %s = "yes" or %s = "no"`, it.key, it.key))
	}
}

// accessOnly are agents whose success does not mean that the machine lost its
// power, beside those of noReboot.
var accessOnly = map[string]bool{"fence_manual": true, "fence_process": true, "fence_kdump": true}

// provesPower tells what the success of a device's agent proves unless the
// device says so itself.
func provesPower(agent string) bool {
	name := agentName(agent)
	return !accessOnly[name] && noReboot[name] == "" && noFence[name] == ""
}

// readProves reads the key proves of a device.
func (l *loader) readProves(s *section, it item, d *Device) {
	if it.sec != nil {
		l.fault(s.file, it.line, `"proves" is a value, not a section`, `write proves = "power" or proves = "access"`)
		return
	}
	text, ok := l.str(s, it)
	if !ok {
		return
	}
	switch strings.ToLower(text) {
	case wordPower:
		d.Power, d.provesSet = true, true
	case wordAccess:
		d.Power, d.provesSet = false, true
	default:
		l.fault(s.file, it.line, fmt.Sprintf("proves = %s of fence device %q is not known", quote(text), s.name),
			`write "power" if the machine has lost its power when the agent succeeds, "access" if it is only cut off`)
	}
}

// proves returns the word for what the device proves.
func (d *Device) proves() string {
	if d.Power {
		return wordPower
	}
	return wordAccess
}

// checkFenceMethods checks that whoever may be fenced has a fence method.
func (l *loader) checkFenceMethods() {
	for i := range l.cfg.Nodes {
		n := &l.cfg.Nodes[i]
		server := l.cfg.IsServer(n.Name)
		switch {
		case n.fenceLine == 0 || len(n.Methods) > 0:
		case server && !l.cfg.Lock.FenceServers:
			l.warn(NodesFile, n.fenceLine, fmt.Sprintf("the lock server %q has no fence methods, so it must not use locks itself", n.Name),
				"its logins as a node are refused; add fence { method { device { } } } if it is one")
		case server:
			l.fault(NodesFile, n.fenceLine, fmt.Sprintf("the lock server %q has no fence methods, and lock servers are fenced like nodes", n.Name),
				`write fence { method { device { } } }, or fence_servers = "no" in the section lock_gulm`)
		default:
			l.fault(NodesFile, n.fenceLine, fmt.Sprintf("the node %q has no fence methods, so its locks would never be free again if it failed", n.Name),
				"write fence { method { device { } } }; an operator can be a device too (agent fence_manual)")
		}
	}
}
