package lock

import (
	"cmp"
	"slices"

	"lock_gulmd/server/reason"
)

// naiveBounds cut the offsets into cells of all widths: cell i begins at
// naiveBounds[i] and ends before the next one begins. The last one ends at
// infinity, which is one offset wide.
var naiveBounds = [...]uint64{
	0, 1, 2, 3, 4, 6, 9, 10, 11, 12, 13, 17, 100, 101, 4096, 8192, 1 << 30, 1<<30 + 1, 1 << 62, rangeMax - 1, rangeMax,
}

const naiveCells = len(naiveBounds)

func cellEnd(i int) uint64 {
	if i == naiveCells-1 {
		return rangeMax
	}
	return naiveBounds[i+1] - 1
}

// cells tells for each cell what an owner has there: 0, or 1 + the kind.
type cells [naiveCells]uint8

// naiveRanges does what rangeTable does with cells and slices, and derives
// everything anew each time.
type naiveRanges struct {
	limit    uint64
	held     []naiveHeld
	waits    []naiveWait // in order of arrival
	sessions []rangeSessionState
	order    uint64
	events   []rangeEvent
}

type naiveHeld struct {
	owner rangeOwner
	file  uint32
	cells cells
}

type naiveWait struct {
	owner    rangeOwner
	file     uint32
	id       ID
	from, to int
	kind     rangeKind
	order    uint64
	ahead    bool
}

// cellsOf says which cells a range of offsets is.
func cellsOf(start, end uint64) (from, to int) {
	for i := range naiveCells {
		if naiveBounds[i] == start {
			from = i
		}
		if cellEnd(i) == end {
			to = i
		}
	}
	return from, to
}

func (n *naiveRanges) cells(o rangeOwner, file uint32) cells {
	for _, h := range n.held {
		if h.owner == o && h.file == file {
			return h.cells
		}
	}
	return cells{}
}

func (n *naiveRanges) setCells(o rangeOwner, file uint32, c cells) {
	n.held = slices.DeleteFunc(n.held, func(h naiveHeld) bool { return h.owner == o && h.file == file })
	if c != (cells{}) {
		n.held = append(n.held, naiveHeld{o, file, c})
	}
}

func (c cells) runs() (runs []rangeSpan) {
	for i := 0; i < naiveCells; i++ {
		if c[i] == 0 {
			continue
		}
		from := i
		for i+1 < naiveCells && c[i+1] == c[from] {
			i++
		}
		runs = append(runs, rangeSpan{naiveBounds[from], cellEnd(i), rangeKind(c[from] - 1)})
	}
	return runs
}

// meets reports whether c has something between two cells that conflicts with a
// kind.
func (c cells) meets(from, to int, kind rangeKind) bool {
	for i := from; i <= to; i++ {
		if c[i] == 2 || c[i] == 1 && kind == rangeWrite {
			return true
		}
	}
	return false
}

func (w naiveWait) meets(from, to int, kind rangeKind) bool {
	return w.from <= to && from <= w.to && (w.kind == rangeWrite || kind == rangeWrite)
}

// before reports whether w is granted before o if both are possible.
func (w naiveWait) before(o naiveWait) bool {
	if w.ahead != o.ahead {
		return w.ahead
	}
	return w.order < o.order
}

// inTheWay reports whether w waits for what o has or asked for.
func (n *naiveRanges) inTheWay(w naiveWait, o rangeOwner) bool {
	if o == w.owner {
		return false
	}
	if n.cells(o, w.file).meets(w.from, w.to, w.kind) {
		return true
	}
	return slices.ContainsFunc(n.waits, func(u naiveWait) bool {
		return u.owner == o && u.file == w.file && u.before(w) && u.meets(w.from, w.to, w.kind)
	})
}

// obstructed reports whether others hold what w wants.
func (n *naiveRanges) obstructed(w naiveWait) bool {
	return slices.ContainsFunc(n.held, func(h naiveHeld) bool {
		return h.owner != w.owner && h.file == w.file && h.cells.meets(w.from, w.to, w.kind)
	})
}

func (n *naiveRanges) count() int {
	count := len(n.waits)
	for _, h := range n.held {
		count += len(h.cells.runs())
	}
	return count
}

func (n *naiveRanges) overBy(growth int) bool {
	return growth > 0 && n.limit > 0 && n.count()+growth > int(n.limit)
}

