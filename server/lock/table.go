package lock

import (
	"slices"

	"lock_gulmd/server/reason"
)

// Table holds all lockspaces with their resources and locks. The zero value is
// not ready; use New. It is not safe for concurrent use.
type Table struct {
	limits Limits

	locks       arena[lockRecord]
	resources   arena[resourceRecord]
	contentions arena[contentionRecord]
	longNames   arena[longName]
	values      arena[valueRecord]
	gulms       arena[gulmRecord]
	jumps       arena[jumpRecord]
	jumpClasses arena[jumpClass]
	notes       arena[noteRecord]

	lockIndex     index
	resourceIndex index
	gulmIndex     index

	spaces     []space // by number
	lastSpace  uint32
	owners     []owner // by session
	lastToken  uint64
	lastOrder  uint64
	converting int
	waiting    int
	ended      int // requests whose end their sessions do not know of yet
	reserved   int // locks that waiting sets have not asked for yet
	// wants counts for each name the waiting sets that ask for it; a clone has none.
	wants   map[wanted]int
	watched watchList
	due     []setName // sets of which a lock was granted, until they go on

	ranges         rangeTable // files are slots of rangeNames
	rangeNames     arena[rangeName]
	rangeNameIndex index

	now    moment
	events []Event

	sampled sampled // empty but with the build tag invariants
}

// moment is when the requests at hand happen.
type moment struct {
	index uint64
	stamp int64
}

// New returns an empty table.
func New(limits Limits) *Table { return &Table{limits: limits} }

// SetLimits replaces the limits. What exists beyond a lowered limit stays.
func (t *Table) SetLimits(limits Limits) { t.limits = limits }

// Begin says where in the log the following calls stand: at index, which only
// grows, and stamped with the master's clock in unix milliseconds (for display).
func (t *Table) Begin(index uint64, stamp int64) { t.now = moment{index, stamp} }

// TakeEvents returns what happened since it was last called, in order; the
// caller owns the slice.
func (t *Table) TakeEvents() []Event {
	events := t.events
	t.events = nil
	return events
}

// Counts are totals for status displays.
type Counts struct {
	Locks, Converting, Waiting, Resources, Lockspaces int
}

// Counts returns the totals.
func (t *Table) Counts() Counts {
	return Counts{t.locks.used, t.converting, t.waiting, t.resources.used, len(t.spaces)}
}

// RangeCounts returns the totals of byte ranges.
func (t *Table) RangeCounts() RangeCounts { return t.ranges.Counts() }

// claims is how many locks, ranges and requests there are, for Limits.Locks.
func (t *Table) claims() int {
	return t.locks.used + t.ended + t.reserved + t.ranges.ranges.used + t.ranges.waits.used
}

// Clone returns a copy for reading only: walk, count, view. It costs time in
// proportion to the number of pages, sessions and lockspaces, not locks. Clone
// and original may be used at the same time by two goroutines.
func (t *Table) Clone() *Table {
	c := &Table{
		limits: t.limits, lastSpace: t.lastSpace, lastToken: t.lastToken, lastOrder: t.lastOrder,
		converting: t.converting, waiting: t.waiting, ended: t.ended, reserved: t.reserved, watched: t.watched, now: t.now,
		notes: t.notes.clone(),
		locks: t.locks.clone(), resources: t.resources.clone(),
		contentions: t.contentions.clone(), longNames: t.longNames.clone(), values: t.values.clone(), gulms: t.gulms.clone(),
		jumps: t.jumps.clone(), jumpClasses: t.jumpClasses.clone(),
		owners: slices.Clone(t.owners), spaces: slices.Clone(t.spaces),
		ranges: *t.ranges.Clone(), rangeNames: t.rangeNames.clone(),
	}
	for i := range c.owners {
		c.owners[i].ended, c.owners[i].sets = c.owners[i].ended.clone(), c.owners[i].sets.clone()
		c.owners[i].told = slices.Clone(c.owners[i].told)
		c.owners[i].named = nil
	}
	for i := range c.spaces {
		c.spaces[i].members = slices.Clone(c.spaces[i].members)
	}
	return c
}

