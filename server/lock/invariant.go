package lock

import "fmt"

// Check returns what is inconsistent in the table, nil if nothing is. It walks
// the whole table: for tests, and for a server that suspects itself.
func (t *Table) Check() error {
	queued, listed := 0, 0
	for slot := uint32(1); slot < t.resources.next; slot++ {
		if t.resources.get(slot).lockspace == 0 {
			continue
		}
		n, err := t.checkResource(slot)
		if err != nil {
			return err
		}
		queued += n
	}
	for i := range t.owners {
		n, err := t.checkList(&t.owners[i])
		if err != nil {
			return err
		}
		listed += n
	}
	if queued != t.locks.used || listed != queued {
		return fmt.Errorf("%d locks exist, %d are queued, %d are owned", t.locks.used, queued, listed)
	}
	if err := t.checkOwners(); err != nil {
		return err
	}
	if err := t.checkSets(); err != nil {
		return err
	}
	if err := t.checkRanges(); err != nil {
		return err
	}
	return t.checkSpaces()
}

// checkList checks one session's list of locks and returns its length.
func (t *Table) checkList(o *owner) (int, error) {
	n, order := 0, uint64(0)
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		l := t.locks.get(slot)
		if l.session != o.session || l.order <= order {
			return 0, fmt.Errorf("session %d lists a lock of session %d, or one out of order", o.session, l.session)
		}
		n, order = n+1, l.order
	}
	if n != o.locks {
		return 0, fmt.Errorf("session %d counts %d locks and lists %d", o.session, o.locks, n)
	}
	return n, nil
}

// checkOwners checks what sessions have but for their lists of locks.
func (t *Table) checkOwners() error {
	ended := 0
	for i := range t.owners {
		o := &t.owners[i]
		ended += o.ended.count()
		switch {
		case o.locks == 0 && o.session.ofNode() && !t.ranges.known(o.session):
			return fmt.Errorf("node %d has an owner of orphans or remains, and none", o.node)
		case o.session.remains() && !o.frozen || o.doubted && !o.session.remains(), o.session.awaits() && !o.doubted:
			return fmt.Errorf("owner %d is in doubt or not frozen", o.session)
		}
		if err := t.checkTold(o); err != nil {
			return err
		}
	}
	if ended != t.ended {
		return fmt.Errorf("%d ended requests are counted, %d are listed", t.ended, ended)
	}
	return nil
}

func (t *Table) checkSpaces() error {
	for _, sp := range t.spaces {
		if sp.empty() {
			return fmt.Errorf("lockspace %q is empty", sp.name)
		}
		if sp.policy >= policies || sp.lease > MaxLease || (sp.lease != 0) != (sp.policy == PolicyLease) || sp.lease != 0 && sp.pinned {
			return fmt.Errorf("lockspace %q has policy %d, a lease of %d ms, journals: %v", sp.name, sp.policy, sp.lease, sp.pinned)
		}
		for i, m := range sp.members {
			if i > 0 && m <= sp.members[i-1] || t.owner(m) == nil || m.ofNode() {
				return fmt.Errorf("lockspace %q has members %v, not all of which are sessions", sp.name, sp.members)
			}
		}
	}
	return nil
}

// checkResource checks one resource and returns how many locks it has.
func (t *Table) checkResource(slot uint32) (int, error) {
	r := t.resources.get(slot)
	heads := [3]uint32{r.head}
	if r.contention != 0 {
		c := t.contentions.get(r.contention)
		heads[converting], heads[waiting] = c.convertHead, c.waitHead
	}
	n := 0
	var again, living resourceRecord
	for q, head := range heads {
		for at := head; at != 0; at = t.locks.get(at).next {
			n++
			l := t.locks.get(at)
			if l.resource != slot || l.queue != queue(q) || t.owner(l.session) == nil {
				return 0, fmt.Errorf("resource %q: lock %d of session %d belongs elsewhere or to nobody", t.name(r), l.id, l.session)
			}
			if l.queue == waiting {
				continue
			}
			again.add(l.granted)
			if l.session.remains() {
				continue
			}
			if living.add(l.granted); living.strong&crossed != 0 {
				return 0, fmt.Errorf("resource %q: %v held beside an incompatible lock", t.name(r), l.granted)
			}
		}
	}
	switch {
	case n == 0 && (r.value == 0 || !t.space(r.lockspace).keepValues):
		return 0, fmt.Errorf("resource %q is empty", t.name(r))
	case again.held != r.held || again.strong != r.strong:
		return 0, fmt.Errorf("resource %q counts its modes wrongly", t.name(r))
	case (heads[converting]|heads[waiting] != 0) != (r.contention != 0):
		return 0, fmt.Errorf("resource %q: contention record out of step", t.name(r))
	}
	if r.contention != 0 {
		// Those that ignore the order depend on a limit, which may have changed.
		c := t.contentions.get(r.contention)
		w := t.wishOf(c.first())
		due := uint32(0)
		if t.recoveryFirst(slot) {
			due, _ = t.nextRecovery(slot, [2]uint32{c.convertHead, c.waitHead})
		}
		if due != 0 || t.fits(slot, &w, false) {
			return 0, fmt.Errorf("resource %q: a queued request could be granted and is not", t.name(r))
		}
	}
	return n, nil
}
