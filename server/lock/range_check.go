package lock

import "fmt"

// Check returns what is inconsistent in the table, nil if nothing is. It walks
// the whole table and looks up each range's conflicts: for tests, restores, and a
// server that suspects itself. It uses no index, so clones can be checked.
func (t *rangeTable) Check() error {
	ranges, waits, files := 0, 0, 0
	for slot := uint32(1); slot < t.files.next; slot++ {
		f := t.files.get(slot)
		if !f.live {
			continue
		}
		if err := t.checkFile(slot); err != nil {
			return fmt.Errorf("file %d: %w", f.key, err)
		}
		ranges, waits, files = ranges+int(f.held), waits+int(f.waiting), files+1
	}
	if ranges != t.ranges.used || waits != t.waits.used || files != t.files.used {
		return fmt.Errorf("%d ranges, %d requests and %d files exist, %d, %d and %d are found",
			t.ranges.used, t.waits.used, t.files.used, ranges, waits, files)
	}
	return t.checkSessions()
}

// checkFile checks the trees of a file and that each range and each request may
// be what it is.
func (t *rangeTable) checkFile(slot uint32) error {
	f := t.files.get(slot)
	ranges, err := checkTree(t.fileTree(), f.ranges)
	if err != nil {
		return fmt.Errorf("ranges: %w", err)
	}
	waits, err := checkTree(t.waitTree(), f.waits)
	if err != nil {
		return fmt.Errorf("requests: %w", err)
	}
	if len(ranges) != int(f.held) || len(waits) != int(f.waiting) || len(ranges)+len(waits) == 0 {
		return fmt.Errorf("counts %d ranges and %d requests, has %d and %d", f.held, f.waiting, len(ranges), len(waits))
	}
	for _, n := range ranges {
		r := t.ranges.get(n)
		switch {
		case r.start > r.end || r.end > RangeMax || r.kind >= rangeKinds || r.gone:
			return fmt.Errorf("impossible range %+v", r.span())
		case t.holders.get(r.holder).file != slot:
			return fmt.Errorf("range %+v belongs to another file", r.span())
		case t.crosses(slot, r):
			return fmt.Errorf("range %+v is held beside one that conflicts", r.span())
		}
	}
	for _, n := range waits {
		w := t.waits.get(n)
		h := t.holders.get(w.holder)
		switch {
		case w.start > w.end || w.end > RangeMax || w.kind >= rangeKinds || w.due:
			return fmt.Errorf("impossible request %+v", w.span())
		case h.file != slot || t.parties.get(h.party).owner.Session != w.session:
			return fmt.Errorf("request %+v belongs elsewhere", w.span())
		case t.grantable(n):
			return fmt.Errorf("request %+v could be granted and is not", w.span())
		}
	}
	return nil
}

// crosses reports whether a range is held beside one that conflicts, neither of
// which are remains: only these are passed.
func (t *rangeTable) crosses(file uint32, r *rangeRecord) bool {
	remains := func(holder uint32) bool { return t.ownerOf(holder).Origin != 0 }
	return !remains(r.holder) && !t.eachRange(t.files.get(file).ranges, r.start, r.end, r.kind.against(), func(o *rangeRecord) bool {
		return o.holder == r.holder || remains(o.holder)
	})
}

// checkTree checks order, balance and sums of a tree and returns its slots.
func checkTree[T comparable, O avlOrder[T]](v avl[T, O], root uint32) ([]uint32, error) {
	var slots []uint32
	var fault error
	v.each(root, func(slot uint32) bool {
		if n := len(slots); n > 0 && !v.order.before(v.nodes.get(slots[n-1]), v.nodes.get(slot)) {
			fault = fmt.Errorf("slots %d and %d are out of order", slots[n-1], slot)
		}
		k := v.links(slot)
		left, right := v.height(k.left), v.height(k.right)
		if left-right < -1 || left-right > 1 || int(k.height) != 1+max(left, right) {
			fault = fmt.Errorf("slot %d has height %d over %d and %d", slot, k.height, left, right)
		}
		again := *v.nodes.get(slot)
		v.order.sum(&again, v.child(k.left), v.child(k.right))
		if again != *v.nodes.get(slot) {
			fault = fmt.Errorf("slot %d sums up its subtree wrongly", slot)
		}
		slots = append(slots, slot)
		return fault == nil
	})
	return slots, fault
}

