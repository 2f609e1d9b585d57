package journal

import (
	"slices"

	"lock_gulmd/server/reason"
)

// Limits of what the ledger keeps.
const (
	// MaxJournals is how many journals a lockspace may have.
	MaxJournals = 1024
	// MaxText bounds the reason of a failed recovery, in bytes.
	MaxText = 256
	// MaxFailed is how many mounters that failed a recovery are remembered.
	MaxFailed = 64
	// NoJID is the journal of a mount that has none.
	NoJID = -1
)

// Life is one life of a node.
type Life struct {
	Node        string
	Incarnation uint64
}

// MountState is where a mount stands. The numbers stand in snapshots.
type MountState uint8

// The states of a mount.
const (
	// Waiting: for the first mounter, a fence, or a journal.
	Waiting MountState = iota
	// First: it replays all journals; everybody else waits.
	First
	// Mounted: it works.
	Mounted
)

// Mount is one node's mount of a lockspace.
type Mount struct {
	Session   uint64
	Life      Life
	Spectator bool
	State     MountState
	// JID is the mount's journal, NoJID while it waits and for spectators.
	JID int
	// Dead: its node is expired. The mount ends when the fence is proved.
	Dead bool
	// Changed is the log index of the last change that the session must know.
	Changed uint64
	// Since is when the state began, the master's unix milliseconds.
	Since int64
}

// Remains are the locks that one life left in the lockspace: they are released
// when the journal is recovered.
type Remains struct {
	Life Life
	// Sessions are those that left them, at least one: the origins of the remains
	// in the lock table.
	Sessions []uint64
	// Doubted: a later failure of the node is not fenced yet. They wait for that
	// fence as well.
	Doubted bool
	// Word: an operator must acknowledge that the node is gone. Nobody replays the
	// journal before, and they wait for that as well.
	Word bool
}

// waits reports whether more than a replay is waited for.
func (r *Remains) waits() bool { return r.Doubted || r.Word }

// Journal is one journal of a lockspace.
type Journal struct {
	// Mounter is the session that has it mounted, 0 for none.
	Mounter uint64
	// Left are those who left it dirty, oldest first; none if it is clean. The
	// first mounter may have a dirty one mounted.
	Left []Remains
	// Recoverer is the session that replays it, 0 for none.
	Recoverer uint64
	// Changed is the log index at which it got its recoverer.
	Changed uint64
	// Since is when its state began, the master's unix milliseconds.
	Since int64
	// Begun counts recoveries since it became dirty; Failed are sessions that
	// could not replay it, newest last, and Error is what the newest said.
	Begun  uint32
	Failed []uint64
	Error  string
}

// Dirty reports whether the journal must be replayed.
func (j *Journal) Dirty() bool { return len(j.Left) > 0 }

// Space is a lockspace with journals.
type Space struct {
	Lockspace uint32
	// Journals are by jid.
	Journals []Journal
	// Mounts are in the order in which they were asked for.
	Mounts []Mount
	// Late are remains whose journal is recovered: they wait for a fence or an
	// operator's word only.
	Late []Remains
}

// EventKind is what a session is told.
type EventKind uint8

// The kinds.
const (
	// EventMounted: the mount that waited has its journal.
	EventMounted EventKind = iota + 1
	// EventRecover: replay a journal.
	EventRecover
)

// Event is for the session that mounts.
type Event struct {
	Session   uint64
	Kind      EventKind
	Lockspace uint32
	JID       int
	// First says with EventMounted that all journals are to be replayed.
	First bool
	// Life says with EventRecover who left the journal last.
	Life Life
}

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
	l.end(p, session, nil, false)
	l.sweep(lockspace)
	return reason.None
}

// Abandon ends a mount as if its node had died in this lockspace only, and was
// fenced: its journal, if it has one (see Holds), is dirty, and what the session
// left is released when it is recovered. Refused with NotMounted if the session
// has not asked for a mount.
func (l *Ledger) Abandon(lockspace uint32, session uint64) reason.Reason {
	p := l.space(lockspace)
	if p == nil || !p.mounts(session) {
		return reason.NotMounted
	}
	l.end(p, session, []uint64{session}, false)
	l.sweep(lockspace)
	return reason.None
}

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
	l.doubt(life.Node, true)
}

// doubt marks what a node left.
func (l *Ledger) doubt(node string, doubted bool) {
	l.each(node, func(r *Remains) { r.Doubted = doubted })
}

