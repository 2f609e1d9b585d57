package journal

// NoteKind is a step that operators are told.
type NoteKind uint8

// The kinds.
const (
	NoteWaits NoteKind = iota + 1
	NoteFirst
	NoteMounted
	NoteReplayed
	NoteUnmounted
	NoteDirty
	NoteRecovery
	NoteRecovered
	NoteFailed
)

// noteText is what each step is called in logs.
var noteText = [...]string{
	NoteWaits: "mount waits", NoteFirst: "mounted as the first", NoteMounted: "mounted", NoteReplayed: "all journals are replayed",
	NoteUnmounted: "unmounted", NoteDirty: "journal must be replayed", NoteRecovery: "journal recovery handed out",
	NoteRecovered: "journal recovered", NoteFailed: "journal recovery failed",
}

// String returns the constant text for logs.
func (k NoteKind) String() string {
	if int(k) < len(noteText) {
		return noteText[k]
	}
	return ""
}

// Note is one step of a mount or a journal, for logs.
type Note struct {
	Kind      NoteKind
	Lockspace uint32
	// JID is NoJID for mounts without a journal.
	JID int
	// Life is whose mount or journal it is.
	Life Life
	// By is who replays, or replayed, the journal.
	By Life
	// Text says why a recovery failed.
	Text string
}

// TakeNotes returns the steps since it was last called; the caller owns it.
func (l *Ledger) TakeNotes() []Note {
	notes := l.notes
	l.notes = nil
	return notes
}

func (l *Ledger) note(p *Space, kind NoteKind, m *Mount) {
	l.notes = append(l.notes, Note{Kind: kind, Lockspace: p.Lockspace, JID: m.JID, Life: m.Life})
}

// noteJournal is for a step of a dirty journal.
func (l *Ledger) noteJournal(p *Space, kind NoteKind, jid int, text string) {
	j := &p.Journals[jid]
	n := Note{Kind: kind, Lockspace: p.Lockspace, JID: jid, Life: j.Left[len(j.Left)-1].Life, Text: text}
	if m := p.mount(j.Recoverer); m != nil {
		n.By = m.Life
	}
	l.notes = append(l.notes, n)
}
