package lock

// A Recovery request (GULM: NoExp) is made for the sake of those who are dead: it
// passes their remains, and nothing else. Every other holder blocks it as it
// blocks anybody, and so do frozen locks of a node whose fence is not proved.
//
// While a resource has remains, its Recovery requests are queues of their own
// that come before all others, in the same order as those: the ordinary ones may
// be waiting for the remains, and these for nothing but the recovery that is under
// way. That is not counted as overtaking, for it must never end before the
// remains do.
//
// A Recovery request that passes remains makes the resource crossed: it has
// holders that are incompatible, one of each such pair being remains. The counted
// modes cannot say how many hold PW or EX then, so that whatever goes or comes is
// counted anew. Nothing else in the engine looks at that.

// crossed is in `strong` of a resource some of whose holders are incompatible. It
// is no mode's bit.
const crossed modeSet = 1 << 7

// obstructs reports whether a mode that a wish is for is incompatible with what
// others hold; `held` is what the wishing lock holds itself.
func (t *Table) obstructs(r *resourceRecord, w *wish, held, mode Mode) bool {
	if r.strong&crossed == 0 {
		if free := r.heldSet(held)&conflicts[mode] == 0; free || w.flags&Recovery == 0 {
			return !free
		}
	}
	if conflicts[mode]&^conflicts[held] == 0 {
		return false // it claims no more than it has, whatever that has passed
	}
	return !t.eachHolder(r, func(slot uint32, l *lockRecord) bool {
		return slot == w.slot || !conflicts[mode].has(l.granted) || w.flags&Recovery != 0 && t.passable(l)
	})
}

// passable reports whether a Recovery request is granted in spite of a lock.
func (t *Table) passable(l *lockRecord) bool {
	return l.session.remains() && !t.owner(l.session).doubted
}

// eachHolder calls yield for what holds a resource, converting or not, until it
// returns false.
func (t *Table) eachHolder(r *resourceRecord, yield func(uint32, *lockRecord) bool) bool {
	heads := [2]uint32{r.head}
	if r.contention != 0 {
		heads[1] = t.contentions.get(r.contention).convertHead
	}
	for _, head := range heads {
		for slot := head; slot != 0; {
			l := t.locks.get(slot)
			if !yield(slot, l) {
				return false
			}
			slot = l.next
		}
	}
	return true
}

// letGo counts out what a lock holds that stands in a queue.
func (t *Table) letGo(slot uint32) {
	l := t.locks.get(slot)
	if r := t.resources.mut(l.resource); r.strong&crossed == 0 {
		r.drop(l.granted)
	} else {
		t.recount(r, slot, NL)
	}
}

// recount counts all holders of a resource anew, one of which holds `mode`.
func (t *Table) recount(r *resourceRecord, slot uint32, mode Mode) {
	var again resourceRecord
	again.add(mode)
	t.eachHolder(r, func(other uint32, l *lockRecord) bool {
		if other != slot {
			again.add(l.granted)
		}
		return true
	})
	r.held, r.strong = again.held, again.strong
}

// add is hold for a mode that may be incompatible with what is held.
func (r *resourceRecord) add(m Mode) {
	if r.heldSet(NL)&conflicts[m] != 0 {
		r.strong |= crossed
	}
	r.hold(m)
}

// heads returns the first converting and the first waiting request of the queues
// in which one with these flags stands.
func (t *Table) heads(resource uint32, flags Flags) (convert, wait uint32) {
	c := t.contentions.get(t.resources.get(resource).contention)
	if flags&Recovery == 0 || !t.hasRemains(resource) {
		return c.convertHead, c.waitHead
	}
	return t.firstRecovery(c.convertHead), t.firstRecovery(c.waitHead)
}

func (t *Table) firstRecovery(slot uint32) uint32 {
	for slot != 0 && t.locks.get(slot).flags&Recovery == 0 {
		slot = t.locks.get(slot).next
	}
	return slot
}

// hasRemains reports whether there are remains on a resource that Recovery
// requests pass.
func (t *Table) hasRemains(resource uint32) bool {
	if n := len(t.owners); n == 0 || !t.owners[n-1].session.remains() {
		return false // they stand last, and nobody has any
	}
	for slot := t.resources.get(resource).head; slot != 0; {
		l := t.locks.get(slot)
		if t.passable(l) {
			return true
		}
		slot = l.next
	}
	return false
}

// recoveryFirst reports whether queued Recovery requests come before all others.
func (t *Table) recoveryFirst(resource uint32) bool {
	return t.contentions.get(t.resources.get(resource).contention).recovery > 0 && t.hasRemains(resource)
}

// nextRecovery returns the Recovery request that stands before all others in the
// queues with these heads, if it can be granted, else 0. It is asked only where
// recoveryFirst.
func (t *Table) nextRecovery(resource uint32, heads [2]uint32) (uint32, wish) {
	for _, head := range heads {
		if slot := t.firstRecovery(head); slot != 0 {
			if w := t.wishOf(slot); t.fits(resource, &w, false) {
				return slot, w
			}
			break
		}
	}
	return 0, wish{}
}
