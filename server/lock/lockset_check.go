package lock

import "fmt"

// checkSets checks that sets and the locks that they have belong together, and
// that the list of those that wait is as long as it says.
func (t *Table) checkSets() error {
	reserved, members := 0, 0
	for i := range t.owners {
		o := &t.owners[i]
		if !o.sets.sound() || !o.ended.sound() {
			return fmt.Errorf("sets or ended requests of session %d are not found where they are", o.session)
		}
		for set := range o.sets.all {
			reserved += len(set.entries) - set.asked
			members += set.asked
			if err := t.checkWants(set); err != nil {
				return err
			}
			if err := t.checkSetLocks(o, set); err != nil {
				return err
			}
		}
	}
	noted, waits := 0, 0
	for at := uint32(1); at < t.notes.next; at++ {
		n := t.notes.get(at)
		if n.set != 0 {
			noted++
		}
		if n.since != 0 {
			waits++
		}
	}
	switch {
	case reserved != t.reserved:
		return fmt.Errorf("%d locks are reserved for sets, %d are counted", reserved, t.reserved)
	case noted != members:
		return fmt.Errorf("%d locks belong to sets, %d say so", members, noted)
	case waits != t.watched.count:
		return fmt.Errorf("%d requests with terms wait, %d are counted", waits, t.watched.count)
	}
	return nil
}

// checkWants checks that what a set wants is counted.
func (t *Table) checkWants(set *lockSet) error {
	for _, e := range set.entries {
		if t.wants != nil && t.wants[wanted{set.lockspace, string(e.Name)}] < 1 {
			return fmt.Errorf("set %d wants %q, and nobody is said to", set.id, e.Name)
		}
	}
	return nil
}

// checkSetLocks checks the locks of one set. A clone has no index, so it looks
// through the list of the session.
func (t *Table) checkSetLocks(o *owner, set *lockSet) error {
	have := map[ID]*lockRecord{}
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		if l := t.locks.get(slot); t.setOf(l) == set.id {
			have[l.id] = l
		}
	}
	for i, e := range set.entries[:set.asked] {
		l, last := have[e.ID], i == set.asked-1
		if l == nil {
			return fmt.Errorf("set %d/%d misses lock %d", o.session, set.id, e.ID)
		}
		r, n := t.resources.get(l.resource), t.notes.get(l.note)
		if (l.queue == waiting) != last || l.queue == converting || l.requested != e.Mode || string(t.name(r)) != string(e.Name) ||
			r.lockspace != set.lockspace || n.owner != set.terms.Owner || last && (n.since != set.since || n.timeout != set.terms.Timeout) {
			return fmt.Errorf("set %d/%d has a lock %d that is not its own", o.session, set.id, e.ID)
		}
	}
	if len(have) != set.asked {
		return fmt.Errorf("set %d/%d has %d locks, not %d", o.session, set.id, len(have), set.asked)
	}
	return nil
}
