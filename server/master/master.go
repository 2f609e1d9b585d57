package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/machine"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/session"
	"lock_gulmd/server/state"
)

// Defaults of Config.
const (
	DefaultMaxBatch      = 512
	DefaultMaxInFlight   = 2
	DefaultMaxQueued     = 1 << 16
	DefaultCheckInterval = 30 * time.Second
	// maxCalls is how many commands that nodes and operators asked for, beside
	// requests for locks, are under way at once: far fewer than the log takes, so
	// that the master's own always find room.
	maxCalls = 512
	// termPause is before a server that still leads tries its takeover again.
	termPause = 200 * time.Millisecond
)

// Config says what a Master works with. Fields without a default are required.
type Config struct {
	// Server is this server's name.
	Server string
	// Replica is the replicated log that drives Machine.
	Replica *replica.Replica
	Machine *machine.Machine
	// Hub is the Machine's observer.
	Hub *session.Hub
	// Fencer proves that nodes can no longer write.
	Fencer fence.Fencer
	// Rehearser asks their devices how things are; nil if nobody can.
	Rehearser fence.Rehearser
	// RehearseInterval is how often it is asked about each live node; 0 for never.
	RehearseInterval time.Duration
	// FenceSettle is how long a device may take to do what an attempt asked it
	// for that was given up. A node to which that may happen is held so long.
	FenceSettle time.Duration
	// Plan returns how a node is fenced, false if it is not configured.
	Plan func(node string) (fence.Plan, bool)
	// FencePause is waited after the given round (0, 1, ...) over all methods
	// failed.
	FencePause func(round int) time.Duration
	// HeartbeatRate is how often nodes beat; Expiry is the silence after which
	// they are expired.
	HeartbeatRate, Expiry time.Duration
	// Breaker says when automatic fencing is paused.
	Breaker Breaker
	// BootID is this machine's, if servers are expired and fenced like nodes;
	// empty if they are not. Container says that it is a container's host's.
	BootID    string
	Container bool
	// TrustReboot: a new boot id proves that a node's earlier life is gone.
	TrustReboot bool
	// Limits come into force with the next term.
	Limits state.Limits
	// MaxBatch is how many requests one log entry carries.
	MaxBatch int
	// MaxInFlight is how many entries with requests are under way at once.
	MaxInFlight int
	// MaxQueued is how many requests wait for an entry; beyond, streams are not
	// read.
	MaxQueued int
	// CheckInterval is how often replicas compare their digests; no entry is
	// written while nothing else is.
	CheckInterval time.Duration
	// HighLocks is the number of locks above which sessions are asked to give
	// back cached ones, every ShedInterval; 0 for never.
	HighLocks    uint64
	ShedInterval time.Duration
	// Log may be nil.
	Log *slog.Logger
}

// Master runs the terms of one server. Use New and Run.
type Master struct {
	cfg     Config
	calls   chan struct{} // commands under way that others asked for
	serving atomic.Pointer[term]

	// missing and loggedIn are what the serving term counted last.
	missing, loggedIn atomic.Int64
	counters          counters
	rounds            rounds
}