// checkSessions checks what hangs on the sessions.
func (t *rangeTable) checkSessions() error {
	sessions, parties, holders, held, waiting := 0, 0, 0, 0, 0
	for seat := uint32(1); seat < t.sessions.next; seat++ {
		s := t.sessions.get(seat)
		if s.session == 0 {
			continue
		}
		sessions++
		if s.parties == 0 && !s.frozen {
			return fmt.Errorf("session %d has nothing", s.session)
		}
		before := uint32(0)
		for party := s.parties; party != 0; party = t.parties.get(party).next {
			p := t.parties.get(party)
			if p.prev != before || p.seat != seat || p.owner.Session != s.session || p.holders == 0 ||
				(s.frozen || p.owner.Origin != 0) && p.waitHead != 0 {
				return fmt.Errorf("owner %+v is linked wrongly or waits although frozen", p.owner)
			}
			n, err := t.checkWaits(party)
			if err != nil {
				return err
			}
			before, parties, waiting = party, parties+1, waiting+n
		}
	}
	for party := uint32(1); party < t.parties.next; party++ {
		before := uint32(0)
		for slot := t.parties.get(party).holders; slot != 0; slot = t.holders.get(slot).next {
			h := t.holders.get(slot)
			if h.prev != before || h.party != party {
				return fmt.Errorf("owner %+v lists a file wrongly", t.parties.get(party).owner)
			}
			if err := t.checkHolder(slot); err != nil {
				return err
			}
			before, holders, held = slot, holders+1, held+int(h.held)
		}
	}
	if sessions != t.sessions.used || parties != t.parties.used || holders != t.holders.used ||
		held != t.ranges.used || waiting != t.waits.used {
		return fmt.Errorf("counted %d sessions, %d owners, %d holders, %d ranges, %d requests; there are %d, %d, %d, %d, %d",
			sessions, parties, holders, held, waiting,
			t.sessions.used, t.parties.used, t.holders.used, t.ranges.used, t.waits.used)
	}
	return nil
}

// checkWaits checks the list of an owner's requests and returns its length.
func (t *rangeTable) checkWaits(party uint32) (int, error) {
	p := t.parties.get(party)
	n, before, order := 0, uint32(0), uint64(0)
	for slot := p.waitHead; slot != 0; slot = t.waits.get(slot).next {
		w := t.waits.get(slot)
		arrived := w.rank &^ rankLate
		if w.prev != before || t.holders.get(w.holder).party != party || arrived <= order || arrived > t.lastOrder {
			return 0, fmt.Errorf("owner %+v lists request %d wrongly", p.owner, w.id)
		}
		n, before, order = n+1, slot, arrived
	}
	if p.waitTail != before {
		return 0, fmt.Errorf("owner %+v ends its list wrongly", p.owner)
	}
	return n, nil
}

// checkHolder checks that what an owner has in a file is in canonical form.
func (t *rangeTable) checkHolder(slot uint32) error {
	h := t.holders.get(slot)
	ranges, err := checkTree(t.holderTree(), h.ranges)
	if err != nil {
		return fmt.Errorf("ranges of %+v: %w", t.ownerOf(slot), err)
	}
	waiting := 0
	for w := t.parties.get(h.party).waitHead; w != 0; w = t.waits.get(w).next {
		if t.waits.get(w).holder == slot {
			waiting++
		}
	}
	if len(ranges) != int(h.held) || waiting != int(h.waiting) || h.held+h.waiting == 0 {
		return fmt.Errorf("%+v counts %d ranges and %d requests, has %d and %d",
			t.ownerOf(slot), h.held, h.waiting, len(ranges), waiting)
	}
	for i, n := range ranges {
		r := t.ranges.get(n)
		if r.holder != slot {
			return fmt.Errorf("%+v has a range of another", t.ownerOf(slot))
		}
		if i == 0 {
			continue
		}
		last := t.ranges.get(ranges[i-1])
		if last.end >= r.start || last.end+1 == r.start && last.kind == r.kind {
			return fmt.Errorf("%+v has %+v and %+v, which are one", t.ownerOf(slot), last.span(), r.span())
		}
	}
	return nil
}
