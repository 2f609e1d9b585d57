package state

import (
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// applyLedger carries out the commands that change nothing but the record of
// fences, and who may log in again.
func (s *State) applyLedger(c Command) Result {
	switch c := c.(type) {
	case FenceStarted:
		if s.fencePaused(c.Node) {
			return Result{Reason: reason.Paused}
		}
		return s.ledger(c.Term, c.Node, func() reason.Reason {
			return s.members.StartAttempt(c.Life, member.Attempt{Method: c.Method, Device: c.Device, Agent: c.Agent, Start: c.Start})
		})
	case FenceSeen:
		return s.ledger(c.Term, c.Node, func() reason.Reason { return s.members.SeeOutlets(c.Node, c.Alive, c.Outlets) })
	case FenceReleased:
		return s.ledger(c.Term, c.Node, func() reason.Reason { return s.members.Release(c.Life) })
	case FenceManual:
		return s.ledger(s.term, c.Node, func() reason.Reason { return s.members.NoteManual(c.Node, c.ManualFence) })
	}
	return Result{Reason: reason.Invalid}
}

// fencePaused reports whether the fence of a node must not go on: automatic
// fencing is paused, and no operator expired the node.
func (s *State) fencePaused(node string) bool {
	n, _ := s.members.Node(node)
	return s.breaker.Paused && n.Fence.Operator == ""
}
