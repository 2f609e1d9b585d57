package lock

import (
	"fmt"
	"slices"
)

// deepCheck is Check, and what only a test need know of: links in both
// directions, counted requests, both indexes, the free slots, and that every
// shortcut of the engine says what a look at the locks would say.
func deepCheck(t *Table) error {
	if err := t.Check(); err != nil {
		return err
	}
	n := census{inSpace: map[uint32]int{}}
	for slot := uint32(1); slot < t.resources.next; slot++ {
		if r := t.resources.get(slot); r.lockspace != 0 {
			if err := n.resource(t, slot, r); err != nil {
				return fmt.Errorf("resource %q: %w", t.name(r), err)
			}
		}
	}
	if err := n.rangeNames(t); err != nil {
		return err
	}
	if err := deepCheckRanges(&t.ranges); err != nil {
		return fmt.Errorf("ranges: %w", err)
	}
	if err := n.compare(t); err != nil {
		return err
	}
	if err := deepGulms(t); err != nil {
		return err
	}
	return deepOwners(t)
}

// census is how much of everything a walk has found.
type census struct {
	used, contended, long, values, jumps, classes int

	queued  [3]int
	inSpace map[uint32]int // resources by lockspace
}

// resource checks one resource and counts what it has.
func (n *census) resource(t *Table, slot uint32, r *resourceRecord) error {
	n.used++
	n.inSpace[r.lockspace]++
	if len(t.name(r)) > inlineName {
		n.long++
	}
	if got := t.findResource(r.lockspace, t.name(r)); got != slot {
		return fmt.Errorf("in slot %d, is found in %d", slot, got)
	}
	if r.contention != 0 {
		n.contended++
		for at := t.contentions.get(r.contention).jumps; at != 0; at = t.jumpClasses.get(at).next {
			n.classes++
			for j := t.jumpClasses.get(at).head; j != 0; j = t.jumps.get(j).next {
				n.jumps++
			}
		}
	}
	if r.value != 0 {
		n.values++
		if got := int(t.values.get(r.value).length); got != t.valueLen(slot) {
			return fmt.Errorf("has a value of %d bytes", got)
		}
	}
	return deepResource(t, slot, &n.queued)
}

// rangeNames checks that files are found by their names.
func (n *census) rangeNames(t *Table) error {
	for slot := uint32(1); slot < t.rangeNames.next; slot++ {
		r := t.rangeNames.get(slot)
		if len(t.nameOf(&r.storedName)) > inlineName {
			n.long++
		}
		req := RangeRequest{Lockspace: r.lockspace, Name: t.nameOf(&r.storedName)}
		switch r.class {
		case gulmRanges:
			req.Flags = gulmLock
		case flockRanges:
			req.Flags = RangeFlock
		case posixRanges:
		}
		if r.lockspace != 0 && t.findRangeName(&req) != slot {
			return fmt.Errorf("file %q is not found", req.Name)
		}
	}
	return nil
}

// compare returns what the table counts otherwise.
func (n *census) compare(t *Table) error {
	for _, sp := range t.spaces {
		if sp.resources != n.inSpace[sp.number] || sp.empty() {
			return fmt.Errorf("lockspace %q counts %d resources of %d, members %v", sp.name, sp.resources, n.inSpace[sp.number], sp.members)
		}
		delete(n.inSpace, sp.number)
	}
	locks := n.queued[granted] + n.queued[converting] + n.queued[waiting]
	switch {
	case len(n.inSpace) != 0:
		return fmt.Errorf("resources in lockspaces that do not exist: %v", n.inSpace)
	case n.queued[converting] != t.converting || n.queued[waiting] != t.waiting:
		return fmt.Errorf("counts %d converting, %d waiting, has %v", t.converting, t.waiting, n.queued)
	case n.used != t.resources.used || n.contended != t.contentions.used || n.long != t.longNames.used || locks != t.locks.used:
		return fmt.Errorf("arenas count %d resources, %d contended, %d long names, %d locks; there are %d, %d, %d, %d",
			t.resources.used, t.contentions.used, t.longNames.used, t.locks.used, n.used, n.contended, n.long, locks)
	case n.jumps != t.jumps.used || n.classes != t.jumpClasses.used:
		return fmt.Errorf("%d requests without order are in use, in %d classes; there are %d in %d", t.jumps.used, t.jumpClasses.used, n.jumps, n.classes)
	case n.values != t.values.used:
		return fmt.Errorf("%d value blocks are in use, %d are there", n.values, t.values.used)
	case t.lockIndex.used != locks || t.resourceIndex.used != n.used:
		return fmt.Errorf("indexes hold %d locks of %d, %d resources of %d", t.lockIndex.used, locks, t.resourceIndex.used, n.used)
	}
	return nil
}