func (n *naiveRanges) frozen(s Session) bool {
	return slices.ContainsFunc(n.sessions, func(o rangeSessionState) bool { return o.Session == s && o.Frozen })
}

func (n *naiveRanges) check(o rangeOwner, start, end uint64, kind rangeKind) reason.Reason {
	switch {
	case o.Session == 0:
		return reason.NoSession
	case n.frozen(o.Session):
		return reason.NodeExpired
	case start > end || end > rangeMax || kind > rangeWrite:
		return reason.Invalid
	}
	return reason.None
}

func (n *naiveRanges) waitsAs(s Session, id ID) int {
	return slices.IndexFunc(n.waits, func(w naiveWait) bool { return w.owner.Session == s && w.id == id })
}

func (n *naiveRanges) checkLock(req rangeRequest) reason.Reason {
	if r := n.check(req.Owner, req.Start, req.End, req.Kind); r != reason.None {
		return r
	}
	if req.Wait && (req.ID == 0 || n.waitsAs(req.Owner.Session, req.ID) >= 0) {
		return reason.Invalid
	}
	return reason.None
}

func (n *naiveRanges) Lock(req rangeRequest) rangeReply {
	if r := n.checkLock(req); r != reason.None {
		return rangeRefuse(r)
	}
	from, to := cellsOf(req.Start, req.End)
	w := naiveWait{req.Owner, req.File, req.ID, from, to, req.Kind, n.order + 1, false}
	mine := n.cells(req.Owner, req.File)
	passes, some, all := true, false, true
	for _, u := range n.waits {
		if u.file != w.file || u.owner == w.owner || !u.meets(from, to, w.kind) {
			continue
		}
		mineFirst := mine.meets(u.from, u.to, u.kind)
		passes = passes && mineFirst
		if !u.ahead {
			some, all = true, all && mineFirst
		}
	}
	if n.obstructed(w) || !passes {
		if !req.Wait {
			return rangeRefuse(reason.TryFailed)
		}
		w.ahead = some && all
		return n.queue(w)
	}
	after := mine.with(from, to, 1+uint8(req.Kind))
	if n.overBy(len(after.runs()) - len(mine.runs())) {
		return rangeRefuse(reason.Limit)
	}
	n.setCells(req.Owner, req.File, after)
	n.settle()
	return rangeReply{Outcome: Granted}
}

func (c cells) with(from, to int, value uint8) cells {
	for i := from; i <= to; i++ {
		c[i] = value
	}
	return c
}

func (n *naiveRanges) queue(w naiveWait) rangeReply {
	if n.overBy(1) {
		return rangeRefuse(reason.Limit)
	}
	n.waits = append(n.waits, w)
	if n.circle(w.owner) {
		n.waits = n.waits[:len(n.waits)-1]
		return rangeRefuse(reason.Deadlock)
	}
	n.order++
	n.settle()
	return rangeReply{Outcome: Queued}
}

// circle reports whether an owner waits for itself over any others.
func (n *naiveRanges) circle(from rangeOwner) bool {
	var all []rangeOwner
	for _, h := range n.held {
		all = append(all, h.owner)
	}
	for _, w := range n.waits {
		all = append(all, w.owner)
	}
	slices.SortFunc(all, compareOwners)
	all = slices.Compact(all)
	reached, todo := []rangeOwner{}, []rangeOwner{from}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		for _, w := range n.waits {
			if w.owner != next {
				continue
			}
			for _, o := range all {
				if !slices.Contains(reached, o) && n.inTheWay(w, o) {
					reached, todo = append(reached, o), append(todo, o)
				}
			}
		}
	}
	return slices.Contains(reached, from)
}

