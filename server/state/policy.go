package state

import (
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// acknowledge settles a pending fence on an operator's word, or, if it was proved
// already, ends what waits for the word beyond that. Refused with NotPending if
// nothing does, or if the word is about another life than the last that failed.
func (s *State) acknowledge(c FenceAcknowledged, stamp int64) Result {
	n, known := s.members.Node(c.Node)
	if !known || n.State == member.Expired {
		return s.settleFence(c.Term, c.Life, member.FenceAcknowledged, c.Operator, stamp)
	}
	switch {
	case c.Term != s.term:
		return Result{Reason: reason.StaleTerm}
	case n.Fence.Incarnation != c.Incarnation || !s.waitsForWord(&n):
		return Result{Reason: reason.NotPending}
	}
	s.members.NoteWord(c.Life, c.Operator)
	s.concede(c.Node)
	return Result{Node: c.Node}
}

// waitsForWord reports whether something that a node left waits for an operator
// although the fence is proved.
func (s *State) waitsForWord(n *member.Node) bool {
	return s.locks.Awaits(n.Number) || s.journals.Awaits(n.Name)
}

// concede makes what a node left wait for an operator's word no more: what it died
// with is released, but for what waits for a journal as well.
func (s *State) concede(node string) {
	number := s.nodeNumber(node)
	left := s.locks.Concede(number)
	for i := 0; i < len(left); {
		lockspace := left[i].Lockspace
		var free []lock.Remains
		for ; i < len(left) && left[i].Lockspace == lockspace; i++ {
			if !s.journals.Leaves(lockspace, uint64(left[i].From)) {
				free = append(free, lock.Remains{Node: number, From: left[i].From})
			}
		}
		s.locks.ReleaseRemains(lockspace, free)
	}
	s.locks.ConcedeGiven(number)
	for _, r := range s.journals.Concede(node) {
		s.release(r.Lockspace, r.Left)
	}
}

// under says under which policies a node is, or left something, and whether it is a
// server.
type under struct{ fence, manual, lease, server bool }

// leaseOnly: nothing but the end of leases is waited for.
func (u under) leaseOnly() bool { return u.lease && !u.fence && !u.manual && !u.server }

// add notes a policy.
func (u *under) add(p lock.Policy) {
	u.fence, u.manual, u.lease = u.fence || p == lock.PolicyFence, u.manual || p == lock.PolicyManual, u.lease || p == lock.PolicyLease
}

func (s *State) policies(n *member.Node) under {
	var u under
	for _, o := range s.ownersOf(n) {
		of := s.locks.Policies(o)
		for p := range of {
			if of[p] {
				u.add(lock.Policy(p))
			}
		}
	}
	for _, x := range s.members.Sessions() {
		u.server = u.server || x.Node == n.Name && x.Flags.Has(member.Server)
	}
	// A journal that it gave up before it failed: nobody may replay it without proof.
	for _, lockspace := range s.journals.LeftIn(n.Name) {
		u.add(s.locks.PolicyOf(lockspace))
	}
	return u
}

// NeedsAgents reports whether a node, if it is expired, is to be fenced by agents:
// not if all that it took part in waits for something else.
func (s *State) NeedsAgents(name string) bool {
	n, known := s.members.Node(name)
	if !known {
		return false
	}
	u := s.policies(&n)
	return u.fence || u.server || !u.manual && !u.lease
}

// AwaitsWord reports whether something that a node held waits until an operator
// acknowledges that the node is gone, whether or not its fence is proved.
func (s *State) AwaitsWord(name string) bool {
	n, known := s.members.Node(name)
	if !known {
		return false
	}
	if s.waitsForWord(&n) {
		return true
	}
	return s.policies(&n).manual && n.State == member.Expired
}

// Awaiting counts the locks and byte ranges that a node left and that wait for an
// operator's word although its fence is proved.
func (s *State) Awaiting(node string) uint64 {
	number := s.nodeNumber(node)
	return uint64(s.locks.Locks(lock.AwaitOf(number)) + s.locks.Ranges(lock.AwaitOf(number)) +
		s.locks.Locks(lock.AwaitGivenOf(number)) + s.locks.Ranges(lock.AwaitGivenOf(number)))
}

// RemainsOf returns the owner of a node's remains in the lock table, which stands
// for none if the node is unknown.
func (s *State) RemainsOf(node string) lock.Session { return lock.RemainsOf(s.nodeNumber(node)) }
