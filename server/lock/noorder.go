package lock

// Queued requests with NoOrder stand in their queue like all others, and also in
// lists of their own, one for each class: requests that differ in nothing but
// their place, so that either all of a class can be granted or none. Who looks for
// one that can be granted asks the oldest of each class, however long the queues
// are.

// jumpRecord is one queued request with NoOrder.
type jumpRecord struct {
	rank  int64 // grows along its queue
	lock  uint32
	class uint32
	links // of its class
}

// jumpClass is one class on one resource; it exists while it has requests.
type jumpClass struct {
	kind       jumpKind
	head, tail uint32
	next       uint32 // class of the same resource
}

// jumpKind is what decides whether a request with NoOrder can be granted.
type jumpKind struct {
	queue              queue
	granted, requested Mode
	flags              Flags // those of jumpFlags
}

const jumpFlags = AltPR | AltCW | Recovery

func (l *lockRecord) jumpKind() jumpKind {
	return jumpKind{l.queue, l.granted, l.requested, l.flags & jumpFlags}
}

// jumpIn puts a request that was queued into the list of its class, at the head
// if it stands at the head of its queue.
func (t *Table) jumpIn(slot uint32, l *lockRecord, ahead bool) {
	c := t.contend(l.resource)
	class := t.jumpClassOf(c, l.jumpKind())
	at, j := t.jumps.alloc()
	j.lock, j.class = slot, class
	t.ownNote(slot).jump = at
	list := t.jumpClasses.mut(class)
	switch {
	case ahead:
		c.firstRank--
		j.rank = c.firstRank
		pushFront(&t.jumps, (*jumpRecord).chain, &list.head, &list.tail, at)
	default:
		c.lastRank++
		j.rank = c.lastRank
		pushBack(&t.jumps, (*jumpRecord).chain, &list.head, &list.tail, at)
	}
}

// jumpClassOf returns the slot of a class, making it if need be.
func (t *Table) jumpClassOf(c *contentionRecord, kind jumpKind) uint32 {
	for at := c.jumps; at != 0; at = t.jumpClasses.get(at).next {
		if t.jumpClasses.get(at).kind == kind {
			return at
		}
	}
	at, class := t.jumpClasses.alloc()
	class.kind, class.next = kind, c.jumps
	c.jumps = at
	return at
}

// jumpOut takes a request that is queued no more out of its list.
func (t *Table) jumpOut(l *lockRecord) {
	at := t.notes.get(l.note).jump
	slot := t.jumps.get(at).class
	class := t.jumpClasses.mut(slot)
	unlink(&t.jumps, (*jumpRecord).chain, &class.head, &class.tail, at)
	t.notes.mut(l.note).jump = 0
	t.jumps.release(at)
	if class.head == 0 {
		t.dropJumpClass(t.contend(l.resource), slot)
	}
}

func (t *Table) dropJumpClass(c *contentionRecord, class uint32) {
	next := t.jumpClasses.get(class).next
	if c.jumps == class {
		c.jumps = next
	} else {
		at := c.jumps
		for t.jumpClasses.get(at).next != class {
			at = t.jumpClasses.get(at).next
		}
		t.jumpClasses.mut(at).next = next
	}
	t.jumpClasses.release(class)
}

// nextJump returns the first queued request with NoOrder, and with the given flags
// of jumpFlags, that can be granted, 0 if none can be; waiting ones come after
// conversions, or not at all.
func (t *Table) nextJump(resource uint32, conversions bool, with Flags) (uint32, wish) {
	c := t.contentions.get(t.resources.get(resource).contention)
	if c.jumps == 0 || c.passed >= t.overtakes() {
		return 0, wish{}
	}
	last := waiting
	if conversions {
		last = converting
	}
	var best wish
	var place queue
	var rank int64
	for at := c.jumps; at != 0; at = t.jumpClasses.get(at).next {
		class := t.jumpClasses.get(at)
		first := t.jumps.get(class.head)
		q := class.kind.queue
		if class.kind.flags&with != with || q > last || best.slot != 0 && (q > place || q == place && first.rank > rank) {
			continue
		}
		if w := t.wishOf(first.lock); t.fits(resource, &w, false) {
			best, rank, place = w, first.rank, q
		}
	}
	return best.slot, best
}
