package replica

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// logStore is what both log stores offer: the entries, and a few keys of their
// own, which bind the folder to the server's identity.
type logStore interface {
	raft.LogStore
	raft.StableStore
}

// guard watches every call to the stores. The first error and the first call
// that takes too long poison them: a disk that answered a sync with an error
// may answer the next one with a lie, and a leader whose disk hangs would stay
// leader for ever.
type guard struct {
	limit    time.Duration
	noPoison bool
	fail     func(error)   // called once, by the first fault
	running  atomic.Bool   // raft runs: a fault may no longer be reported by Open
	released chan struct{} // closed by Close: parked calls return
	once     sync.Once
	err      atomic.Pointer[error]
}

func newGuard(cfg Config, fail func(error)) *guard {
	g := &guard{limit: cfg.StoreStallLimit, noPoison: cfg.hooks.noPoison, fail: fail, released: make(chan struct{})}
	if cfg.hooks.noStallWatch {
		g.limit = 0
	}
	return g
}

// poisoned returns nil, or ErrPoisoned with the cause.
func (g *guard) poisoned() error {
	if p := g.err.Load(); p != nil {
		return *p
	}
	return nil
}

func (g *guard) poison(cause error) {
	if g.noPoison {
		return
	}
	err := fmt.Errorf("%w: %w", ErrPoisoned, cause)
	if g.err.CompareAndSwap(nil, &err) && g.running.Load() {
		g.fail(fmt.Errorf("disk of this server cannot be trusted any more: %w", cause))
	}
}

func (g *guard) release() { g.once.Do(func() { close(g.released) }) }

// stallTicks is in how many slices a call is timed. A process that was paused
// sees one late slice, not a call that took too long.
const stallTicks = 4

// watch poisons the store when op is not done within the limit. The caller runs
// the function that it returns when op is done.
func (g *guard) watch(op string) (done func()) {
	if g.limit <= 0 {
		return func() {}
	}
	var finished atomic.Bool
	var ticks int
	var t *time.Timer
	ready := make(chan struct{})
	t = time.AfterFunc(g.limit/stallTicks, func() {
		<-ready
		if finished.Load() {
			return
		}
		if ticks++; ticks >= stallTicks {
			g.poison(fmt.Errorf("%s has taken longer than %v", op, g.limit))
			return
		}
		t.Reset(g.limit / stallTicks)
	})
	close(ready)
	return func() {
		finished.Store(true)
		t.Stop()
	}
}

// do runs one store call.
func (g *guard) do(op string, f func() error) error {
	if err := g.poisoned(); err != nil {
		return err
	}
	done := g.watch(op)
	err := f()
	done()
	if err != nil && !absent(err) {
		g.poison(fmt.Errorf("%s: %w", op, err))
	}
	if perr := g.poisoned(); perr != nil {
		return perr
	}
	return err
}

// absent reports whether err only says that a key or an entry is not there.
func absent(err error) bool {
	return errors.Is(err, raft.ErrLogNotFound) || err.Error() == "not found"
}

// park holds back a caller that would panic on an error. By then Fatal has been
// called and the network is cut, so what the caller is told at last, when the
// replica closes, reaches nobody.
func (g *guard) park() bool {
	if !g.running.Load() {
		return false
	}
	<-g.released
	return true
}

// guardedLog is the log store that raft sees.
type guardedLog struct {
	g     *guard
	inner raft.LogStore
	noCRC bool
}

var (
	_ raft.LogStore          = (*guardedLog)(nil)
	_ raft.MonotonicLogStore = (*guardedLog)(nil)
)

// IsMonotonic implements raft.MonotonicLogStore.
func (s *guardedLog) IsMonotonic() bool {
	m, ok := s.inner.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// FirstIndex implements raft.LogStore.
func (s *guardedLog) FirstIndex() (i uint64, err error) {
	err = s.g.do("reading the first index of the log", func() error { i, err = s.inner.FirstIndex(); return err })
	return i, err
}

// LastIndex implements raft.LogStore.
func (s *guardedLog) LastIndex() (i uint64, err error) {
	err = s.g.do("reading the last index of the log", func() error { i, err = s.inner.LastIndex(); return err })
	return i, err
}

// GetLog implements raft.LogStore. A damaged command poisons the store: handing
// it out would carry the damage of this disk to the other servers.
func (s *guardedLog) GetLog(index uint64, l *raft.Log) error {
	err := s.g.do("reading the log", func() error {
		if err := s.inner.GetLog(index, l); err != nil {
			return err
		}
		if s.noCRC {
			return nil
		}
		return checkEntry(l)
	})
	if s.g.poisoned() != nil && s.g.park() {
		*l = raft.Log{Index: index, Type: raft.LogNoop}
		return nil
	}
	return err
}

// StoreLog implements raft.LogStore.
func (s *guardedLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. A command that arrives damaged is refused
// without blaming this server's disk.
func (s *guardedLog) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		if err := checkEntry(l); err != nil && !s.noCRC {
			return fmt.Errorf("not written to the log: %w", err)
		}
	}
	return s.g.do("writing the log", func() error { return s.inner.StoreLogs(logs) })
}

// DeleteRange implements raft.LogStore.
func (s *guardedLog) DeleteRange(lo, hi uint64) error {
	return s.g.do("truncating the log", func() error { return s.inner.DeleteRange(lo, hi) })
}

// guardedStable is the store of term and vote that raft sees.
type guardedStable struct {
	g     *guard
	inner raft.StableStore
}

var _ raft.StableStore = (*guardedStable)(nil)

// raftTermKey is the key under which raft keeps its term; it panics when that
// cannot be written.
const raftTermKey = "CurrentTerm"

// Set implements raft.StableStore.
func (s *guardedStable) Set(key, val []byte) error {
	return s.g.do("writing the vote", func() error { return s.inner.Set(key, val) })
}

// Get implements raft.StableStore.
func (s *guardedStable) Get(key []byte) (val []byte, err error) {
	err = s.g.do("reading the vote", func() error { val, err = s.inner.Get(key); return err })
	return val, err
}

// SetUint64 implements raft.StableStore.
func (s *guardedStable) SetUint64(key []byte, val uint64) error {
	err := s.g.do("writing the term", func() error { return s.inner.SetUint64(key, val) })
	if s.g.poisoned() != nil && string(key) == raftTermKey && s.g.park() {
		return nil
	}
	return err
}

// GetUint64 implements raft.StableStore.
func (s *guardedStable) GetUint64(key []byte) (val uint64, err error) {
	err = s.g.do("reading the term", func() error { val, err = s.inner.GetUint64(key); return err })
	return val, err
}
