package lock

import "lock_gulmd/server/reason"

func rangeRefuse(r reason.Reason) rangeReply { return rangeReply{Outcome: Refused, Reason: r} }

// Lock asks for a range: Granted, Queued (a rangeEvent follows, or Cancel ends
// it), or Refused with TryFailed, Deadlock, Limit, NodeExpired, NoSession or
// Invalid, which changes nothing. Limit also says that looking for a circle of
// owners that wait for each other would have taken too long.
func (t *rangeTable) Lock(req rangeRequest) rangeReply {
	if r := t.checkLock(req); r != reason.None {
		return rangeRefuse(r)
	}
	s := rangeSpan{req.Start, req.End, req.Kind}
	file := t.findFile(req.File)
	holder := t.holderOf(t.findParty(req.Owner), file)
	if !t.free(file, holder, s, req.Recovery) {
		if !req.Wait {
			return rangeRefuse(reason.TryFailed)
		}
		return t.queue(req, s)
	}
	if file != 0 && t.passes(file, s, req.Recovery) {
		if r := t.deadlockOf(t.findParty(req.Owner), rangeQuery{file, holder, s, 0, true}); r != reason.None {
			return rangeRefuse(r)
		}
	}
	change := t.plan(holder, s, true)
	switch {
	case t.overBy(change.growth()):
		return rangeRefuse(reason.Limit)
	case holder == 0:
		holder = t.makeHolder(req.Owner, req.File)
	}
	t.lastToken++
	reply := rangeReply{Outcome: Granted, Token: t.lastToken}
	t.settle(t.perform(holder, change, t.lastToken))
	return reply
}

func (t *rangeTable) checkLock(req rangeRequest) reason.Reason {
	if r := t.checkRange(req.Owner, req.Start, req.End, req.Kind); r != reason.None {
		return r
	}
	if req.Wait && (req.ID == 0 || t.findWait(req.Owner.Session, req.ID) != 0) {
		return reason.Invalid
	}
	return reason.None
}

func (t *rangeTable) checkRange(o RangeOwner, start, end uint64, kind RangeKind) reason.Reason {
	switch {
	case o.Session == 0 || o.Origin != 0:
		return reason.NoSession
	case t.frozen(o.Session):
		return reason.NodeExpired
	case start > end || end > RangeMax || kind >= rangeKinds:
		return reason.Invalid
	}
	return reason.None
}

func (t *rangeTable) frozen(s Session) bool {
	seat := t.findSession(s)
	return seat != 0 && t.sessions.get(seat).frozen
}

// queue makes a request wait.
func (t *rangeTable) queue(req rangeRequest, s rangeSpan) rangeReply {
	if t.overBy(1) {
		return rangeRefuse(reason.Limit)
	}
	file, party := t.findFile(req.File), t.findParty(req.Owner)
	holder := t.holderOf(party, file)
	rank := (t.lastOrder + 1) | rankLate
	if t.goesAhead(file, holder, s, req.Recovery) {
		rank &^= rankLate
	}
	if r := t.deadlock(party, rangeQuery{file, holder, s, rank, req.Recovery}); r != reason.None {
		return rangeRefuse(r)
	}
	t.lastOrder++
	t.addWait(t.makeHolder(req.Owner, req.File), rangeWait{
		start: s.start, end: s.end, kind: s.kind, rank: rank, id: req.ID, stamp: t.stamp, recovery: req.Recovery,
		since: t.index, timeout: req.Timeout, spared: req.Spared,
	})
	return rangeReply{Outcome: Queued}
}

// addWait adds a waiting request at the end of its owner's list.
func (t *rangeTable) addWait(holder uint32, wait rangeWait) {
	h := t.holders.mut(holder)
	h.waiting++
	slot, w := t.waits.alloc()
	*w = wait
	w.holder = holder
	w.session = t.parties.get(h.party).owner.Session
	insert(&t.waitIndex, &t.waits, slot)
	t.listWait(h.party, slot)
	t.listTimed(slot)
	root := t.waitTree().insert(t.files.get(h.file).waits, slot)
	f := t.files.mut(h.file)
	f.waits = root
	f.waiting++
}

