package lock

import (
	"bytes"
	"fmt"
	"slices"

	"lock_gulmd/server/reason"
)

// source chooses a number from 0 to n-1.
type source func(n int) int

// world is how much there is to choose from.
type world struct {
	sessions, ids, names int
	unruly               bool // most requests ask to overtake
}

var (
	crowded  = world{sessions: 4, ids: 6, names: 2}
	ordinary = world{sessions: 5, ids: 10, names: 12}
	unruly   = world{sessions: 5, ids: 12, names: 1, unruly: true}
	wide     = world{sessions: 24, ids: 150, names: 3000}
)

// kind is one of the operations.
type kind int

const (
	opLock kind = iota
	opConvert
	opUnlock
	opCancel
	opDeny
	opAdopt
	opLockSet
	opOpen
	opJoin
	opLeave
	opClose
	opFreeze
	opRelease
	opPurge
	opFreezeOrphans
	opReleaseOrphans
	opLimits
	opClone
	opRestore
	opFreezeIn
	opBury
	opReleaseIn
	opDoubt
	opTrust
	opGulm
	opGulmCancel
	opGulmHold
	opGulmUnhold
	opGulmSync
	opGulmQuery
)

var kindNames = [...]string{
	"lock", "convert", "unlock", "cancel", "deny", "adopt", "lock set", "open", "join", "leave", "close", "freeze", "release", "purge",
	"freeze orphans", "release orphans", "limits", "clone", "restore", "freeze in", "bury", "release in", "doubt", "trust",
	"gulm", "gulm cancel", "gulm hold", "gulm unhold", "gulm sync",
	"gulm query",
}

// weights says how often each is chosen.
var weights = [...]int{
	opLock: 400, opConvert: 340, opUnlock: 120, opCancel: 40, opDeny: 60, opAdopt: 40, opLockSet: 60, opOpen: 60, opJoin: 80, opLeave: 8,
	opClose: 14, opFreeze: 3, opRelease: 8, opPurge: 2, opFreezeOrphans: 1, opReleaseOrphans: 3, opLimits: 6, opClone: 5,
	opRestore: 8, opFreezeIn: 20, opBury: 12, opReleaseIn: 8, opDoubt: 2, opTrust: 4,
	opGulm: 250, opGulmCancel: 10, opGulmHold: 30, opGulmUnhold: 15, opGulmSync: 10,
	opGulmQuery: 10,
}

// op is one operation with its arguments.
type op struct {
	kind    kind
	session Session
	id      ID
	space   uint32
	name    []byte
	mode    Mode
	flags   Flags
	value   []byte
	why     reason.Reason
	node    uint32
	force   bool
	owner   Session // of frozen locks
	sub     uint64

	gulmFlags GulmFlags
	join      JoinRequest
	limits    Limits
	terms     Terms
	since     uint64
	entries   []SetEntry
}

func (o op) String() string {
	return fmt.Sprintf("%s %d/%d space %d name %.8q(%d) %v flags %x value %q %v node %d force %v owner %x sub %d gulm %x join %+v limits %v terms %v since %d entries %v",
		kindNames[o.kind], o.session, o.id, o.space, o.name, len(o.name), o.mode, uint32(o.flags), o.value, o.why, o.node, o.force,
		o.owner, o.sub, uint32(o.gulmFlags), o.join, o.limits, o.terms, o.since, o.entries)
}

