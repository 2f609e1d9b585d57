package lock

// askAll asks every holder that conflicts with `mode` to give way, the lock
// `except` left out. For a refused NoQueue request that is done only if it
// carries NoQueueBast.
//
// Holders are asked once for each mode: `told` remembers that all of them were,
// so that the ten thousandth waiter does not walk all holders again; locks
// granted later are asked by askNew.
func (t *Table) askAll(resource uint32, mode Mode, except uint32, flags Flags) {
	if flags&NoQueue != 0 && flags&NoQueueBast == 0 {
		return
	}
	r := t.resources.get(resource)
	convertHead := uint32(0)
	if r.contention != 0 {
		c := t.contentions.mut(r.contention)
		if covered(c.told, mode) {
			return
		}
		// A converting lock is passed over below as itself, so what it asks has
		// not been told to itself: only new requests are told to all.
		if except == 0 || t.locks.get(except).queue == waiting {
			c.told |= 1 << mode
		}
		convertHead = c.convertHead
	}
	for _, head := range [2]uint32{r.head, convertHead} {
		for slot := head; slot != 0; slot = t.locks.get(slot).next {
			if slot != except && conflicts[mode].has(t.locks.get(slot).granted) {
				t.ask(slot, mode)
			}
		}
	}
}

// askNew asks a lock that was just granted to give way to what is queued, in
// the strongest mode that it blocks.
func (t *Table) askNew(slot uint32) {
	l := t.locks.get(slot)
	c := t.resources.get(l.resource).contention
	if c == 0 {
		return
	}
	wanted := t.contentions.get(c).wantedSet()
	t.contentions.mut(c).told &= wanted // what nobody wants now, this lock is not asked for
	blocked := wanted & conflicts[l.granted]
	if blocked == 0 {
		return
	}
	strongest := blocked.highest()
	if !covered(1<<strongest, CW) {
		t.contentions.mut(c).told &^= 1 << CW // PR was asked for, which says nothing of CW
	}
	t.ask(slot, strongest)
}

// ask sends one holder a blocking callback, unless it does not want any, is
// dead, or has one outstanding that says as much.
func (t *Table) ask(slot uint32, mode Mode) {
	l := t.locks.get(slot)
	if l.flags&NoCallbacks != 0 || covered(l.blocking, mode) || t.owner(l.session).frozen {
		return
	}
	l = t.locks.mut(slot)
	l.blocking |= 1 << mode
	l.changed = t.now.index
	t.events = append(t.events, Event{Session: l.session, Lock: l.id, Kind: EventBlocking, Mode: mode})
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