func (n *naiveRanges) settle() {
	slices.SortFunc(n.waits, func(a, b naiveWait) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	for i := 0; i < len(n.waits); i++ {
		w := n.waits[i]
		behind := slices.ContainsFunc(n.waits[:i], func(u naiveWait) bool {
			return u.owner != w.owner && u.file == w.file && u.meets(w.from, w.to, w.kind)
		})
		if behind || n.obstructed(w) {
			continue
		}
		n.waits = slices.Delete(n.waits, i, i+1)
		n.setCells(w.owner, w.file, n.cells(w.owner, w.file).with(w.from, w.to, 1+uint8(w.kind)))
		n.events = append(n.events, rangeEvent{w.owner, w.id, w.file})
		i = -1
	}
	n.sessions = slices.DeleteFunc(n.sessions, func(s rangeSessionState) bool { return !s.Frozen })
	note := func(s Session) {
		if !slices.ContainsFunc(n.sessions, func(o rangeSessionState) bool { return o.Session == s }) {
			n.sessions = append(n.sessions, rangeSessionState{Session: s})
		}
	}
	for _, h := range n.held {
		note(h.owner.Session)
	}
	for _, w := range n.waits {
		note(w.owner.Session)
	}
	slices.SortFunc(n.sessions, func(a, b rangeSessionState) int { return cmp.Compare(a.Session, b.Session) })
}

func (n *naiveRanges) Unlock(o rangeOwner, file uint32, start, end uint64) rangeReply {
	if r := n.check(o, start, end, rangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	from, to := cellsOf(start, end)
	before := n.cells(o, file)
	after := before.with(from, to, 0)
	if n.overBy(len(after.runs()) - len(before.runs())) {
		return rangeRefuse(reason.Limit)
	}
	n.setCells(o, file, after)
	n.settle()
	return rangeReply{Outcome: Unlocked}
}

func (n *naiveRanges) Flock(req rangeRequest) rangeReply {
	req.Start, req.End = 0, rangeMax
	if r := n.checkLock(req); r != reason.None {
		return rangeRefuse(r)
	}
	if c := n.cells(req.Owner, req.File); c[0] != 0 && c[0] != 1+uint8(req.Kind) {
		n.Unlock(req.Owner, req.File, 0, rangeMax)
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
func (n *naiveRanges) drop(held, waits func(rangeOwner, uint32) bool) {
	n.held = slices.DeleteFunc(n.held, func(h naiveHeld) bool { return held(h.owner, h.file) })
	n.waits = slices.DeleteFunc(n.waits, func(w naiveWait) bool { return waits(w.owner, w.file) })
	n.settle()
}

func (n *naiveRanges) CloseFile(o rangeOwner, file uint32) rangeReply {
	if r := n.check(o, 0, 0, rangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	his := func(other rangeOwner, f uint32) bool { return other == o && f == file }
	n.drop(his, his)
	return rangeReply{Outcome: Unlocked}
}

func (n *naiveRanges) CloseOwner(o rangeOwner) rangeReply {
	if r := n.check(o, 0, 0, rangeRead); r != reason.None {
		return rangeRefuse(r)
	}
	his := func(other rangeOwner, _ uint32) bool { return other == o }
	n.drop(his, his)
	return rangeReply{Outcome: Unlocked}
}

func (n *naiveRanges) Freeze(s Session) {
	if s == 0 {
		return
	}
	n.sessions = slices.DeleteFunc(n.sessions, func(o rangeSessionState) bool { return o.Session == s })
	n.sessions = append(n.sessions, rangeSessionState{s, true})
	n.drop(func(rangeOwner, uint32) bool { return false }, func(o rangeOwner, _ uint32) bool { return o.Session == s })
}

func (n *naiveRanges) Release(s Session) {
	n.sessions = slices.DeleteFunc(n.sessions, func(o rangeSessionState) bool { return o.Session == s })
	its := func(o rangeOwner, _ uint32) bool { return o.Session == s }
	n.drop(its, its)
}

func (n *naiveRanges) Test(
	o rangeOwner, file uint32, start, end uint64, kind rangeKind, limit int,
) (found []rangeConflict, more bool, _ reason.Reason) {
	if r := n.check(o, start, end, kind); r != reason.None {
		return nil, false, r
	}
	s := rangeSpan{start, end, kind}
	for _, r := range n.file(file).Ranges {
		if r.Owner != o && s.overlaps(r.Start, r.End) && (r.Kind == rangeWrite || kind == rangeWrite) {
			found = append(found, rangeConflict{r.Owner, r.Start, r.End, r.Kind, n.frozen(r.Owner.Session)})
		}
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
		for _, s := range h.cells.runs() {
			state.Ranges = append(state.Ranges, rangeState{h.owner, s.start, s.end, s.kind})
		}
	}
	slices.SortFunc(state.Ranges, func(a, b rangeState) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), compareOwners(a.Owner, b.Owner))
	})
	for _, w := range n.waits {
		if w.file == key {
			state.Waits = append(state.Waits, rangeWaitState{
				w.owner, w.id, naiveBounds[w.from], cellEnd(w.to), w.kind, w.order, w.ahead,
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
