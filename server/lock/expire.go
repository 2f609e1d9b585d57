package lock

// Freeze is for the session of a node that was declared dead: what it waits for
// is withdrawn, what it holds stays held, in every mode, and blocks everybody
// else until Release. Others may be granted what stood behind its withdrawn
// requests, never what conflicts with its locks. Whatever the session asks from
// now on is refused with NodeExpired.
func (t *Table) Freeze(s Session) {
	o := t.owner(s)
	if o == nil || o.frozen {
		return
	}
	o.frozen = true
	var touched []uint32
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
}

// Release removes all locks of a session and the session itself, in one step,
// and grants what that allows: after a logout, or once the fence of its node
// is proved.
func (t *Table) Release(s Session) {
	o := t.owner(s)
	if o == nil {
		return
	}
	var touched []uint32
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		t.discard(o, slot)
		touched = append(touched, resource)
		slot = next
	}
	t.settle(touched)
	i, _ := t.findOwner(s)
	t.owners = append(t.owners[:i], t.owners[i+1:]...)
	t.leaveAll(s)
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