// chooseOp chooses an operation on t; now and then one that is impossible. With
// t nil it knows of lockspace 1 only.
func chooseOp(pick source, w world, t *Table) op {
	total := 0
	for _, n := range weights {
		total += n
	}
	o := op{}
	for n := pick(total); n >= weights[o.kind]; o.kind++ {
		n -= weights[o.kind]
	}
	o.session = Session(pick(w.sessions) + 1)
	o.id = ID(pick(w.ids + 1))
	o.node = uint32(pick(2) + 1)
	if t != nil && pick(12) != 0 {
		o.chooseSession(w, t)
		o.chooseLock(pick, t)
	}
	switch o.kind {
	case opLock, opConvert, opUnlock, opCancel, opDeny, opAdopt, opLockSet:
		o.why = [...]reason.Reason{reason.Deadlock, reason.TimedOut}[pick(2)]
		o.chooseRequest(pick, w)
		o.space = chooseSpace(pick, t, o.session)
		if o.kind == opAdopt && t != nil {
			o.chooseOrphan(pick, t)
		}
		o.chooseTerms(pick)
		if o.kind == opLockSet {
			o.chooseEntries(pick, w, t)
		}
	case opJoin:
		o.join = chooseJoin(pick)
	case opLeave:
		o.space, o.force = chooseSpace(pick, t, o.session), pick(3) == 0
	case opPurge:
		if pick(2) == 0 {
			o.session = 0
		}
	case opLimits:
		if pick(8) == 0 {
			o.limits = Limits{Locks: uint64(pick(20)), Resources: uint64(pick(8)), Lockspaces: uint64(pick(3))}
		}
		o.limits.Overtakes = uint64(pick(4))
	case opFreezeIn, opBury, opReleaseIn:
		o.space = chooseSpace(pick, t, o.session)
		o.owner = [...]Session{o.session, o.session, OrphansOf(o.node), RemainsOf(o.node), RemainsOf(o.node)}[pick(5)]
		o.name = chooseMask(pick, w)
		if pick(3) != 0 {
			o.session = 0
		}
	case opGulm, opGulmCancel, opGulmHold, opGulmUnhold, opGulmSync, opGulmQuery:
		o.chooseRequest(pick, w)
		o.chooseGulm(pick)
		o.space = chooseSpace(pick, t, o.session)
	case opOpen, opClose, opFreeze, opRelease, opFreezeOrphans, opReleaseOrphans, opClone, opRestore, opDoubt, opTrust:
	}
	return o
}

// chooseSession takes the next session of which the operation makes sense.
func (o *op) chooseSession(w world, t *Table) {
	sensible := func(x *owner) bool { return x != nil && !x.frozen }
	switch o.kind {
	case opOpen:
		sensible = func(x *owner) bool { return x == nil }
	case opRelease, opBury, opReleaseIn:
		sensible = func(x *owner) bool { return x != nil && x.frozen }
	case opConvert, opUnlock, opCancel, opDeny, opGulmCancel, opGulmUnhold, opGulmSync:
		sensible = func(x *owner) bool { return x != nil && !x.frozen && x.locks > 0 }
	case opJoin:
		sensible = func(x *owner) bool { return x != nil && !x.frozen && !t.joinedAny(x.session) }
	default:
	}
	for range w.sessions {
		if sensible(t.owner(o.session)) {
			return
		}
		o.session = o.session%Session(w.sessions) + 1
	}
}

// joinedAny reports whether a session is a member of any lockspace.
func (t *Table) joinedAny(s Session) bool {
	return slices.ContainsFunc(t.spaces, func(sp space) bool { return slices.Contains(sp.members, s) })
}

// chooseLock takes a lock of the session that the operation can move, or a
// number that is free.
func (o *op) chooseLock(pick source, t *Table) {
	x := t.owner(o.session)
	if x == nil {
		return
	}
	if o.kind == opLock || o.kind == opAdopt || o.kind == opLockSet || o.kind == opGulm || o.kind == opGulmHold {
		for n := 0; n < 8 && t.findLock(o.session, o.id) != 0; n++ {
			o.id++
		}
		return
	}
	at := pick(min(x.locks, 16) + 1)
	for slot := x.head; slot != 0; slot = t.locks.get(slot).after {
		l := t.locks.get(slot)
		if (l.queue == granted) == (o.kind == opCancel || o.kind == opDeny) {
			continue
		}
		o.id = l.id
		if at--; at < 0 {
			return
		}
	}
}

