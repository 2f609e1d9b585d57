package lock

import "slices"

// Pin keeps a lockspace, and with it its number, although nobody is a member and
// nothing is locked; without pin it may go. It is for lockspaces in which
// something else than a lock remains. An unknown lockspace is left alone.
func (t *Table) Pin(number uint32, pin bool) {
	if invariants {
		defer t.mustHold()
	}
	if sp := t.space(number); sp != nil {
		sp.pinned = pin
		t.sweepSpace(number)
	}
}

// Joined reports whether a session is a member of a lockspace.
func (t *Table) Joined(number uint32, s Session) bool { return t.joined(number, s) }

// Known reports whether there is a lockspace of that number.
func (t *Table) Known(number uint32) bool { return t.space(number) != nil }

// SpaceName returns the name of a lockspace, "" if there is none of that number.
func (t *Table) SpaceName(number uint32) string {
	if sp := t.space(number); sp != nil {
		return sp.name
	}
	return ""
}

// HasIn reports whether an owner has locks or ranges in a lockspace, held or wanted.
func (t *Table) HasIn(s Session, number uint32) bool {
	o := t.owner(s)
	if o == nil {
		return false
	}
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		if t.resources.get(t.locks.get(slot).resource).lockspace == number {
			return true
		}
	}
	return t.ranges.Has(s, t.filesOf(number))
}

// LeftIn returns the sessions whose locks and ranges in a lockspace belong to an
// owner that stands for a node, ascending; the caller owns the result.
func (t *Table) LeftIn(owner Session, number uint32) []uint64 {
	var sessions []uint64
	if t.owner(owner) == nil {
		return nil
	}
	for _, l := range t.leftBy(owner) {
		if l.Lockspace == number {
			sessions = append(sessions, uint64(l.From))
		}
	}
	return sessions
}

// SpaceOf returns the lockspace of a session's lock, 0 if there is no such lock.
func (t *Table) SpaceOf(s Session, id ID) uint32 {
	slot := t.findLock(s, id)
	if slot == 0 {
		return 0
	}
	return t.resources.get(t.locks.get(slot).resource).lockspace
}

// Members returns the sessions that have joined a lockspace, ascending; the caller
// owns the result.
func (t *Table) Members(number uint32) []Session {
	if sp := t.space(number); sp != nil {
		return slices.Clone(sp.members)
	}
	return nil
}

// Entrust says of orphans in a lockspace that a session has left them: that with
// whose journal they go.
func (t *Table) Entrust(orphans Session, number uint32, to Session) {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(orphans)
	if o == nil || !orphans.orphans() || to == 0 {
		return
	}
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		if t.resources.get(t.locks.get(slot).resource).lockspace == number {
			t.locks.mut(slot).origin = uint32(to)
		}
	}
}
