package lock

import "lock_gulmd/server/reason"

// CloseFile gives up all that an owner holds of a file and waits for there, as
// the kernel does when a process closes it: Unlocked, also if that is nothing, or
// Refused with NoSession or NodeExpired.
func (t *rangeTable) CloseFile(o RangeOwner, key uint32) rangeReply {
	if r := t.checkRange(o, 0, 0, RangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	if holder := t.holderOf(t.findParty(o), t.findFile(key)); holder != 0 {
		t.finish(t.discardHolder(nil, holder))
	}
	return rangeReply{Outcome: Unlocked}
}

// CloseOwner gives up all that an owner holds and waits for in the files that
// match.
func (t *rangeTable) CloseOwner(o RangeOwner, match func(file uint32) bool) rangeReply {
	if r := t.checkRange(o, 0, 0, RangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	if party := t.findParty(o); party != 0 {
		t.finish(t.discardParty(nil, party, match))
	}
	return rangeReply{Outcome: Unlocked}
}

// CloseIn gives up all that a session's owners hold and wait for in the files
// that match.
func (t *rangeTable) CloseIn(s Session, match func(file uint32) bool) {
	t.discardSession(t.findSession(s), 0, match)
}

// Has reports whether a session's owners hold or wait for anything in the files
// that match.
func (t *rangeTable) Has(s Session, match func(file uint32) bool) bool {
	return !t.eachHolder(t.findSession(s), func(h *rangeHolder) bool { return !match(t.files.get(h.file).key) })
}

// Held returns how many ranges a session's owners hold.
func (t *rangeTable) Held(s Session) int {
	n := 0
	t.eachHolder(t.findSession(s), func(h *rangeHolder) bool {
		n += int(h.held)
		return true
	})
	return n
}

// Freeze is for the session of a node that was declared dead: what its owners
// wait for is withdrawn, what they hold stays and blocks others until Release.
// Whatever the session asks from now on is refused with NodeExpired.
func (t *rangeTable) Freeze(s Session) {
	if s == 0 {
		return
	}
	seat := t.makeSession(s)
	t.sessions.mut(seat).frozen = true
	var dropped []rangeRegion
	for party := t.sessions.get(seat).parties; party != 0; {
		next := t.parties.get(party).next
		for holder := t.parties.get(party).holders; holder != 0; {
			after := t.holders.get(holder).next
			dropped = t.dropWaits(dropped, holder)
			t.sweepHolder(holder)
			holder = after
		}
		party = next
	}
	t.finish(dropped)
}

// Release removes all that a session's owners hold and wait for, and what is
// known of the session, in one step, and grants what that allows.
func (t *rangeTable) Release(s Session) {
	seat := t.findSession(s)
	if seat == 0 {
		return
	}
	t.sessions.mut(seat).frozen = false
	if t.sessions.get(seat).parties == 0 {
		t.sweepSession(seat)
		return
	}
	t.discardSession(seat, 0, everyFile)
}

// discardSession removes what the owners of a session have in the files that
// match, of remains only those that the session `from` left unless that is 0, and
// grants what that allows; the seat may be 0.
func (t *rangeTable) discardSession(seat uint32, from Session, match func(file uint32) bool) {
	if seat == 0 {
		return
	}
	var dropped []rangeRegion
	for party := t.sessions.get(seat).parties; party != 0; {
		p := t.parties.get(party)
		next := p.next
		if from == 0 || p.owner.Origin == from {
			dropped = t.discardParty(dropped, party, match)
		}
		party = next
	}
	t.finish(dropped)
}

// discardParty removes all that an owner holds and waits for in the files that
// match, and the owner if nothing is left, without granting what that allows; it
// appends where to look.
func (t *rangeTable) discardParty(dropped []rangeRegion, party uint32, match func(file uint32) bool) []rangeRegion {
	for holder := t.parties.get(party).holders; holder != 0; {
		h := t.holders.get(holder)
		next := h.next
		if match(t.files.get(h.file).key) {
			dropped = t.discardHolder(dropped, holder)
		}
		holder = next
	}
	return dropped
}

// finish grants what can be had now that something was given up, and forgets
// files that are empty.
func (t *rangeTable) finish(dropped []rangeRegion) {
	t.settle(dropped)
	for _, r := range dropped {
		t.sweepFile(r.file)
	}
}

// dropWaits withdraws what a holder waits for; it appends where to look. The
// holder stays, be it empty.
func (t *rangeTable) dropWaits(dropped []rangeRegion, holder uint32) []rangeRegion {
	for slot := t.parties.get(t.holders.get(holder).party).waitHead; slot != 0 && t.holders.get(holder).waiting > 0; {
		w := t.waits.get(slot)
		next := w.next
		if w.holder == holder {
			dropped = append(dropped, t.dropWait(slot))
		}
		slot = next
	}
	return dropped
}

// discardHolder does that for one file. It appends at least one region.
func (t *rangeTable) discardHolder(dropped []rangeRegion, holder uint32) []rangeRegion {
	dropped = t.dropWaits(dropped, holder)
	h := *t.holders.get(holder)
	slots, lost := t.heldBy(holder)
	t.removeRanges(holder, slots)
	regions := t.regions(h.file, lost)
	if len(regions) == 0 {
		// Nobody waits: only the file is to be looked at.
		regions = []rangeRegion{{file: h.file}}
	}
	t.sweepHolder(holder)
	return append(dropped, regions...)
}

// heldBy returns what a holder has, in order.
func (t *rangeTable) heldBy(holder uint32) (slots []uint32, spans []rangeSpan) {
	h := t.holders.get(holder)
	slots, spans = make([]uint32, 0, h.held), make([]rangeSpan, 0, h.held)
	t.holderTree().each(h.ranges, func(slot uint32) bool {
		slots, spans = append(slots, slot), append(spans, t.ranges.get(slot).span())
		return true
	})
	return slots, spans
}
