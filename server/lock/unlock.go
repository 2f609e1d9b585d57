package lock

import (
	"lock_gulmd/server/reason"
)

// UnlockRequest gives up a lock.
type UnlockRequest struct {
	ID    ID
	Flags Flags
	// Value is written with ValBlk if the lock is held in PW or EX; not kept.
	Value []byte
}

// Unlock gives up a lock whatever queue it stands in: Unlocked, or Refused with
// NotHeld, Invalid (also for a lock of the GULM layer), or Busy for a lock of a set
// that waits. It also ends a lock that was denied, which is how its session says
// that it knows, and a set that waits or was denied.
func (t *Table) Unlock(s Session, req UnlockRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	slot := t.findLock(s, req.ID)
	switch {
	case t.frozen(s):
		return refuse(reason.NodeExpired)
	case req.Flags&^unlockFlags != 0:
		return refuse(reason.Invalid)
	case t.inSet(s, slot, req.ID):
		return refuse(reason.Busy)
	case slot == 0:
		if t.dropSet(s, req.ID) {
			return Reply{Outcome: Unlocked}
		}
		return t.acknowledge(s, req.ID)
	case !t.checkValue(t.resources.get(t.locks.get(slot).resource).lockspace, req.Value) || t.locks.get(slot).marked():
		return refuse(reason.Invalid)
	}
	l := t.locks.get(slot)
	resource := l.resource
	if l.queue != waiting && l.granted >= PW {
		t.writeValue(resource, req.Flags, req.Value)
	}
	t.discard(t.owner(s), slot)
	t.grant(resource)
	t.sweep(resource)
	return Reply{Outcome: Unlocked}
}

// acknowledge forgets the end of a request of which its session knows now.
func (t *Table) acknowledge(s Session, id ID) Reply {
	if o := t.owner(s); o != nil && o.forget(id) {
		t.ended--
		return Reply{Outcome: Unlocked}
	}
	return refuse(reason.NotHeld)
}

// Cancel withdraws what a lock waits for. A waiting request goes and the lock
// with it: Cancelled in NL. A conversion goes and the lock stays: Cancelled in
// its old mode. A granted lock is left alone: Granted. A set that waits goes with
// all its locks: Cancelled. Refused with NotHeld, or Busy for a lock of such a set.
func (t *Table) Cancel(s Session, id ID) Reply {
	if invariants {
		defer t.mustHold()
	}
	if t.frozen(s) {
		return refuse(reason.NodeExpired)
	}
	slot := t.findLock(s, id)
	switch {
	case t.inSet(s, slot, id):
		return refuse(reason.Busy)
	case slot == 0 && t.dropSet(s, id):
		return Reply{Outcome: Cancelled}
	case slot == 0:
		return t.cancelRange(s, id)
	}
	l := t.locks.get(slot)
	held, token := l.granted, l.token
	if l.queue == granted {
		return Reply{Outcome: Granted, Mode: held, Token: token}
	}
	t.withdraw(slot)
	return Reply{Outcome: Cancelled, Mode: held, Token: token}
}

// withdraw takes a queued request back and grants what that allows.
func (t *Table) withdraw(slot uint32) {
	l := t.locks.get(slot)
	resource := l.resource
	converted := l.queue == converting
	if converted {
		t.unconvert(slot)
	} else {
		t.discard(t.owner(l.session), slot)
	}
	t.grant(resource)
	if converted {
		t.askNew(slot)
	}
	t.sweep(resource)
}

// unconvert puts a converting lock back into the granted queue in its old mode.
func (t *Table) unconvert(slot uint32) {
	t.dequeue(slot)
	l := t.locks.mut(slot)
	l.requested = l.granted
	t.enqueue(slot, granted)
	t.calm(l.resource)
}

// discard removes a lock altogether, without granting what that allows.
func (t *Table) discard(o *owner, slot uint32) {
	l := t.locks.get(slot)
	resource := l.resource
	if l.queue != waiting {
		t.letGo(slot)
	}
	hold := l.flags&gulmHold != 0
	t.dequeue(slot)
	t.dropLock(o, slot)
	t.calm(resource)
	if hold {
		t.unhold(resource)
	}
}

// end notes for a session how one of its requests ended.
func (t *Table) end(e endedLock, s Session) {
	o := t.owner(s)
	o.ended.add(e)
	t.ended++
}

// endedLock is a waiting request that was denied, or one for a range that was
// granted, and whose session has not said yet that it knows.
type endedLock struct {
	id      ID
	why     reason.Reason // None if it was granted
	mode    Mode          // of the grant
	token   uint64        // likewise
	changed uint64
	detail  string
}

// event tells a session how a request of its ended.
func (e *endedLock) event(s Session) Event {
	if e.why == reason.None {
		return Event{Session: s, Lock: e.id, Kind: EventGranted, Mode: e.mode, Token: e.token}
	}
	return Event{Session: s, Lock: e.id, Kind: EventDenied, Reason: e.why, Detail: e.detail}
}

func (e endedLock) number() ID { return e.id }

func (o *owner) hasEnded(id ID) bool { return o.ended.has(id) }

// findEnded returns how a request ended, nil if its session knows.
func (o *owner) findEnded(id ID) *endedLock { return o.ended.get(id) }

func (o *owner) forget(id ID) bool { return o.ended.remove(id) }
