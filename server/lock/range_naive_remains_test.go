package lock

import "slices"

// naiveHeir gives every node two sessions or more.
func naiveHeir(s Session) Session { return 1<<63 | 1<<62 | s%2 }

func (n *naiveRanges) FreezeIn(s, heir Session, doubted bool, match func(uint32) bool) int {
	moved := 0
	for _, h := range slices.Clone(n.held) {
		if h.owner.Session != s || !match(h.file) {
			continue
		}
		moved += h.cells.count()
		n.setCells(h.owner, h.file, cells{})
		n.addRemains(RangeOwner{heir, h.owner.Number, s}, h)
		if !slices.ContainsFunc(n.sessions, func(o rangeSessionState) bool { return o.Session == heir }) {
			n.sessions = append(n.sessions, rangeSessionState{Session: heir, Doubted: doubted})
		}
	}
	n.drop(func(RangeOwner, uint32) bool { return false }, func(o RangeOwner, f uint32) bool { return o.Session == s && match(f) })
	return moved
}

// addRemains adds cells to what an owner left before: the stronger kind stays,
// and a range has the newest token of its cells.
func (n *naiveRanges) addRemains(o RangeOwner, h naiveHeld) {
	r := n.has(o, h.file)
	for i, value := range h.cells {
		switch {
		case value > r.cells[i]:
			r.cells[i], r.tokens[i] = value, h.tokens[i]
		case value != 0 && value == r.cells[i]:
			r.tokens[i] = max(r.tokens[i], h.tokens[i])
		}
	}
	for i := 0; i < naiveCells; {
		from, token := i, uint64(0)
		for ; i < naiveCells && r.cells[i] == r.cells[from]; i++ {
			token = max(token, r.tokens[i])
		}
		for k := from; k < i && r.cells[from] != 0; k++ {
			r.tokens[k] = token
		}
	}
	n.set(r)
}

func (n *naiveRanges) ReleaseIn(s, from Session, match func(uint32) bool) int {
	state := n.state(s)
	released := 0
	its := func(o RangeOwner, f uint32) bool {
		return o.Session == s && match(f) && (from == 0 || o.Origin == from)
	}
	for _, h := range n.held {
		if its(h.owner, h.file) {
			released += h.cells.count()
		}
	}
	if state.Doubted || !state.Frozen && s>>63 == 0 {
		return 0
	}
	n.drop(its, its)
	return released
}

func (n *naiveRanges) Doubt(heir Session, doubted bool) {
	for i := range n.sessions {
		if n.sessions[i].Session == heir {
			n.sessions[i].Doubted = doubted
		}
	}
	n.settle()
}
