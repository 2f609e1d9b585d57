// Package machine is the replicated state as the log drives it: decoded, behind
// a lock, watched.
//
// It is where replicas compare themselves: the machine remembers its digest at
// the newest indexes, and a Check command that finds another one there stops
// this server, loudly, before it answers anybody from a diverged state.
package machine

import (
	"fmt"
	"io"
	"sync"

	"lock_gulmd/server/codec"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/state"
)

// digestsKept is for how many of the newest indexes the digest is remembered;
// more than a master may have in flight.
const digestsKept = 16384

// Applied is one command with what came of it.
type Applied struct {
	Index   uint64
	Command state.Command
	Result  state.Result
}

// Machine implements replica.Machine. Use New.
type Machine struct {
	// OnRestore, if not nil, is called with the machine locked after a snapshot
	// has replaced the state: what was told of the state before is incomplete.
	// Set it before the machine is used.
	OnRestore func()

	observe func(*Applied)

	mu      sync.RWMutex
	state   *state.State
	digests [digestsKept]digestAt
}

type digestAt struct{ index, digest uint64 }

// New returns a machine with an empty state. observe is called with the machine
// locked, in log order, for every command applied; it must not block and must
// not keep the Command.
func New(observe func(*Applied)) *Machine {
	return &Machine{observe: observe, state: state.New()}
}

// Apply decodes and applies one command; the result is a state.Result, or a
// replica.Fault for a command that this version does not know and for a digest
// that differs from the master's.
func (m *Machine) Apply(index, _ uint64, command []byte) any {
	stamp, c, err := codec.Decode(command)
	if err != nil {
		return replica.Fault{Err: fmt.Errorf("log entry %d: %w", index, err)}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if check, ok := c.(state.Check); ok {
		if err := m.compare(check); err != nil {
			return replica.Fault{Err: err}
		}
	}
	applied := Applied{Index: index, Command: c, Result: m.state.Apply(index, stamp, c)}
	m.digests[index%digestsKept] = digestAt{index, m.state.Digest()}
	m.observe(&applied)
	return applied.Result
}

// compare holds this server's digest against the master's. An index that is not
// remembered any more, or lies before the restored snapshot, proves nothing.
func (m *Machine) compare(check state.Check) error {
	kept := m.digests[check.Index%digestsKept]
	if check.Index == 0 || kept.index != check.Index || kept.digest == check.Digest {
		return nil
	}
	return fmt.Errorf("this server has diverged: its digest at log index %d is %016x, the master's was %016x; "+
		"stop it, move its data folder away and re-admit it", check.Index, kept.digest, check.Digest)
}

// Snapshot returns an image of the state as it is now; cheap.
func (m *Machine) Snapshot() (replica.Image, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &image{m.state.Clone()}, nil
}

type image struct{ state *state.State }

// Persist writes the snapshot.
func (i *image) Persist(w io.Writer) error { return codec.WriteSnapshot(w, i.state) }

// Release lets go of the state.
func (i *image) Release() { i.state = nil }

// Restore replaces the state by a snapshot; on an error it stays as it was.
func (m *Machine) Restore(r io.Reader) error {
	s, err := codec.ReadSnapshot(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
	m.digests = [digestsKept]digestAt{}
	if m.OnRestore != nil {
		m.OnRestore()
	}
	return nil
}

// View calls f with the state while nothing is applied. f must be short, must
// not change the state and must not keep anything of it.
func (m *Machine) View(f func(*state.State)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f(m.state)
}

// Clone returns a copy of the state for reading at leisure.
func (m *Machine) Clone() *state.State {
	m.mu.Lock() // cloning marks pages as shared
	defer m.mu.Unlock()
	return m.state.Clone()
}
