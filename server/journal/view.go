package journal

import "slices"

// Holds reports whether a session has a journal mounted in a lockspace: then
// what it holds there is released after a replay only.
func (l *Ledger) Holds(lockspace uint32, session uint64) bool {
	p := l.space(lockspace)
	if p == nil {
		return false
	}
	m := p.mount(session)
	return m != nil && m.JID != NoJID
}

// HeldBy returns the lockspaces, ascending, in which a life has a journal mounted,
// or left one that is still dirty.
func (l *Ledger) HeldBy(life Life) []uint32 {
	var spaces []uint32
	for i := range l.spaces {
		if l.spaces[i].keeper(life) != 0 {
			spaces = append(spaces, l.spaces[i].Lockspace)
		}
	}
	return spaces
}

// Keeper returns a session of a life with whose remains all goes that the life has
// in a lockspace: the one that has a journal mounted, or left one dirty. It returns
// 0 if there is none.
func (l *Ledger) Keeper(lockspace uint32, life Life) uint64 {
	if p := l.space(lockspace); p != nil {
		return p.keeper(life)
	}
	return 0
}

func (p *Space) keeper(life Life) uint64 {
	for i := range p.Mounts {
		if m := &p.Mounts[i]; m.Life == life && m.JID != NoJID {
			return m.Session
		}
	}
	if jid := p.leftBy(life); jid != NoJID {
		left := p.Journals[jid].Left
		return left[slices.IndexFunc(left, func(r Remains) bool { return r.Life == life })].Sessions[0]
	}
	return 0
}

// leftBy returns the journal that a life left dirty, NoJID if there is none.
func (p *Space) leftBy(life Life) int {
	return slices.IndexFunc(p.Journals, func(j Journal) bool {
		return slices.ContainsFunc(j.Left, func(r Remains) bool { return r.Life == life })
	})
}

// MountedBy returns the lockspaces, ascending, for which a life has asked for a
// mount.
func (l *Ledger) MountedBy(life Life) []uint32 {
	var spaces []uint32
	for i := range l.spaces {
		if slices.ContainsFunc(l.spaces[i].Mounts, func(m Mount) bool { return m.Life == life }) {
			spaces = append(spaces, l.spaces[i].Lockspace)
		}
	}
	return spaces
}

// MountsOf returns the lockspaces, ascending, for which a session has asked for a
// mount.
func (l *Ledger) MountsOf(session uint64) []uint32 {
	var spaces []uint32
	for i := range l.spaces {
		if l.spaces[i].mount(session) != nil {
			spaces = append(spaces, l.spaces[i].Lockspace)
		}
	}
	return spaces
}

// MayPass reports whether a session's requests may pass remains in a
// lockspace: it is the first mounter and replays all journals, or it recovers one.
func (l *Ledger) MayPass(lockspace uint32, session uint64) bool {
	p := l.space(lockspace)
	if p == nil {
		return false
	}
	m := p.mount(session)
	return m != nil && !m.Dead && (m.State == First || p.recoveries(session) > 0)
}

// Changed appends to events what a session must be told that has seen everything
// up to log index `seen`.
func (l *Ledger) Changed(session, seen uint64, events []Event) []Event {
	for i := range l.spaces {
		p := &l.spaces[i]
		m := p.mount(session)
		if m == nil {
			continue
		}
		if m.State != Waiting && m.Changed > seen {
			events = append(events, p.told(m))
		}
		for jid := range p.Journals {
			if j := &p.Journals[jid]; j.Recoverer == session && j.Changed > seen {
				events = append(events, p.handed(jid))
			}
		}
	}
	return events
}

// Space returns a lockspace with its journals and mounts, for reading only, and
// false if it has none.
func (l *Ledger) Space(lockspace uint32) (Space, bool) {
	if p := l.space(lockspace); p != nil {
		return *p, true
	}
	return Space{}, false
}

// Spaces returns all lockspaces with journals by number, for reading only.
func (l *Ledger) Spaces() []Space { return l.spaces }

// Mount returns the mount of a session, false if it has asked for none.
func (p *Space) Mount(session uint64) (Mount, bool) {
	if m := p.mount(session); m != nil {
		return *m, true
	}
	return Mount{}, false
}

// LeftBy returns the journal for which the remains wait that a session left in a
// lockspace, NoJID if there is none.
func (p *Space) LeftBy(session uint64) int {
	return slices.IndexFunc(p.Journals, func(j Journal) bool {
		return slices.ContainsFunc(j.Left, func(r Remains) bool { return slices.Contains(r.Sessions, session) })
	})
}

// Leaves reports whether what a session left in a lockspace waits for a journal, or
// for what is waited for after that.
func (l *Ledger) Leaves(lockspace uint32, session uint64) bool {
	p := l.space(lockspace)
	return p != nil && (p.LeftBy(session) != NoJID ||
		slices.ContainsFunc(p.Late, func(r Remains) bool { return slices.Contains(r.Sessions, session) }))
}

// Clone returns a copy that shares nothing with l.
func (l *Ledger) Clone() Ledger {
	return Ledger{spaces: l.Copy(), index: l.index, stamp: l.stamp}
}

// Copy returns all lockspaces with journals by number; the caller owns the result.
func (l *Ledger) Copy() []Space {
	spaces := copied(l.spaces)
	for i := range spaces {
		p := &spaces[i]
		p.Mounts, p.Journals, p.Late = copied(p.Mounts), copied(p.Journals), copyLeft(p.Late)
		for k := range p.Journals {
			j := &p.Journals[k]
			j.Failed, j.Left = copied(j.Failed), copyLeft(j.Left)
		}
	}
	return spaces
}

func copyLeft(left []Remains) []Remains {
	left = copied(left)
	for i := range left {
		left[i].Sessions = copied(left[i].Sessions)
	}
	return left
}

// copied is slices.Clone, but nil for whatever is empty: a copy compares as what
// comes out of a snapshot.
func copied[T any](s []T) []T { return append([]T(nil), s...) }
