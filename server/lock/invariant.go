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
	owned := 0
	for _, o := range t.owners {
		n := 0
		for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
			if t.locks.get(slot).session != o.session {
				return fmt.Errorf("session %d lists a lock of session %d", o.session, t.locks.get(slot).session)
			}
			n++
		}
		if n != o.locks {
			return fmt.Errorf("session %d counts %d locks and lists %d", o.session, o.locks, n)
		}
		owned += n
	}
	if locks != t.locks.used || owned != locks {
		return fmt.Errorf("%d locks exist, %d are queued, %d are owned", t.locks.used, locks, owned)
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
	case len(state.Locks) == 0:
		return 0, fmt.Errorf("resource %q is empty", state.Name)
	case again.held != r.held || again.strong != r.strong:
		return 0, fmt.Errorf("resource %q counts its modes wrongly", state.Name)
	case (first != nil) != (r.contention != 0):
		return 0, fmt.Errorf("resource %q: contention record out of step", state.Name)
	case first != nil && r.heldSet(first.Granted)&conflicts[first.Requested] == 0:
		return 0, fmt.Errorf("resource %q: %v could be granted and is not", state.Name, first.Requested)
	}
	return len(state.Locks), nil
}
