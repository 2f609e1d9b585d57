package state

import (
	"errors"
	"slices"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// State is the whole replicated state. Use New. Not safe for concurrent use.
type State struct {
	sampled sampled // empty but with the build tag invariants

	index    uint64 // of the last command
	term     uint64 // of the present master
	master   string
	limits   Limits
	left     []string // servers that logged out cleanly, sorted
	members  member.Registry
	locks    *lock.Table
	journals journal.Ledger
	numbers  []numbers // one for each session, by session
	breaker  Breaker
	vanished []member.Life // see Vanished
	digest   uint64        // over everything that was ever answered, and the totals then
}

// New returns an empty state.
func New() *State { return &State{locks: lock.New(lock.Limits{})} }

// Clone returns a copy for reading only, cheap enough to be made between two
// commands of a busy master; see lock.Table.Clone.
func (s *State) Clone() *State {
	c := *s
	c.left = slices.Clone(s.left)
	c.vanished = slices.Clone(s.vanished)
	c.members = s.members.Clone()
	c.locks = s.locks.Clone()
	c.journals = s.journals.Clone()
	c.numbers = slices.Clone(s.numbers)
	for i := range c.numbers {
		c.numbers[i].kept = slices.Clone(c.numbers[i].kept)
	}
	return &c
}

// Index returns the index of the last command applied.
func (s *State) Index() uint64 { return s.index }

// Term returns the term of the master that began last, 0 if none ever did.
func (s *State) Term() uint64 { return s.term }

// Master returns the name of the server that began the term.
func (s *State) Master() string { return s.master }

// Limits returns the limits in force.
func (s *State) Limits() Limits { return s.limits }

// ServersLeft returns the servers that logged out cleanly and have not been
// master since, for reading only.
func (s *State) ServersLeft() []string { return s.left }

// Members returns the nodes and sessions, for reading only.
func (s *State) Members() *member.Registry { return &s.members }

// Locks returns the lock table, for reading only.
func (s *State) Locks() *lock.Table { return s.locks }

// Digest returns the running digest: a number that two replicas share at an
// index only if they applied the same commands with the same answers.
func (s *State) Digest() uint64 { return s.digest }

// Applied returns the highest request number of a session that was applied.
func (s *State) Applied(session uint64) uint64 {
	if n := s.findNumbers(session); n != nil {
		return n.applied
	}
	return 0
}

// Seen returns the log index of the last command in which a session took part, 0
// for none.
func (s *State) Seen(session uint64) uint64 {
	if n := s.findNumbers(session); n != nil {
		return n.seen
	}
	return 0
}

// Check returns what is inconsistent in the state, nil if nothing is.
func (s *State) Check() error {
	if err := s.locks.Check(); err != nil {
		return err
	}
	return s.checkAround()
}

// checkAround is Check without a walk over the locks.
func (s *State) checkAround() error {
	if err := s.members.Check(); err != nil {
		return err
	}
	if err := s.checkNumbers(); err != nil {
		return err
	}
	if img := s.Image(); !img.countsSpaces() || !img.ownsAll() {
		return errors.New("the lock table has other sessions, nodes or lockspaces than there are")
	}
	if err := s.journals.Check(); err != nil {
		return err
	}
	return s.checkJournals()
}

// Result is everything that one command brought about.
type Result struct {
	// Reason is why the command was refused, None if it was not. Requests of a
	// Batch are refused one by one, in Replies.
	Reason reason.Reason
	// Login is the session that a Login started.
	Login member.Session
	// Replies answer the requests of a Batch, in order.
	Replies []Reply
	// Events are for the sessions whose locks they name, in order.
	Events []lock.Event
	// Journals are for the sessions that mount, in order.
	Journals []journal.Event
	// Notes are steps of mounts and journals, for logs.
	Notes []Note
	// Node is the one whose member state changed, "" if none did.
	Node string
	// Ended are the sessions that are over.
	Ended []uint64
	// Watched is true while requests wait that have an owner, a time-out, or belong
	// to a set. It is no part of the answer.
	Watched bool
}

// Reply answers one request of one session.
type Reply struct {
	Session uint64
	Seq     uint64
	lock.Reply
}
