package lock

import "lock_gulmd/server/reason"

// ConvertRequest changes the mode of a lock.
type ConvertRequest struct {
	ID    ID
	Mode  Mode
	Flags Flags
	// Value is written if the table of value.go says so; not kept.
	Value []byte
	// Terms with an Owner give the lock to that owner of the session.
	Terms
}

// quecvt holds, for each held mode, the modes to which a conversion may be
// queued with QueCvt: those that claim more.
var quecvt = [modes]modeSet{
	NL: 1<<CR | 1<<CW | 1<<PR | 1<<PW | 1<<EX,
	CR: 1<<CW | 1<<PR | 1<<PW | 1<<EX,
	CW: 1<<PR | 1<<PW | 1<<EX,
	PR: 1<<CW | 1<<PW | 1<<EX,
	PW: 1 << EX,
	EX: 0,
}

// Convert changes the mode of a granted lock: Granted, Queued (the lock keeps
// its mode, or NL if that was Demoted, until an EventGranted or EventDenied), or
// Refused with NotHeld, Busy, Invalid, TryFailed or Deadlock, which leaves the
// lock as it was.
func (t *Table) Convert(s Session, req ConvertRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	slot := t.findLock(s, req.ID)
	if r := t.checkConvert(s, slot, &req); r != reason.None {
		return refuse(r)
	}
	return t.convert(slot, &req)
}

// keptFlags belong to a lock and not to its newest request.
const keptFlags = NoCallbacks | gulmMarks

// convert is Convert for a request that is possible.
func (t *Table) convert(slot uint32, req *ConvertRequest) Reply {
	resource := t.locks.get(slot).resource
	w := wish{slot: slot, mode: req.Mode, flags: req.Flags}
	if t.fits(resource, &w, true) {
		return t.convertNow(slot, &w, req)
	}
	if req.Flags&NoQueue != 0 {
		if req.Flags&NoQueueBast != 0 {
			t.nudge(resource, req.Mode, slot)
		}
		return refuse(reason.TryFailed)
	}
	deadlock := t.conversionDeadlock(slot)
	if deadlock && req.Flags&(ConvDeadlk|NoDlckWt) == 0 {
		return refuse(reason.Deadlock)
	}
	if deadlock && req.Flags&ConvDeadlk != 0 {
		w.status = Demoted
		t.demote(slot)
		t.grantQueued(resource, true)
		if t.fits(resource, &w, true) {
			return t.convertNow(slot, &w, req)
		}
		deadlock = t.conversionDeadlock(slot)
	}
	t.dequeue(slot)
	l := t.locks.mut(slot)
	t.undeny(l)
	l.requested, l.status = req.Mode, w.status
	l.flags = req.Flags | l.flags&keptFlags
	t.note(slot, req.Terms)
	t.enqueue(slot, converting)
	if w.status == Demoted {
		t.grantQueued(resource, false) // those who need not wait behind it
	}
	t.askAll(resource, req.Mode, slot)
	if deadlock {
		t.ask(slot, req.Mode) // NoDlckWt: its holder is asked to resolve it
	}
	t.goOn()
	return Reply{Outcome: Queued, Mode: req.Mode}
}

func (t *Table) checkConvert(s Session, slot uint32, req *ConvertRequest) reason.Reason {
	switch {
	case t.frozen(s):
		return reason.NodeExpired
	case t.inSet(s, slot, req.ID):
		return reason.Busy
	case slot == 0:
		return reason.NotHeld
	case req.Mode >= modes || req.Flags&^convertFlags != 0 || !req.fit(req.Flags) || req.Flags&ConvDeadlk != 0 && req.Flags&NoQueue != 0:
		return reason.Invalid
	case !t.checkValue(t.resources.get(t.locks.get(slot).resource).lockspace, req.Value):
		return reason.Invalid
	case req.Flags&QueCvt != 0 && !quecvt[t.locks.get(slot).granted].has(req.Mode):
		return reason.Invalid
	case t.locks.get(slot).marked():
		return reason.Invalid
	case t.locks.get(slot).queue != granted:
		return reason.Busy
	}
	return reason.None
}

// convertNow grants a conversion in place.
func (t *Table) convertNow(slot uint32, w *wish, req *ConvertRequest) Reply {
	t.dequeue(slot)
	t.note(slot, Terms{Owner: req.Owner})
	l := t.locks.mut(slot)
	l.requested = w.mode
	l.flags = w.flags | l.flags&keptFlags
	reply := t.hold(slot, false, w.status, req.Value)
	t.askNew(slot)
	t.grant(l.resource)
	return reply
}

// demote lets go of the mode of a granted lock that is about to wait.
func (t *Table) demote(slot uint32) {
	t.letGo(slot)
	l := t.locks.mut(slot)
	l.granted, l.requested, l.status = NL, NL, Demoted
	l.changed = t.now.index
}

// conversionDeadlock reports whether a queued conversion waits for this lock to
// weaken. This one would be queued behind it, and conversions are granted from
// the head only: neither could ever be granted, whatever this one asks for. The
// DLM says so too of one that NoOrder or HeadQue would help.
func (t *Table) conversionDeadlock(slot uint32) bool {
	l := t.locks.get(slot)
	c := t.resources.get(l.resource).contention
	return c != 0 && counted(&t.contentions.get(c).convertTo)&conflicts[l.granted] != 0
}

// behindConversion reports whether a conversion waits for a queued one to weaken,
// so that HeadQue must not put it before that.
func (t *Table) behindConversion(slot uint32) bool {
	l := t.locks.get(slot)
	c := t.resources.get(l.resource).contention
	return c != 0 && counted(&t.contentions.get(c).convertFrom)&conflicts[l.requested] != 0
}
