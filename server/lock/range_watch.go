package lock

// listTimed adds a request that has just come to the list of those with a
// time-out, if it has one.
func (t *rangeTable) listTimed(slot uint32) {
	if t.waits.get(slot).timeout != 0 {
		enlist(&t.waits, (*rangeWait).timed, &t.timed, slot)
	}
}

// unlistTimed takes a request out of that list, if it is there.
func (t *rangeTable) unlistTimed(slot uint32) {
	if t.waits.get(slot).timeout != 0 {
		delist(&t.waits, (*rangeWait).timed, &t.timed, slot)
	}
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
		slot = w.byTime.prev
	}
}
