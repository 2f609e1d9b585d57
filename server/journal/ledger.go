package journal

import (
	"cmp"
	"slices"

	"lock_gulmd/server/reason"
)

// Ledger knows all lockspaces with journals. The zero value is ready. Not safe
// for concurrent use.
type Ledger struct {
	spaces []Space // by lockspace
	index  uint64
	stamp  int64
	events []Event
	notes  []Note
}

// Begin says where in the log the following calls stand, and when.
func (l *Ledger) Begin(index uint64, stamp int64) { l.index, l.stamp = index, stamp }

// TakeEvents returns what happened since it was last called; the caller owns it.
func (l *Ledger) TakeEvents() []Event {
	events := l.events
	l.events = nil
	return events
}

// MountRequest asks for a mount.
type MountRequest struct {
	Lockspace uint32
	Session   uint64
	Life      Life
	// Spectator mounts read-only, without a journal.
	Spectator bool
	// Journals is how many the file system has, 1 to MaxJournals; 0 for a
	// spectator that does not know. A greater number than before adds journals.
	Journals int
}

// Mount asks for a mount: First or Mounted, or Waiting, and then an EventMounted
// follows. Refused with Mounted if the node has mounted the lockspace already,
// Invalid, Policy if the file system had more journals before, or NoJournal if
// each journal belongs to a live mounter or is promised to one.
func (l *Ledger) Mount(req MountRequest) (Mount, reason.Reason) {
	if req.Journals < 0 || req.Journals > MaxJournals || req.Journals == 0 && !req.Spectator {
		return Mount{}, reason.Invalid
	}
	at, known := l.find(req.Lockspace)
	var sp Space
	if known {
		sp = l.spaces[at]
	}
	live := 0
	for i := range sp.Mounts {
		m := &sp.Mounts[i]
		if m.Dead {
			continue
		}
		if m.Life.Node == req.Life.Node {
			return Mount{}, reason.Mounted
		}
		if !m.Spectator {
			live++
		}
	}
	switch {
	case req.Journals > 0 && req.Journals < len(sp.Journals):
		return Mount{}, reason.Policy
	case !req.Spectator && live >= req.Journals:
		return Mount{}, reason.NoJournal
	}
	if !known {
		l.spaces = slices.Insert(l.spaces, at, Space{Lockspace: req.Lockspace})
	}
	p := &l.spaces[at]
	for len(p.Journals) < req.Journals {
		p.Journals = append(p.Journals, Journal{Since: l.stamp})
	}
	p.Mounts = append(p.Mounts, Mount{
		Session: req.Session, Life: req.Life, Spectator: req.Spectator, JID: NoJID, Changed: l.index, Since: l.stamp,
	})
	before := len(l.events)
	l.assign(p)
	m := *p.mount(req.Session)
	if m.State == Waiting {
		l.note(p, NoteWaits, &m)
	}
	// The reply says it; the event would say it twice.
	l.events = append(l.events[:before], slices.DeleteFunc(l.events[before:], func(e Event) bool {
		return e.Session == req.Session && e.Kind == EventMounted
	})...)
	return m, reason.None
}

// Done is the word of the first mounter: all journals are replayed. It is Mounted
// from now on, every journal is clean, and others may mount. It returns the
// remains that are to be released. Refused with NotRecovering if the session does not
// mount as the first.
func (l *Ledger) Done(lockspace uint32, session uint64) ([]Remains, reason.Reason) {
	p := l.space(lockspace)
	if p == nil {
		return nil, reason.NotRecovering
	}
	m := p.mount(session)
	if m == nil || m.State != First || m.Dead {
		return nil, reason.NotRecovering
	}
	m.State, m.Since = Mounted, l.stamp
	l.note(p, NoteReplayed, m)
	var left []Remains
	for i := range p.Journals {
		left = append(left, l.clean(p, &p.Journals[i])...)
	}
	l.assign(p)
	return left, reason.None
}

// Recovered is the word of the mounter that replays a journal. It returns the
// remains that are to be released, none if failure is not empty: then the journal
// goes to somebody else. Refused with NotRecovering if the session does not recover
// this journal at present.
func (l *Ledger) Recovered(lockspace uint32, session uint64, jid int, failure string) ([]Remains, reason.Reason) {
	p := l.space(lockspace)
	if p == nil || jid < 0 || jid >= len(p.Journals) {
		return nil, reason.NotRecovering
	}
	j := &p.Journals[jid]
	if m := p.mount(session); session == 0 || j.Recoverer != session || m == nil || m.Dead {
		return nil, reason.NotRecovering
	}
	var left []Remains
	if failure == "" {
		l.noteJournal(p, NoteRecovered, jid, "")
		left = l.clean(p, j)
	} else {
		l.noteJournal(p, NoteFailed, jid, clip(failure))
		l.takeBack(j)
		j.Error = clip(failure)
		if len(j.Failed) >= MaxFailed {
			j.Failed = slices.Delete(j.Failed, 0, len(j.Failed)-MaxFailed+1)
		}
		j.Failed = append(j.Failed, session)
	}
	l.assign(p)
	return left, reason.None
}

