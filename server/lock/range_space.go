package lock

import "lock_gulmd/server/reason"

// RangeFlock makes a request for a range one in the way of flock(2): for the whole
// file, which does not meet the ranges of the same name. Only with RangeLock,
// RangeUnlock, RangeTest and RangeClose.
const RangeFlock Flags = 0x2

const rangeFlags = NoQueue | Recovery | RangeFlock | Timeout | NoDlckWt

// RangeRequest is about byte ranges of a file: a name within a lockspace, which
// has nothing to do with the resource of that name.
type RangeRequest struct {
	// ID names a request that has to wait, as that of a lock does: it must not be
	// in use. Unused with NoQueue.
	ID ID
	// Lockspace is a number from Join.
	Lockspace uint32
	// Name of the file, 1 to MaxName bytes; not kept. Without one, RangeClose is
	// about all files of the lockspace.
	Name []byte
	// Owner is the session's number for the process or open file.
	Owner uint64
	// Start and End are the first and the last offset, 0 to RangeMax; not with
	// RangeFlock and RangeClose.
	Start, End uint64
	Kind       RangeKind
	Flags      Flags
	// Timeout is how long RangeLock may wait, milliseconds; it goes with the flag
	// Timeout. With NoDlckWt the request is never the victim of a deadlock that it
	// would get into by waiting.
	Timeout uint32
	// Skip is how many conflicts RangeTest leaves out, to go on after More.
	Skip uint64
}

// RangeConflicts are what keeps a range from being granted.
type RangeConflicts struct {
	List []RangeConflict
	// More is true if there are others after those.
	More bool
}

// MaxConflicts is how many conflicts one RangeTest returns at most.
const MaxConflicts = 256

// RangeLock asks for a range: Granted, Queued (an EventGranted or EventDenied
// follows, which the session acknowledges with an Unlock of the ID), or Refused
// with TryFailed, Deadlock, Limit, Invalid or NoLockspace, which changes nothing.
// What is granted replaces what the owner had there, in one step. With RangeFlock
// the owner lets go of another kind first, be the new one granted or not.
func (t *Table) RangeLock(s Session, req RangeRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	o, file, why := t.rangeFile(s, &req)
	switch {
	case why != reason.None:
		return refuse(why)
	case req.Flags&NoQueue == 0 && (req.ID == 0 || t.inUse(o, req.ID)), (req.Flags&Timeout != 0) != (req.Timeout != 0):
		return refuse(reason.Invalid)
	}
	return t.lockRange(s, &req, file)
}

// lockRange is RangeLock for a request that is possible.
func (t *Table) lockRange(s Session, req *RangeRequest, file uint32) Reply {
	ask := rangeRequest{
		Owner: RangeOwner{Session: s, Number: req.Owner}, Start: req.Start, End: req.End, Kind: req.Kind,
		Wait: req.Flags&NoQueue == 0, ID: req.ID, Recovery: req.Flags&Recovery != 0,
		Timeout: req.Timeout, Spared: req.Flags&NoDlckWt != 0,
	}
	if file == 0 {
		file = t.addRangeName(req)
	}
	ask.File = file
	t.enterRanges()
	var r rangeReply
	if req.Flags&RangeFlock != 0 {
		r = t.ranges.Flock(ask)
	} else {
		r = t.ranges.Lock(ask)
	}
	t.leaveRanges()
	t.sweepRangeName(file) // it may never have had anything
	return Reply{Outcome: r.Outcome, Reason: r.Reason, Mode: rangeMode(r.Outcome, req.Kind), Token: r.Token}
}

// rangeMode is a kind as a mode: PR for reading, EX for writing.
func rangeMode(o Outcome, k RangeKind) Mode {
	switch {
	case o != Granted && o != Queued:
		return NL
	case k == RangeRead:
		return PR
	}
	return EX
}

// RangeUnlock gives up whatever the owner holds of the range: Unlocked, also if
// that is nothing, or Refused with Limit if a range would be split and there may
// be no more, Invalid or NoLockspace. What the owner waits for is not touched.
func (t *Table) RangeUnlock(s Session, req RangeRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	file, why := t.plainRange(s, &req)
	if why != reason.None {
		return refuse(why)
	}
	if file == 0 {
		return Reply{Outcome: Unlocked}
	}
	t.enterRanges()
	r := t.ranges.Unlock(RangeOwner{Session: s, Number: req.Owner}, file, req.Start, req.End)
	t.leaveRanges()
	return Reply{Outcome: r.Outcome, Reason: r.Reason}
}

// RangeTest says what keeps a range from being granted at once: Granted without a
// token if nothing does, TryFailed with Conflicts otherwise, of which it returns
// MaxConflicts at most; or Refused with Invalid or NoLockspace.
func (t *Table) RangeTest(s Session, req RangeRequest) Reply {
	file, why := t.plainRange(s, &req)
	if why != reason.None {
		return refuse(why)
	}
	if file == 0 {
		return Reply{Outcome: Granted, Mode: rangeMode(Granted, req.Kind)}
	}
	skip := int(min(req.Skip, 1<<30))
	found, more, why := t.ranges.Test(
		RangeOwner{Session: s, Number: req.Owner}, file, rangeSpan{req.Start, req.End, req.Kind}, skip, MaxConflicts)
	switch {
	case why != reason.None:
		return refuse(why)
	case len(found) == 0 && skip == 0:
		return Reply{Outcome: Granted, Mode: rangeMode(Granted, req.Kind)}
	}
	return Reply{Outcome: Refused, Reason: reason.TryFailed, Conflicts: &RangeConflicts{found, more}}
}

