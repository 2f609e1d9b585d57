package lock

// confirms reports whether the cycle of a denial is there, with the denied
// request in it.
func (t *Table) confirms(d *Denial) bool {
	found := false
	for i := range d.Cycle {
		step := &d.Cycle[i]
		v, _, ok := t.confirmsStep(step, &d.Cycle[(i+1)%len(d.Cycle)])
		if !ok {
			return false
		}
		mine := step.ID == d.ID || v.kind == aLock && t.setOf(t.locks.get(v.slot)) == d.ID
		found = found || step.Session == d.Session && mine && !t.spared(v)
	}
	return found
}

// confirmsStep returns the two of one wait of a cycle, and false if it is not
// there.
func (t *Table) confirmsStep(step, next *Step) (v, by thing, ok bool) {
	v, by = t.find(step.Session, step.ID), t.find(step.BySession, step.ByID)
	if step.ByID == 0 && v.kind == aWait {
		by = t.holding(v.slot, RangeOwner{Session: step.BySession, Number: step.ByOwner})
	}
	return v, by, v.slot != 0 && by.slot != 0 && v != by && t.waitsFor(v, by, t.find(next.Session, next.ID))
}

// find returns a lock, or a request for a range that waits.
func (t *Table) find(s Session, id ID) thing {
	if slot := t.findLock(s, id); slot != 0 || id == 0 {
		return lockThing(slot)
	}
	return waitThing(t.ranges.findWait(s, id))
}

// waitsFor reports whether a queued request waits for something that does not go
// before the request `next` has an answer.
func (t *Table) waitsFor(v, by, next thing) bool {
	switch {
	case next.slot == 0 || next.kind == aLock && t.locks.get(next.slot).queue == granted:
		return false
	case v.kind == aWait:
		return t.rangeWaitsFor(v.slot, by, next)
	case by.kind != aLock:
		return false
	}
	l, b := t.locks.get(v.slot), t.locks.get(by.slot)
	if l.queue == granted || l.resource != b.resource {
		return false
	}
	if t.isAhead(by.slot, v.slot) && next == by {
		return true
	}
	return b.queue != waiting && t.hinders(b, l, true) && t.leads(by.slot, next)
}

// leads reports whether a lock that is held goes only after a request that is
// queued has an answer.
func (t *Table) leads(by uint32, next thing) bool {
	b := t.locks.get(by)
	switch {
	case next == lockThing(by):
		return true
	case b.note == 0:
		return false
	}
	bn := t.notes.get(b.note)
	if next.kind == aWait {
		w := t.ranges.waits.get(next.slot)
		return bn.owner != 0 && t.ranges.ownerOf(w.holder) == RangeOwner{Session: b.session, Number: bn.owner}
	}
	l := t.locks.get(next.slot)
	if b.session != l.session || l.note == 0 {
		return false
	}
	ln := t.notes.get(l.note)
	return bn.owner != 0 && bn.owner == ln.owner || bn.set != 0 && bn.set == ln.set
}

// Explain returns the waits of a cycle, and false if it is not there.
func (t *Table) Explain(cycle []Step) ([]Wait, bool) {
	waits := make([]Wait, 0, len(cycle))
	for i := range cycle {
		v, by, ok := t.confirmsStep(&cycle[i], &cycle[(i+1)%len(cycle)])
		if !ok {
			return nil, false
		}
		waits = append(waits, t.wait(v, by, t.isBehind(v, by)))
	}
	return waits, len(waits) > 0
}

// isBehind reports whether a request waits for another's turn, and not for what
// that has.
func (t *Table) isBehind(v, by thing) bool {
	if v.kind == aWait {
		return by.kind == aWait
	}
	l, b := t.locks.get(v.slot), t.locks.get(by.slot)
	return b.queue == waiting || !t.hinders(b, l, true)
}