// Unmount ends a mount cleanly: its journal needs no replay, and the journals
// that it recovers go to somebody else. Refused with NotMounted if the session
// has not asked for a mount.
func (l *Ledger) Unmount(lockspace uint32, session uint64) reason.Reason {
	p := l.space(lockspace)
	if p == nil || !p.mounts(session) {
		return reason.NotMounted
	}
	l.end(p, session, false, nil, false)
	l.sweep(lockspace)
	return reason.None
}

// Abandon ends a mount as if its node had died in this lockspace only, and was
// fenced: its journal, if it has one (see Holds), is dirty, and what the session
// left is released when it is recovered. locks says whether it left any. Refused
// with NotMounted if the session has not asked for a mount.
func (l *Ledger) Abandon(lockspace uint32, session uint64, locks bool) reason.Reason {
	p := l.space(lockspace)
	if p == nil || !p.mounts(session) {
		return reason.NotMounted
	}
	var left []uint64
	if locks {
		left = []uint64{session}
	}
	l.end(p, session, true, left, false)
	l.sweep(lockspace)
	return reason.None
}

// end removes a mount; its journal, if it has one, becomes dirty if that is said.
func (l *Ledger) end(p *Space, session uint64, dirty bool, left []uint64, word bool) {
	i := slices.IndexFunc(p.Mounts, func(m Mount) bool { return m.Session == session })
	m := p.Mounts[i]
	p.Mounts = slices.Delete(p.Mounts, i, i+1)
	for jid := range p.Journals {
		j := &p.Journals[jid]
		if j.Recoverer != session {
			continue
		}
		l.takeBack(j)
		if word {
			j.Awaits = m.Life.Node
		}
	}
	if !dirty || m.JID == NoJID {
		l.note(p, NoteUnmounted, &m)
	}
	if m.JID != NoJID {
		j := &p.Journals[m.JID]
		j.Mounter, j.Since = 0, l.stamp
		if dirty {
			j.leave(m.Life, m.Session, left, word)
			l.note(p, NoteDirty, &m)
		}
	}
	l.assign(p)
}

// leave makes a journal dirty. Of each node there is one entry, the newest life's,
// or a node that dies again and again would fill the ledger; `mounter` stands for
// it if it left nothing else.
func (j *Journal) leave(life Life, mounter uint64, sessions []uint64, word bool) {
	r := Remains{Life: life}
	if i := slices.IndexFunc(j.Left, func(r Remains) bool { return r.Life.Node == life.Node }); i >= 0 {
		r.Sessions, r.Doubted, r.Word = j.Left[i].Sessions, j.Left[i].Doubted, j.Left[i].Word
		j.Left = slices.Delete(j.Left, i, i+1)
	}
	r.Word = r.Word || word
	for _, s := range sessions {
		if !slices.Contains(r.Sessions, s) {
			r.Sessions = append(r.Sessions, s)
		}
	}
	if len(r.Sessions) == 0 {
		r.Sessions = []uint64{mounter}
	}
	j.Left = append(j.Left, r)
}

// sweep forgets a lockspace that nobody mounts and where nothing is left.
func (l *Ledger) sweep(lockspace uint32) {
	if at, ok := l.find(lockspace); ok && l.spaces[at].empty() {
		l.spaces = slices.Delete(l.spaces, at, at+1)
	}
}

// takeBack takes a recovery from its mounter.
func (l *Ledger) takeBack(j *Journal) { j.Recoverer, j.Changed, j.Since = 0, 0, l.stamp }

// clean makes a journal need no replay, and returns what waited for nothing else.
func (l *Ledger) clean(p *Space, j *Journal) []Remains {
	var due []Remains
	for _, r := range j.Left {
		if r.waits() {
			p.Late = append(p.Late, r)
		} else {
			due = append(due, r)
		}
	}
	if j.Dirty() {
		*j = Journal{Mounter: j.Mounter, Since: l.stamp}
	}
	return due
}

func (l *Ledger) find(lockspace uint32) (int, bool) {
	return slices.BinarySearchFunc(l.spaces, lockspace, func(p Space, n uint32) int { return cmp.Compare(p.Lockspace, n) })
}

// space returns a lockspace with journals, nil if it has none.
func (l *Ledger) space(lockspace uint32) *Space {
	if at, ok := l.find(lockspace); ok {
		return &l.spaces[at]
	}
	return nil
}

// clip cuts a text to MaxText bytes, and no character in two.
func clip(s string) string {
	if len(s) <= MaxText {
		return s
	}
	end := MaxText
	for end > 0 && s[end]&0xc0 == 0x80 {
		end--
	}
	return s[:end]
}
