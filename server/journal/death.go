package journal

import "slices"

// Expire notes that a life is declared dead. Nothing is handed on: it may still
// be writing, into its journal and into those that it recovers. What its node
// left before is doubted.
func (l *Ledger) Expire(life Life) {
	for i := range l.spaces {
		for k := range l.spaces[i].Mounts {
			if m := &l.spaces[i].Mounts[k]; m.Life == life {
				m.Dead = true
			}
		}
	}
	l.each(life.Node, func(_ uint32, r *Remains) { r.Doubted = true })
}

// each calls visit for all that a node left, by lockspace.
func (l *Ledger) each(node string, visit func(lockspace uint32, r *Remains)) {
	for i := range l.spaces {
		p := &l.spaces[i]
		mark := func(left []Remains) {
			for i := range left {
				if left[i].Life.Node == node {
					visit(p.Lockspace, &left[i])
				}
			}
		}
		mark(p.Late)
		for k := range p.Journals {
			mark(p.Journals[k].Left)
		}
	}
}

// Trust is for a node whose fence is proved: what it left before is not doubted
// any more, but waits for an operator's word in the lockspaces of await. It returns
// what is to be released now, by lockspace. Settle follows, for every lockspace.
func (l *Ledger) Trust(node string, await []uint32) []Release {
	l.each(node, func(lockspace uint32, r *Remains) {
		r.Word = r.Word || r.Doubted && slices.Contains(await, lockspace)
		r.Doubted = false
	})
	return l.due()
}

// Concede is for a node that an operator acknowledged: nothing waits for that any
// more. It returns what is to be released now, by lockspace.
func (l *Ledger) Concede(node string) []Release {
	l.each(node, func(_ uint32, r *Remains) { r.Word = false })
	for i := range l.spaces {
		for k := range l.spaces[i].Journals {
			if j := &l.spaces[i].Journals[k]; j.Awaits == node {
				j.Awaits = ""
			}
		}
	}
	return l.due()
}

// Awaits reports whether anything that a node left, or replayed, waits for an
// operator's word.
func (l *Ledger) Awaits(node string) bool {
	found := false
	l.each(node, func(_ uint32, r *Remains) { found = found || r.Word })
	for i := range l.spaces {
		found = found || slices.ContainsFunc(l.spaces[i].Journals, func(j Journal) bool { return j.Awaits == node })
	}
	return found
}

// LeftIn returns the lockspaces, ascending, in which a node left something.
func (l *Ledger) LeftIn(node string) []uint32 {
	var spaces []uint32
	l.each(node, func(lockspace uint32, _ *Remains) { spaces = append(spaces, lockspace) })
	return slices.Compact(spaces)
}

// due takes out the late remains that wait for nothing any more, and hands out
// what can be had now.
func (l *Ledger) due() []Release {
	var out []Release
	for i := len(l.spaces) - 1; i >= 0; i-- {
		p := &l.spaces[i]
		var due []Remains
		for _, r := range p.Late {
			if !r.waits() {
				due = append(due, r)
			}
		}
		p.Late = slices.DeleteFunc(p.Late, func(r Remains) bool { return !r.waits() })
		if len(due) > 0 {
			out = append(out, Release{p.Lockspace, due})
		}
		l.assign(p)
		l.sweep(p.Lockspace)
	}
	return out
}

// Release is what is to be released in one lockspace.
type Release struct {
	Lockspace uint32
	Left      []Remains
}

// Settle ends the mount of a life whose fence is proved, if it has one in this
// lockspace: its journal is dirty, and what the sessions left is released when it is
// recovered. left names those that left something. If the life has no journal
// mounted, but left one that is still dirty, what the sessions left goes with that.
// With word an operator must acknowledge first that the node is gone, also for the
// journals that it was replaying. It reports
// false if the life had no journal there at all.
func (l *Ledger) Settle(lockspace uint32, life Life, left []uint64, word bool) bool {
	p := l.space(lockspace)
	if p == nil {
		return false
	}
	had := false
	if i := slices.IndexFunc(p.Mounts, func(m Mount) bool { return m.Life == life }); i >= 0 {
		had = p.Mounts[i].JID != NoJID
		l.end(p, p.Mounts[i].Session, true, left, word)
	}
	if jid := p.leftBy(life); !had && jid != NoJID {
		p.Journals[jid].leave(life, 0, left, word)
		had = true
	}
	l.sweep(lockspace)
	return had
}
