package lock

import "lock_gulmd/server/reason"

// LockRequest asks for a new lock.
type LockRequest struct {
	// ID is the session's number for the lock; it must not be in use.
	ID ID
	// Lockspace is a number from Join.
	Lockspace uint32
	// Name of the resource, 1 to MaxName bytes; not kept.
	Name  []byte
	Mode  Mode
	Flags Flags
}

// Lock makes a lock: Granted, Queued (an EventGranted follows), or Refused with
// TryFailed, Invalid, NoLockspace or Limit, which leaves nothing behind.
func (t *Table) Lock(s Session, req LockRequest) Reply {
	o := t.owner(s)
	if r := t.checkLock(o, req); r != reason.None {
		return refuse(r)
	}
	resource := t.findResource(req.Lockspace, req.Name)
	free := resource == 0 || t.grantable(resource, req.Mode)
	if !free && req.Flags&NoQueue != 0 {
		t.askAll(resource, req.Mode, 0, req.Flags)
		return refuse(reason.TryFailed)
	}
	if resource == 0 {
		if overLimit(t.resources.used, t.limits.Resources) {
			return refuse(reason.Limit)
		}
		resource = t.addResource(req.Lockspace, req.Name)
	}
	slot, l := t.addLock(o, req.ID, resource)
	l.flags, l.requested = req.Flags&NoCallbacks, req.Mode
	if free {
		return t.hold(slot, NL)
	}
	t.enqueue(slot, waiting)
	t.askAll(resource, req.Mode, slot, 0)
	return Reply{Outcome: Queued, Mode: req.Mode}
}

func (t *Table) checkLock(o *owner, req LockRequest) reason.Reason {
	switch {
	case o == nil:
		return reason.NoSession
	case o.frozen:
		return reason.NodeExpired
	case req.ID == 0 || req.Mode >= modes || checkName(req.Name, MaxName) != reason.None:
		return reason.Invalid
	case req.Flags&^lockFlags != 0 || req.Flags&NoQueueBast != 0 && req.Flags&NoQueue == 0:
		return reason.Invalid
	case t.findLock(o.session, req.ID) != 0:
		return reason.Invalid
	case !t.joined(req.Lockspace, o.session):
		return reason.NoLockspace
	case overLimit(t.locks.used, t.limits.Locks):
		return reason.Limit
	}
	return reason.None
}

// Convert changes the mode of a granted lock: Granted, Queued (the lock keeps
// its mode until an EventGranted), or Refused with NotHeld, Busy, Invalid,
// TryFailed or Deadlock, which leaves the lock as it was.
func (t *Table) Convert(s Session, id ID, mode Mode, flags Flags) Reply {
	slot := t.findLock(s, id)
	switch {
	case t.frozen(s):
		return refuse(reason.NodeExpired)
	case slot == 0:
		return refuse(reason.NotHeld)
	case mode >= modes || flags&^convertFlags != 0 || flags&NoQueueBast != 0 && flags&NoQueue == 0:
		return refuse(reason.Invalid)
	case t.locks.get(slot).queue != granted:
		return refuse(reason.Busy)
	}
	l := t.locks.get(slot)
	resource, old := l.resource, l.granted
	if t.resources.get(resource).heldSet(old)&conflicts[mode] == 0 {
		t.dequeue(slot)
		t.locks.mut(slot).requested = mode
		reply := t.hold(slot, old)
		t.askNew(slot)
		t.grant(resource)
		return reply
	}
	if flags&NoQueue != 0 {
		t.askAll(resource, mode, slot, flags)
		return refuse(reason.TryFailed)
	}
	if t.conversionDeadlock(slot) {
		return refuse(reason.Deadlock)
	}
	t.dequeue(slot)
	t.locks.mut(slot).requested = mode
	t.enqueue(slot, converting)
	t.askAll(resource, mode, slot, 0)
	return Reply{Outcome: Queued, Mode: mode}
}