// deepGulms checks what is known beside the locks of the GULM layer.
func deepGulms(t *Table) error {
	marked := 0
	for slot := uint32(1); slot < t.locks.next; slot++ {
		l := t.locks.get(slot)
		if l.id == 0 || !l.marked() {
			continue
		}
		marked++
		if got := t.findGulm(l.session, l.resource, t.sub(l), l.flags&gulmMarks); got != slot {
			return fmt.Errorf("lock %d/%d of sub-id %d in slot %d is found in %d", l.session, l.id, t.sub(l), slot, got)
		}
	}
	if marked != t.gulms.used || marked != t.gulmIndex.used {
		return fmt.Errorf("%d locks are GULM's, %d are known, %d are found", marked, t.gulms.used, t.gulmIndex.used)
	}
	return nil
}

// deepOwners checks that sessions list their locks in order of creation.
func deepOwners(t *Table) error {
	for i, o := range t.owners {
		if i > 0 && t.owners[i-1].session >= o.session {
			return fmt.Errorf("session %d is out of order", o.session)
		}
		before, order := uint32(0), uint64(0)
		for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
			l := t.locks.get(slot)
			if (o.session.ofNode() || l.marked()) != (l.origin != 0) || slices.ContainsFunc(o.ended.list, func(e endedLock) bool { return e.id == l.id }) {
				return fmt.Errorf("lock %d/%d was left by %d, or is denied", l.session, l.id, l.origin)
			}
			if l.before != before || l.order <= order || l.order > t.lastOrder || l.token > t.lastToken {
				return fmt.Errorf("lock %d/%d is linked or numbered wrongly", l.session, l.id)
			}
			if got := t.findLock(l.session, l.id); got != slot {
				return fmt.Errorf("lock %d/%d in slot %d is found in %d", l.session, l.id, slot, got)
			}
			before, order = slot, l.order
		}
		if o.tail != before {
			return fmt.Errorf("session %d ends its list wrongly", o.session)
		}
	}
	return nil
}

// deepResource checks one resource and counts its locks into queued.
func deepResource(t *Table, slot uint32, queued *[3]int) error {
	r := t.resources.get(slot)
	heads, tails := [3]uint32{r.head}, [3]uint32{r.tail}
	var c contentionRecord
	if r.contention != 0 {
		c = *t.contentions.get(r.contention)
		heads[converting], tails[converting] = c.convertHead, c.convertTail
		heads[waiting], tails[waiting] = c.waitHead, c.waitTail
	}
	var look queueLook
	for q := range heads {
		before := uint32(0)
		for s := heads[q]; s != 0; s = t.locks.get(s).next {
			l := t.locks.get(s)
			if l.prev != before || l.resource != slot || l.queue != queue(q) {
				return fmt.Errorf("lock %d/%d is linked wrongly", l.session, l.id)
			}
			if err := look.at(t, l); err != nil {
				return fmt.Errorf("lock %d/%d %w", l.session, l.id, err)
			}
			before = s
			queued[q]++
		}
		if tails[q] != before {
			return fmt.Errorf("queue %d ends wrongly", q)
		}
	}
	if n := &look.counts; n.wanted != c.wanted || n.convertTo != c.convertTo || n.convertFrom != c.convertFrom || n.recovery != c.recovery {
		return fmt.Errorf("counts its queues wrongly: %+v, has %+v", c, *n)
	}
	if err := deepJumps(t, &c, look.jumpers); err != nil {
		return err
	}
	for m := range Mode(modes) {
		for _, l := range look.holders {
			if c.told.has(m) && !compatible[l.granted][m] && !t.deaf(l) && !covered(l.blocking, m) {
				return fmt.Errorf("remembers that all were told of %v, but %d/%d was not", m, l.session, l.id)
			}
		}
	}
	return nil
}

