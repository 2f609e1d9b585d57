package lock

import "cmp"

// Who stands in the way of a queued request. These are the rules of fits and
// grant, told from the other side: a request is granted as soon as, and not
// before, nobody obstructs it and nobody is ahead of it.

// hinders reports whether what a lock holds keeps a queued request of another
// from being granted: in each of the modes that it would take, or, unless all is
// set, in the one that it asks for.
func (t *Table) hinders(holder, l *lockRecord, all bool) bool {
	against := l.against(l.requested)
	if all && l.flags&AltPR != 0 {
		against &= l.against(PR)
	}
	if all && l.flags&AltCW != 0 {
		against &= l.against(CW)
	}
	return against.has(holder.granted) && !(l.flags&Recovery != 0 && t.passable(holder))
}

// against returns the modes that keep a lock from getting a mode: none, if that
// claims no more than it has.
func (l *lockRecord) against(m Mode) modeSet {
	if conflicts[m]&^conflicts[l.granted] == 0 {
		return 0
	}
	return conflicts[m]
}

// eachAhead calls yield for requests in the same queues that have to go before a
// queued one, until it returns false: the nearest, and what is ahead of that if
// it says nothing of those ahead of it.
func (t *Table) eachAhead(slot uint32, yield func(uint32) bool) {
	l := t.locks.get(slot)
	c := t.contentions.get(t.resources.get(l.resource).contention)
	remains := c.recovery > 0 && t.hasRemains(l.resource)
	own := remains && l.flags&Recovery != 0 // only those that pass remains are ahead of it
	switch {
	case l.flags&Expedite != 0:
		return
	case l.flags&NoOrder != 0:
		// Once it may pass nobody any more, it is its turn after the first has gone.
		convert, wait := t.heads(l.resource, l.flags)
		if first := cmp.Or(convert, wait); c.passed >= t.overtakes() && first != slot {
			yield(first)
		}
		return
	}
	for at := slot; ; {
		before := l.prev
		if before == 0 && l.queue == waiting {
			before = c.convertTail
		}
		if before == 0 {
			return
		}
		at, l = before, t.locks.get(before)
		if own && l.flags&Recovery == 0 {
			continue
		}
		if !yield(at) || l.flags&NoOrder == 0 && (own || !remains || l.flags&Recovery == 0) {
			return // it waits for those before it itself
		}
	}
}

// isAhead reports whether eachAhead would name a request.
func (t *Table) isAhead(by, slot uint32) bool {
	found := false
	t.eachAhead(slot, func(ahead uint32) bool {
		found = ahead == by
		return !found
	})
	return found
}

// Party is one side of a wait: a lock, a request for one, or the same of byte
// ranges.
type Party struct {
	Session Session
	// ID is the lock's.
	ID ID
	// Owner is the session's number for whoever it is, 0 if it said none.
	Owner uint64
	// Set is the set that waits and that the lock belongs to, 0 for none.
	Set   ID
	Queue Queue
	// Granted is held, NL by one that waits; Requested is wanted, the same for one
	// that is granted.
	Granted, Requested Mode
	// Frozen is true for the lock of an expired node: it stays until that is
	// fenced.
	Frozen bool
	// Since is the log index at which it began to wait, 0 for one that is granted.
	Since uint64
	// Stamp is when it came into its queue, the master's unix milliseconds.
	Stamp int64
	// Exempt is true for one that asked never to be the victim of a deadlock.
	Exempt bool
	// Range is the byte range that is held or wanted, nil for a lock. ID is 0 for
	// one that is held.
	Range *PartyRange
}

// Wait is one request that waits for one lock or request.
type Wait struct {
	Lockspace uint32
	Name      []byte // of the resource, or of the file with byte ranges
	Waiter    Party
	By        Party
	// Behind says that it does not wait for what By holds, but for By's turn.
	Behind bool
}

func (t *Table) party(l *lockRecord) Party {
	o := t.owner(l.session)
	p := Party{
		Session: l.session, ID: l.id, Queue: Queue(l.queue), Granted: l.granted, Requested: l.requested, Stamp: l.stamp,
		Frozen: o != nil && o.frozen, Exempt: l.flags&NoDlckWt != 0,
	}
	if l.queue != granted {
		p.Since = t.waitsSince(l)
	}
	if l.note != 0 {
		n := t.notes.get(l.note)
		p.Owner, p.Set = n.owner, n.set
	}
	return p
}

// waitsSince returns the log index at which the wait of a queued lock began, or,
// of one without a note, the last at which its session had to be told something.
func (t *Table) waitsSince(l *lockRecord) uint64 {
	if since := t.sinceOf(l); since != 0 {
		return since
	}
	return l.changed
}

func (t *Table) wait(v, by thing, behind bool) Wait {
	if v.kind == aWait {
		return t.rangeWait(v.slot, by, behind)
	}
	l := t.locks.get(v.slot)
	r := t.resources.get(l.resource)
	return Wait{
		Lockspace: r.lockspace, Name: append([]byte(nil), t.name(r)...),
		Waiter: t.party(l), By: t.party(t.locks.get(by.slot)), Behind: behind,
	}
}

// View is one resource with who waits for whom there.
type View struct {
	ResourceState
	// Waits are the requests that are queued with those in their way, in the order
	// of the queues. Whoever is held up by a holder is not listed as behind him
	// too. Their names are empty.
	Waits []Wait
	// More is how many Waits are left out.
	More int
}

// WalkWaits is Walk with the waits, at most so many for each request.
func (t *Table) WalkWaits(most int, yield func(*View) bool) {
	var v View
	for slot := uint32(1); slot < t.resources.next; slot++ {
		if t.resources.get(slot).lockspace == 0 {
			continue
		}
		t.resourceState(slot, &v.ResourceState)
		v.Waits, v.More = t.blocked(slot, most, v.Waits[:0])
		if !yield(&v) {
			return
		}
	}
}

// blocked appends the waits of one resource, and returns how many it left out.
func (t *Table) blocked(resource uint32, most int, waits []Wait) (all []Wait, more int) {
	at := t.resources.get(resource).contention
	if at == 0 {
		return waits, 0
	}
	c := t.contentions.get(at)
	for _, head := range [2]uint32{c.convertHead, c.waitHead} {
		for slot := head; slot != 0; slot = t.locks.get(slot).next {
			listed := 0
			t.eachBlocker(slot, func(by uint32, behind bool) {
				if listed++; listed > most {
					more++
					return
				}
				waits = append(waits, Wait{Waiter: t.party(t.locks.get(slot)), By: t.party(t.locks.get(by)), Behind: behind})
			})
		}
	}
	return waits, more
}

// eachBlocker calls yield for everybody in the way of a queued request: holders,
// then the one before it in the queue if he is no such holder.
func (t *Table) eachBlocker(slot uint32, yield func(by uint32, behind bool)) {
	l := t.locks.get(slot)
	t.eachHolder(t.resources.get(l.resource), func(by uint32, holder *lockRecord) bool {
		if by != slot && t.hinders(holder, l, false) {
			yield(by, false)
		}
		return true
	})
	t.eachAhead(slot, func(by uint32) bool {
		if ahead := t.locks.get(by); ahead.queue == waiting || !t.hinders(ahead, l, false) {
			yield(by, true)
		}
		return false
	})
}
