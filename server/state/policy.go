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

// policies says for each policy whether a node is, or left something, under it,
// and whether it is a server.
func (s *State) policies(n *member.Node) (fence, manual, server bool) {
	owners := []lock.Session{lock.OrphansOf(n.Number), lock.RemainsOf(n.Number)}
	for _, x := range s.members.Sessions() {
		if x.Node == n.Name {
			owners = append(owners, lock.Session(x.Number))
			server = server || x.Flags.Has(member.Server)
		}
	}
	for _, o := range owners {
		under := s.locks.Policies(o)
		fence, manual = fence || under[lock.PolicyFence], manual || under[lock.PolicyManual]
	}
	for _, lockspace := range s.journals.LeftIn(n.Name) {
		p := s.locks.PolicyOf(lockspace)
		fence, manual = fence || p == lock.PolicyFence, manual || p == lock.PolicyManual
	}
	return fence, manual, server
}

// NeedsAgents reports whether a node, if it is expired, is to be fenced by agents:
// not if all that it took part in waits for something else.
func (s *State) NeedsAgents(name string) bool {
	n, known := s.members.Node(name)
	if !known {
		return false
	}
	fence, manual, server := s.policies(&n)
	return fence || server || !manual
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
	_, manual, _ := s.policies(&n)
	return manual && n.State == member.Expired
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