// chooseOrphan takes the name and mostly the mode of an orphan of the node.
func (o *op) chooseOrphan(pick source, t *Table) {
	x := t.owner(OrphansOf(nodeOf(o.session)))
	if x == nil {
		return
	}
	l := t.locks.get(x.head)
	r := t.resources.get(l.resource)
	o.name, o.space = append([]byte(nil), t.name(r)...), r.lockspace
	if pick(4) != 0 {
		o.mode = l.granted
	}
}

// chooseSpace gives a lockspace, mostly the first that the session has joined.
func chooseSpace(pick source, t *Table, s Session) uint32 {
	n := pick(20)
	if t == nil {
		return uint32(n/19) + 1
	}
	for _, sp := range t.spaces {
		if n < 17 && t.joined(sp.number, s) {
			return sp.number
		}
	}
	return uint32(pick(int(t.lastSpace) + 2))
}

func chooseJoin(pick source) JoinRequest {
	policy := Policy(max(pick(30)-27, 0))
	lease := [...]uint32{10, 10, 20, 0, MaxLease + 1}[pick(5)]
	if policy != PolicyLease && pick(30) > 0 {
		lease = 0
	}
	return JoinRequest{
		Name:       [...][]byte{[]byte("gfs"), []byte("gfs"), []byte("ocfs"), bytes.Repeat([]byte("l"), 64), {}}[pick(5)],
		Policy:     policy,
		Lease:      lease,
		MinLease:   [...]uint32{0, 0, 15}[pick(3)],
		Exclusive:  pick(12) == 0,
		Existing:   pick(12) == 0,
		ValueLen:   [...]uint8{0, 0, 0, 0, 0, 0, 32, 8, 255}[pick(9)],
		KeepValues: pick(3) == 0,
	}
}

// chooseRequest gives the mode, the flags and the rest of a request.
func (o *op) chooseRequest(pick source, w world) {
	o.mode = Mode(pick(modes))
	if pick(50) == 0 {
		o.mode = modes
	}
	for range [...]int{0, 0, 0, 1, 1, 2, 3}[pick(7)] {
		if len(useful[o.kind]) == 0 {
			break
		}
		o.flags |= useful[o.kind][pick(len(useful[o.kind]))]
	}
	if pick(40) == 0 {
		o.flags |= 1 << pick(32)
	}
	if w.unruly && o.kind <= opConvert && pick(3) != 0 {
		o.flags = [...]Flags{NoOrder, NoOrder, NoOrder | AltPR, NoOrder | AltCW, NoOrder | HeadQue, HeadQue}[pick(6)]
	}
	if o.kind != opUnlock && pick(4) == 0 {
		o.flags |= Recovery
	}
	if o.kind == opAdopt {
		o.flags |= Orphan
	}
	o.name = chooseName(pick, w.names)
	o.value = [...][]byte{nil, []byte("val"), []byte("other"), bytes.Repeat([]byte("v"), 8*pick(6)+1)}[pick(4)]
}

// chooseTerms gives an owner and a time-out, mostly neither.
func (o *op) chooseTerms(pick source) {
	o.terms.Owner = uint64(max(0, pick(6)-3))
	if pick(8) == 0 {
		o.terms.Timeout = uint32(pick(3) * 100)
	}
	if o.terms.Timeout != 0 || pick(40) == 0 {
		o.flags |= Timeout
	}
	if o.kind == opDeny && pick(3) == 0 {
		o.since = uint64(pick(60) + 1)
	}
}

// chooseEntries gives the locks of a set: mostly such as are possible.
func (o *op) chooseEntries(pick source, w world, t *Table) {
	for range pick(4) + 1 - pick(20)/19*5 {
		id := ID(pick(w.ids + 1))
		for n := 0; t != nil && n < 8 && pick(12) != 0 && (t.findLock(o.session, id) != 0 || o.names(id)); n++ {
			id++
		}
		flags := [...]Flags{0, 0, 0, ValBlk, Persistent, NoCallbacks, ValBlk | Persistent}[pick(7)]
		mode := Mode(pick(modes))
		if pick(60) == 0 {
			flags, mode = NoQueue, mode+Mode(pick(2)*modes)
		}
		o.entries = append(o.entries, SetEntry{id, chooseName(pick, w.names), mode, flags})
	}
}