// New returns a Master that does not serve yet.
func New(cfg Config) *Master {
	setDefault(&cfg.MaxBatch, DefaultMaxBatch)
	setDefault(&cfg.MaxInFlight, DefaultMaxInFlight)
	setDefault(&cfg.MaxQueued, DefaultMaxQueued)
	setDefault(&cfg.CheckInterval, DefaultCheckInterval)
	setDefault(&cfg.ShedInterval, DefaultShedInterval)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Master{cfg: cfg, calls: make(chan struct{}, maxCalls)}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Run serves whenever this server leads, until ctx ends. It returns after
// everything it started has ended.
func (m *Master) Run(ctx context.Context) {
	var t *term
	ended := func() <-chan struct{} {
		if t == nil {
			return nil
		}
		return t.done
	}
	for {
		select {
		case <-ctx.Done():
			m.end(t)
			return
		case l := <-m.cfg.Replica.Leadership():
			m.end(t)
			t = nil
			if l.Leading {
				t = m.begin(ctx, l.Term)
			}
		case <-ended():
			number := t.number
			m.end(t)
			t = nil
			if s := m.cfg.Replica.Status(); s.Leading && s.Term == number {
				t = m.begin(ctx, number)
			}
		}
	}
}

// end stops a term and waits for it.
func (m *Master) end(t *term) {
	if t == nil {
		return
	}
	if m.serving.CompareAndSwap(t, nil) {
		m.cfg.Log.Info("no longer master", "server", m.cfg.Server, "term", t.number)
	}
	t.cancel()
	m.cfg.Hub.CloseAll(gulmerr.NotMaster("", ""))
	<-t.done
}

// Serving reports whether this server is the master, its takeover done.
func (m *Master) Serving() bool { return m.serving.Load() != nil }

// Term returns the term that this master serves, 0 if it does not.
func (m *Master) Term() uint64 {
	if t := m.serving.Load(); t != nil {
		return t.number
	}
	return 0
}

// Role is what a server is at the moment.
type Role int

// The roles, as in gulm.v1.ServerRole.
const (
	Pending Role = iota
	Arbitrating
	Standby
	Serving
)

// roleNames are the words for people.
var roleNames = [...]string{"pending", "arbitrating", "standby", "master"}

// String returns the word for people.
func (r Role) String() string { return roleNames[r] }

// Role derives the server's role from the log's status.
func (m *Master) Role(s replica.Status) Role {
	switch {
	case m.Serving():
		return Serving
	case s.Leading || s.Candidate:
		return Arbitrating
	case s.Leader != "":
		return Standby
	default:
		return Pending
	}
}

// master returns the serving term or ErrNotMaster.
func (m *Master) master() (*term, error) {
	if t := m.serving.Load(); t != nil {
		return t, nil
	}
	return nil, gulmerr.NotMaster("", "")
}

// Do commits one command and returns its result. A refusal by the state is in
// the result. Errors: ErrNotMaster (not applied), ErrUnavailable (may be applied
// or not), ErrLimit (too much under way), ctx's error.
func (m *Master) Do(ctx context.Context, c state.Command) (state.Result, error) {
	t, err := m.master()
	if err != nil {
		return state.Result{}, err
	}
	select {
	case m.calls <- struct{}{}:
		defer func() { <-m.calls }()
	case <-ctx.Done():
		return state.Result{}, ctx.Err()
	}
	return t.do(ctx, c)
}

// Submit hands a session's requests to the next log entry; their replies come
// through the Hub. It waits while too many requests are queued. Errors:
// ErrNotMaster, ctx's error.
func (m *Master) Submit(ctx context.Context, g state.Group) error {
	t, err := m.master()
	if err != nil {
		return err
	}
	t.beats.enter(g.Session)
	defer t.beats.leave(g.Session)
	return t.batches.submit(ctx, g)
}

// Alive notes a sign of life of a session; a beat number other than 0 is
// acknowledged through the Hub once this server has verified that it is master.
func (m *Master) Alive(sessionNumber, beat uint64) {
	if t := m.serving.Load(); t != nil {
		t.beats.alive(sessionNumber, beat)
	}
}

// Verify returns nil when a majority has confirmed, after the call began, that
// this server is the master.
func (m *Master) Verify(ctx context.Context) error {
	t, err := m.master()
	if err != nil {
		return err
	}
	return translate(t.m.cfg.Replica.VerifyLeader(ctx))
}

// LastAlive returns when a session was last heard of, false if this server does
// not serve or does not know it.
func (m *Master) LastAlive(sessionNumber uint64) (time.Time, bool) {
	if t := m.serving.Load(); t != nil {
		return t.beats.last(sessionNumber)
	}
	return time.Time{}, false
}

// translate turns the replica's errors into those of the table.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, replica.ErrNotLeader):
		return gulmerr.NotMaster("", "")
	case errors.Is(err, replica.ErrStopped), errors.Is(err, replica.ErrPoisoned):
		return gulmerr.ErrShuttingDown
	case errors.Is(err, replica.ErrUnknownOutcome):
		return gulmerr.New(gulmerr.ErrUnavailable, "the master changed meanwhile: the command may be applied or not")
	case errors.Is(err, replica.ErrBusy):
		return gulmerr.New(gulmerr.ErrLimit, "too many commands are under way, try again")
	default:
		return err
	}
}

// Refused returns the error of a command that the state refused, nil if it was
// not.
func Refused(r reason.Reason, format string, args ...any) error {
	if r == reason.None {
		return nil
	}
	return gulmerr.New(gulmerr.FromReason(r.String()), "%s: %v", fmt.Sprintf(format, args...), gulmerr.FromReason(r.String()))
}
