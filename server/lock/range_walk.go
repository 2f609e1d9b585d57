package lock

import (
	"cmp"
	"slices"
)

// RangeState is one held range.
type RangeState struct {
	Owner      RangeOwner
	Start, End uint64
	Kind       RangeKind
	// Token is that of the newest grant that had a part in it.
	Token uint64
	// Stamp is when it became what it is, the master's unix milliseconds.
	Stamp int64
	// Frozen is true for remains, and for the range of a session that was declared
	// dead.
	Frozen bool
}

// RangeWaitState is one waiting request.
type RangeWaitState struct {
	Owner      RangeOwner
	ID         ID
	Start, End uint64
	Kind       RangeKind
	// Order is the number of its arrival among all.
	Order uint64
	// Ahead is true if it goes ahead of those who wait for its own owner.
	Ahead bool
	// Stamp is when it came, the master's unix milliseconds.
	Stamp int64
	// Recovery is true if it passes remains.
	Recovery bool
	// Since is the log index at which it came, 0 if that is not known; Timeout is
	// for how long it may wait, milliseconds, 0 for ever.
	Since   uint64
	Timeout uint32
	// Spared is true if it asked never to be the victim of a deadlock.
	Spared bool
}

// rangeFileState is one file: its ranges by start and owner, and its waiting
// requests in the order in which they are granted.
type rangeFileState struct {
	File   uint32
	Ranges []RangeState
	Waits  []RangeWaitState

	slot uint32
}

// rangeSessionState is one session that has something or is frozen.
type rangeSessionState struct {
	Session Session
	Frozen  bool
	Doubted bool // of remains
}

// Walk calls yield for every file until it returns false. The order is
// unspecified and differs between servers; each state says the same on all. The
// state and its slices are valid only during the call.
func (t *rangeTable) Walk(yield func(*rangeFileState) bool) {
	var state rangeFileState
	for slot := uint32(1); slot < t.files.next; slot++ {
		if !t.files.get(slot).live {
			continue
		}
		t.fileState(slot, &state)
		if !yield(&state) {
			return
		}
	}
}

// File returns the state of one file, and false if nobody has anything there.
// Not for clones, which have no index.
func (t *rangeTable) File(key uint32) (rangeFileState, bool) {
	var state rangeFileState
	slot := t.findFile(key)
	if slot == 0 {
		return state, false
	}
	t.fileState(slot, &state)
	return state, true
}

func (t *rangeTable) fileState(slot uint32, state *rangeFileState) {
	f := t.files.get(slot)
	state.slot = slot
	state.File, state.Ranges, state.Waits = f.key, state.Ranges[:0], state.Waits[:0]
	t.fileTree().each(f.ranges, func(slot uint32) bool {
		r := t.ranges.get(slot)
		state.Ranges = append(state.Ranges, RangeState{
			t.ownerOf(r.holder), r.start, r.end, r.kind, r.token, r.stamp, t.frozenHolder(r.holder),
		})
		return true
	})
	t.waitTree().each(f.waits, func(slot uint32) bool {
		w := t.waits.get(slot)
		state.Waits = append(state.Waits, RangeWaitState{
			t.ownerOf(w.holder), w.id, w.start, w.end, w.kind, w.rank &^ rankLate, w.rank < rankLate, w.stamp, w.recovery,
			w.since, w.timeout, w.spared,
		})
		return true
	})
	slices.SortFunc(state.Waits, func(a, b RangeWaitState) int { return cmp.Compare(a.rank(), b.rank()) })
}

func (w *RangeWaitState) rank() uint64 {
	if w.Ahead {
		return w.Order
	}
	return w.Order | rankLate
}

// Sessions returns the sessions by number; the caller owns the result.
func (t *rangeTable) Sessions() []rangeSessionState {
	states := make([]rangeSessionState, 0, t.sessions.used)
	for slot := uint32(1); slot < t.sessions.next; slot++ {
		if s := t.sessions.get(slot); s.session != 0 {
			states = append(states, rangeSessionState{s.session, s.frozen, s.doubted})
		}
	}
	slices.SortFunc(states, func(a, b rangeSessionState) int { return cmp.Compare(a.Session, b.Session) })
	return states
}

// known reports whether a session has anything or is frozen. It uses no index.
func (t *rangeTable) known(s Session) bool {
	for slot := uint32(1); slot < t.sessions.next; slot++ {
		if t.sessions.get(slot).session == s {
			return true
		}
	}
	return false
}

// Order returns the number of requests that ever waited; it is part of the state.
func (t *rangeTable) Order() uint64 { return t.lastOrder }

// Digest returns a number that is equal for tables with equal sessions, files,
// ranges and requests, whatever way they came about, and differs for others but
// for chance. name stands for a file whose number the caller chose differently
// on every server. It walks the whole table.
func (t *rangeTable) Digest(name func(file uint32) uint64) uint64 {
	d := mix64(t.lastOrder + 1)
	for _, s := range t.Sessions() {
		d += rangeSum(1, uint64(s.Session), flagBit(s.Frozen), flagBit(s.Doubted))
	}
	t.Walk(func(f *rangeFileState) bool {
		file := rangeSum(2, name(f.File))
		for _, r := range f.Ranges {
			file = rangeSum(file, uint64(r.Owner.Session), r.Owner.Number, uint64(r.Owner.Origin), r.Start, r.End, uint64(r.Kind), r.Token)
		}
		for _, w := range f.Waits {
			file = rangeSum(file+3, uint64(w.Owner.Session), w.Owner.Number, uint64(w.ID), w.Start, w.End, uint64(w.Kind), w.rank(), flagBit(w.Recovery), w.Since, uint64(w.Timeout), flagBit(w.Spared))
		}
		// The walk has no order, so files are added up.
		d += file
		return true
	})
	return d
}

func rangeSum(sum uint64, numbers ...uint64) uint64 {
	for _, n := range numbers {
		sum = mix64(sum*0x9e3779b97f4a7c15 + n + 1)
	}
	return sum
}

func flagBit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
