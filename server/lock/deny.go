package lock

import "lock_gulmd/server/reason"

// Denial ends what a lock, a set, or a request for a range waits for against its
// session's will.
type Denial struct {
	Session Session
	// ID is the lock's, the set's or the request's.
	ID ID
	// Since is the log index at which the wait began, 0 for whatever wait there
	// is: a decision about one wait must not end another.
	Since  uint64
	Reason reason.Reason
	// Cycle, if not empty, is the deadlock that the denial ends. It is looked at
	// again: if it is not there any more, nobody is denied.
	Cycle []Step
	// Detail says more about it, for people; the session is told.
	Detail string
}

// Deny ends a wait, for a reason: as the victim of a deadlock, or because its
// time is over. The session gets an EventDenied. It reports false if there is no
// such wait, or no such cycle through it.
func (t *Table) Deny(d Denial) bool {
	if invariants {
		defer t.mustHold()
	}
	if t.frozen(d.Session) || len(d.Cycle) > 0 && !t.confirms(&d) {
		return false
	}
	slot := t.findLock(d.Session, d.ID)
	if slot == 0 {
		return t.denySet(&d) || t.denyRange(&d)
	}
	l := t.locks.mut(slot)
	if l.queue == granted || t.setOf(l) != 0 || d.Since != 0 && t.sinceOf(l) != d.Since {
		return false
	}
	t.tellDenied(&d, l)
	if l.queue == waiting {
		t.end(d.ended(t.now.index), d.Session)
	} else {
		l.denied = d.Reason
		t.owner(d.Session).keepTold(d.ID, d.Detail)
	}
	t.withdraw(slot)
	return true
}

// tellDenied tells a session that a lock of its waits no more.
func (t *Table) tellDenied(d *Denial, l *lockRecord) {
	t.events = append(t.events, Event{
		Session: d.Session, Lock: d.ID, Kind: EventDenied, Mode: l.granted, Reason: d.Reason, Token: l.token, Detail: d.Detail,
	})
}

// ended is what is kept of a wait until its session says that it knows.
func (d *Denial) ended(index uint64) endedLock {
	return endedLock{id: d.ID, why: d.Reason, changed: index, detail: d.Detail}
}

// denySet denies a set: all that it has goes.
func (t *Table) denySet(d *Denial) bool {
	set := t.owner(d.Session).set(d.ID)
	if set == nil || d.Since != 0 && set.since != d.Since {
		return false
	}
	t.end(d.ended(t.now.index), d.Session)
	t.events = append(t.events, Event{Session: d.Session, Lock: d.ID, Kind: EventDenied, Reason: d.Reason, Detail: d.Detail})
	t.dropSet(d.Session, d.ID)
	return true
}