// listWait appends a waiting request to its owner's list.
func (t *rangeTable) listWait(party, slot uint32) {
	p := t.parties.mut(party)
	pushBack(&t.waits, (*rangeWait).chain, &p.waitHead, &p.waitTail, slot)
}

// dropWait removes a waiting request and returns where others may be granted
// now. The holder stays, be it empty.
func (t *rangeTable) dropWait(slot uint32) rangeRegion {
	w := *t.waits.get(slot)
	h := t.holders.mut(w.holder)
	h.waiting--
	root := t.waitTree().remove(t.files.get(h.file).waits, slot)
	f := t.files.mut(h.file)
	f.waits = root
	f.waiting--
	p := t.parties.mut(h.party)
	unlink(&t.waits, (*rangeWait).chain, &p.waitHead, &p.waitTail, slot)
	t.unlistTimed(slot)
	remove(&t.waitIndex, &t.waits, slot)
	t.waits.release(slot)
	return rangeRegion{h.file, w.start, w.end}
}

// Unlock gives up whatever the owner holds of [start, end]: Unlocked, also if
// that is nothing, or Refused with Limit if a range would be split and there may
// be no more, NodeExpired, NoSession or Invalid. What the owner waits for is not
// touched.
func (t *rangeTable) Unlock(o RangeOwner, key uint32, start, end uint64) rangeReply {
	if r := t.checkRange(o, start, end, RangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	file := t.findFile(key)
	holder := t.holderOf(t.findParty(o), file)
	change := t.plan(holder, rangeSpan{start: start, end: end}, false)
	if t.overBy(change.growth()) {
		return rangeRefuse(reason.Limit)
	}
	if !change.empty() {
		regions := t.perform(holder, change, 0)
		t.settle(regions)
		t.sweepHolder(holder)
		t.sweepFile(file)
	}
	return rangeReply{Outcome: Unlocked}
}

// Cancel withdraws a waiting request: Cancelled, or Refused with NotHeld if the
// session does not wait under that number (any more), or NodeExpired.
func (t *rangeTable) Cancel(s Session, id ID) rangeReply {
	if t.frozen(s) {
		return rangeRefuse(reason.NodeExpired)
	}
	if t.findWait(s, id) == 0 {
		return rangeRefuse(reason.NotHeld)
	}
	t.withdraw(s, []ID{id})
	return rangeReply{Outcome: Cancelled}
}

// withdraw ends some waits of a session, and then grants what that allows.
func (t *rangeTable) withdraw(s Session, ids []ID) {
	dropped := make([]rangeRegion, 0, len(ids))
	for _, id := range ids {
		slot := t.findWait(s, id)
		holder := t.waits.get(slot).holder
		dropped = append(dropped, t.dropWait(slot))
		t.sweepHolder(holder)
	}
	t.finish(dropped)
}

// Flock asks for a whole file in the way of flock(2). The locks of flock do not
// meet those of fcntl: the caller gives them file numbers of their own, and the
// open file as owner.
//
// Changing the kind is not atomic, as on Linux: the old lock goes first, others
// may be granted, and if the new one cannot be had at once the owner has none
// until it is granted, or at all. To have the same kind again changes nothing.
func (t *rangeTable) Flock(req rangeRequest) rangeReply {
	req.Start, req.End = 0, RangeMax
	if r := t.checkLock(req); r != reason.None {
		return rangeRefuse(r)
	}
	holder := t.holderOf(t.findParty(req.Owner), t.findFile(req.File))
	if slot, r := t.ownAt(holder, 0); slot != 0 && r.kind != req.Kind {
		t.Unlock(req.Owner, req.File, 0, RangeMax)
	}
	return t.Lock(req)
}
