package lock

import "lock_gulmd/server/reason"

// The GULM layer: requests that name a resource and a sub-id instead of a lock.
// Whether that makes a lock or converts one is found out here; everything else is
// the engine's.
//
// A holder is a session and a sub-id of its choice. It has at most one lock on a
// key, in one of GULM's states: shared (PR), deferred (CW) or exclusive (EX);
// unlocked (NL) is to have none. What the flags become:
//
//	GulmTry          NoQueue
//	GulmDoCB         NoQueueBast
//	GulmAny          AltCW for shared, AltPR for deferred
//	GulmNoExp        Recovery
//	GulmHasLVB       the value is written where GULM writes; see gulm_value.go
//	GulmPriority     HeadQue and NoOrder
//	GulmNoCallBacks  NoCallbacks; it stays with the lock until that is unlocked
//	GulmRange        the request is about a part of the key; see gulm_range.go
//
// A conversion that would wait for one that waits for it lets go of its mode, as
// with ConvDeadlk: that is GULM's internal unlock, and Demoted says that what the
// holder has cached is not valid any more. Every other grant leaves it valid.
//
// A sub-id other than 0 is the owner of its locks (Terms.Owner): one thread of
// control, which gives up what it holds only after it got what it waits for. File
// systems use sub-id 0 for all that a node does, so of that nobody knows. No request
// for the whole of a key is ever the victim of a deadlock; one for a part may be, as
// those for other byte ranges.

// GulmFlags modify one GULM request. The numbers are GULM's.
type GulmFlags uint32

// The flags. Any other bit makes a request Invalid.
const (
	GulmDoCB        GulmFlags = 0x1
	GulmTry         GulmFlags = 0x2
	GulmAny         GulmFlags = 0x4
	GulmNoExp       GulmFlags = 0x8
	GulmHasLVB      GulmFlags = 0x10
	GulmPriority    GulmFlags = 0x40
	GulmNoCallBacks GulmFlags = 0x100
	// GulmRange is not one of GULM's, where every request has a range.
	GulmRange GulmFlags = 0x200

	gulmFlags = GulmDoCB | GulmTry | GulmAny | GulmNoExp | GulmHasLVB | GulmPriority | GulmNoCallBacks | GulmRange
)

// Bits of the flags that locks of this layer have and that no request knows.
const (
	gulmLock Flags = 0x4000000 // found by its sub-id
	gulmHold Flags = 0x8000000 // holds the value block

	gulmMarks = gulmLock | gulmHold
)

// GulmRequest is about what one holder has on one key.
type GulmRequest struct {
	// ID is the session's number for the lock if this makes one, which must not be
	// in use; else it is not looked at.
	ID        ID
	Lockspace uint32
	// Key names the resource, 1 to MaxName bytes; not kept.
	Key   []byte
	Sub   uint64
	Mode  Mode
	Flags GulmFlags
	// Start and End are the first and the last offset of the part, 0 to RangeMax,
	// with GulmRange; else 0.
	Start, End uint64
	// Value is at most as long as the lockspace's value blocks; not kept.
	Value []byte
}

// Gulm brings a holder into a state: Granted, Queued, Unlocked (with NL), or
// Refused with TryFailed, which leaves what it has as it is; InUse if it is about a
// part of a key that somebody has as a whole, or the other way round; Busy while an
// earlier request of the holder waits; NotHeld for an unlock of nothing; and what
// else Lock refuses. An unlock ends also what waits.
func (t *Table) Gulm(s Session, req GulmRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	slot, why := t.gulm(s, &req, gulmLock)
	switch {
	case why != reason.None:
		return refuse(why)
	case t.gulmRanged(&req):
		return t.gulmRange(s, slot, &req)
	case req.Mode == NL:
		return t.gulmUnlock(slot, &req)
	case req.Mode != CW && req.Mode != PR && req.Mode != EX:
		return refuse(reason.Invalid)
	case slot == 0:
		lr := LockRequest{ID: req.ID, Lockspace: req.Lockspace, Name: req.Key, Mode: req.Mode, Flags: req.engine()}
		o := t.owner(s)
		if why := t.checkLock(o, &lr); why != reason.None {
			return refuse(why)
		}
		lr.Flags, lr.sub, lr.Owner = lr.Flags|gulmLock, req.Sub, req.Sub
		return t.lock(o, &lr)
	case t.locks.get(slot).queue != granted:
		return refuse(reason.Busy)
	}
	flags := req.engine()
	if flags&NoQueue == 0 {
		flags |= ConvDeadlk
	}
	return t.convert(slot, &ConvertRequest{ID: t.locks.get(slot).id, Mode: req.Mode, Flags: flags, Value: req.Value})
}

