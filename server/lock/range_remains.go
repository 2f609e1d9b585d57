package lock

// everyFile matches all files.
func everyFile(uint32) bool { return true }

// FreezeIn makes what a session's owners hold in the files that match remains of
// its node, `heir`, as if it had died there only; what they wait for there is
// withdrawn. It returns how many ranges there are. Remains block everybody but
// Recovery requests until ReleaseIn, and the owners begin anew beside them. A
// session that was frozen stays so. Remains of a node that has none yet are in
// doubt as is said.
func (t *rangeTable) FreezeIn(s, heir Session, doubted bool, match func(file uint32) bool) int {
	seat := t.findSession(s)
	if seat == 0 {
		return 0
	}
	var dropped []rangeRegion
	n := 0
	for party := t.sessions.get(seat).parties; party != 0; {
		next := t.parties.get(party).next
		for holder := t.parties.get(party).holders; holder != 0; {
			h := t.holders.get(holder)
			after := h.next
			if match(t.files.get(h.file).key) {
				n += int(h.held)
				dropped = t.dropWaits(dropped, holder)
				dropped = t.bequeath(dropped, holder, heir, doubted)
			}
			holder = after
		}
		party = next
	}
	t.finish(dropped)
	return n
}

// bequeath hands what a holder has to a node; it appends where to look, since
// Recovery requests may pass it now.
func (t *rangeTable) bequeath(dropped []rangeRegion, holder uint32, heir Session, doubted bool) []rangeRegion {
	h := t.holders.get(holder)
	file, owner := h.file, t.ownerOf(holder)
	if h.held == 0 {
		t.sweepHolder(holder)
		return dropped
	}
	slots, spans := t.heldBy(holder)
	pieces := make([]rangePiece, len(slots))
	for i, slot := range slots {
		r := t.ranges.get(slot)
		pieces[i] = rangePiece{spans[i], r.token, r.stamp}
	}
	t.removeRanges(holder, slots)
	if t.findSession(heir) == 0 {
		t.sessions.mut(t.makeSession(heir)).doubted = doubted
	}
	origin := owner.Session
	if owner.Origin != 0 {
		origin = owner.Origin
	}
	to := t.makeHolder(RangeOwner{heir, owner.Number, origin}, t.files.get(file).key)
	// The stronger first, so that the others are never one with what these divide.
	for _, kind := range [...]RangeKind{RangeWrite, RangeRead} {
		for _, p := range pieces {
			if p.kind == kind {
				t.addRemains(to, p)
			}
		}
	}
	t.sweepHolder(holder)
	return append(dropped, t.regions(file, spans)...)
}

// addRemains adds a range to remains, which may have been passed by it: of what
// overlaps, the stronger kind stays.
func (t *rangeTable) addRemains(holder uint32, p rangePiece) {
	var strong []rangeSpan
	t.eachOwn(t.holders.get(holder).ranges, p.start, p.end, func(_ uint32, r *rangeRecord) bool {
		if r.kind > p.kind {
			strong = append(strong, r.span())
		}
		return true
	})
	// Piece by piece between those: put in whole it would for a moment be one with what
	// touches it on their far side, which would come out with its token.
	end := p.end
	for _, s := range strong {
		if s.start > p.start {
			p.end = s.start - 1
			t.replace(holder, p)
		}
		p.start = s.end + 1
	}
	if p.end = end; p.start <= p.end {
		t.replace(holder, p)
	}
}

// replace gives a holder a range that it had, whoever else has what there.
func (t *rangeTable) replace(holder uint32, p rangePiece) {
	change := t.plan(holder, p.rangeSpan, true)
	token := p.token
	for _, slot := range append(change.gone, change.same) {
		if slot != 0 && t.ranges.get(slot).kind == p.kind {
			token = max(token, t.ranges.get(slot).token)
		}
	}
	t.perform(holder, change, token)
}

// ReleaseIn removes what the owners of a dead session, or of a node's remains,
// have in the files that match, and grants what that allows; of remains only those
// that the session `from` left, unless that is 0. It returns how many ranges there
// were: none in remains that are in doubt, or for a session that lives.
func (t *rangeTable) ReleaseIn(s, from Session, match func(file uint32) bool) int {
	seat := t.findSession(s)
	if seat == 0 || t.sessions.get(seat).doubted || !t.sessions.get(seat).frozen && !t.hasRemains(seat) {
		return 0
	}
	n := 0
	t.eachHolder(seat, func(h *rangeHolder) bool {
		if match(t.files.get(h.file).key) && (from == 0 || t.parties.get(h.party).owner.Origin == from) {
			n += int(h.held)
		}
		return true
	})
	t.discardSession(seat, from, match)
	return n
}

// eachHolder calls yield for all holders of a session, whose seat may be 0, until
// it returns false.
func (t *rangeTable) eachHolder(seat uint32, yield func(*rangeHolder) bool) bool {
	if seat == 0 {
		return true
	}
	for party := t.sessions.get(seat).parties; party != 0; party = t.parties.get(party).next {
		for holder := t.parties.get(party).holders; holder != 0; holder = t.holders.get(holder).next {
			if !yield(t.holders.get(holder)) {
				return false
			}
		}
	}
	return true
}

// hasRemains reports whether a session stands for a node's remains.
func (t *rangeTable) hasRemains(seat uint32) bool {
	party := t.sessions.get(seat).parties
	return party != 0 && t.parties.get(party).owner.Origin != 0
}

// Doubt says whether nobody may pass or release a node's remains: from when the
// node was declared dead until its fence is proved. It grants what that allows.
func (t *rangeTable) Doubt(heir Session, doubted bool) {
	seat := t.findSession(heir)
	if seat == 0 || t.sessions.get(seat).doubted == doubted {
		return
	}
	t.sessions.mut(seat).doubted = doubted
	var regions []rangeRegion
	for party := t.sessions.get(seat).parties; party != 0; party = t.parties.get(party).next {
		for holder := t.parties.get(party).holders; holder != 0; holder = t.holders.get(holder).next {
			_, spans := t.heldBy(holder)
			regions = append(regions, t.regions(t.holders.get(holder).file, spans)...)
		}
	}
	t.finish(regions)
}