// queueLook is what a walk along the queues of a resource has seen.
type queueLook struct {
	holders, conversions, jumpers []*lockRecord
	counts                        contentionRecord
}

// at takes in the next lock and returns what is wrong with it.
func (k *queueLook) at(t *Table, l *lockRecord) error {
	if l.queue == granted && l.requested != l.granted || l.queue == waiting && (l.granted != NL || l.token != 0) {
		return fmt.Errorf("has %v and wants %v in queue %d", l.granted, l.requested, l.queue)
	}
	if t.jumpOf(l) != 0 {
		k.jumpers = append(k.jumpers, l)
	}
	if l.queue == granted {
		k.holders = append(k.holders, l)
		return nil
	}
	k.counts.wanted[l.requested]++
	k.counts.recovery += uint32(l.flags & Recovery / Recovery)
	if (l.flags&NoOrder != 0) != (t.jumpOf(l) != 0) {
		return fmt.Errorf("has flags %x and jump record %d", l.flags, t.jumpOf(l))
	}
	if l.queue != converting {
		return nil
	}
	k.counts.convertTo[l.requested]++
	k.counts.convertFrom[l.granted]++
	for _, ahead := range k.conversions {
		if l.flags&NoDlckWt == 0 && !compatible[l.granted][ahead.requested] {
			return fmt.Errorf("and the conversion %d/%d wait for each other", ahead.session, ahead.id)
		}
	}
	k.conversions = append(k.conversions, l)
	return nil
}

// deepJumps checks the classes of a resource's requests with NoOrder, which are
// given in the order of the queues.
func deepJumps(t *Table, c *contentionRecord, jumpers []*lockRecord) error {
	classes := map[jumpKind]uint32{}
	for at := c.jumps; at != 0; at = t.jumpClasses.get(at).next {
		class := t.jumpClasses.get(at)
		if classes[class.kind] != 0 || class.head == 0 {
			return fmt.Errorf("class %+v is there twice or empty", class.kind)
		}
		classes[class.kind] = class.head
		before := uint32(0)
		for j := class.head; j != 0; j = t.jumps.get(j).next {
			if t.jumps.get(j).prev != before || t.jumps.get(j).class != at {
				return fmt.Errorf("class %+v is linked wrongly", class.kind)
			}
			before = j
		}
		if class.tail != before {
			return fmt.Errorf("class %+v ends wrongly", class.kind)
		}
	}
	for i, l := range jumpers {
		j := t.jumps.get(t.jumpOf(l))
		if i > 0 && jumpers[i-1].queue == l.queue && t.jumps.get(t.jumpOf(jumpers[i-1])).rank >= j.rank {
			return fmt.Errorf("lock %d/%d ranks wrongly", l.session, l.id)
		}
		// The queues give the requests of a class in its order.
		if t.locks.get(j.lock) != l || classes[l.jumpKind()] != t.jumpOf(l) {
			return fmt.Errorf("lock %d/%d is not found in class %+v", l.session, l.id, l.jumpKind())
		}
		classes[l.jumpKind()] = j.next
	}
	for kind, left := range classes {
		if left != 0 {
			return fmt.Errorf("class %+v has more than the queues", kind)
		}
	}
	return nil
}

// jumpOf returns the jump record of a lock, 0 if it has none.
func (t *Table) jumpOf(l *lockRecord) uint32 {
	if l.note == 0 {
		return 0
	}
	return t.notes.get(l.note).jump
}
