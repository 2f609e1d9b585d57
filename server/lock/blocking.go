package lock

// askAll asks every lock in the granted queue that conflicts with `mode` to give
// way, the lock `except` left out. Locks that convert are asked once they are
// granted, as in the DLM.
//
// Holders are asked once for each mode: `told` remembers that all of them were,
// so that the ten thousandth waiter does not walk all holders again; locks
// granted later are asked by askNew.
func (t *Table) askAll(resource uint32, mode Mode, except uint32) {
	r := t.resources.get(resource)
	if r.contention != 0 {
		c := t.contentions.mut(r.contention)
		if covered(c.told, mode) {
			return
		}
		c.told |= 1 << mode
	}
	for slot := r.head; slot != 0; slot = t.locks.get(slot).next {
		if slot != except && conflicts[mode].has(t.locks.get(slot).granted) {
			t.ask(slot, mode)
		}
	}
}

// nudge asks everybody who holds, converting or not, on behalf of a NoQueueBast
// request that does not wait itself.
func (t *Table) nudge(resource uint32, mode Mode, except uint32) {
	r := t.resources.get(resource)
	heads := [2]uint32{r.head}
	if r.contention != 0 {
		heads[1] = t.contentions.get(r.contention).convertHead
	}
	for _, head := range heads {
		for slot := head; slot != 0; slot = t.locks.get(slot).next {
			if slot != except && conflicts[mode].has(t.locks.get(slot).granted) {
				t.ask(slot, mode)
			}
		}
	}
}

// askNew asks a lock that came into the granted queue to give way to what is
// queued, strongest mode first.
func (t *Table) askNew(slot uint32) {
	l := t.locks.get(slot)
	at := t.resources.get(l.resource).contention
	if at == 0 {
		return
	}
	wanted := t.contentions.get(at).wantedSet()
	t.contentions.mut(at).told &= wanted // what nobody wants now, this lock is not asked for
	blocked := wanted & conflicts[l.granted]
	for m := EX; m > NL; m-- {
		if blocked.has(m) {
			t.ask(slot, m)
		}
	}
}

// ask sends one holder a blocking callback, unless nobody would hear it or one is
// outstanding that says as much.
func (t *Table) ask(slot uint32, mode Mode) {
	l := t.locks.get(slot)
	if covered(l.blocking, mode) || t.deaf(l) {
		return
	}
	l = t.locks.mut(slot)
	l.blocking |= 1 << mode
	l.changed = t.now.index
	t.events = append(t.events, Event{Session: l.session, Lock: l.id, Kind: EventBlocking, Mode: mode})
}

// deaf reports whether nobody would hear a lock's blocking callback: its owner
// does not want any, is dead, or it is an orphan, or belongs to a set that is not
// whole. Who adopts an orphan is asked then, a set once it is whole.
func (t *Table) deaf(l *lockRecord) bool {
	return l.flags&NoCallbacks != 0 || l.session.ofNode() || t.setOf(l) != 0 || t.owner(l.session).frozen
}

// covered reports whether somebody who was asked to give way to the modes in
// `asked` need not be asked for `mode`: an equal or stronger one was among
// them. PR is no stronger than CW: giving way to one is not giving way to the
// other.
func covered(asked modeSet, mode Mode) bool {
	asked &^= 1<<mode - 1
	if mode == CW {
		asked &^= 1 << PR
	}
	return asked != 0
}
