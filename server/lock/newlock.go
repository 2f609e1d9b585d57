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
	Terms

	sub uint64 // with gulmLock
}

// Lock makes a lock: Granted, Queued (an EventGranted or EventDenied follows), or
// Refused with TryFailed, Invalid, NoLockspace, Limit, or InUse while users of the
// GULM layer have parts of the name, which leaves nothing behind. With Orphan it
// takes an orphan over: Granted, or Refused with NotHeld if there is none of that
// name, TryFailed if there is one in another mode.
func (t *Table) Lock(s Session, req LockRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(s)
	if r := t.checkLock(o, &req); r != reason.None {
		return refuse(r)
	}
	if req.Flags&Orphan != 0 {
		return t.adopt(s, &req)
	}
	if t.gulmRangesOn(req.Lockspace, req.Name) {
		return refuse(reason.InUse)
	}
	return t.lock(o, &req)
}

// lock is Lock for a request that is possible.
func (t *Table) lock(o *owner, req *LockRequest) Reply {
	resource := t.findResource(req.Lockspace, req.Name)
	ask := wish{mode: req.Mode, flags: req.Flags}
	free := resource == 0 || t.fits(resource, &ask, true)
	if !free && req.Flags&NoQueue != 0 {
		if req.Flags&NoQueueBast != 0 {
			t.nudge(resource, req.Mode, 0)
		}
		return refuse(reason.TryFailed)
	}
	if resource == 0 {
		if overLimit(t.resources.used+t.reserved, t.limits.Resources) {
			return refuse(reason.Limit)
		}
		resource = t.addResource(req.Lockspace, req.Name)
	}
	slot, l := t.addLock(o, req.ID, resource)
	l.flags, l.requested = req.Flags, ask.mode
	if req.Flags&gulmMarks != 0 {
		t.mark(slot, l, req.sub)
	}
	if free {
		t.note(slot, Terms{Owner: req.Owner})
		t.passAll(resource, req.Flags)
		return t.hold(slot, true, ask.status, nil)
	}
	t.note(slot, req.Terms)
	t.enqueue(slot, waiting)
	t.askAll(resource, req.Mode, slot)
	return Reply{Outcome: Queued, Mode: req.Mode}
}

func (t *Table) checkLock(o *owner, req *LockRequest) reason.Reason {
	switch {
	case o == nil:
		return reason.NoSession
	case o.frozen:
		return reason.NodeExpired
	case req.ID == 0 || req.Mode >= modes || checkName(req.Name, MaxName) != reason.None:
		return reason.Invalid
	case req.Flags&^lockFlags != 0 || !req.fit(req.Flags):
		return reason.Invalid
	case req.Flags&Expedite != 0 && (req.Mode != NL || req.Flags&NoQueue != 0):
		return reason.Invalid
	case t.inUse(o, req.ID):
		return reason.Invalid
	case !t.joined(req.Lockspace, o.session):
		return reason.NoLockspace
	case req.Flags&Orphan == 0 && overLimit(t.claims(), t.limits.Locks):
		return reason.Limit
	}
	return reason.None
}

// wish is what one request wants, and with which status it can have what.
type wish struct {
	slot   uint32 // the lock, 0 for one that does not exist yet
	mode   Mode
	flags  Flags
	status Status
}

// fits reports whether a wish can be granted: `now`, when it is made, or later,
// when its turn may have come. If only an alternative mode fits, it takes that.
func (t *Table) fits(resource uint32, w *wish, now bool) bool {
	if t.fitsAs(resource, w, w.mode, now) {
		return true
	}
	for _, alt := range [2]struct {
		flag Flags
		mode Mode
	}{{AltPR, PR}, {AltCW, CW}} {
		if w.flags&alt.flag != 0 && w.mode != alt.mode && t.fitsAs(resource, w, alt.mode, now) {
			w.mode, w.status = alt.mode, w.status|AltMode
			return true
		}
	}
	return false
}

// fitsAs is the rule of the package comment for one mode.
func (t *Table) fitsAs(resource uint32, w *wish, mode Mode, now bool) bool {
	r := t.resources.get(resource)
	held, convert, queued := NL, false, queue(waiting)
	if w.slot != 0 {
		l := t.locks.get(w.slot)
		held, queued = l.granted, l.queue
		convert = l.queue != waiting
	}
	switch {
	case w.flags&Expedite != 0:
		return true
	case t.obstructs(r, w, held, mode):
		return false
	case r.contention == 0:
		return true
	}
	c := t.contentions.get(r.contention)
	mayPass := c.passed < t.overtakes()
	convertHead, waitHead := t.heads(resource, w.flags)
	switch {
	case w.flags&NoOrder != 0 && mayPass:
		return true
	case convert && now:
		return w.flags&QueCvt == 0 || convertHead == 0 || w.flags&HeadQue != 0 && mayPass
	case now:
		return convertHead == 0 && (waitHead == 0 || w.flags&HeadQue != 0 && mayPass) // else somebody is before it
	case queued == converting:
		return convertHead == w.slot
	default:
		return convertHead == 0 && waitHead == w.slot
	}
}

// DefaultOvertakes is how many requests may overtake the oldest waiting one,
// because their flags ask for it, before it is their turn to wait.
const DefaultOvertakes = 100

func (t *Table) overtakes() uint32 {
	if t.limits.Overtakes > 0 {
		return uint32(t.limits.Overtakes)
	}
	return DefaultOvertakes
}

// pass counts a request that came before one that was queued earlier.
func (t *Table) pass(contention uint32) {
	t.contentions.mut(contention).passed++
}

// passAll counts a new request that is granted although others are queued. It
// has not been asked to give way to them: that is due when a lock goes or
// weakens the next time, as in the DLM.
func (t *Table) passAll(resource uint32, flags Flags) {
	at := t.resources.get(resource).contention
	if at == 0 || flags&Expedite != 0 { // NL is in nobody's way
		return
	}
	t.contentions.mut(at).told = 0
	if flags&Recovery == 0 || !t.hasRemains(resource) {
		t.pass(at)
	}
}
