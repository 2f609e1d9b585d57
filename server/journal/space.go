package journal

import "slices"

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
	// Sessions are those that left them: the origins of the remains in the lock
	// table. There is at least one, be it one that left nothing, and else only such
	// as left something, so that their number is bounded by that of the locks.
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
	// Left are those who left it dirty, oldest first, one for each node, with its
	// newest life; none if it is clean. The first mounter may have a dirty one
	// mounted.
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
	// Awaits is a node that replayed it and died, "" for none: an operator must
	// acknowledge that it is gone before anybody else replays it.
	Awaits string
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
	// Late are remains whose journal is recovered, or that are older than the
	// journals: they wait for a fence or an operator's word only.
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

func (p *Space) empty() bool {
	return len(p.Mounts) == 0 && len(p.Late) == 0 && !slices.ContainsFunc(p.Journals, func(j Journal) bool { return j.Dirty() })
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
