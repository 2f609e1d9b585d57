package master

import (
	"time"

	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// ContactLimit is for how long a lock server that was heard of counts as
// reachable.
const ContactLimit = 3 * time.Second

// QuorumWithout reports, on the master, whether the lock servers that it can
// reach have a quorum without the given one. It is true for any other node.
func (m *Master) QuorumWithout(node string) bool {
	voters, rest, isServer := 0, 0, false
	for _, p := range m.cfg.Replica.Status().Peers {
		if !p.Voter {
			continue
		}
		voters++
		switch {
		case p.Name == node:
			isServer = true
		case p.Self || p.LastContact >= 0 && p.LastContact < ContactLimit:
			rest++
		}
	}
	return !isServer || rest > voters/2
}

// Why a fence must not begin.
const (
	heldUpPause  = "automatic fencing is paused"
	heldUpQuorum = "without this machine the lock servers have no quorum; start another server, or run fence_ack_manual"
)

// heldUp says why the fence of a life must not begin at the moment, "" if it may.
// The machine of a server that the quorum needs is not fenced: the agent would be
// stopped with this term, maybe between off and on, and nobody could commit that
// it has succeeded.
func (t *term) heldUp(l member.Life) string {
	paused := false
	t.m.cfg.Machine.View(func(s *state.State) {
		n, _ := s.Members().Node(l.Node)
		paused = s.Breaker().Paused && n.Fence.Operator == ""
	})
	switch {
	case paused:
		return heldUpPause
	case !t.m.QuorumWithout(l.Node):
		return heldUpQuorum
	}
	return ""
}
