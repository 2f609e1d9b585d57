package lock

// rangeChange is what becomes of a holder's ranges when one is locked or
// unlocked: some go, at most three come.
type rangeChange struct {
	gone   []uint32
	come   [3]rangeSpan
	coming int
	// lost is where the holder has nothing any more, or only read ranges where it
	// had write ranges.
	lost []rangeSpan
}

func (c *rangeChange) empty() bool { return len(c.gone) == 0 && c.coming == 0 }
func (c *rangeChange) growth() int { return c.coming - len(c.gone) }

func (c *rangeChange) add(start, end uint64, kind rangeKind) {
	c.come[c.coming] = rangeSpan{start, end, kind}
	c.coming++
}

// plan says what changes if the owner of a holder, which may be 0, gets s (hold),
// or gives it up whatever its kind.
func (t *rangeTable) plan(holder uint32, s rangeSpan, hold bool) rangeChange {
	var c rangeChange
	if r := t.ownAt(holder, s.start); hold && r != nil && r.kind == s.kind && r.end >= s.end {
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
			c.add(r.start, s.start-1, r.kind)
		}
		if r.end > s.end {
			after = r
		}
		return true
	})
	if hold {
		c.add(merged.start, merged.end, merged.kind)
	}
	if after != nil {
		c.add(s.end+1, after.end, after.kind)
	}
	return c
}

// perform makes a change and returns where others may be granted now.
func (t *rangeTable) perform(holder uint32, c rangeChange) []rangeRegion {
	t.removeRanges(holder, c.gone)
	for _, s := range c.come[:c.coming] {
		t.addRange(holder, s)
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
func (t *rangeTable) addRange(holder uint32, s rangeSpan) {
	slot, r := t.ranges.alloc()
	r.start, r.end, r.kind, r.holder = s.start, s.end, s.kind, holder
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
