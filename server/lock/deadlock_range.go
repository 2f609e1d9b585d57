package lock

import (
	"cmp"
	"slices"
)

// Byte ranges in the search for deadlocks.
//
// A request for a range waits for each range of another owner that overlaps and
// conflicts with it, which that owner gives up after all that it waits for, be it
// for ranges or for locks (RangeOwner.Number is the same number as Terms.Owner);
// and for each request ahead of it that does. What is frozen ends every chain.
//
// There are no circles of such requests only: they are refused at once
// (range_deadlock.go). So a circle goes through a request for a lock that has an
// owner, of which the search starts, and ranges are looked at only if the owner
// of a lock that somebody waits for waits for a range himself.

// rangeFinder is what a search has found out about ranges, as far as it needed
// to.
type rangeFinder struct {
	parties map[RangeOwner]uint32 // of a clone, which has no index
	queues  map[uint32][]uint32   // requests of a file, in the order of their ranks
}

// party returns the record of an owner of ranges, 0 if there is none.
func (f *finder) party(o RangeOwner) uint32 {
	t := &f.t.ranges
	if t.waits.used == 0 || t.partyIndex.used > 0 {
		return t.findParty(o)
	}
	if f.ranges.parties == nil {
		f.ranges.parties = map[RangeOwner]uint32{}
		for slot := uint32(1); slot < t.parties.next; slot++ {
			if p := t.parties.get(slot); p.waitHead != 0 {
				f.ranges.parties[p.owner] = slot
			}
		}
		f.budget -= int(t.parties.next)
	}
	return f.ranges.parties[o]
}

// eachWaitOf calls yield for the requests of an owner, whose record may be 0.
func (f *finder) eachWaitOf(party uint32, yield func(thing)) {
	if party == 0 {
		return
	}
	t := &f.t.ranges
	for slot := t.parties.get(party).waitHead; slot != 0; slot = t.waits.get(slot).next {
		f.budget--
		yield(waitThing(slot))
	}
}

// behindHolding calls yield for the requests that must have an answer before a
// range of a holder goes.
func (f *finder) behindHolding(holder uint32, yield func(thing)) {
	party := f.t.ranges.holders.get(holder).party
	owner := f.t.ranges.parties.get(party).owner
	if owner.Origin != 0 {
		return
	}
	f.eachWaitOf(party, yield)
	if owner.Number == 0 {
		return
	}
	for _, slot := range f.actors[actor{session: owner.Session, owner: owner.Number}] {
		yield(lockThing(slot))
	}
}

// queueOf returns the requests that wait in a file by rank.
func (f *finder) queueOf(file uint32) []uint32 {
	if queue, ok := f.ranges.queues[file]; ok {
		return queue
	}
	t := &f.t.ranges
	queue := make([]uint32, 0, t.files.get(file).waiting)
	t.waitTree().each(t.files.get(file).waits, func(slot uint32) bool {
		queue = append(queue, slot)
		return true
	})
	slices.SortFunc(queue, func(a, b uint32) int { return cmp.Compare(t.waits.get(a).rank, t.waits.get(b).rank) })
	if f.ranges.queues == nil {
		f.ranges.queues = map[uint32][]uint32{}
	}
	f.ranges.queues[file] = queue
	f.budget -= len(queue)
	return queue
}

// rangeEdges is edges of a request for a range. The requests ahead are looked at
// from the nearest on, up to one that waits itself for all that is in the way of
// this one, but for what its own owner has and asked for: so a queue for one range
// costs no more than it is long.
func (f *finder) rangeEdges(slot uint32) []edge {
	t := &f.t.ranges
	w := t.waits.get(slot)
	file := t.holders.get(w.holder).file
	queue := f.queueOf(file)
	at, _ := slices.BinarySearchFunc(queue, w.rank, func(s uint32, rank uint64) int { return cmp.Compare(t.waits.get(s).rank, rank) })
	var edges []edge
	for at--; at >= 0 && f.budget > 0; at-- {
		f.budget--
		if !t.goesFirst(queue[at], slot) {
			continue
		}
		edges = append(edges, edge{waitThing(queue[at]), waitThing(queue[at]), true})
		if u := t.waits.get(queue[at]); u.covers(w) {
			return f.edgesTo(edges, slot, u.holder)
		}
	}
	seen := map[uint32]bool{w.holder: true}
	t.eachRange(t.files.get(file).ranges, w.start, w.end, w.kind.against(), func(r *rangeRecord) bool {
		f.budget--
		if !seen[r.holder] && !(w.recovery && t.passable(r.holder)) {
			edges = f.edgesOver(edges, r.holder)
		}
		seen[r.holder] = true
		return f.budget > 0
	})
	return edges
}

// edgesOver appends what must have an answer before a holder's ranges go.
func (f *finder) edgesOver(edges []edge, holder uint32) []edge {
	f.behindHolding(holder, func(to thing) {
		edges = append(edges, edge{to, thing{holder, aHolding}, false})
	})
	return edges
}

