package lock

// freezeRanges is Freeze for the ranges of a session; nodes have none but remains,
// which are frozen.
func (t *Table) freezeRanges(s Session) {
	if s.ofNode() {
		return
	}
	t.enterRanges()
	t.ranges.Freeze(s)
	t.leaveRanges()
}

// releaseRanges is Release for the ranges of a session.
func (t *Table) releaseRanges(s Session) {
	t.enterRanges()
	t.ranges.Release(s)
	t.leaveRanges()
}

// closeRanges gives up all ranges of a session in one lockspace.
func (t *Table) closeRanges(s Session, lockspace uint32) {
	t.enterRanges()
	t.ranges.CloseIn(s, t.filesOf(lockspace))
	t.leaveRanges()
}

// buryRanges moves a session's ranges in the files that match to the remains of
// its node, and returns how many there are.
func (t *Table) buryRanges(s Session, match func(file uint32) bool) int {
	if s.ofNode() {
		return 0
	}
	return t.moveRanges(s, RemainsOf(t.owner(s).node), match)
}

// moveRanges moves ranges of an owner in the files that match to one that stands
// for its node, and returns how many there are.
func (t *Table) moveRanges(s, heir Session, match func(file uint32) bool) int {
	t.open(heir, t.owner(s).node)
	o := t.owner(heir)
	o.frozen, o.doubted = true, o.doubted || heir.awaits()
	t.enterRanges()
	n := t.ranges.FreezeIn(s, heir, o.doubted, match)
	t.leaveRanges()
	t.closeIfEmpty(heir)
	return n
}

// releaseRangesIn is ReleaseIn for ranges.
func (t *Table) releaseRangesIn(s, from Session, match func(file uint32) bool) int {
	t.enterRanges()
	defer t.leaveRanges()
	return t.ranges.ReleaseIn(s, from, match)
}

// doubtRanges says whether a node's remains may be passed and released.
func (t *Table) doubtRanges(heir Session, doubted bool) {
	t.enterRanges()
	t.ranges.Doubt(heir, doubted)
	t.leaveRanges()
}

// filesOf matches the files of a lockspace.
func (t *Table) filesOf(lockspace uint32) func(file uint32) bool {
	return func(file uint32) bool { return t.rangeNames.get(file).lockspace == lockspace }
}

// filesWithin matches the files of a lockspace on whose names a mask matches.
func (t *Table) filesWithin(lockspace uint32, mask []byte) func(file uint32) bool {
	return func(file uint32) bool {
		r := t.rangeNames.get(file)
		return r.lockspace == lockspace && Matches(mask, t.nameOf(&r.storedName))
	}
}