// RangeClose gives up all that an owner holds and waits for in one file, as the
// kernel does when a process closes it, or in all files of the lockspace without
// a name: Unlocked, also if that is nothing, or Refused with Invalid or
// NoLockspace. In one file, RangeFlock says which of both kinds of locks; without
// a name both go. Nobody is told of requests that are withdrawn so.
func (t *Table) RangeClose(s Session, req RangeRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	all := len(req.Name) == 0 && req.Flags == 0
	if all {
		req.Name = []byte{0} // any, to pass the checks
	}
	req.Start, req.End, req.Kind = 0, 0, RangeRead
	file, why := t.plainRange(s, &req)
	if why != reason.None {
		return refuse(why)
	}
	o := RangeOwner{Session: s, Number: req.Owner}
	t.enterRanges()
	defer t.leaveRanges()
	if all {
		t.ranges.CloseOwner(o, t.filesOf(req.Lockspace))
	} else if file != 0 {
		t.ranges.CloseFile(o, file)
	}
	return Reply{Outcome: Unlocked}
}

// rangeFile checks a request and returns the session's record and the file, 0 if
// nobody has anything there.
func (t *Table) rangeFile(s Session, req *RangeRequest) (*owner, uint32, reason.Reason) {
	o := t.owner(s)
	if req.Flags&RangeFlock != 0 {
		req.Start, req.End = 0, RangeMax
	}
	switch {
	case o == nil:
		return nil, 0, reason.NoSession
	case o.frozen:
		return nil, 0, reason.NodeExpired
	case req.Flags&^rangeFlags != 0 || checkName(req.Name, MaxName) != reason.None:
		return nil, 0, reason.Invalid
	case req.Start > req.End || req.End > RangeMax || req.Kind >= rangeKinds:
		return nil, 0, reason.Invalid
	case !t.joined(req.Lockspace, s):
		return nil, 0, reason.NoLockspace
	}
	return o, t.findRangeName(req), reason.None
}

// plainRange is rangeFile for what takes no flag but RangeFlock.
func (t *Table) plainRange(s Session, req *RangeRequest) (uint32, reason.Reason) {
	_, file, why := t.rangeFile(s, req)
	if why == reason.None && req.Flags&^RangeFlock != 0 {
		why = reason.Invalid
	}
	return file, why
}

// inUse reports whether a session uses a number: for a lock, for a request for a
// range that waits, for one whose end it does not know yet, or in a set that waits.
func (t *Table) inUse(o *owner, id ID) bool {
	return t.findLock(o.session, id) != 0 || t.ranges.findWait(o.session, id) != 0 || o.hasEnded(id) ||
		o.inSet(id)
}

// cancelRange is Cancel for a request for a range: Cancelled, or Granted if it was
// granted before, and Refused with NotHeld else.
func (t *Table) cancelRange(s Session, id ID) Reply {
	o := t.owner(s)
	if o == nil {
		return refuse(reason.NotHeld)
	}
	if e := o.findEnded(id); e != nil && e.why == reason.None {
		return Reply{Outcome: Granted, Mode: e.mode, Token: e.token}
	}
	mode, token := t.gulmKeeps(s, id)
	t.enterRanges()
	r := t.ranges.Cancel(s, id)
	t.leaveRanges()
	return Reply{Outcome: r.Outcome, Reason: r.Reason, Mode: mode, Token: token}
}

// denyRange is Deny for a request for a range.
func (t *Table) denyRange(d *Denial) bool {
	slot := t.ranges.findWait(d.Session, d.ID)
	if slot == 0 || d.Since != 0 && t.ranges.waits.get(slot).since != d.Since {
		return false
	}
	t.end(d.ended(t.now.index), d.Session)
	t.events = append(t.events, Event{Session: d.Session, Lock: d.ID, Kind: EventDenied, Reason: d.Reason, Detail: d.Detail})
	t.enterRanges()
	t.ranges.Cancel(d.Session, d.ID)
	t.leaveRanges()
	return true
}

// denyRanges denies requests for ranges that wait, all of them before anybody is
// granted what that allows.
func (t *Table) denyRanges(s Session, ids []ID, why reason.Reason) {
	for _, id := range ids {
		t.end(endedLock{id: id, why: why, changed: t.now.index}, s)
		t.events = append(t.events, Event{Session: s, Lock: id, Kind: EventDenied, Reason: why})
	}
	t.enterRanges()
	t.ranges.withdraw(s, ids)
	t.leaveRanges()
}

// enterRanges tells the range table what it must know for a change of it;
// leaveRanges takes over what the change brought about.
func (t *Table) enterRanges() {
	t.ranges.limit, t.ranges.others = t.limits.Locks, t.locks.used+t.ended+t.reserved
	t.ranges.lastToken, t.ranges.stamp, t.ranges.index = t.lastToken, t.now.stamp, t.now.index
}

func (t *Table) leaveRanges() {
	t.lastToken = t.ranges.lastToken
	for _, e := range t.ranges.events {
		ended := endedLock{id: e.ID, mode: rangeMode(Granted, e.Kind), token: e.Token, changed: t.now.index}
		t.end(ended, e.Owner.Session)
		t.events = append(t.events, ended.event(e.Owner.Session))
	}
	for _, file := range t.ranges.swept {
		t.sweepRangeName(file)
	}
	t.ranges.events, t.ranges.swept = t.ranges.events[:0], t.ranges.swept[:0]
}
