package lock

import "fmt"

// Check returns what is inconsistent in the table, nil if nothing is. It walks
// the whole table: for tests, and for a server that suspects itself.
func (t *Table) Check() error {
	locks := 0
	var fault error
	for slot := uint32(1); slot < t.resources.next && fault == nil; slot++ {
		if t.resources.get(slot).lockspace != 0 {
			var n int
			n, fault = t.checkResource(slot)
			locks += n
		}
	}
	if fault != nil {
		return fault
	}
	owned, ended := 0, 0
	for i := range t.owners {
		if err := t.checkOwner(&t.owners[i]); err != nil {
			return err
		}
		owned += t.owners[i].locks
		ended += len(t.owners[i].ended)
	}
	if locks != t.locks.used || owned != locks {
		return fmt.Errorf("%d locks exist, %d are queued, %d are owned", t.locks.used, locks, owned)
	}
	if ended != t.ended {
		return fmt.Errorf("%d denied requests are counted, %d are listed", t.ended, ended)
	}
	for _, sp := range t.spaces {
		if len(sp.members) == 0 && sp.resources == 0 {
			return fmt.Errorf("lockspace %q is empty", sp.name)
		}
		for i, m := range sp.members {
			if i > 0 && m <= sp.members[i-1] || t.owner(m) == nil || m.orphans() {
				return fmt.Errorf("lockspace %q has members %v, not all of which are sessions", sp.name, sp.members)
			}
		}
	}
	return nil
}

// checkOwner checks one session's list of locks.
func (t *Table) checkOwner(o *owner) error {
	n, order := 0, uint64(0)
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		l := t.locks.get(slot)
		if l.session != o.session || l.order <= order {
			return fmt.Errorf("session %d lists a lock of session %d, or one out of order", o.session, l.session)
		}
		n, order = n+1, l.order
	}
	switch {
	case n != o.locks:
		return fmt.Errorf("session %d counts %d locks and lists %d", o.session, o.locks, n)
	case n == 0 && o.session.orphans():
		return fmt.Errorf("node %d has an owner of orphans and no orphans", o.node)
	}
	return nil
}

func (t *Table) checkResource(slot uint32) (int, error) {
	var state ResourceState
	t.resourceState(slot, &state)
	r := t.resources.get(slot)
	var again resourceRecord
	var first *LockState
	for i := range state.Locks {
		l := &state.Locks[i]
		if t.owner(l.Session) == nil {
			return 0, fmt.Errorf("resource %q: lock %d of unknown session %d", state.Name, l.ID, l.Session)
		}
		if l.Queue == QueueWaiting {
			continue
		}
		if conflicts[l.Granted]&again.heldSet(NL) != 0 {
			return 0, fmt.Errorf("resource %q: %v held beside an incompatible lock", state.Name, l.Granted)
		}
		again.hold(l.Granted)
	}
	for i := range state.Locks {
		if state.Locks[i].Queue != QueueGranted && first == nil {
			first = &state.Locks[i]
		}
	}
	switch {
	case len(state.Locks) == 0 && !(len(state.Value) > 0 && t.space(r.lockspace).keepValues):
		return 0, fmt.Errorf("resource %q is empty", state.Name)
	case again.held != r.held || again.strong != r.strong:
		return 0, fmt.Errorf("resource %q counts its modes wrongly", state.Name)
	case (first != nil) != (r.contention != 0):
		return 0, fmt.Errorf("resource %q: contention record out of step", state.Name)
	}
	if r.contention != 0 {
		// Those that ignore the order depend on a limit, which may have changed.
		w := t.wishOf(t.contentions.get(r.contention).first())
		if t.fits(slot, &w, false) {
			return 0, fmt.Errorf("resource %q: a queued request could be granted and is not", state.Name)
		}
	}
	return len(state.Locks), nil
}