// gulm checks what all requests of this layer have in common and returns the lock
// that one is about, 0 if there is none.
func (t *Table) gulm(s Session, req *GulmRequest, mark Flags) (uint32, reason.Reason) {
	o := t.owner(s)
	switch {
	case o == nil:
		return 0, reason.NoSession
	case o.frozen:
		return 0, reason.NodeExpired
	case checkName(req.Key, MaxName) != reason.None || req.Flags&^gulmFlags != 0 || !req.fits(mark):
		return 0, reason.Invalid
	case !t.joined(req.Lockspace, s):
		return 0, reason.NoLockspace
	case !t.checkValue(req.Lockspace, req.Value):
		return 0, reason.Invalid
	}
	return t.findGulm(s, t.findResource(req.Lockspace, req.Key), req.Sub, mark), reason.None
}

// engine returns the engine's flags for a request.
func (req *GulmRequest) engine() Flags {
	flags := NoDlckWt
	for _, m := range [...]struct {
		flag GulmFlags
		is   Flags
	}{
		{GulmTry, NoQueue},
		{GulmDoCB, NoQueueBast},
		{GulmNoExp, Recovery},
		{GulmHasLVB, ValBlk},
		{GulmPriority, HeadQue | NoOrder},
		{GulmNoCallBacks, NoCallbacks},
	} {
		if req.Flags&m.flag != 0 {
			flags |= m.is
		}
	}
	if req.Flags&GulmAny != 0 && req.Mode == PR {
		flags |= AltCW
	}
	if req.Flags&GulmAny != 0 && req.Mode == CW {
		flags |= AltPR
	}
	return flags
}

func (t *Table) gulmUnlock(slot uint32, req *GulmRequest) Reply {
	if slot == 0 {
		return refuse(reason.NotHeld)
	}
	l := t.locks.get(slot)
	resource := l.resource
	if l.queue != waiting && req.Flags&GulmHasLVB != 0 {
		t.leaveValue(l, NL, req.Value)
	}
	t.discard(t.owner(l.session), slot)
	t.grant(resource)
	t.sweep(resource)
	return Reply{Outcome: Unlocked}
}

// GulmCancel withdraws what a holder waits for, as Cancel does.
func (t *Table) GulmCancel(s Session, req GulmRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	slot, why := t.gulm(s, &req, gulmLock)
	switch {
	case why != reason.None:
		return refuse(why)
	case t.gulmRanged(&req):
		return t.gulmRangeCancel(s, &req)
	case slot == 0:
		return refuse(reason.NotHeld)
	}
	return t.Cancel(s, t.locks.get(slot).id)
}

// gulmRecord is what the table knows beside a lock of this layer. Its slot is in
// the lock's origin, which means something else for locks without a session.
type gulmRecord struct {
	sum  uint32
	lock uint32
	sub  uint64
}

func (g *gulmRecord) hash() uint32 { return g.sum }

// marked reports whether a lock has a gulmRecord.
func (l *lockRecord) marked() bool { return l.flags&gulmMarks != 0 && !l.session.ofNode() }

// left returns the session that left an orphan or remains, 0 for others.
func (l *lockRecord) left() uint32 {
	if l.marked() {
		return 0
	}
	return l.origin
}

// sub returns the sub-id of a lock of this layer, 0 for others.
func (t *Table) sub(l *lockRecord) uint64 {
	if !l.marked() {
		return 0
	}
	return t.gulms.get(l.origin).sub
}

func gulmSum(s Session, resource uint32, sub uint64, mark Flags) uint32 {
	return uint32(mix64(mix64(uint64(s)*0x9e3779b97f4a7c15+uint64(resource))*0x9e3779b97f4a7c15 + sub + uint64(mark)))
}

// mark makes a new lock one of this layer.
func (t *Table) mark(slot uint32, l *lockRecord, sub uint64) {
	at, g := t.gulms.alloc()
	*g = gulmRecord{sum: gulmSum(l.session, l.resource, sub, l.flags&gulmMarks), lock: slot, sub: sub}
	l.origin = at
	insert(&t.gulmIndex, &t.gulms, at)
}

// unmark is for a lock that is about to be nobody's.
func (t *Table) unmark(l *lockRecord) {
	remove(&t.gulmIndex, &t.gulms, l.origin)
	t.gulms.release(l.origin)
}

// findGulm returns the lock with a mark that a holder has on a resource, which may
// be 0, or 0.
func (t *Table) findGulm(s Session, resource uint32, sub uint64, mark Flags) uint32 {
	x := &t.gulmIndex
	if x.used == 0 || resource == 0 {
		return 0
	}
	sum := gulmSum(s, resource, sub, mark)
	for i := sum & x.mask(); x.slots[i] != 0; i = (i + 1) & x.mask() {
		g := t.gulms.get(x.slots[i])
		if l := t.locks.get(g.lock); g.sum == sum && g.sub == sub && l.session == s && l.resource == resource && l.flags&mark != 0 {
			return g.lock
		}
	}
	return 0
}
