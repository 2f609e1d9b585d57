package lock

// eachRange calls yield, in order, for the ranges of a file's tree that overlap
// [start, end] and are at least of a kind, until it returns false.
func (t *rangeTable) eachRange(root uint32, start, end uint64, kind RangeKind, yield func(*rangeRecord) bool) bool {
	if root == 0 {
		return true
	}
	r := t.ranges.get(root)
	if r.reach[kind] <= start {
		return true // all of them end before
	}
	if !t.eachRange(r.inFile.left, start, end, kind, yield) {
		return false
	}
	if r.start > end {
		return true
	}
	if r.end >= start && r.kind >= kind && !yield(r) {
		return false
	}
	return t.eachRange(r.inFile.right, start, end, kind, yield)
}

// eachOwn calls yield, in order, for the ranges of a holder's tree that overlap
// [start, end], until it returns false.
func (t *rangeTable) eachOwn(root uint32, start, end uint64, yield func(uint32, *rangeRecord) bool) bool {
	if root == 0 {
		return true
	}
	r := t.ranges.get(root)
	if r.start > start && !t.eachOwn(r.inHolder.left, start, end, yield) {
		return false
	}
	if r.start > end {
		return true
	}
	if r.end >= start && !yield(root, r) {
		return false
	}
	return t.eachOwn(r.inHolder.right, start, end, yield)
}

// eachWait calls yield, in order of their starts, for the waiting requests of a
// file's tree that overlap [start, end], are at least of a kind and have a rank
// lower than `before`, until it returns false.
func (t *rangeTable) eachWait(
	root uint32, start, end uint64, kind RangeKind, before uint64, yield func(uint32, *rangeWait) bool,
) bool {
	if root == 0 {
		return true
	}
	w := t.waits.get(root)
	if w.reach[kind] <= start || w.least[kind] >= before {
		return true
	}
	links := w.inFile
	if !t.eachWait(links.left, start, end, kind, before, yield) {
		return false
	}
	if w.start > end {
		return true
	}
	if w.end >= start && w.kind >= kind && w.rank < before && !yield(root, w) {
		return false
	}
	return t.eachWait(links.right, start, end, kind, before, yield)
}

// firstWait returns the waiting request of lowest rank that overlaps
// [start, end], 0 if there is none; best is the best known.
func (t *rangeTable) firstWait(root uint32, start, end uint64, best uint32) uint32 {
	if root == 0 {
		return best
	}
	w := t.waits.get(root)
	if w.reach[RangeRead] <= start || best != 0 && w.least[RangeRead] >= t.waits.get(best).rank {
		return best
	}
	best = t.firstWait(w.inFile.left, start, end, best)
	if w.start > end {
		return best
	}
	if w.end >= start && (best == 0 || w.rank < t.waits.get(best).rank) {
		best = root
	}
	return t.firstWait(w.inFile.right, start, end, best)
}

// obstructed reports whether another owner holds a range that conflicts with s
// and that is not passed for the sake of a recovery. holder is the asking
// owner's, 0 if it has none.
func (t *rangeTable) obstructed(file, holder uint32, s rangeSpan, recovery bool) bool {
	return !t.eachRange(t.files.get(file).ranges, s.start, s.end, s.kind.against(), func(r *rangeRecord) bool {
		return r.holder == holder || recovery && t.passable(r.holder)
	})
}

// passable reports whether what a holder has are remains that a recovery passes.
func (t *rangeTable) passable(holder uint32) bool {
	p := t.parties.get(t.holders.get(holder).party)
	return p.owner.Origin != 0 && !t.sessions.get(p.seat).doubted
}

// frozenHolder reports whether what a holder has is kept for the dead.
func (t *rangeTable) frozenHolder(holder uint32) bool {
	p := t.parties.get(t.holders.get(holder).party)
	return p.owner.Origin != 0 || t.sessions.get(p.seat).frozen
}

// passes reports whether a request for s passes remains, and so goes before all
// that do not: those may wait for the remains, and these for the recovery.
func (t *rangeTable) passes(file uint32, s rangeSpan, recovery bool) bool {
	return recovery && !t.eachRange(t.files.get(file).ranges, s.start, s.end, s.kind.against(), func(r *rangeRecord) bool {
		return !t.passable(r.holder)
	})
}

// overtakes reports whether s, with that rank, would pass a waiting request of
// another owner that conflicts.
func (t *rangeTable) overtakes(file, holder uint32, s rangeSpan, rank uint64) bool {
	f := t.files.get(file)
	return !t.eachWait(f.waits, s.start, s.end, s.kind.against(), rank, func(_ uint32, w *rangeWait) bool {
		return w.holder == holder
	})
}

// ownAt returns the range that a holder, which may be 0, has at an offset, slot 0
// if it has none.
func (t *rangeTable) ownAt(holder uint32, offset uint64) (slot uint32, r *rangeRecord) {
	if holder == 0 {
		return 0, nil
	}
	t.eachOwn(t.holders.get(holder).ranges, offset, offset, func(at uint32, found *rangeRecord) bool {
		slot, r = at, found
		return false
	})
	return slot, r
}

// holdsUp reports whether a range that a holder has conflicts with s, which is
// another owner's. The holder may be 0.
func (t *rangeTable) holdsUp(holder uint32, s rangeSpan) bool {
	if holder == 0 {
		return false
	}
	return !t.eachOwn(t.holders.get(holder).ranges, s.start, s.end, func(_ uint32, r *rangeRecord) bool {
		return r.kind < s.kind.against()
	})
}

// grantable reports whether a waiting request can be granted now.
func (t *rangeTable) grantable(slot uint32) bool {
	w := t.waits.get(slot)
	file := t.holders.get(w.holder).file
	return !t.obstructed(file, w.holder, w.span(), w.recovery) && !t.overtakes(file, w.holder, w.span(), w.rank)
}

// free reports whether a new request can be granted at once. File and holder may
// be 0.
func (t *rangeTable) free(file, holder uint32, s rangeSpan, recovery bool) bool {
	if file == 0 {
		return true
	}
	if slot, r := t.ownAt(holder, s.start); slot != 0 && r.kind >= s.kind && r.end >= s.end {
		return true // as much as it has
	}
	if t.obstructed(file, holder, s, recovery) {
		return false
	}
	before := uint64(lastRank)
	if t.passes(file, s, recovery) {
		before = rankLate
	}
	f := t.files.get(file)
	return t.eachWait(f.waits, s.start, s.end, s.kind.against(), before, func(_ uint32, w *rangeWait) bool {
		return w.holder == holder || t.holdsUp(holder, w.span())
	})
}

// goesAhead reports whether a request that must wait goes ahead of those who came
// before: when it passes remains, or all that it would have to let pass wait for
// its own owner.
func (t *rangeTable) goesAhead(file, holder uint32, s rangeSpan, recovery bool) bool {
	if t.passes(file, s, recovery) {
		return true
	}
	some := false
	f := t.files.get(file)
	all := t.eachWait(f.waits, s.start, s.end, s.kind.against(), lastRank, func(_ uint32, w *rangeWait) bool {
		if w.holder == holder || w.rank < rankLate {
			return true
		}
		some = true
		return t.holdsUp(holder, w.span())
	})
	return some && all
}