// Open makes a session of a node known; its locks hang on it. Opening it twice
// changes nothing.
func (t *Table) Open(s Session, node uint32) {
	if invariants {
		defer t.mustHold()
	}
	t.open(s, node)
}

func (t *Table) open(s Session, node uint32) {
	if i, ok := t.findOwner(s); !ok {
		t.owners = slices.Insert(t.owners, i, owner{session: s, node: node})
	}
}

func (t *Table) findOwner(s Session) (int, bool) {
	// By hand: each request comes here several times, and the library's search
	// copies a record at every step.
	low, high := 0, len(t.owners)
	for low < high {
		if mid := (low + high) / 2; t.owners[mid].session < s {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(t.owners) && t.owners[low].session == s
}

// owner returns the record of a session, nil if it was never opened.
func (t *Table) owner(s Session) *owner {
	if i, ok := t.findOwner(s); ok {
		return &t.owners[i]
	}
	return nil
}

// frozen reports whether the session's node was declared dead: whatever it asks
// then is refused with NodeExpired.
func (t *Table) frozen(s Session) bool {
	o := t.owner(s)
	return o != nil && o.frozen
}

// Locks returns how many locks a session has, in all queues.
func (t *Table) Locks(s Session) int {
	if o := t.owner(s); o != nil {
		return o.locks
	}
	return 0
}

// findLock returns the slot of a session's lock, 0 if it has none of that ID.
func (t *Table) findLock(s Session, id ID) uint32 {
	x := &t.lockIndex
	if x.used == 0 {
		return 0
	}
	for i := lockHash(s, id) & x.mask(); x.slots[i] != 0; i = (i + 1) & x.mask() {
		if l := t.locks.get(x.slots[i]); l.id == id && l.session == s {
			return x.slots[i]
		}
	}
	return 0
}

// addLock makes a lock on a resource, in no queue yet.
func (t *Table) addLock(o *owner, id ID, resource uint32) (uint32, *lockRecord) {
	slot, l := t.locks.alloc()
	l.resource = resource
	t.give(o, id, slot, l)
	return slot, l
}

// give makes a lock that belongs to nobody the newest one of a session.
func (t *Table) give(o *owner, id ID, slot uint32, l *lockRecord) {
	t.lastOrder++
	l.session, l.id, l.order = o.session, id, t.lastOrder
	t.ownLock(o, slot, l)
	insert(&t.lockIndex, &t.locks, slot)
}

// take makes a lock belong to nobody, for give.
func (t *Table) take(o *owner, slot uint32) {
	remove(&t.lockIndex, &t.locks, slot)
	if l := t.locks.get(slot); l.marked() {
		t.unmark(l)
	}
	if t.locks.get(slot).denied != reason.None {
		t.undeny(t.locks.mut(slot))
	}
	t.unown(o, slot)
}

// ownLock appends a lock to its session's list.
func (t *Table) ownLock(o *owner, slot uint32, l *lockRecord) {
	l.before, l.after = o.tail, 0
	if o.tail == 0 {
		o.head = slot
	} else {
		t.locks.mut(o.tail).after = slot
	}
	o.tail = slot
	o.locks++
}

// dropLock forgets a lock that stands in no queue any more.
func (t *Table) dropLock(o *owner, slot uint32) {
	t.take(o, slot)
	t.dropNote(slot)
	t.locks.release(slot)
}

// unown takes a lock out of its session's list.
func (t *Table) unown(o *owner, slot uint32) {
	l := *t.locks.get(slot)
	if l.before == 0 {
		o.head = l.after
	} else {
		t.locks.mut(l.before).after = l.after
	}
	if l.after == 0 {
		o.tail = l.before
	} else {
		t.locks.mut(l.after).before = l.before
	}
	o.locks--
}

// overLimit reports whether one more would exceed a limit.
func overLimit(have int, limit uint64) bool { return limit > 0 && uint64(have) >= limit }

// checkName refuses names of impossible length.
func checkName(name []byte, limit int) reason.Reason {
	if len(name) == 0 || len(name) > limit {
		return reason.Invalid
	}
	return reason.None
}
