package lock

import "lock_gulmd/server/reason"

// RangeMax is the last offset of a file. A range that ends there goes on to
// infinity.
const RangeMax = 1<<63 - 1

// RangeKind is how much a range lock claims. The numbers stand in snapshots.
type RangeKind uint8

// The kinds. Read ranges of several owners may overlap, a write range overlaps
// no other owner's.
const (
	RangeRead RangeKind = iota
	RangeWrite

	rangeKinds
)

// against returns the weakest kind that conflicts with k.
func (k RangeKind) against() RangeKind { return RangeWrite - k }

// RangeOwner is who holds ranges: a process, an open file, or whatever the
// session tells apart by a number of its own.
type RangeOwner struct {
	Session Session
	Number  uint64
	// Origin is the session that left its ranges to its node; 0 but for remains.
	Origin Session
}

// rangeRequest asks for a range of a file.
type rangeRequest struct {
	Owner RangeOwner
	// File is the caller's number for the file.
	File uint32
	// Start and End are the first and last offset, 0 to RangeMax.
	Start, End uint64
	Kind       RangeKind
	// Wait queues the request instead of failing with TryFailed; ID then names
	// it, and must be none under which the session waits already.
	Wait bool
	ID   ID
	// Recovery passes remains; see FreezeIn.
	Recovery bool
	// Timeout is for how long it may wait, milliseconds; 0 for ever.
	Timeout uint32
	// Spared keeps it from being the victim of a deadlock.
	Spared bool
}

// rangeReply answers a request: Granted, Queued, Unlocked or Cancelled, or
// Refused for a reason.
type rangeReply struct {
	Outcome Outcome
	Reason  reason.Reason
	// Token numbers the grant, with Granted.
	Token uint64
}

// rangeEvent says that a queued request was granted.
type rangeEvent struct {
	Owner RangeOwner
	ID    ID
	File  uint32
	Kind  RangeKind
	Token uint64
}

// rangeTable holds POSIX byte-range locks: owners hold ranges of files. The
// zero value is an empty table without a limit. It is not safe for concurrent
// use.
//
// # When is a request granted
//
// At once, if no other owner holds an overlapping range that conflicts, and if
// it passes no waiting request that overlaps and conflicts; save those that wait
// for the same owner's ranges anyway, since behind them it would wait for
// itself. So who locks again what he has, weakens it, or locks hand over hand is
// not held up by the queue. Otherwise the request fails, or waits. Requests that
// neither overlap nor conflict do not know of each other.
//
// Waiting requests are granted in the order in which they came, as far as they
// overlap and conflict. One that, when it came, found nobody but such as waited
// for its own owner goes ahead of them, for good.
//
// What is granted replaces what the owner had there, in one step: ranges are
// split, and those of one kind that touch are one range. A request that waits
// changes nothing until then.
//
// Every grant has a token of its own, also one of what the owner has already. A
// range carries that of the newest grant that had a part in it.
//
// # Deadlocks
//
// An owner waits for the owners of what overlaps and conflicts with its waiting
// requests: held ranges, and requests that are ahead. A request that would close
// a circle is refused with Deadlock. Circles can close then only: grants, and
// whatever takes ranges or requests away, let nobody wait for somebody for whom
// he did not wait before. See range_deadlock.go.
//
// # Other kinds of locks
//
// For the locks of open file descriptions (F_OFD_SETLK) the owner's number is
// the open file instead of the process; both live in one table and conflict
// with each other. For flock see Flock.
type rangeTable struct {
	limit  uint64
	others int // what else counts towards the limit

	ranges   arena[rangeRecord]
	waits    arena[rangeWait]
	files    arena[rangeFile]
	holders  arena[rangeHolder]
	parties  arena[rangeParty]
	sessions arena[rangeSession]

	waitIndex    index
	fileIndex    index
	holderIndex  index
	partyIndex   index
	sessionIndex index

	timed watchList // waiting requests with a time-out

	lastOrder uint64
	lastToken uint64
	stamp     int64  // of what happens now
	index     uint64 // likewise, in the log
	events    []rangeEvent
	swept     []uint32 // files that were forgotten
}

// SetLimit bounds the number of ranges, waiting requests and others together; 0 means no
// limit. What exists beyond a lowered limit stays. Granting a request that
// waited may split ranges and so go two beyond.
func (t *rangeTable) SetLimit(limit uint64) { t.limit = limit }

// TakeEvents returns the grants since it was last called, in order; the caller
// owns the slice.
func (t *rangeTable) TakeEvents() []rangeEvent {
	events := t.events
	t.events, t.swept = nil, nil
	return events
}

// RangeCounts are totals for status displays: ranges that are held, requests that
// wait, files and owners that have any of both.
type RangeCounts struct{ Ranges, Waiting, Files, Owners int }

// Counts returns the totals.
func (t *rangeTable) Counts() RangeCounts {
	return RangeCounts{t.ranges.used, t.waits.used, t.files.used, t.parties.used}
}

// Clone returns a copy for reading only: Walk, Sessions, Order, Counts, Digest,
// Check. It costs one pointer per page.
func (t *rangeTable) Clone() *rangeTable {
	return &rangeTable{
		limit: t.limit, lastOrder: t.lastOrder, lastToken: t.lastToken,
		ranges: t.ranges.clone(), waits: t.waits.clone(), files: t.files.clone(),
		holders: t.holders.clone(), parties: t.parties.clone(), sessions: t.sessions.clone(), timed: t.timed,
	}
}

// overBy reports whether `growth` more records would exceed the limit.
func (t *rangeTable) overBy(growth int) bool {
	return growth > 0 && t.limit > 0 && uint64(t.ranges.used+t.waits.used+t.others+growth) > t.limit
}
