package lock

import "cmp"

// rangeSpan is a range of one kind.
type rangeSpan struct {
	start, end uint64
	kind       RangeKind
}

func (r *rangeRecord) span() rangeSpan { return rangeSpan{r.start, r.end, r.kind} }
func (w *rangeWait) span() rangeSpan   { return rangeSpan{w.start, w.end, w.kind} }

// overlaps reports whether s and [start, end] have an offset in common.
func (s rangeSpan) overlaps(start, end uint64) bool { return s.start <= end && start <= s.end }

// conflicts reports whether two owners cannot hold s and o at the same time.
func (s rangeSpan) conflicts(o rangeSpan) bool {
	return s.overlaps(o.start, o.end) && s.kind >= o.kind.against()
}

// byStart sorts the ranges of a file by start, then by owner.
type byStart struct{ t *rangeTable }

func (byStart) links(r *rangeRecord) *avlLinks { return &r.inFile }

func (o byStart) before(a, b *rangeRecord) bool {
	if a.start != b.start {
		return a.start < b.start
	}
	return compareOwners(o.t.ownerOf(a.holder), o.t.ownerOf(b.holder)) < 0
}

func (byStart) sum(r, left, right *rangeRecord) {
	r.reach = [rangeKinds]uint64{}
	for k := RangeRead; k <= r.kind; k++ {
		r.reach[k] = r.end + 1
	}
	for k := range r.reach {
		if left != nil {
			r.reach[k] = max(r.reach[k], left.reach[k])
		}
		if right != nil {
			r.reach[k] = max(r.reach[k], right.reach[k])
		}
	}
}

func compareOwners(a, b RangeOwner) int {
	return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Origin, b.Origin))
}

// ofHolder sorts the ranges of one owner in one file, which do not overlap.
type ofHolder struct{}

func (ofHolder) links(r *rangeRecord) *avlLinks { return &r.inHolder }
func (ofHolder) before(a, b *rangeRecord) bool  { return a.start < b.start }
func (ofHolder) sum(_, _, _ *rangeRecord)       {}

// waitOrder sorts the waiting requests of a file by start, then by rank.
type waitOrder struct{}

func (waitOrder) links(w *rangeWait) *avlLinks { return &w.inFile }

func (waitOrder) before(a, b *rangeWait) bool {
	return a.start < b.start || a.start == b.start && a.rank < b.rank
}

func (waitOrder) sum(w, left, right *rangeWait) {
	w.reach, w.least = [rangeKinds]uint64{}, [rangeKinds]uint64{lastRank, lastRank}
	for k := RangeRead; k <= w.kind; k++ {
		w.reach[k], w.least[k] = w.end+1, w.rank
	}
	for k := range w.reach {
		if left != nil {
			w.reach[k], w.least[k] = max(w.reach[k], left.reach[k]), min(w.least[k], left.least[k])
		}
		if right != nil {
			w.reach[k], w.least[k] = max(w.reach[k], right.reach[k]), min(w.least[k], right.least[k])
		}
	}
}

func (t *rangeTable) fileTree() avl[rangeRecord, byStart] {
	return avl[rangeRecord, byStart]{&t.ranges, byStart{t}}
}

func (t *rangeTable) holderTree() avl[rangeRecord, ofHolder] {
	return avl[rangeRecord, ofHolder]{nodes: &t.ranges}
}

func (t *rangeTable) waitTree() avl[rangeWait, waitOrder] {
	return avl[rangeWait, waitOrder]{nodes: &t.waits}
}
