package lock

// listTimed adds a request that has just come to the list of those with a
// time-out, if it has one.
func (t *rangeTable) listTimed(slot uint32) {
	w := t.waits.mut(slot)
	if w.timeout == 0 {
		return
	}
	l := &t.timed
	w.earlier, w.later = l.tail, 0
	if l.tail == 0 {
		l.head = slot
	} else {
		t.waits.mut(l.tail).later = slot
	}
	l.tail = slot
	l.count++
}

// unlistTimed takes a request out of that list, if it is there.
func (t *rangeTable) unlistTimed(slot uint32) {
	w := *t.waits.get(slot)
	if w.timeout == 0 {
		return
	}
	l := &t.timed
	if w.earlier == 0 {
		l.head = w.later
	} else {
		t.waits.mut(w.earlier).later = w.later
	}
	if w.later == 0 {
		l.tail = w.earlier
	} else {
		t.waits.mut(w.later).earlier = w.earlier
	}
	l.count--
}

// watch is Watch for requests that have a time-out.
func (t *rangeTable) watch(after uint64, yield func(Watching) bool) {
	for slot := t.timed.tail; slot != 0; {
		w := t.waits.get(slot)
		owner := t.ownerOf(w.holder)
		if w.since <= after || !yield(Watching{
			Session: w.session, ID: w.id, Range: true, Since: w.since, Owner: owner.Number, Timeout: w.timeout,
		}) {
			return
		}
		slot = w.earlier
	}
}