// conversionDeadlock reports whether a queued conversion waits for this lock to
// weaken. This one would be queued behind it, and conversions are granted from
// the head only: neither could ever be granted, whatever this one asks for.
func (t *Table) conversionDeadlock(slot uint32) bool {
	l := t.locks.get(slot)
	c := t.resources.get(l.resource).contention
	if c == 0 {
		return false
	}
	for o := t.contentions.get(c).convertHead; o != 0; {
		other := t.locks.get(o)
		if conflicts[other.requested].has(l.granted) {
			return true
		}
		o = other.next
	}
	return false
}

// Unlock gives up a lock whatever queue it stands in: Unlocked, or Refused with
// NotHeld.
func (t *Table) Unlock(s Session, id ID) Reply {
	slot := t.findLock(s, id)
	if t.frozen(s) {
		return refuse(reason.NodeExpired)
	}
	if slot == 0 {
		return refuse(reason.NotHeld)
	}
	resource := t.locks.get(slot).resource
	t.discard(t.owner(s), slot)
	t.grant(resource)
	t.sweep(resource)
	return Reply{Outcome: Unlocked}
}

// Cancel withdraws what a lock waits for. A waiting request goes and the lock
// with it: Cancelled in NL. A conversion goes and the lock stays: Cancelled in
// its old mode. A granted lock is left alone: Granted. Refused with NotHeld.
func (t *Table) Cancel(s Session, id ID) Reply {
	slot := t.findLock(s, id)
	if t.frozen(s) {
		return refuse(reason.NodeExpired)
	}
	if slot == 0 {
		return refuse(reason.NotHeld)
	}
	l := t.locks.get(slot)
	resource, held, token := l.resource, l.granted, l.token
	switch l.queue {
	case granted:
		return Reply{Outcome: Granted, Mode: held, Token: token}
	case converting:
		t.unconvert(slot)
	case waiting:
		t.discard(t.owner(s), slot)
	}
	t.grant(resource)
	t.sweep(resource)
	return Reply{Outcome: Cancelled, Mode: held, Token: token}
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
		t.resources.mut(resource).drop(l.granted)
	}
	t.dequeue(slot)
	t.dropLock(o, slot)
	t.calm(resource)
}

// hold puts a lock that stands in no queue into the granted one, in the mode
// that it requested; `old` is what it held before.
func (t *Table) hold(slot uint32, old Mode) Reply {
	l := t.locks.mut(slot)
	r := t.resources.mut(l.resource)
	r.drop(old)
	r.hold(l.requested)
	t.lastToken++
	l.granted, l.token, l.blocking = l.requested, t.lastToken, 0
	t.enqueue(slot, granted)
	return Reply{Outcome: Granted, Mode: l.granted, Token: l.token}
}

// grantable reports whether a new request would be granted at once.
func (t *Table) grantable(resource uint32, mode Mode) bool {
	r := t.resources.get(resource)
	return r.contention == 0 && r.heldSet(NL)&conflicts[mode] == 0
}

// grant gives queued requests what they can now have: conversions from the
// head, then waiting requests from the head once nobody converts. It stops at
// the first that cannot be granted, so its work is proportional to what it
// grants.
func (t *Table) grant(resource uint32) {
	for {
		slot := t.headOfQueue(resource)
		if slot == 0 {
			return
		}
		l := t.locks.get(slot)
		if t.resources.get(resource).heldSet(l.granted)&conflicts[l.requested] != 0 {
			return
		}
		old := l.granted
		t.dequeue(slot)
		t.calm(resource)
		reply := t.hold(slot, old)
		t.events = append(t.events, Event{
			Session: l.session, Lock: l.id, Kind: EventGranted, Mode: reply.Mode, Token: reply.Token,
		})
		t.askNew(slot) // after the grant that it speaks of
	}
}

// headOfQueue returns the one queued request that may be granted next, 0 if
// nobody converts or waits.
func (t *Table) headOfQueue(resource uint32) uint32 {
	slot := t.resources.get(resource).contention
	if slot == 0 {
		return 0
	}
	c := t.contentions.get(slot)
	if c.convertHead != 0 {
		return c.convertHead
	}
	return c.waitHead
}
