package lock

import "lock_gulmd/server/reason"

// The table is a graph of owners. An owner waits for another if one of its
// waiting requests overlaps and conflicts with a range of the other's, or with a
// request of the other's that is ahead of it. Before a request is queued, deadlock
// looks whether somebody for whom its owner would wait, waits for its owner.
// Nothing is kept for that: the graph is derived from the trees each time.
//
// The owners of frozen sessions wait for nobody; whoever waits for them just
// waits, for the release.
//
// The search is exact and bounded:
//   - Mostly it is not needed at all: nobody waits for an owner that holds
//     nothing of what others wait for.
//   - Each owner is visited once, and only if it waits itself. A request whose
//     obstacles are all among those of a request seen before (a queue for one
//     range) is not looked at again.
//   - After rangeSearchSteps obstacles the request is refused with Limit, since
//     queueing it might let it wait for ever. They are counted in an order that
//     is the same on every server.

// rangeSearchSteps bounds how many obstacles are looked at in one search: some
// tens of milliseconds.
const rangeSearchSteps = 1 << 19

// rangeSearchMemory is how many requests are kept to tell whether another has
// any obstacles that they do not have.
const rangeSearchMemory = 32

// rangeQuery is a waiting request, or one that would wait.
type rangeQuery struct {
	file, holder uint32
	rangeSpan
	rank     uint64
	recovery bool // remains are not in its way
}

// within reports whether whatever is in the way of q is in the way of d too, or
// belongs to d's owner.
func (q rangeQuery) within(d rangeQuery) bool {
	return q.file == d.file && q.start >= d.start && q.end <= d.end && q.kind <= d.kind && q.rank <= d.rank &&
		(q.recovery || !d.recovery)
}

// rangeSearch looks for a way from some owners to the target.
type rangeSearch struct {
	t     *rangeTable
	seen  map[uint32]struct{}
	todo  []uint32
	done  []rangeQuery
	steps int
}

// deadlock returns Deadlock if the owner of q would wait for itself, Limit if
// that takes too long to find out, and None otherwise. The party is q's owner,
// 0 if it is not known.
func (t *rangeTable) deadlock(party uint32, q rangeQuery) reason.Reason {
	if q.rank >= rankLate && (party == 0 || !t.awaited(party)) {
		return reason.None
	}
	s := &rangeSearch{t: t, seen: map[uint32]struct{}{}}
	if q.rank < rankLate && party != 0 && t.parties.get(party).waitHead != 0 {
		s.seen[party], s.todo = struct{}{}, []uint32{party} // those whom it passes will wait for it
	}
	s.look(q)
	return s.reaches(party, q)
}

// deadlockOf is deadlock for a request that is granted before all others: those
// that it passes will wait for its owner, who must not wait for them already.
func (t *rangeTable) deadlockOf(party uint32, q rangeQuery) reason.Reason {
	if party == 0 || t.parties.get(party).waitHead == 0 {
		return reason.None
	}
	s := &rangeSearch{t: t, seen: map[uint32]struct{}{party: {}}, todo: []uint32{party}}
	return s.reaches(party, q)
}

// reaches searches on from the owners that were noted.
func (s *rangeSearch) reaches(party uint32, q rangeQuery) reason.Reason {
	t := s.t
	for len(s.todo) > 0 {
		if s.steps > rangeSearchSteps {
			return reason.Limit
		}
		next := s.todo[len(s.todo)-1]
		s.todo = s.todo[:len(s.todo)-1]
		for slot := t.parties.get(next).waitHead; slot != 0; slot = t.waits.get(slot).next {
			if t.waitsFor(slot, party) || t.goesBefore(q, slot) {
				return reason.Deadlock
			}
			w := t.waits.get(slot)
			s.look(rangeQuery{t.holders.get(w.holder).file, w.holder, w.span(), w.rank, w.recovery})
			s.steps++
		}
	}
	if s.steps > rangeSearchSteps {
		return reason.Limit
	}
	return reason.None
}

// look notes the owners of what is in the way of q.
func (s *rangeSearch) look(q rangeQuery) {
	for _, d := range s.done {
		if q.within(d) {
			return
		}
	}
	if len(s.done) < rangeSearchMemory {
		s.done = append(s.done, q)
	}
	f := s.t.files.get(q.file)
	s.t.eachRange(f.ranges, q.start, q.end, q.kind.against(), func(r *rangeRecord) bool {
		return q.recovery && s.t.passable(r.holder) || s.note(q.holder, r.holder)
	})
	s.t.eachWait(f.waits, q.start, q.end, q.kind.against(), q.rank, func(_ uint32, w *rangeWait) bool {
		return s.note(q.holder, w.holder)
	})
}

// note notes the owner of an obstacle, if it waits; it returns false when it is
// time to give up.
func (s *rangeSearch) note(own, holder uint32) bool {
	s.steps++
	party := s.t.holders.get(holder).party
	if own != holder && s.t.parties.get(party).waitHead != 0 {
		if _, ok := s.seen[party]; !ok {
			s.seen[party] = struct{}{}
			s.todo = append(s.todo, party)
		}
	}
	return s.steps <= rangeSearchSteps
}

// goesBefore reports whether a waiting request would have to let a new one pass.
func (t *rangeTable) goesBefore(q rangeQuery, slot uint32) bool {
	w := t.waits.get(slot)
	return q.rank < w.rank && w.holder != q.holder && t.holders.get(w.holder).file == q.file && q.conflicts(w.span())
}

// waitsFor reports whether a waiting request waits for something of a party
// directly.
func (t *rangeTable) waitsFor(slot, party uint32) bool {
	w := t.waits.get(slot)
	holder := t.holderOf(party, t.holders.get(w.holder).file)
	if holder == 0 || holder == w.holder {
		return false
	}
	if !(w.recovery && t.passable(holder)) && t.holdsUp(holder, w.span()) {
		return true
	}
	for s := t.parties.get(party).waitHead; s != 0; s = t.waits.get(s).next {
		o := t.waits.get(s)
		if o.holder == holder && o.rank < w.rank && o.span().conflicts(w.span()) {
			return true
		}
	}
	return false
}

// awaited reports whether somebody may wait for a party: for what it holds, or
// for requests of its own.
func (t *rangeTable) awaited(party uint32) bool {
	p := t.parties.get(party)
	if p.waitHead != 0 {
		return true
	}
	for holder := p.holders; holder != 0; holder = t.holders.get(holder).next {
		if t.awaitedIn(holder) {
			return true
		}
	}
	return false
}

// awaitedIn reports whether somebody waits for a range of a holder that waits
// for nothing itself. It goes through the ranges or the requests, whichever are
// fewer.
func (t *rangeTable) awaitedIn(holder uint32) bool {
	h := t.holders.get(holder)
	f := t.files.get(h.file)
	if f.waiting == 0 {
		return false
	}
	if h.held > f.waiting {
		return !t.waitTree().each(f.waits, func(slot uint32) bool {
			return !t.holdsUp(holder, t.waits.get(slot).span())
		})
	}
	return !t.holderTree().each(h.ranges, func(slot uint32) bool {
		return !t.overtakes(h.file, holder, t.ranges.get(slot).span(), lastRank)
	})
}
