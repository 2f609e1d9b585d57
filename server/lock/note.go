package lock

import (
	"cmp"
	"slices"
)

// Terms are what few requests say: who within the session asks, and for how long
// it may wait.
type Terms struct {
	// Owner is the session's own number for whoever asks: a process, a thread, a
	// transaction (the DLM's xid); 0 for none. What one owner of a session holds
	// is given up only after all that it waits for has an answer; so a circle of
	// owners that wait for each other is a deadlock. See deadlock.go.
	Owner uint64
	// Timeout is how long the request may wait, milliseconds; it goes with the
	// flag Timeout.
	Timeout uint32
}

// fit reports whether the flags go with the terms.
func (t *Terms) fit(flags Flags) bool { return (flags&Timeout != 0) == (t.Timeout != 0) }

// noteRecord is what the table knows beside a lock, for those with an owner and
// those that wait with a time-out, in a set, or out of order: most locks have
// none.
type noteRecord struct {
	owner   uint64
	set     ID     // the set that is not whole yet
	since   uint64 // log index at which the wait began, 0 while it does not wait
	listed  uint64 // log index at which it came into the list
	timeout uint32 // milliseconds, 0 for ever
	lock    uint32
	jump    uint32 // slot of its jumpRecord, 0 unless it is queued with NoOrder
	links          // in the list of those that wait
}

// note writes down the terms of a request that is about to be granted or queued.
func (t *Table) note(slot uint32, terms Terms) {
	if terms == (Terms{}) {
		return
	}
	n := t.ownNote(slot)
	n.timeout = terms.Timeout
	if terms.Owner != 0 {
		n.owner = terms.Owner
	}
}

// ownNote returns the note of a lock for writing, making it if need be.
func (t *Table) ownNote(slot uint32) *noteRecord {
	if at := t.locks.get(slot).note; at != 0 {
		return t.notes.mut(at)
	}
	at, n := t.notes.alloc()
	n.lock = slot
	t.locks.mut(slot).note = at
	return n
}

// dropNote forgets the note of a lock that does not wait.
func (t *Table) dropNote(slot uint32) {
	if at := t.locks.get(slot).note; at != 0 {
		t.notes.release(at)
		t.locks.mut(slot).note = 0
	}
}

// watch adds a request that is being queued to the list, if it has terms.
func (t *Table) watch(slot uint32) {
	at := t.locks.get(slot).note
	n := t.notes.mut(at)
	if n.owner == 0 && n.set == 0 && n.timeout == 0 {
		return
	}
	n.listed = max(t.now.index, 1)
	if n.since == 0 {
		n.since = n.listed
	}
	t.listNote(at)
}

func (t *Table) listNote(at uint32) {
	enlist(&t.notes, (*noteRecord).chain, &t.watched, at)
}

// unwatch ends the wait of a lock with a note: what was said of the request does
// not matter any more, what was said of the lock stays.
func (t *Table) unwatch(slot uint32) {
	at := t.locks.get(slot).note
	if t.notes.get(at).jump != 0 {
		t.jumpOut(t.locks.get(slot))
	}
	n := t.notes.mut(at)
	if n.listed != 0 {
		delist(&t.notes, (*noteRecord).chain, &t.watched, at)
	}
	n.listed, n.since, n.timeout = 0, 0, 0
	if n.owner == 0 && n.set == 0 {
		t.dropNote(slot)
	}
}

// setOf returns the set that a lock belongs to, 0 if it is in none that waits.
func (t *Table) setOf(l *lockRecord) ID {
	if l.note == 0 {
		return 0
	}
	return t.notes.get(l.note).set
}

// sinceOf returns the log index at which the wait of a lock with a note began.
func (t *Table) sinceOf(l *lockRecord) uint64 {
	if l.note == 0 {
		return 0
	}
	return t.notes.get(l.note).since
}

// Watching is one request that waits and has an owner, a time-out, or belongs to
// a set; of those for byte ranges, one that has a time-out.
type Watching struct {
	Session Session
	// ID is the lock's, or the set's if Set.
	ID  ID
	Set bool
	// Range is true for a request for a byte range.
	Range bool
	// Since is the log index at which the wait began. With Session and ID it
	// tells one wait from another.
	Since uint64
	// Owner is 0 for none, Timeout (milliseconds) 0 for ever.
	Owner   uint64
	Timeout uint32
}

// Watched returns how many requests Watch would list.
func (t *Table) Watched() int { return t.watched.count + t.ranges.timed.count }

// Watch calls yield for the requests that wait and have an owner, a time-out, or
// belong to a set, and began to wait after a log index, newest first, until it
// returns false; those for byte ranges, of which it lists those with a time-out,
// come last.
func (t *Table) Watch(after uint64, yield func(Watching) bool) {
	for at := t.watched.tail; at != 0; {
		n := t.notes.get(at)
		if n.listed <= after {
			break
		}
		if !yield(t.watching(n)) {
			return
		}
		at = n.prev
	}
	t.ranges.watch(after, yield)
}

func (t *Table) watching(n *noteRecord) Watching {
	l := t.locks.get(n.lock)
	w := Watching{Session: l.session, ID: l.id, Since: n.since, Owner: n.owner, Timeout: n.timeout}
	if n.set != 0 {
		w.ID, w.Set = n.set, true
	}
	return w
}

// Waits reports whether a wait that Watch listed is not over yet. Not for clones,
// which have no index.
func (t *Table) Waits(w Watching) bool {
	if w.Set {
		set := t.owner(w.Session).set(w.ID)
		return set != nil && set.since == w.Since
	}
	if w.Range {
		slot := t.ranges.findWait(w.Session, w.ID)
		return slot != 0 && t.ranges.waits.get(slot).since == w.Since
	}
	slot := t.findLock(w.Session, w.ID)
	return slot != 0 && t.locks.get(slot).queue != granted && t.sinceOf(t.locks.get(slot)) == w.Since
}

// note restores the note of one lock.
func (r *Restore) note(slot uint32, state *LockState) {
	waits := state.Queue != QueueGranted
	noted := state.Owner != 0 || state.Set != 0 || waits && state.Timeout != 0
	switch {
	case (state.Since != 0) != (noted && waits) || state.Timeout != 0 && !waits || state.Since > state.Changed && state.Changed != 0:
		r.broken = true
	case (state.Timeout != 0) != (waits && state.Flags&Timeout != 0) && state.Set == 0:
		r.broken = true
	case state.Session.orphans() && noted:
		r.broken = true
	case noted:
		n := r.table.ownNote(slot)
		n.owner, n.set, n.timeout, n.since = state.Owner, state.Set, state.Timeout, state.Since
	}
}

// listWatched rebuilds the list of those that wait. Its order is that of the
// waits, which is all that a master needs to know.
func (t *Table) listWatched() {
	var waits []uint32
	for at := uint32(1); at < t.notes.next; at++ {
		if n := t.notes.mut(at); n.since != 0 {
			n.listed = n.since
			waits = append(waits, at)
		}
	}
	slices.SortStableFunc(waits, func(a, b uint32) int { return cmp.Compare(t.notes.get(a).since, t.notes.get(b).since) })
	for _, at := range waits {
		t.listNote(at)
	}
}
