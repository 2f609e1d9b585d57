package journal

import "slices"

// assign gives everybody what can be had now: journals to those that wait, in
// their order, and then dirty journals to live mounters.
func (l *Ledger) assign(p *Space) {
	for i := range p.Mounts {
		l.assignMount(p, &p.Mounts[i])
	}
	for jid := range p.Journals {
		l.assignRecovery(p, jid)
	}
}

// assignMount lets a mount that waits begin, if it may.
func (l *Ledger) assignMount(p *Space, m *Mount) {
	if m.State != Waiting || m.Dead {
		return
	}
	state, jid := Mounted, NoJID
	switch {
	case p.mountedAlive():
		if m.Spectator {
			break
		}
		if p.hasLeft(m.Life) {
			return // it withdrew: somebody else replays its journal first
		}
		if jid = p.free(); jid == NoJID {
			return
		}
	case m.Spectator || p.unproved():
		return
	default:
		state, jid = First, p.forFirst(m.Life)
	}
	m.State, m.JID, m.Changed, m.Since = state, jid, l.index, l.stamp
	if jid != NoJID {
		p.Journals[jid].Mounter, p.Journals[jid].Since = m.Session, l.stamp
	}
	l.events = append(l.events, p.told(m))
	if state == First {
		l.note(p, NoteFirst, m)
	} else {
		l.note(p, NoteMounted, m)
	}
}

// assignRecovery hands a dirty journal to a mounter.
func (l *Ledger) assignRecovery(p *Space, jid int) {
	j := &p.Journals[jid]
	if !j.Dirty() || j.doubted() || j.Mounter != 0 || j.Recoverer != 0 {
		return
	}
	var best *Mount
	least := 0
	for i := range p.Mounts {
		m := &p.Mounts[i]
		if !m.works() || slices.Contains(j.Failed, m.Session) {
			continue
		}
		if n := p.recoveries(m.Session); best == nil || n < least {
			best, least = m, n
		}
	}
	if best == nil {
		return
	}
	j.Recoverer, j.Changed, j.Since = best.Session, l.index, l.stamp
	j.Begun++
	l.events = append(l.events, p.handed(jid))
	l.noteJournal(p, NoteRecovery, jid, "")
}

// works reports whether a mount can replay journals of others.
func (m *Mount) works() bool { return m.State == Mounted && !m.Dead && !m.Spectator }

// mountedAlive reports whether somebody alive has the file system mounted and
// has said, or was told, that all journals were replayed.
func (p *Space) mountedAlive() bool {
	return slices.ContainsFunc(p.Mounts, func(m Mount) bool { return m.works() })
}

// unproved reports whether a journal belongs to a mount, which is the first one
// or dead and not fenced, or waits for more than a replay: nobody may replay all
// journals then.
func (p *Space) unproved() bool {
	return slices.ContainsFunc(p.Journals, func(j Journal) bool { return j.Mounter != 0 || j.doubted() })
}

func (j *Journal) doubted() bool {
	return j.Awaits != "" || slices.ContainsFunc(j.Left, func(r Remains) bool { return r.waits() })
}

// hasLeft reports whether a life left a journal that is not recovered yet.
func (p *Space) hasLeft(life Life) bool { return p.leftBy(life) != NoJID }

// free returns the first free journal, NoJID if there is none.
func (p *Space) free() int {
	return slices.IndexFunc(p.Journals, func(j Journal) bool { return j.Mounter == 0 && !j.Dirty() })
}

// forFirst returns the journal of a first mounter: the one that it left dirty
// itself, or its node in an earlier life, or a clean one, or any. It must not leave
// two: what it leaves is released with one of them.
func (p *Space) forFirst(life Life) int {
	if jid := p.leftBy(life); jid != NoJID {
		return jid
	}
	for jid := range p.Journals {
		if slices.ContainsFunc(p.Journals[jid].Left, func(r Remains) bool { return r.Life.Node == life.Node }) {
			return jid
		}
	}
	return max(p.free(), 0)
}

// recoveries counts the journals that a session replays.
func (p *Space) recoveries(session uint64) int {
	n := 0
	for i := range p.Journals {
		if p.Journals[i].Recoverer == session {
			n++
		}
	}
	return n
}

// told is the event that tells a session of its mount.
func (p *Space) told(m *Mount) Event {
	return Event{Session: m.Session, Kind: EventMounted, Lockspace: p.Lockspace, JID: m.JID, First: m.State == First}
}

// handed is the event that tells a session to replay a journal.
func (p *Space) handed(jid int) Event {
	j := &p.Journals[jid]
	return Event{
		Session: j.Recoverer, Kind: EventRecover, Lockspace: p.Lockspace, JID: jid, Life: j.Left[len(j.Left)-1].Life,
	}
}
