package lock

import "lock_gulmd/server/reason"

// CloseFile gives up all that an owner holds of a file and waits for there, as
// the kernel does when a process closes it: Unlocked, also if that is nothing, or
// Refused with NoSession or NodeExpired.
func (t *rangeTable) CloseFile(o rangeOwner, key uint32) rangeReply {
	if r := t.checkRange(o, 0, 0, rangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	if holder := t.holderOf(t.findParty(o), t.findFile(key)); holder != 0 {
		t.finish(t.discardHolder(nil, holder))
	}
	return rangeReply{Outcome: Unlocked}
}

// CloseOwner gives up all that an owner holds and waits for, in all files.
func (t *rangeTable) CloseOwner(o rangeOwner) rangeReply {
	if r := t.checkRange(o, 0, 0, rangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	if party := t.findParty(o); party != 0 {
		t.finish(t.discardParty(nil, party))
	}
	return rangeReply{Outcome: Unlocked}
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
		for slot := t.parties.get(party).waitHead; slot != 0; {
			w := t.waits.get(slot)
			holder, after := w.holder, w.next
			dropped = append(dropped, t.dropWait(slot))
			t.sweepHolder(holder)
			slot = after
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
	var dropped []rangeRegion
	party := t.sessions.get(seat).parties
	if party == 0 {
		t.sweepSession(seat)
	}
	for party != 0 {
		next := t.parties.get(party).next
		dropped = t.discardParty(dropped, party)
		party = next
	}
	t.finish(dropped)
}

// finish grants what can be had now that something was given up, and forgets
// files that are empty.
func (t *rangeTable) finish(dropped []rangeRegion) {
	t.settle(dropped)
	for _, r := range dropped {
		t.sweepFile(r.file)
	}
}

// discardParty removes an owner with all it holds and waits for, without
// granting what that allows; it appends where to look.
func (t *rangeTable) discardParty(dropped []rangeRegion, party uint32) []rangeRegion {
	for holder := t.parties.get(party).holders; holder != 0; {
		next := t.holders.get(holder).next
		dropped = t.discardHolder(dropped, holder)
		holder = next
	}
	return dropped
}

// discardHolder does that for one file. It appends at least one region.
func (t *rangeTable) discardHolder(dropped []rangeRegion, holder uint32) []rangeRegion {
	h := *t.holders.get(holder)
	for slot := t.parties.get(h.party).waitHead; slot != 0 && h.waiting > 0; {
		w := t.waits.get(slot)
		next := w.next
		if w.holder == holder {
			dropped = append(dropped, t.dropWait(slot))
			h.waiting--
		}
		slot = next
	}
	slots, lost := make([]uint32, 0, h.held), make([]rangeSpan, 0, h.held)
	t.holderTree().each(h.ranges, func(slot uint32) bool {
		slots = append(slots, slot)
		lost = append(lost, t.ranges.get(slot).span())
		return true
	})
	t.removeRanges(holder, slots)
	regions := t.regions(h.file, lost)
	if len(regions) == 0 {
		// Nobody waits: only the file is to be looked at.
		regions = []rangeRegion{{file: h.file}}
	}
	t.sweepHolder(holder)
	return append(dropped, regions...)
}
