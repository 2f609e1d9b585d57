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
	0, 1, 2, 3, 4, 6, 9, 10, 11, 12, 13, 17, 100, 101, 4096, 8192, 1 << 30, 1<<30 + 1, 1 << 62, RangeMax - 1, RangeMax,
}

const naiveCells = len(naiveBounds)

func cellEnd(i int) uint64 {
	if i == naiveCells-1 {
		return RangeMax
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
	token    uint64
	index    uint64
	events   []rangeEvent
}

type naiveHeld struct {
	owner  RangeOwner
	file   uint32
	cells  cells
	tokens [naiveCells]uint64 // where the cell is held
}

type naiveWait struct {
	owner    RangeOwner
	file     uint32
	id       ID
	from, to int
	kind     RangeKind
	order    uint64
	ahead    bool
	recovery bool
	since    uint64
	timeout  uint32
	spared   bool
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

// has returns what an owner has in a file.
func (n *naiveRanges) has(o RangeOwner, file uint32) naiveHeld {
	for _, h := range n.held {
		if h.owner == o && h.file == file {
			return h
		}
	}
	return naiveHeld{owner: o, file: file}
}

func (n *naiveRanges) cells(o RangeOwner, file uint32) cells { return n.has(o, file).cells }

func (n *naiveRanges) setCells(o RangeOwner, file uint32, c cells) {
	h := n.has(o, file)
	h.cells = c
	n.set(h)
}

func (n *naiveRanges) set(h naiveHeld) {
	n.held = slices.DeleteFunc(n.held, func(x naiveHeld) bool { return x.owner == h.owner && x.file == h.file })
	if h.cells != (cells{}) {
		n.held = append(n.held, h)
	}
}

// grant gives a range with a new token, which all that is one with it carries.
func (n *naiveRanges) grant(w naiveWait) uint64 {
	n.token++
	h := n.has(w.owner, w.file)
	h.cells = h.cells.with(w.from, w.to, 1+uint8(w.kind))
	for i := w.from; i < naiveCells && h.cells[i] == h.cells[w.from]; i++ {
		h.tokens[i] = n.token
	}
	for i := w.from; i >= 0 && h.cells[i] == h.cells[w.from]; i-- {
		h.tokens[i] = n.token
	}
	n.set(h)
	return n.token
}

// runs returns the ranges that the cells are, and the first cell of each.
func (c cells) runs() (runs []rangeSpan, first []int) {
	for i := 0; i < naiveCells; i++ {
		if c[i] == 0 {
			continue
		}
		from := i
		for i+1 < naiveCells && c[i+1] == c[from] {
			i++
		}
		runs, first = append(runs, rangeSpan{naiveBounds[from], cellEnd(i), RangeKind(c[from] - 1)}), append(first, from)
	}
	return runs, first
}

// count is how many ranges the cells are.
func (c cells) count() int {
	runs, _ := c.runs()
	return len(runs)
}

// covers reports whether c has one range that is as much as is wanted.
func (c cells) covers(from, to int, kind RangeKind) bool {
	for i := from; i <= to; i++ {
		if c[i] <= uint8(kind) || c[i] != c[from] {
			return false
		}
	}
	return true
}

// meets reports whether c has something between two cells that conflicts with a
// kind.
func (c cells) meets(from, to int, kind RangeKind) bool {
	for i := from; i <= to; i++ {
		if c[i] == 2 || c[i] == 1 && kind == RangeWrite {
			return true
		}
	}
	return false
}

func (w naiveWait) meets(from, to int, kind RangeKind) bool {
	return w.from <= to && from <= w.to && (w.kind == RangeWrite || kind == RangeWrite)
}

// before reports whether w is granted before o if both are possible.
func (w naiveWait) before(o naiveWait) bool {
	if w.ahead != o.ahead {
		return w.ahead
	}
	return w.order < o.order
}

// inTheWay reports whether w waits for what o has or asked for.
func (n *naiveRanges) inTheWay(w naiveWait, o RangeOwner) bool {
	if o == w.owner {
		return false
	}
	if h := n.has(o, w.file); h.cells.meets(w.from, w.to, w.kind) && !(w.recovery && n.passable(h)) {
		return true
	}
	return slices.ContainsFunc(n.waits, func(u naiveWait) bool {
		return u.owner == o && u.file == w.file && u.before(w) && u.meets(w.from, w.to, w.kind)
	})
}

// obstructed reports whether others hold what w wants.
func (n *naiveRanges) obstructed(w naiveWait) bool {
	return slices.ContainsFunc(n.held, func(h naiveHeld) bool {
		return h.owner != w.owner && h.file == w.file && h.cells.meets(w.from, w.to, w.kind) && !(w.recovery && n.passable(h))
	})
}

func (n *naiveRanges) passable(h naiveHeld) bool {
	return h.owner.Origin != 0 && !n.state(h.owner.Session).Doubted
}

func (n *naiveRanges) isFrozen(h naiveHeld) bool {
	return h.owner.Origin != 0 || n.frozen(h.owner.Session)
}

// state returns what is known of a session.
func (n *naiveRanges) state(s Session) rangeSessionState {
	for _, o := range n.sessions {
		if o.Session == s {
			return o
		}
	}
	return rangeSessionState{Session: s}
}

func (n *naiveRanges) count() int {
	count := len(n.waits)
	for _, h := range n.held {
		count += h.cells.count()
	}
	return count
}

func (n *naiveRanges) overBy(growth int) bool {
	return growth > 0 && n.limit > 0 && n.count()+growth > int(n.limit)
}

func (n *naiveRanges) frozen(s Session) bool {
	return n.state(s).Frozen
}

func (n *naiveRanges) check(o RangeOwner, start, end uint64, kind RangeKind) reason.Reason {
	switch {
	case o.Session == 0:
		return reason.NoSession
	case n.frozen(o.Session):
		return reason.NodeExpired
	case start > end || end > RangeMax || kind > RangeWrite:
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
	w := naiveWait{req.Owner, req.File, req.ID, from, to, req.Kind, n.order + 1, false, req.Recovery, n.index, req.Timeout, req.Spared}
	mine := n.cells(req.Owner, req.File)
	passes, some, all := true, false, true
	recovers := n.recovers(w)
	for _, u := range n.waits {
		if u.file != w.file || u.owner == w.owner || !u.meets(from, to, w.kind) || recovers && !u.ahead {
			continue
		}
		mineFirst := mine.meets(u.from, u.to, u.kind)
		passes = passes && mineFirst
		if !u.ahead {
			some, all = true, all && mineFirst
		}
	}
	if !mine.covers(from, to, w.kind) && (n.obstructed(w) || !passes) {
		if !req.Wait {
			return rangeRefuse(reason.TryFailed)
		}
		w.ahead = some && all || recovers
		return n.queue(w)
	}
	if recovers {
		before := slices.Clone(n.held)
		n.setCells(req.Owner, req.File, mine.with(from, to, 1+uint8(req.Kind)))
		circle := n.circle(req.Owner)
		if n.held = before; circle {
			return rangeRefuse(reason.Deadlock)
		}
	}
	if n.overBy(mine.with(from, to, 1+uint8(req.Kind)).count() - mine.count()) {
		return rangeRefuse(reason.Limit)
	}
	reply := rangeReply{Outcome: Granted, Token: n.grant(w)}
	n.settle()
	return reply
}

// recovers reports whether w passes remains.
func (n *naiveRanges) recovers(w naiveWait) bool {
	return w.recovery && slices.ContainsFunc(n.held, func(h naiveHeld) bool {
		return h.file == w.file && h.cells.meets(w.from, w.to, w.kind) && n.passable(h)
	})
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
func (n *naiveRanges) circle(from RangeOwner) bool {
	var all []RangeOwner
	for _, h := range n.held {
		all = append(all, h.owner)
	}
	for _, w := range n.waits {
		all = append(all, w.owner)
	}
	slices.SortFunc(all, compareOwners)
	all = slices.Compact(all)
	reached, todo := []RangeOwner{}, []RangeOwner{from}
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
		n.events = append(n.events, rangeEvent{w.owner, w.id, w.file, w.kind, n.grant(w)})
		i = -1
	}
	before := slices.Clone(n.sessions)
	n.sessions = slices.DeleteFunc(n.sessions, func(s rangeSessionState) bool { return !s.Frozen })
	note := func(s Session) {
		if !slices.ContainsFunc(n.sessions, func(o rangeSessionState) bool { return o.Session == s }) {
			i := slices.IndexFunc(before, func(o rangeSessionState) bool { return o.Session == s })
			n.sessions = append(n.sessions, rangeSessionState{Session: s, Doubted: i >= 0 && before[i].Doubted})
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
