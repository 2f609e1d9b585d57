package lock

import "encoding/binary"

// resourceHash is FNV-1a over the lockspace's number and the name.
func resourceHash(lockspace uint32, name []byte) uint32 {
	h := uint64(14695981039346656037)
	for s := 0; s < 32; s += 8 {
		h = (h ^ uint64(byte(lockspace>>s))) * 1099511628211
	}
	for _, b := range name {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return uint32(mix64(h))
}

// findResource returns the slot of a resource, 0 if it does not exist.
func (t *Table) findResource(lockspace uint32, name []byte) uint32 {
	x := &t.resourceIndex
	if x.used == 0 {
		return 0
	}
	sum := resourceHash(lockspace, name)
	for i := sum & x.mask(); x.slots[i] != 0; i = (i + 1) & x.mask() {
		r := t.resources.get(x.slots[i])
		if r.sum == sum && r.lockspace == lockspace && string(t.name(r)) == string(name) {
			return x.slots[i]
		}
	}
	return 0
}

// addResource makes a resource that does not exist yet.
func (t *Table) addResource(lockspace uint32, name []byte) uint32 {
	slot := t.newResource(t.space(lockspace), name)
	insert(&t.resourceIndex, &t.resources, slot)
	return slot
}

// newResource makes a resource that is in no index yet.
func (t *Table) newResource(sp *space, name []byte) uint32 {
	slot, r := t.resources.alloc()
	r.lockspace, r.sum = sp.number, resourceHash(sp.number, name)
	t.setName(&r.storedName, name)
	sp.resources++
	return slot
}

// name returns the resource's name; the bytes belong to the table.
func (t *Table) name(r *resourceRecord) []byte { return t.nameOf(&r.storedName) }

// setName keeps a name in an empty record.
func (t *Table) setName(s *storedName, name []byte) {
	s.nameLen = uint8(len(name))
	if len(name) <= inlineName {
		copy(s.name[:], name)
		return
	}
	long, n := t.longNames.alloc()
	copy(n.bytes[:], name)
	binary.LittleEndian.PutUint32(s.name[:], long)
}

// nameOf returns a name that was kept; the bytes belong to the table.
func (t *Table) nameOf(s *storedName) []byte {
	if int(s.nameLen) <= inlineName {
		return s.name[:s.nameLen]
	}
	return t.longNames.get(binary.LittleEndian.Uint32(s.name[:])).bytes[:s.nameLen]
}

// dropName gives up what a name needs beside its record, which is to go.
func (t *Table) dropName(s *storedName) {
	if int(s.nameLen) > inlineName {
		t.longNames.release(binary.LittleEndian.Uint32(s.name[:]))
	}
}

// sweep forgets a resource that nobody refers to any more.
func (t *Table) sweep(slot uint32) {
	r := t.resources.get(slot)
	if r.head != 0 || r.contention != 0 || r.value != 0 && t.space(r.lockspace).keepValues {
		return
	}
	if r.value != 0 {
		t.values.release(r.value)
	}
	t.dropName(&r.storedName)
	lockspace := r.lockspace
	remove(&t.resourceIndex, &t.resources, slot)
	t.resources.release(slot)
	t.space(lockspace).resources--
	t.sweepSpace(lockspace)
}

// contend returns the contention record of a resource for writing, making it
// if need be.
func (t *Table) contend(resource uint32) *contentionRecord {
	if c := t.resources.get(resource).contention; c != 0 {
		return t.contentions.mut(c)
	}
	slot, c := t.contentions.alloc()
	t.resources.mut(resource).contention = slot
	return c
}

// calm forgets the contention record once nobody converts or waits.
func (t *Table) calm(resource uint32) {
	slot := t.resources.get(resource).contention
	if slot == 0 {
		return
	}
	if c := t.contentions.get(slot); c.convertHead == 0 && c.waitHead == 0 {
		t.contentions.release(slot)
		t.resources.mut(resource).contention = 0
	}
}

// ends returns the links of one queue of a resource for writing. The resource
// must have a contention record unless q is the granted queue.
func (t *Table) ends(resource uint32, q queue) (head, tail *uint32) {
	switch q {
	case granted:
		r := t.resources.mut(resource)
		return &r.head, &r.tail
	case converting:
		c := t.contend(resource)
		return &c.convertHead, &c.convertTail
	default:
		c := t.contend(resource)
		return &c.waitHead, &c.waitTail
	}
}

// enqueue puts a lock at the tail of a queue of its resource, or at the head of
// the queued requests if it may go there.
func (t *Table) enqueue(slot uint32, q queue) {
	l := t.locks.mut(slot)
	l.stamp, l.changed = t.now.stamp, t.now.index
	if q != granted && l.note != 0 {
		t.watch(slot)
	}
	if q == granted || !t.mayLead(slot, l, q) {
		t.pushTail(slot, l, q)
		return
	}
	if head, _ := t.ends(l.resource, q); *head != 0 {
		t.pass(t.resources.get(l.resource).contention)
	}
	t.pushHead(slot, l, q)
}

// mayLead reports whether a request asks to be queued at the head, those that it
// would pass have not been passed too often, and it waits for none of them.
func (t *Table) mayLead(slot uint32, l *lockRecord, q queue) bool {
	return l.flags&HeadQue != 0 && t.contend(l.resource).passed < t.overtakes() && (q == waiting || !t.behindConversion(slot))
}

func (t *Table) pushTail(slot uint32, l *lockRecord, q queue) {
	head, tail := t.ends(l.resource, q)
	l.queue, l.next, l.prev = q, 0, *tail
	if *tail == 0 {
		*head = slot
	} else {
		t.locks.mut(*tail).next = slot
	}
	*tail = slot
	t.count(l, +1)
	if q != granted && l.flags&NoOrder != 0 {
		t.jumpIn(slot, l, false)
	}
}

func (t *Table) pushHead(slot uint32, l *lockRecord, q queue) {
	head, tail := t.ends(l.resource, q)
	l.queue, l.next, l.prev = q, *head, 0
	if *head == 0 {
		*tail = slot
	} else {
		t.locks.mut(*head).prev = slot
	}
	*head = slot
	t.count(l, +1)
	if q != granted && l.flags&NoOrder != 0 {
		t.jumpIn(slot, l, true)
	}
}

// dequeue takes a lock out of the queue that it stands in.
func (t *Table) dequeue(slot uint32) {
	l := t.locks.mut(slot)
	head, tail := t.ends(l.resource, l.queue)
	if l.prev == 0 {
		*head = l.next
	} else {
		t.locks.mut(l.prev).next = l.next
	}
	if l.next == 0 {
		*tail = l.prev
	} else {
		t.locks.mut(l.next).prev = l.prev
	}
	l.next, l.prev = 0, 0
	t.count(l, -1)
	if l.note != 0 {
		t.unwatch(slot)
	}
}

// count keeps the totals of queued requests.
func (t *Table) count(l *lockRecord, by int) {
	switch l.queue {
	case granted:
		return
	case converting:
		t.converting += by
	case waiting:
		t.waiting += by
	}
	c := t.contend(l.resource)
	c.wanted[l.requested] += uint32(by)
	if l.queue == converting {
		c.convertTo[l.requested] += uint32(by)
		c.convertFrom[l.granted] += uint32(by)
	}
	if l.flags&Recovery != 0 {
		c.recovery += uint32(by)
	}
}
