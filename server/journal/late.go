package journal

import "slices"

// Later is for what sessions of a node left before the lockspace had journals, if
// the node is expired when all journals are replayed, or, with word, an operator has
// to acknowledge it: it is released with the proof of that fence (Trust), or with the
// word (Concede). What is named already is left alone.
func (l *Ledger) Later(lockspace uint32, life Life, sessions []uint64, word bool) {
	p := l.space(lockspace)
	if p == nil {
		return
	}
	sessions = slices.DeleteFunc(slices.Clone(sessions), func(s uint64) bool { return l.Leaves(lockspace, s) })
	if len(sessions) > 0 {
		p.Late = append(p.Late, Remains{Life: life, Sessions: sessions, Doubted: !word, Word: word})
	}
}

// HasLate reports whether remains in a lockspace wait for a fence or an operator's
// word only.
func (l *Ledger) HasLate(lockspace uint32) bool {
	p := l.space(lockspace)
	return p != nil && len(p.Late) > 0
}

// Trim forgets those late remains of which there is nothing, as `exists` says, and
// with that bounds them by the number of locks.
func (l *Ledger) Trim(lockspace uint32, exists func(node string, session uint64) bool) {
	p := l.space(lockspace)
	if p == nil {
		return
	}
	for i := range p.Late {
		r := &p.Late[i]
		r.Sessions = slices.DeleteFunc(r.Sessions, func(s uint64) bool { return !exists(r.Life.Node, s) })
	}
	p.Late = slices.DeleteFunc(p.Late, func(r Remains) bool { return len(r.Sessions) == 0 })
	l.sweep(lockspace)
}
