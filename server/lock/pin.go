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
