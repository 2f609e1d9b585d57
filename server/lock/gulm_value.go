package lock

import (
	"slices"

	"lock_gulmd/server/reason"
)

// GULM's value blocks. A key has one as long as somebody holds it, which is not to
// hold a lock: holds belong to sessions, have no sub-id, and are NL locks to the
// engine. The first hold makes a block of zeros, the last unhold destroys it,
// unless the lockspace keeps values.
//
// A block is written when its session leaves exclusive, by a demotion or an
// unlock, has the value attached and holds the block; and by GulmSync while it is
// exclusive and holds the block. A value attached to anything else is ignored.
// Every grant returns the block, if there is one. If its writer died it is marked
// as not valid until the next write, and reads as zeros.

// GulmHold makes a session hold the value block of a key: Granted in NL, with the
// block, also if it does so already; or Refused as a lock would be.
func (t *Table) GulmHold(s Session, req GulmRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	req.Sub, req.Mode, req.Flags = 0, NL, 0
	slot, why := t.gulm(s, &req, gulmHold)
	if why != reason.None {
		return refuse(why)
	}
	if slot != 0 {
		l := t.locks.get(slot)
		value, status := t.readGulm(l.resource)
		return Reply{Outcome: Granted, Token: l.token, Status: status, Value: value}
	}
	lr := LockRequest{ID: req.ID, Lockspace: req.Lockspace, Name: req.Key, Flags: Expedite | NoCallbacks}
	o := t.owner(s)
	if why := t.checkLock(o, &lr); why != reason.None {
		return refuse(why)
	}
	lr.Flags |= gulmHold
	return t.lock(o, &lr)
}

// GulmUnhold ends that: Unlocked, or Refused with NotHeld.
func (t *Table) GulmUnhold(s Session, req GulmRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	req.Sub = 0
	slot, why := t.gulm(s, &req, gulmHold)
	switch {
	case why != reason.None:
		return refuse(why)
	case slot == 0:
		return refuse(reason.NotHeld)
	}
	resource := t.locks.get(slot).resource
	t.discard(t.owner(s), slot)
	t.sweep(resource)
	return Reply{Outcome: Unlocked}
}

// GulmSync writes the value block while the holder is exclusive: Granted in EX, or
// Refused with NotHeld if it is not, or its session does not hold the block.
func (t *Table) GulmSync(s Session, req GulmRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	slot, why := t.gulm(s, &req, gulmLock)
	if why != reason.None {
		return refuse(why)
	}
	if slot == 0 || req.Flags&GulmRange != 0 || !t.leaveValue(t.locks.get(slot), NL, req.Value) {
		return refuse(reason.NotHeld)
	}
	return Reply{Outcome: Granted, Mode: EX, Token: t.locks.get(slot).token}
}

// useGulmValue is useValue for the locks of this layer.
func (t *Table) useGulmValue(l *lockRecord, held, mode Mode, value []byte) ([]byte, Status) {
	if l.flags&gulmHold != 0 {
		t.ownValue(l.resource)
	}
	if l.flags&ValBlk != 0 && held == EX {
		t.writeIfHeld(l, mode, value)
	}
	return t.readGulm(l.resource)
}

// leaveValue writes the value block for a lock that goes from what it holds to a
// mode, and reports whether it may.
func (t *Table) leaveValue(l *lockRecord, mode Mode, value []byte) bool {
	return l.queue != waiting && l.granted == EX && t.writeIfHeld(l, mode, value)
}

func (t *Table) writeIfHeld(l *lockRecord, mode Mode, value []byte) bool {
	if mode == EX || t.findGulm(l.session, l.resource, 0, gulmHold) == 0 {
		return false
	}
	t.writeValue(l.resource, ValBlk, value)
	return true
}

// readGulm returns a copy of the value block, nil if there is none, zeros if it is
// not valid.
func (t *Table) readGulm(resource uint32) ([]byte, Status) {
	slot := t.resources.get(resource).value
	if slot == 0 {
		return nil, 0
	}
	v := t.values.get(slot)
	if v.invalid {
		return make([]byte, v.length), ValNotValid
	}
	return slices.Clone(v.bytes[:v.length]), 0
}

// unhold destroys the value block if nobody holds it any more.
func (t *Table) unhold(resource uint32) {
	r := t.resources.get(resource)
	if r.value == 0 || t.space(r.lockspace).keepValues {
		return
	}
	for slot := r.head; slot != 0; slot = t.locks.get(slot).next {
		if t.locks.get(slot).flags&gulmHold != 0 {
			return
		}
	}
	t.values.release(r.value)
	t.resources.mut(resource).value = 0
}
