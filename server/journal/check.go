package journal

import (
	"fmt"
	"slices"
)

// Restore replaces everything, as read from a snapshot, and reports whether it is
// a possible state. It takes the slice over.
func (l *Ledger) Restore(spaces []Space) bool {
	*l = Ledger{spaces: spaces}
	return l.Check() == nil
}

// Check returns what is inconsistent, nil if nothing is.
func (l *Ledger) Check() error {
	for i := range l.spaces {
		p := &l.spaces[i]
		if p.Lockspace == 0 || i > 0 && l.spaces[i-1].Lockspace >= p.Lockspace {
			return fmt.Errorf("lockspace %d is out of place", p.Lockspace)
		}
		if err := p.check(); err != nil {
			return fmt.Errorf("lockspace %d: %w", p.Lockspace, err)
		}
	}
	return nil
}

func (p *Space) check() error {
	if len(p.Journals) > MaxJournals {
		return fmt.Errorf("%d journals", len(p.Journals))
	}
	if p.empty() {
		return fmt.Errorf("nobody mounts it and all journals are clean")
	}
	var left []uint64
	having, first, working := 0, 0, 0
	for i := range p.Mounts {
		m := &p.Mounts[i]
		if err := p.checkMount(i); err != nil {
			return fmt.Errorf("mount of session %d: %w", m.Session, err)
		}
		if m.JID != NoJID {
			having++
		}
		switch {
		case m.State == First:
			first++
		case m.State == Mounted && !m.Spectator:
			working++
		}
	}
	if first > 1 || first > 0 && working > 0 {
		return fmt.Errorf("%d first mounters beside %d that work", first, working)
	}
	for jid := range p.Journals {
		if err := p.checkJournal(jid); err != nil {
			return fmt.Errorf("journal %d: %w", jid, err)
		}
		if p.Journals[jid].Mounter != 0 {
			having--
		}
		for _, r := range p.Journals[jid].Left {
			left = append(left, r.Sessions...)
		}
	}
	for i := range p.Late {
		left = append(left, p.Late[i].Sessions...)
		if !p.Late[i].possible() || !p.Late[i].waits() {
			return fmt.Errorf("impossible late remains %+v", p.Late[i])
		}
	}
	slices.Sort(left)
	if len(slices.Compact(slices.Clone(left))) < len(left) {
		return fmt.Errorf("a session left two journals: %v", left)
	}
	if having != 0 {
		return fmt.Errorf("a journal has another mounter than its mount says")
	}
	return p.settled()
}

func (p *Space) checkMount(i int) error {
	m := &p.Mounts[i]
	switch {
	case m.Session == 0 || m.Life.Node == "" || m.Life.Incarnation == 0 || m.State > Mounted:
		return fmt.Errorf("it is not filled in: %+v", *m)
	case m.JID < NoJID || m.JID >= len(p.Journals):
		return fmt.Errorf("it has journal %d of %d", m.JID, len(p.Journals))
	case (m.JID == NoJID) != (m.Spectator || m.State == Waiting):
		return fmt.Errorf("it has journal %d in state %d", m.JID, m.State)
	case m.Spectator && m.State == First:
		return fmt.Errorf("a spectator mounts first")
	case m.JID != NoJID && p.Journals[m.JID].Mounter != m.Session:
		return fmt.Errorf("journal %d belongs to session %d", m.JID, p.Journals[m.JID].Mounter)
	}
	for k := range i {
		o := &p.Mounts[k]
		if o.Session == m.Session || o.Life.Node == m.Life.Node && !o.Dead && !m.Dead {
			return fmt.Errorf("node %s mounts twice", m.Life.Node)
		}
	}
	return nil
}

func (r *Remains) possible() bool {
	return r.Life.Node != "" && r.Life.Incarnation != 0 && len(r.Sessions) > 0 && !slices.Contains(r.Sessions, 0)
}

func (p *Space) checkJournal(jid int) error {
	j := &p.Journals[jid]
	for i := range j.Left {
		if !j.Left[i].possible() {
			return fmt.Errorf("impossible remains %+v", j.Left[i])
		}
	}
	switch {
	case j.Mounter != 0 && p.mount(j.Mounter) == nil:
		return fmt.Errorf("its mounter %d does not mount", j.Mounter)
	case j.Mounter != 0 && j.Dirty() && p.mount(j.Mounter).State != First:
		return fmt.Errorf("it is dirty and mounted")
	case !j.Dirty() && (j.Recoverer != 0 || j.Begun != 0 || len(j.Failed) > 0 || j.Error != ""):
		return fmt.Errorf("it is clean and recovered")
	case j.Awaits != "" && (!j.Dirty() || j.Recoverer != 0 || j.Mounter != 0):
		return fmt.Errorf("it waits for a word about node %s for nothing", j.Awaits)
	case len(j.Failed) > MaxFailed || len(j.Error) > MaxText:
		return fmt.Errorf("it remembers too much")
	case (j.Recoverer == 0) != (j.Changed == 0):
		return fmt.Errorf("recoverer %d since index %d", j.Recoverer, j.Changed)
	}
	if j.Recoverer == 0 {
		return nil
	}
	m := p.mount(j.Recoverer)
	if m == nil || m.State != Mounted || m.Spectator || j.Mounter != 0 || slices.Contains(j.Failed, j.Recoverer) {
		return fmt.Errorf("session %d recovers it", j.Recoverer)
	}
	return nil
}

// settled checks that whatever could be handed out was.
func (p *Space) settled() error {
	l := Ledger{spaces: []Space{*p}}
	c := l.Clone()
	c.assign(&c.spaces[0])
	if len(c.events) > 0 || !slices.Equal(c.spaces[0].Mounts, p.Mounts) {
		return fmt.Errorf("something could be handed out and was not: %+v", c.events)
	}
	return nil
}