// names reports whether a set has a number already.
func (o *op) names(id ID) bool {
	return id == o.id || slices.ContainsFunc(o.entries, func(e SetEntry) bool { return e.ID == id })
}

// useful are the flags that each kind of request knows; some stand there twice.
var useful = map[kind][]Flags{
	opLock: {
		NoQueue, NoQueue, NoQueue | NoQueueBast, NoQueueBast, ValBlk, ValBlk, ValBlk, IvValBlk, Persistent, Persistent, NoDlckWt,
		Expedite, HeadQue, NoOrder, HeadQue | NoOrder, AltPR, AltCW, AltPR | AltCW, NoCallbacks,
	},
	opConvert: {
		NoQueue, NoQueue, NoQueue | NoQueueBast, NoQueueBast, ValBlk, ValBlk, ValBlk, IvValBlk, Persistent, Persistent, NoDlckWt,
		QueCvt, QueCvt, ConvDeadlk, ConvDeadlk, HeadQue, HeadQue, NoOrder, AltPR, AltCW,
	},
	opUnlock: {ValBlk, ValBlk, ValBlk, IvValBlk, ForceUnlock},
	opCancel: {0},
	opDeny:   {0},
	opLockSet: {
		0, 0, 0, 0, NoQueue, NoQueue | NoQueueBast, NoDlckWt,
	},
	opAdopt: {Persistent, Persistent, ValBlk, NoQueue, NoCallbacks},
}

// chooseName gives names of all lengths that matter.
func chooseName(pick source, names int) []byte {
	n := pick(names)
	length := [...]int{8, 26, 27, 255}[n%4]
	if pick(100) == 0 {
		length = 256 * pick(2)
	}
	name := bytes.Repeat([]byte{byte(n), byte(n >> 8), 0, 0xff}, 64)
	return name[:length]
}

// chooseGulm gives the sub-id and GULM's flags.
func (o *op) chooseGulm(pick source) {
	o.sub = uint64(pick(2))
	o.mode = [...]Mode{NL, NL, CW, PR, PR, EX, EX, o.mode}[pick(8)]
	known := [...]GulmFlags{
		GulmDoCB | GulmTry, GulmTry, GulmAny, GulmNoExp, GulmHasLVB, GulmHasLVB, GulmPriority, GulmNoCallBacks, GulmDoCB,
	}
	for range pick(4) {
		o.gulmFlags |= known[pick(len(known))]
	}
	if pick(40) == 0 {
		o.gulmFlags |= 1 << pick(32) &^ GulmRange // parts are not known to the naive engine
	}
}

// chooseMask gives a mask for some of the names.
func chooseMask(pick source, w world) []byte {
	mask := chooseName(pick, w.names)
	mask = mask[:pick(min(len(mask), 30)+1)]
	if len(mask) > 0 && pick(2) == 0 {
		mask[pick(len(mask))] = 0xff
	}
	return [...][]byte{nil, nil, mask}[pick(3)]
}