// edgesTo appends what a request waits for of one holder, but for the request
// of it that is known already to be the nearest.
func (f *finder) edgesTo(edges []edge, slot, holder uint32) []edge {
	t := &f.t.ranges
	if w := t.waits.get(slot); t.holdsUp(holder, w.span()) && !(w.recovery && t.passable(holder)) {
		edges = f.edgesOver(edges, holder)
	}
	f.eachWaitOf(t.holders.get(holder).party, func(to thing) {
		if to != edges[len(edges)-1].to && t.waits.get(to.slot).holder == holder && t.goesFirst(to.slot, slot) {
			edges = append(edges, edge{to, to, true})
		}
	})
	return edges
}

// goesFirst reports whether a request is ahead of another one of the same file and
// in its way.
func (t *rangeTable) goesFirst(ahead, slot uint32) bool {
	a, w := t.waits.get(ahead), t.waits.get(slot)
	return a.rank < w.rank && a.holder != w.holder && t.holders.get(a.holder).file == t.holders.get(w.holder).file &&
		a.span().conflicts(w.span())
}

// covers reports whether whatever is in the way of o, and ahead of w, is in the
// way of w too, or belongs to w's owner.
func (w *rangeWait) covers(o *rangeWait) bool {
	return w.start <= o.start && w.end >= o.end && w.kind >= o.kind && (o.recovery || !w.recovery)
}

// rangeWaitsFor is waitsFor of a request for a range.
func (t *Table) rangeWaitsFor(slot uint32, by, next thing) bool {
	switch by.kind {
	case aWait:
		return next == by && t.ranges.goesFirst(by.slot, slot)
	case aHolding:
		return t.holdingLeads(by.slot, next)
	case aLock:
	}
	return false
}

// holdingLeads reports whether the ranges of a holder go only after a request has
// an answer.
func (t *Table) holdingLeads(holder uint32, next thing) bool {
	party := t.ranges.holders.get(holder).party
	if next.kind == aWait {
		return t.ranges.holders.get(t.ranges.waits.get(next.slot).holder).party == party
	}
	l, owner := t.locks.get(next.slot), t.ranges.parties.get(party).owner
	return l.note != 0 && l.session == owner.Session && owner.Number != 0 && t.notes.get(l.note).owner == owner.Number
}

// holding returns what an owner holds that is in the way of a request, slot 0 if
// that is nothing.
func (t *Table) holding(slot uint32, o RangeOwner) thing {
	r := &t.ranges
	w := r.waits.get(slot)
	holder := r.holderOf(r.findParty(o), r.holders.get(w.holder).file)
	if holder == w.holder || !r.holdsUp(holder, w.span()) {
		holder = 0
	}
	return thing{holder, aHolding}
}

// PartyRange is a byte range of a Party.
type PartyRange struct {
	// Start and End are the first and the last offset.
	Start, End uint64
	Kind       RangeKind
	// Flock is true for the lock of flock on a whole file.
	Flock bool
}

func (p *PartyRange) span() rangeSpan { return rangeSpan{p.Start, p.End, p.Kind} }

// rangeWait is wait of a request for a range.
func (t *Table) rangeWait(slot uint32, by thing, behind bool) Wait {
	w := t.ranges.waits.get(slot)
	name := t.rangeNames.get(t.ranges.files.get(t.ranges.holders.get(w.holder).file).key)
	wait := Wait{
		Lockspace: name.lockspace, Name: append([]byte(nil), t.nameOf(&name.storedName)...),
		Waiter: t.rangeAsked(slot, name.class == flockRanges), Behind: behind,
	}
	if by.kind == aWait {
		wait.By = t.rangeAsked(by.slot, name.class == flockRanges)
	} else {
		wait.By = t.rangeHeld(by.slot, w.span(), name.class == flockRanges)
	}
	return wait
}

// rangeAsked returns the party of a request for a range.
func (t *Table) rangeAsked(slot uint32, flock bool) Party {
	w := t.ranges.waits.get(slot)
	return Party{
		Session: w.session, ID: w.id, Owner: t.ranges.ownerOf(w.holder).Number, Queue: QueueWaiting,
		Requested: rangeMode(Queued, w.kind), Since: w.since, Stamp: w.stamp, Exempt: w.spared,
		Range: &PartyRange{w.start, w.end, w.kind, flock},
	}
}

// rangeHeld returns the party of the first range of a holder that conflicts with
// what another one wants.
func (t *Table) rangeHeld(holder uint32, wanted rangeSpan, flock bool) Party {
	owner := t.ranges.ownerOf(holder)
	p := Party{Session: owner.Session, Owner: owner.Number, Queue: QueueGranted, Frozen: t.ranges.frozenHolder(holder)}
	t.ranges.eachOwn(t.ranges.holders.get(holder).ranges, wanted.start, wanted.end, func(_ uint32, r *rangeRecord) bool {
		if !r.span().conflicts(wanted) {
			return true
		}
		mode := rangeMode(Granted, r.kind)
		p.Granted, p.Requested, p.Stamp, p.Range = mode, mode, r.stamp, &PartyRange{r.start, r.end, r.kind, flock}
		return false
	})
	return p
}
