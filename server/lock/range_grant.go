package lock

// rangeRegion is a part of a file where something was given up.
type rangeRegion struct {
	file       uint32
	start, end uint64
}

// settle grants what became possible in some regions, in the order of the ranks,
// whatever files they are in: the order of the events must not depend on the
// numbers of slots.
func (t *rangeTable) settle(regions []rangeRegion) {
	var due rangeHeap
	if len(regions) == 1 {
		t.settleFirst(&due, regions[0])
	} else {
		for _, r := range regions {
			t.gather(&due, r)
		}
	}
	for len(due) > 0 {
		slot := due.pop().slot
		t.waits.mut(slot).due = false
		if t.grantable(slot) {
			t.grantWait(&due, slot)
		}
	}
}

// settleFirst looks at the first request that waits for a region, and at others
// only if they can be granted beside it: one that wants to write all of it keeps
// off all behind it, granted or not. So a lock that thousands wait for is handed
// on without looking at them.
func (t *rangeTable) settleFirst(due *rangeHeap, r rangeRegion) {
	slot := t.firstWait(t.files.get(r.file).waits, r.start, r.end, 0)
	if slot == 0 {
		return
	}
	first := *t.waits.get(slot)
	if t.grantable(slot) {
		t.grantWait(due, slot)
	}
	if first.kind != RangeWrite || first.start > r.start || first.end < r.end {
		t.gather(due, r)
		return
	}
	// Its owner's own requests are not kept off.
	party := t.parties.get(t.holders.get(first.holder).party)
	for s := party.waitHead; s != 0; s = t.waits.get(s).next {
		if w := t.waits.get(s); w.holder == first.holder && w.start <= r.end && r.start <= w.end {
			t.consider(due, s)
		}
	}
}

// gather adds the requests that wait for a region to the candidates.
func (t *rangeTable) gather(due *rangeHeap, r rangeRegion) {
	root := t.files.get(r.file).waits
	t.eachWait(root, r.start, r.end, RangeRead, lastRank, func(slot uint32, _ *rangeWait) bool {
		t.consider(due, slot)
		return true
	})
}

func (t *rangeTable) consider(due *rangeHeap, slot uint32) {
	if w := t.waits.get(slot); !w.due {
		t.waits.mut(slot).due = true
		due.push(rangeDue{w.rank, slot})
	}
}

// grantWait turns a waiting request into a range. If that weakens what its owner
// had, others become candidates.
func (t *rangeTable) grantWait(due *rangeHeap, slot uint32) {
	w := *t.waits.get(slot)
	t.dropWait(slot)
	t.lastToken++
	token := t.lastToken
	regions := t.perform(w.holder, t.plan(w.holder, w.span(), true), token)
	for _, r := range regions {
		t.gather(due, r)
	}
	h := t.holders.get(w.holder)
	t.events = append(t.events, rangeEvent{t.ownerOf(w.holder), w.id, t.files.get(h.file).key, w.kind, token})
}

// rangeDue is a candidate for a grant.
type rangeDue struct {
	rank uint64
	slot uint32
}

// rangeHeap has the candidate of lowest rank at index 0.
type rangeHeap []rangeDue

func (h *rangeHeap) push(d rangeDue) {
	s := append(*h, d)
	i := len(s) - 1
	for up := (i - 1) / 2; i > 0 && s[i].rank < s[up].rank; up = (i - 1) / 2 {
		s[i], s[up] = s[up], s[i]
		i = up
	}
	*h = s
}

func (h *rangeHeap) pop() rangeDue {
	s := *h
	first, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down+1 < last && s[down+1].rank < s[down].rank {
			down++
		}
		if down >= last || s[i].rank <= s[down].rank {
			break
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
	*h = s
	return first
}