// engine is what the twins have in common.
type engine interface {
	Begin(index uint64, stamp int64)
	SetLimits(Limits)
	Open(Session, uint32)
	Join(Session, JoinRequest) Reply
	Leave(Session, uint32, bool) Reply
	Lock(Session, LockRequest) Reply
	Convert(Session, ConvertRequest) Reply
	Unlock(Session, UnlockRequest) Reply
	Cancel(Session, ID) Reply
	Deny(Denial) bool
	LockSet(Session, SetRequest) Reply
	Close(Session)
	Freeze(Session)
	Release(Session)
	Purge(uint32, Session) int
	FreezeIn(Session, uint32, []byte) int
	Bury(Session) int
	ReleaseIn(Session, uint32, []byte, Session) int
	DoubtRemains(uint32)
	TrustRemains(uint32, []uint32)
	Gulm(Session, GulmRequest) Reply
	GulmCancel(Session, GulmRequest) Reply
	GulmHold(Session, GulmRequest) Reply
	GulmUnhold(Session, GulmRequest) Reply
	GulmSync(Session, GulmRequest) Reply
	GulmQuery(Session, GulmRequest) Reply
	TakeEvents() []Event
}

func (o op) apply(e engine, index uint64) (Reply, []Event) {
	var reply Reply
	e.Begin(index, int64(index)*10)
	switch o.kind {
	case opLock, opAdopt:
		reply = e.Lock(o.session, LockRequest{ID: o.id, Lockspace: o.space, Name: o.name, Mode: o.mode, Flags: o.flags, Terms: o.terms})
	case opLockSet:
		reply = e.LockSet(o.session, SetRequest{ID: o.id, Lockspace: o.space, Flags: o.flags, Terms: o.terms, Entries: o.entries})
	case opConvert:
		reply = e.Convert(o.session, ConvertRequest{ID: o.id, Mode: o.mode, Flags: o.flags, Value: o.value, Terms: o.terms})
	case opUnlock:
		reply = e.Unlock(o.session, UnlockRequest{ID: o.id, Flags: o.flags, Value: o.value})
	case opCancel:
		reply = e.Cancel(o.session, o.id)
	case opDeny:
		if e.Deny(Denial{Session: o.session, ID: o.id, Reason: o.why, Since: o.since}) {
			reply.Number = 1
		}
	case opOpen:
		e.Open(o.session, nodeOf(o.session))
	case opJoin:
		reply = e.Join(o.session, o.join)
	case opLeave:
		reply = e.Leave(o.session, o.space, o.force)
	case opClose:
		e.Close(o.session)
	case opFreeze:
		e.Freeze(o.session)
	case opRelease:
		e.Release(o.session)
	case opPurge:
		reply.Number = uint32(e.Purge(o.node, o.session))
	case opFreezeOrphans:
		e.Freeze(OrphansOf(o.node))
	case opReleaseOrphans:
		e.Release(OrphansOf(o.node))
	case opLimits:
		e.SetLimits(o.limits)
	case opFreezeIn:
		reply.Number = uint32(e.FreezeIn(o.owner, o.space, o.name))
	case opBury:
		reply.Number = uint32(e.Bury(o.owner))
	case opReleaseIn:
		reply.Number = uint32(e.ReleaseIn(o.owner, o.space, o.name, o.session))
	case opDoubt:
		e.DoubtRemains(o.node)
	case opTrust:
		e.TrustRemains(o.node, nil)
	case opGulm, opGulmCancel, opGulmHold, opGulmUnhold, opGulmSync, opGulmQuery:
		reply = o.applyGulm(e)
	case opClone, opRestore:
	}
	return reply, e.TakeEvents()
}

func (o op) applyGulm(e engine) Reply {
	req := GulmRequest{
		ID: o.id, Lockspace: o.space, Key: o.name, Sub: o.sub, Mode: o.mode, Flags: o.gulmFlags, Value: o.value,
	}
	switch o.kind {
	case opGulm:
		return e.Gulm(o.session, req)
	case opGulmCancel:
		return e.GulmCancel(o.session, req)
	case opGulmHold:
		return e.GulmHold(o.session, req)
	case opGulmUnhold:
		return e.GulmUnhold(o.session, req)
	case opGulmQuery:
		return e.GulmQuery(o.session, req)
	default:
		return e.GulmSync(o.session, req)
	}
}

// nodeOf gives every node two sessions or more.
func nodeOf(s Session) uint32 { return uint32(s%2) + 1 }
