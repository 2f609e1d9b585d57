package lock

// rangeChange is what becomes of a holder's ranges when one is locked or
// unlocked: some go, at most three come.
type rangeChange struct {
	gone   []uint32
	come   [3]rangePiece
	coming int
	same   uint32 // the range that is all that is wanted, 0 if there is none
	// lost is where the holder has nothing any more, or only read ranges where it
	// had write ranges.
	lost []rangeSpan
}

func (c *rangeChange) empty() bool { return len(c.gone) == 0 && c.coming == 0 }
func (c *rangeChange) growth() int { return c.coming - len(c.gone) }

// rangePiece is a range that comes: the one that is granted, whose token is 0
// here, or what is left of another one.
type rangePiece struct {
	rangeSpan
	token uint64
	stamp int64
}

func (c *rangeChange) add(start, end uint64, r *rangeRecord) {
	c.come[c.coming] = rangePiece{rangeSpan{start, end, r.kind}, r.token, r.stamp}
	c.coming++
}

// plan says what changes if the owner of a holder, which may be 0, gets s (hold),
// or gives it up whatever its kind.
func (t *rangeTable) plan(holder uint32, s rangeSpan, hold bool) rangeChange {
	var c rangeChange
	if slot, r := t.ownAt(holder, s.start); hold && slot != 0 && r.kind == s.kind && r.end >= s.end {
		c.same = slot
		return c
	}
	root := uint32(0)
	if holder != 0 {
		root = t.holders.get(holder).ranges
	}
	merged := s
	var after *rangeRecord
	// One offset more on both sides finds those that touch.
	t.eachOwn(root, max(s.start, 1)-1, s.end+1, func(slot uint32, r *rangeRecord) bool {
		if hold && r.kind == s.kind {
			merged.start, merged.end = min(merged.start, r.start), max(merged.end, r.end)
			c.gone = append(c.gone, slot)
			return true
		}
		if !r.span().overlaps(s.start, s.end) {
			return true
		}
		c.gone = append(c.gone, slot)
		if !hold || s.kind < r.kind {
			c.lost = append(c.lost, rangeSpan{max(s.start, r.start), min(s.end, r.end), r.kind})
		}
		if r.start < s.start {
			c.add(r.start, s.start-1, r)
		}
		if r.end > s.end {
			after = r
		}
		return true
	})
	if hold {
		c.add(merged.start, merged.end, &rangeRecord{kind: merged.kind})
	}
	if after != nil {
		c.add(s.end+1, after.end, after)
	}
	return c
}

// perform makes a change and returns where others may be granted now; token is
// that of the grant, if it is one.
func (t *rangeTable) perform(holder uint32, c rangeChange, token uint64) []rangeRegion {
	if c.same != 0 {
		t.ranges.mut(c.same).token = token
		return nil
	}
	t.removeRanges(holder, c.gone)
	for _, p := range c.come[:c.coming] {
		if p.token == 0 {
			p.token, p.stamp = token, t.stamp
		}
		t.addRange(holder, p)
	}
	return t.regions(t.holders.get(holder).file, c.lost)
}

// regions turns what was lost in a file into regions. There are not more than
// requests that wait there: then it costs less to look at all of these.
func (t *rangeTable) regions(file uint32, lost []rangeSpan) []rangeRegion {
	n := int(t.files.get(file).waiting)
	if n == 0 || len(lost) == 0 {
		return nil
	}
	if len(lost) > n {
		lost = []rangeSpan{{start: lost[0].start, end: lost[len(lost)-1].end}}
	}
	regions := make([]rangeRegion, 0, len(lost))
	for _, s := range lost {
		regions = append(regions, rangeRegion{file, s.start, s.end})
	}
	return regions
}

// addRange adds a range beside those that the holder has.
func (t *rangeTable) addRange(holder uint32, p rangePiece) {
	slot, r := t.ranges.alloc()
	r.start, r.end, r.kind, r.holder, r.token, r.stamp = p.start, p.end, p.kind, holder, p.token, p.stamp
	h := t.holders.mut(holder)
	h.ranges = t.holderTree().insert(h.ranges, slot)
	h.held++
	f := t.files.mut(h.file)
	f.ranges = t.fileTree().insert(f.ranges, slot)
	f.held++
}

// fewRanges is up to how many ranges are always removed one by one.
const fewRanges = 8

// removeRanges removes ranges of one holder. A tree that loses a good part is
// built anew instead of being rebalanced for each.
func (t *rangeTable) removeRanges(holder uint32, slots []uint32) {
	h := t.holders.mut(holder)
	f := t.files.mut(h.file)
	for _, slot := range slots {
		t.ranges.mut(slot).gone = true
	}
	h.ranges = removeAll(t.holderTree(), h.ranges, slots, h.held)
	f.ranges = removeAll(t.fileTree(), f.ranges, slots, f.held)
	h.held -= uint32(len(slots))
	f.held -= uint32(len(slots))
	for _, slot := range slots {
		t.ranges.release(slot)
	}
}

// removeAll takes slots, which are marked as gone, out of a tree of n ranges and
// returns the new root.
func removeAll[O avlOrder[rangeRecord]](v avl[rangeRecord, O], root uint32, slots []uint32, n uint32) uint32 {
	if len(slots) <= fewRanges || uint32(len(slots)) < n/fewRanges {
		for _, slot := range slots {
			root = v.remove(root, slot)
		}
		return root
	}
	rest := make([]uint32, 0, int(n)-len(slots))
	v.each(root, func(slot uint32) bool {
		if !v.nodes.get(slot).gone {
			rest = append(rest, slot)
		}
		return true
	})
	return v.build(rest)
}
