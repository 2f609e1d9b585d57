package lock

import "lock_gulmd/server/reason"

// RangeConflict is a range that stands in the way.
type RangeConflict struct {
	Owner      RangeOwner
	Start, End uint64
	Kind       RangeKind
	// Frozen is true if it is kept for a session that was declared dead, or are
	// remains.
	Frozen bool
	// Waiting is true if it is not held, but asked for by somebody whose turn is
	// before.
	Waiting bool
}

// Test returns what keeps a range from being granted at once: what other owners
// hold that conflicts, by start and owner, then the requests that conflict and
// whose turn is before, by start and arrival. It leaves the first `skip` out and
// returns at most limit, unless limit is 0; and whether there are more. The
// reason is None, NoSession, NodeExpired or Invalid.
func (t *rangeTable) Test(
	o RangeOwner, key uint32, s rangeSpan, skip, limit int,
) (found []RangeConflict, more bool, _ reason.Reason) {
	if r := t.checkRange(o, s.start, s.end, s.kind); r != reason.None {
		return nil, false, r
	}
	file := t.findFile(key)
	holder := t.holderOf(t.findParty(o), file)
	if file == 0 || t.free(file, holder, s, false) {
		return nil, false, reason.None
	}
	list := conflictList{skip: skip, limit: limit}
	t.conflicts(rangeQuery{file: file, holder: holder, rangeSpan: s, rank: lastRank}, func(slot uint32) bool {
		return !t.holdsUp(holder, t.waits.get(slot).span())
	}, &list)
	return list.found, list.more, reason.None
}

// Blockers returns what a waiting request waits for, at most limit unless that
// is 0, in the order of Test; and whether there is more.
func (t *rangeTable) blockers(slot uint32, limit int) (found []RangeConflict, more bool) {
	w := t.waits.get(slot)
	list := conflictList{limit: limit}
	t.conflicts(rangeQuery{t.holders.get(w.holder).file, w.holder, w.span(), w.rank, w.recovery}, func(uint32) bool { return true }, &list)
	return list.found, list.more
}

// conflictList takes conflicts until it is full.
type conflictList struct {
	skip, limit int
	found       []RangeConflict
	more        bool
}

// add returns false once there is more than has a place.
func (l *conflictList) add(c RangeConflict) bool {
	switch {
	case l.skip > 0:
		l.skip--
	case l.limit > 0 && len(l.found) == l.limit:
		l.more = true
	default:
		l.found = append(l.found, c)
	}
	return !l.more
}

// conflicts lists the ranges that are in the way of q, then the requests ahead
// of it that are, as far as counts says so.
func (t *rangeTable) conflicts(q rangeQuery, counts func(slot uint32) bool, list *conflictList) {
	f := t.files.get(q.file)
	all := t.eachRange(f.ranges, q.start, q.end, q.kind.against(), func(r *rangeRecord) bool {
		return r.holder == q.holder || q.recovery && t.passable(r.holder) ||
			list.add(RangeConflict{t.ownerOf(r.holder), r.start, r.end, r.kind, t.frozenHolder(r.holder), false})
	})
	if !all {
		return
	}
	t.eachWait(f.waits, q.start, q.end, q.kind.against(), q.rank, func(slot uint32, w *rangeWait) bool {
		return w.holder == q.holder || !counts(slot) ||
			list.add(RangeConflict{t.ownerOf(w.holder), w.start, w.end, w.kind, false, true})
	})
}
