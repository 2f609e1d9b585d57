package lock

import (
	"fmt"
	"slices"

	"lock_gulmd/server/reason"
)

// The end of a conversion is part of its lock: that is told again, with its reason,
// until the lock changes. What was said beside the reason is kept here, as long.

// maxTold is how many of these a session has at most. Of conversions that were
// denied before, it is told the reason only.
const maxTold = 64

// told is what was said when a conversion was denied.
type told struct {
	id     ID
	detail string
}

// keepTold notes what is said of a lock whose conversion is denied.
func (o *owner) keepTold(id ID, detail string) {
	if detail == "" {
		return
	}
	if len(o.told) >= maxTold {
		o.told = slices.Delete(o.told, 0, len(o.told)-maxTold+1)
	}
	o.told = append(o.told, told{id, detail})
}

// dropTold forgets it.
func (o *owner) dropTold(id ID) {
	o.told = slices.DeleteFunc(o.told, func(d told) bool { return d.id == id })
}

// undeny makes a lock one whose newest request was not denied.
func (t *Table) undeny(l *lockRecord) {
	if l.denied == reason.None {
		return
	}
	l.denied = reason.None
	if o := t.owner(l.session); len(o.told) > 0 {
		o.dropTold(l.id)
	}
}

// detailOf returns what was said when the newest conversion of a lock was denied.
func (o *owner) detailOf(id ID) string {
	if i := slices.IndexFunc(o.told, func(d told) bool { return d.id == id }); i >= 0 {
		return o.told[i].detail
	}
	return ""
}

// checkTold returns what is wrong with what a session was told. It works without
// the index of locks, which a clone does not have.
func (t *Table) checkTold(o *owner) error {
	if len(o.told) > maxTold {
		return fmt.Errorf("session %d was told %d details, at most %d are kept", o.session, len(o.told), maxTold)
	}
	found := 0
	for slot := o.head; slot != 0 && len(o.told) > 0; slot = t.locks.get(slot).after {
		if l := t.locks.get(slot); l.denied != reason.None && l.queue == granted && o.detailOf(l.id) != "" {
			found++
		}
	}
	if found != len(o.told) {
		return fmt.Errorf("session %d was told %d details, %d of which belong to a denied conversion", o.session, len(o.told), found)
	}
	return nil
}
