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

// Origins returns the sessions, ascending, that left an owner's locks in a
// lockspace: for orphans and remains.
func (t *Table) Origins(of Session, number uint32) []Session {
	o := t.owner(of)
	if o == nil {
		return nil
	}
	var from []Session
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		l := t.locks.get(slot)
		if l.origin != 0 && t.resources.get(l.resource).lockspace == number {
			from = append(from, Session(l.origin))
		}
	}
	slices.Sort(from)
	return slices.Compact(from)
}
