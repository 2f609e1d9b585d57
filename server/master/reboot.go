package master

import (
	"time"

	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// Replaces returns the incarnation of a node that a login may replace, which says
// that the machine has booted since: the one that it claims, or 0 if the claim
// does not count. It does not with trust_reboot = no, nor while the earlier life
// gives signs of life: then two machines use one name.
func (m *Master) Replaces(node string, claimed uint64) uint64 {
	t := m.serving.Load()
	if t == nil || !m.cfg.TrustReboot || claimed == 0 {
		return 0
	}
	var sessions []member.Session
	m.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if x.Node == node && !x.Frozen {
				sessions = append(sessions, x)
			}
		}
	})
	t.hear(sessions)
	for _, x := range sessions {
		// One that this master has not looked at yet counts as heard of just now.
		if at, ok := t.beats.last(x.Number); !ok || time.Since(at) < m.cfg.Expiry/missingShare {
			return 0
		}
	}
	return claimed
}

// Entering returns the command that notes that a server has started; replaces is
// the incarnation that an earlier refusal named.
func (m *Master) Entering(server, bootID string, container bool, replaces uint64) state.ServerEntered {
	if m.cfg.BootID == "" {
		return state.ServerEntered{Server: server}
	}
	c := m.enterCommand(server, bootID, container)
	c.Replaces = m.Replaces(server, replaces)
	return c
}

// Rebooted counts and logs that a login proved the end of an earlier life.
func (m *Master) Rebooted(node string, earlier member.Node) {
	m.counters.reboots.Add(1)
	m.cfg.Log.Warn("node has booted again, its earlier life is settled", "server", m.cfg.Server, "node", node,
		"incarnation", earlier.Incarnation, "boot_id", earlier.BootID)
}

// FenceLied counts and logs that a node came back whose power had been cut.
func (m *Master) FenceLied(node string) {
	m.counters.lies.Add(1)
	n, _ := m.node(node)
	m.cfg.Log.Error("node was fenced by cutting its power and comes back with the same boot id: its fence method does not fence",
		"server", m.cfg.Server, "node", node, "incarnation", n.Incarnation, "boot_id", n.BootID, "by", n.Fence.By)
}
