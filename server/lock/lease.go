package lock

import (
	"cmp"
	"slices"

	"lock_gulmd/server/reason"
)

// MaxLease bounds the time-to-live of a lockspace under PolicyLease, milliseconds: a
// day. Who wants to wait longer than that wants a fence.
const MaxLease = 24 * 60 * 60 * 1000

// checkLease refuses a join of the lockspace at place i, or with -1 of a new one, whose
// policy or time-to-live does not fit.
func (t *Table) checkLease(i int, req *JoinRequest) reason.Reason {
	if req.Lease > MaxLease || req.Lease > 0 && req.Policy != PolicyLease {
		return reason.Lease
	}
	lease := req.Lease
	if i >= 0 {
		sp := &t.spaces[i]
		if sp.policy != req.Policy || lease > 0 && lease != sp.lease {
			return reason.Policy
		}
		lease = sp.lease
	}
	if req.Policy == PolicyLease && lease < max(req.MinLease, 1) {
		return reason.Lease
	}
	return reason.None
}

// Lease is a lockspace under PolicyLease that concerns an owner.
type Lease struct {
	Lockspace uint32
	// Time is its time-to-live, milliseconds.
	Time uint32
	// Held counts the locks and ranges that the owner has there.
	Held int
}

// Leases returns the lockspaces under PolicyLease, by number, that an owner has joined
// or has something in.
func (t *Table) Leases(s Session) []Lease {
	var leases []Lease
	for i := range t.spaces {
		if sp := &t.spaces[i]; sp.policy == PolicyLease && (s.ofNode() || sp.joined(s)) {
			leases = append(leases, Lease{Lockspace: sp.number, Time: sp.lease})
		}
	}
	if len(leases) == 0 {
		return nil // a session has nothing where it is no member
	}
	t.countHeld(s, leases)
	return slices.DeleteFunc(leases, func(l Lease) bool { return s.ofNode() && l.Held == 0 })
}

// countHeld counts the locks and ranges that an owner has in lockspaces, which are in
// the order of their numbers.
func (t *Table) countHeld(s Session, leases []Lease) {
	count := func(lockspace uint32) {
		i, ok := slices.BinarySearchFunc(leases, lockspace, func(l Lease, n uint32) int { return cmp.Compare(l.Lockspace, n) })
		if ok {
			leases[i].Held++
		}
	}
	if o := t.owner(s); o != nil {
		for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
			count(t.resources.get(t.locks.get(slot).resource).lockspace)
		}
	}
	t.ranges.eachHolder(t.ranges.findSession(s), func(h *rangeHolder) bool {
		count(t.rangeNames.get(t.ranges.files.get(h.file).key).lockspace)
		return true
	})
}

// LeaseOf returns the time-to-live of a lockspace, milliseconds: 0 if there is none of
// that number or it is not under PolicyLease.
func (t *Table) LeaseOf(number uint32) uint32 {
	if sp := t.space(number); sp != nil {
		return sp.lease
	}
	return 0
}

// EndLease releases what the owners of a dead node have in some lockspaces under
// PolicyLease, all in one step: nobody is granted anything there before all of it is
// gone. Of the node's remains it takes also what is in doubt. Lockspaces under another
// policy, and owners that are not frozen, are left alone. It returns how many locks
// and ranges there were; owners of sessions stay until Release.
func (t *Table) EndLease(owners []Session, lockspaces []uint32) int {
	if invariants {
		defer t.mustHold()
	}
	ended := func(number uint32) bool { return t.LeaseOf(number) > 0 && slices.Contains(lockspaces, number) }
	var touched []uint32
	for _, s := range owners {
		o := t.owner(s)
		if o == nil || !o.frozen {
			continue
		}
		for slot := o.head; slot != 0; {
			l := t.locks.get(slot)
			next, resource := l.after, l.resource
			if ended(t.resources.get(resource).lockspace) {
				t.lose(l)
				t.discard(o, slot)
				touched = append(touched, resource)
			}
			slot = next
		}
	}
	t.settle(touched)
	n := len(touched)
	for _, s := range owners {
		if o := t.owner(s); o == nil || !o.frozen {
			continue
		}
		n += t.endRangeLease(s, ended)
		if s.ofNode() {
			t.closeIfEmpty(s)
		}
	}
	return n
}

// endRangeLease is EndLease for the ranges of one owner.
func (t *Table) endRangeLease(s Session, ended func(lockspace uint32) bool) int {
	here := func(file uint32) bool { return ended(t.rangeNames.get(file).lockspace) }
	t.enterRanges()
	defer t.leaveRanges()
	seat := t.ranges.findSession(s)
	if seat == 0 {
		return 0
	}
	n := 0
	t.ranges.eachHolder(seat, func(h *rangeHolder) bool {
		if here(t.ranges.files.get(h.file).key) {
			n += int(h.held)
		}
		return true
	})
	t.ranges.discardSession(seat, 0, here)
	return n
}
