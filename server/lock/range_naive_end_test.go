package lock

import (
	"cmp"
	"slices"

	"lock_gulmd/server/reason"
)

func (n *naiveRanges) Unlock(o RangeOwner, file uint32, start, end uint64) rangeReply {
	if r := n.check(o, start, end, RangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	from, to := cellsOf(start, end)
	before := n.cells(o, file)
	after := before.with(from, to, 0)
	if n.overBy(after.count() - before.count()) {
		return rangeRefuse(reason.Limit)
	}
	n.setCells(o, file, after)
	n.settle()
	return rangeReply{Outcome: Unlocked}
}

func (n *naiveRanges) Flock(req rangeRequest) rangeReply {
	req.Start, req.End = 0, RangeMax
	if r := n.checkLock(req); r != reason.None {
		return rangeRefuse(r)
	}
	if c := n.cells(req.Owner, req.File); c[0] != 0 && c[0] != 1+uint8(req.Kind) {
		n.Unlock(req.Owner, req.File, 0, RangeMax)
	}
	return n.Lock(req)
}

func (n *naiveRanges) Cancel(s Session, id ID) rangeReply {
	i := n.waitsAs(s, id)
	switch {
	case n.frozen(s):
		return rangeRefuse(reason.NodeExpired)
	case i < 0:
		return rangeRefuse(reason.NotHeld)
	}
	n.waits = slices.Delete(n.waits, i, i+1)
	n.settle()
	return rangeReply{Outcome: Cancelled}
}

// drop removes the ranges and requests for which a function is true.
func (n *naiveRanges) drop(held, waits func(RangeOwner, uint32) bool) {
	var left []naiveHeld // the functions look at what is held
	for _, h := range n.held {
		if !held(h.owner, h.file) {
			left = append(left, h)
		}
	}
	n.waits = slices.DeleteFunc(n.waits, func(w naiveWait) bool { return waits(w.owner, w.file) })
	n.held = left
	n.settle()
}

func (n *naiveRanges) CloseFile(o RangeOwner, file uint32) rangeReply {
	if r := n.check(o, 0, 0, RangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	his := func(other RangeOwner, f uint32) bool { return other == o && f == file }
	n.drop(his, his)
	return rangeReply{Outcome: Unlocked}
}

func (n *naiveRanges) CloseOwner(o RangeOwner, match func(uint32) bool) rangeReply {
	if r := n.check(o, 0, 0, RangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	his := func(other RangeOwner, f uint32) bool { return other == o && match(f) }
	n.drop(his, his)
	return rangeReply{Outcome: Unlocked}
}

func (n *naiveRanges) CloseIn(s Session, match func(uint32) bool) {
	his := func(o RangeOwner, f uint32) bool { return o.Session == s && match(f) }
	n.drop(his, his)
}

func (n *naiveRanges) Freeze(s Session) {
	if s == 0 {
		return
	}
	n.sessions = slices.DeleteFunc(n.sessions, func(o rangeSessionState) bool { return o.Session == s })
	n.sessions = append(n.sessions, rangeSessionState{Session: s, Frozen: true})
	n.drop(func(RangeOwner, uint32) bool { return false }, func(o RangeOwner, _ uint32) bool { return o.Session == s })
}

func (n *naiveRanges) Release(s Session) {
	n.sessions = slices.DeleteFunc(n.sessions, func(o rangeSessionState) bool { return o.Session == s })
	its := func(o RangeOwner, _ uint32) bool { return o.Session == s }
	n.drop(its, its)
}

func (n *naiveRanges) Test(
	o RangeOwner, file uint32, s rangeSpan, skip, limit int,
) (found []RangeConflict, more bool, _ reason.Reason) {
	if r := n.check(o, s.start, s.end, s.kind); r != reason.None {
		return nil, false, r
	}
	from, to := cellsOf(s.start, s.end)
	mine := n.cells(o, file)
	if mine.covers(from, to, s.kind) {
		return nil, false, reason.None
	}
	state := n.file(file)
	for _, r := range state.Ranges {
		if r.Owner != o && s.overlaps(r.Start, r.End) && (r.Kind == RangeWrite || s.kind == RangeWrite) {
			found = append(found, RangeConflict{r.Owner, r.Start, r.End, r.Kind, r.Frozen, false})
		}
	}
	slices.SortFunc(state.Waits, func(a, b RangeWaitState) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.rank(), b.rank()))
	})
	for _, w := range state.Waits {
		from, to := cellsOf(w.Start, w.End)
		if w.Owner != o && s.overlaps(w.Start, w.End) && (w.Kind == RangeWrite || s.kind == RangeWrite) && !mine.meets(from, to, w.Kind) {
			found = append(found, RangeConflict{w.Owner, w.Start, w.End, w.Kind, false, true})
		}
	}
	if found = found[min(skip, len(found)):]; len(found) == 0 {
		return nil, false, reason.None
	}
	if limit > 0 && len(found) > limit {
		return found[:limit], true, reason.None
	}
	return found, false, reason.None
}

// file returns one file as Walk would tell it.
func (n *naiveRanges) file(key uint32) rangeFileState {
	state := rangeFileState{File: key}
	for _, h := range n.held {
		if h.file != key {
			continue
		}
		runs, first := h.cells.runs()
		for i, s := range runs {
			state.Ranges = append(state.Ranges, RangeState{h.owner, s.start, s.end, s.kind, h.tokens[first[i]], 0, n.isFrozen(h)})
		}
	}
	slices.SortFunc(state.Ranges, func(a, b RangeState) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), compareOwners(a.Owner, b.Owner))
	})
	for _, w := range n.waits {
		if w.file == key {
			state.Waits = append(state.Waits, RangeWaitState{
				w.owner, w.id, naiveBounds[w.from], cellEnd(w.to), w.kind, w.order, w.ahead, 0, w.recovery, w.since, w.timeout, w.spared,
			})
		}
	}
	return state
}

func (n *naiveRanges) SetLimit(limit uint64) { n.limit = limit }

func (n *naiveRanges) TakeEvents() []rangeEvent {
	events := n.events
	n.events = nil
	return events
}
