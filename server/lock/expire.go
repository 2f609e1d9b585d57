package lock

import "slices"

// Freeze is for the session of a node that was declared dead, and for the node's
// orphans: what it waits for is withdrawn, what it holds stays held, in every
// mode, and blocks everybody else until Release. Others may be granted what stood
// behind its withdrawn requests, never what conflicts with its locks. Whatever
// the session asks from now on is refused with NodeExpired.
func (t *Table) Freeze(s Session) {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(s)
	if o == nil || o.frozen {
		return
	}
	o.frozen = true
	touched := t.dropSets(o, everySet)
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		switch l.queue {
		case waiting:
			t.discard(o, slot)
			touched = append(touched, resource)
		case converting:
			t.unconvert(slot)
			touched = append(touched, resource)
		case granted:
		}
		slot = next
	}
	t.settle(touched)
	t.freezeRanges(s)
}

// Close ends a session that logged out, or whose process ended on a living node:
// Persistent locks become orphans of the node, all others are released. It does
// nothing for a frozen session, whose locks go with Release only.
func (t *Table) Close(s Session) {
	if invariants {
		defer t.mustHold()
	}
	if o := t.owner(s); o != nil && !o.frozen {
		t.release(s, t.abandon(s, t.dropSets(o, everySet)))
	}
}

// Release removes all locks of a session and the session itself, in one step,
// and grants what that allows: once the fence of its node is proved. A value
// block that it could still have written is not valid any more.
func (t *Table) Release(s Session) {
	if invariants {
		defer t.mustHold()
	}
	if t.owner(s) != nil {
		t.release(s, t.dropSets(t.owner(s), everySet))
	}
}

// release is Release; what is touched already is settled first.
func (t *Table) release(s Session, touched []uint32) {
	o := t.owner(s)
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		t.lose(l)
		t.discard(o, slot)
		touched = append(touched, resource)
		slot = next
	}
	t.settle(touched)
	t.releaseRanges(s)
	i, _ := t.findOwner(s)
	t.forget(i)
}

// forget removes an owner that has no locks.
func (t *Table) forget(i int) {
	s := t.owners[i].session
	t.ended -= t.owners[i].ended.count()
	t.owners = slices.Delete(t.owners, i, i+1)
	t.leaveAll(s)
}

// lose spoils the value block that a lock protects which goes without its
// holder's doing. That of remains was spoiled when they became such.
func (t *Table) lose(l *lockRecord) {
	if l.queue != waiting && l.granted >= PW && !l.session.remains() {
		t.spoilValue(l.resource)
	}
}

// settle grants what became possible on resources that lost locks, in that
// order, and forgets those that are empty. A resource may be named twice.
func (t *Table) settle(resources []uint32) {
	for _, r := range resources {
		if t.resources.get(r).lockspace == 0 {
			continue // named before, and swept then
		}
		t.grant(r)
		t.sweep(r)
	}
}