// each calls visit for all that a node left.
func (l *Ledger) each(node string, visit func(*Remains)) {
	mark := func(left []Remains) {
		for i := range left {
			if left[i].Life.Node == node {
				visit(&left[i])
			}
		}
	}
	for i := range l.spaces {
		mark(l.spaces[i].Late)
		for k := range l.spaces[i].Journals {
			mark(l.spaces[i].Journals[k].Left)
		}
	}
}

// Trust is for a node whose fence is proved: what it left before is not doubted
// any more. It returns what is to be released now, by lockspace. Settle follows,
// for every lockspace.
func (l *Ledger) Trust(node string) []Release {
	l.doubt(node, false)
	return l.due()
}

// Concede is for a node that an operator acknowledged: what it left does not wait
// for that any more. It returns what is to be released now, by lockspace.
func (l *Ledger) Concede(node string) []Release {
	l.each(node, func(r *Remains) { r.Word = false })
	return l.due()
}

// Awaits reports whether anything that a node left waits for an operator's word.
func (l *Ledger) Awaits(node string) bool {
	found := false
	l.each(node, func(r *Remains) { found = found || r.Word })
	return found
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
// recovered. left must name the session that mounted. If the life has no journal
// mounted, but left one that is still dirty, what the sessions left goes with that.
// With word an operator must acknowledge first that the node is gone. It reports
// false if the life had no journal there at all.
func (l *Ledger) Settle(lockspace uint32, life Life, left []uint64, word bool) bool {
	p := l.space(lockspace)
	if p == nil {
		return false
	}
	had := false
	if i := slices.IndexFunc(p.Mounts, func(m Mount) bool { return m.Life == life }); i >= 0 {
		had = p.Mounts[i].JID != NoJID
		l.end(p, p.Mounts[i].Session, left, word)
	}
	if jid := p.leftBy(life); !had && jid != NoJID {
		p.Journals[jid].leave(life, left, word)
		had = true
	}
	l.sweep(lockspace)
	return had
}

// end removes a mount; if somebody left something its journal becomes dirty.
func (l *Ledger) end(p *Space, session uint64, left []uint64, word bool) {
	i := slices.IndexFunc(p.Mounts, func(m Mount) bool { return m.Session == session })
	m := p.Mounts[i]
	p.Mounts = slices.Delete(p.Mounts, i, i+1)
	for jid := range p.Journals {
		if j := &p.Journals[jid]; j.Recoverer == session {
			l.takeBack(j)
		}
	}
	if len(left) == 0 || m.JID == NoJID {
		l.note(p, NoteUnmounted, &m)
	}
	if m.JID != NoJID {
		j := &p.Journals[m.JID]
		j.Mounter, j.Since = 0, l.stamp
		if len(left) > 0 {
			j.leave(m.Life, left, word)
			l.note(p, NoteDirty, &m)
		}
	}
	l.assign(p)
}

// leave makes a journal dirty.
func (j *Journal) leave(life Life, sessions []uint64, word bool) {
	i := slices.IndexFunc(j.Left, func(r Remains) bool { return r.Life == life })
	if i < 0 {
		i = len(j.Left)
		j.Left = append(j.Left, Remains{Life: life})
	}
	j.Left[i].Word = j.Left[i].Word || word
	for _, s := range sessions {
		if !slices.Contains(j.Left[i].Sessions, s) {
			j.Left[i].Sessions = append(j.Left[i].Sessions, s)
		}
	}
}

// sweep forgets a lockspace that nobody mounts and where nothing is left.
func (l *Ledger) sweep(lockspace uint32) {
	if at, ok := l.find(lockspace); ok && l.spaces[at].empty() {
		l.spaces = slices.Delete(l.spaces, at, at+1)
	}
}

func (p *Space) empty() bool {
	return len(p.Mounts) == 0 && len(p.Late) == 0 && !slices.ContainsFunc(p.Journals, func(j Journal) bool { return j.Dirty() })
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
	return slices.BinarySearchFunc(l.spaces, lockspace, func(p Space, n uint32) int {
		switch {
		case p.Lockspace < n:
			return -1
		case p.Lockspace > n:
			return 1
		}
		return 0
	})
}

// space returns a lockspace with journals, nil if it has none.
func (l *Ledger) space(lockspace uint32) *Space {
	if at, ok := l.find(lockspace); ok {
		return &l.spaces[at]
	}
	return nil
}

// mount returns the mount of a session, nil if it has none.
func (p *Space) mount(session uint64) *Mount {
	for i := range p.Mounts {
		if p.Mounts[i].Session == session {
			return &p.Mounts[i]
		}
	}
	return nil
}

// mounts reports whether a session that is not dead has asked for a mount.
func (p *Space) mounts(session uint64) bool {
	m := p.mount(session)
	return m != nil && !m.Dead
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
