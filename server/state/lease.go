package state

import (
	"fmt"
	"slices"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// LeaseEnded releases what an expired life held in those lockspaces under
// lock.PolicyLease whose time-to-live has passed, and settles its fence if it took
// part in nothing else and all of them are over. Nothing is proved by it.
type LeaseEnded struct {
	Term uint64
	member.Life
	// Silent is for how long, milliseconds, the life gave no sign of life, by the
	// clock of the master and as far as that was awake.
	Silent int64
}

func (LeaseEnded) command() {}

// leaseEnded carries out a LeaseEnded. Refused with StaleTerm, or NotPending if the
// life is not expired or nothing of it waits for so short a time.
func (s *State) leaseEnded(c LeaseEnded, stamp int64) Result {
	if c.Term != s.term {
		return Result{Reason: reason.StaleTerm}
	}
	n, known := s.members.Node(c.Node)
	if !known || n.State != member.Expired || n.Incarnation != c.Incarnation {
		return Result{Reason: reason.NotPending}
	}
	var over []uint32
	longest, held := int64(0), 0
	for _, l := range s.leases(&n) {
		longest = max(longest, int64(l.Time))
		if int64(l.Time) <= c.Silent {
			over = append(over, l.Lockspace)
			held += l.Held
		}
	}
	settles := s.policies(&n).leaseOnly() && longest <= c.Silent
	if held == 0 && !settles {
		return Result{Reason: reason.NotPending}
	}
	s.locks.EndLease(s.ownersOf(&n), over)
	if !settles {
		return Result{Node: c.Node}
	}
	by := fmt.Sprintf("its time-to-live of %d.%03d s", longest/1000, longest%1000)
	return s.settleFence(c.Term, c.Life, member.FenceLeaseEnded, by, stamp)
}

// ownersOf returns whatever owns locks on behalf of a node: its sessions, orphans,
// and remains.
func (s *State) ownersOf(n *member.Node) []lock.Session {
	owners := []lock.Session{lock.OrphansOf(n.Number), lock.RemainsOf(n.Number)}
	for _, x := range s.members.Sessions() {
		if x.Node == n.Name {
			owners = append(owners, lock.Session(x.Number))
		}
	}
	return owners
}

// leases returns the lockspaces under PolicyLease, by number, that a node has joined or
// has something in.
func (s *State) leases(n *member.Node) []lock.Lease {
	var all []lock.Lease
	for _, o := range s.ownersOf(n) {
		for _, l := range s.locks.Leases(o) {
			i, ok := slices.BinarySearchFunc(all, l, func(a, b lock.Lease) int { return int(a.Lockspace) - int(b.Lockspace) })
			if !ok {
				all = slices.Insert(all, i, l)
				continue
			}
			all[i].Held += l.Held
		}
	}
	return all
}

// LeasesOf returns the leases of an expired node that something waits for, by
// lockspace: its locks there, or, if all that the node took part in is under
// lock.PolicyLease, the node's return. None if the node is not expired.
func (s *State) LeasesOf(name string) []lock.Lease {
	n, known := s.members.Node(name)
	if !known || n.State != member.Expired {
		return nil
	}
	all := s.leases(&n)
	if len(all) == 0 {
		return nil // before its locks are looked at: this is asked whenever a node changes
	}
	longest := uint32(0)
	if s.policies(&n).leaseOnly() {
		for _, l := range all {
			longest = max(longest, l.Time)
		}
	}
	return slices.DeleteFunc(all, func(l lock.Lease) bool { return l.Held == 0 && (longest == 0 || l.Time < longest) })
}

// LeasesJoined returns the lockspaces under lock.PolicyLease, by number, that a node has
// joined or has something in.
func (s *State) LeasesJoined(name string) []lock.Lease {
	n, known := s.members.Node(name)
	if !known {
		return nil
	}
	return s.leases(&n)
}

// LeaseExpired returns the lives that are expired and in lockspaces under
// lock.PolicyLease, by node name, also those whose leases there are over: a journal that
// another node replays may be the last that such a life is fenced for, and then its
// leases settle it.
func (s *State) LeaseExpired() []member.Life {
	return slices.DeleteFunc(s.members.Pending(), func(l member.Life) bool {
		n, _ := s.members.Node(l.Node)
		return len(s.leases(&n)) == 0
	})
}

// LeaseOf returns the longest time-to-live, milliseconds, of the lockspaces under
// lock.PolicyLease that a session has joined; 0 for none.
func (s *State) LeaseOf(session uint64) int64 {
	return int64(s.locks.LongestLease(lock.Session(session)))
}

// Unfenced reports whether nothing of a node, once it is expired, would wait for more
// than the time: whoever it is, its machine is not touched. Such a node is expired
// also while fencing is paused.
func (s *State) Unfenced(name string) bool {
	n, known := s.members.Node(name)
	return known && s.policies(&n).leaseOnly()
}

// leastLease returns the shortest time-to-live, milliseconds, that a session may have:
// what it was told of the expiry time, before which it knows that its locks are lost.
func (s *State) leastLease(session lock.Session) uint32 {
	x, _ := s.members.Session(uint64(session))
	return uint32(min(max(x.Expiry, 0), lock.MaxLease+1))
}
