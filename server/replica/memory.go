package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Memory holds the stores of one server in memory, for tests. Like a disk it
// outlives the replica that uses it; Crash takes the copy that a disk would show
// after a power cut.
type Memory struct {
	mu     sync.Mutex
	dead   bool
	inUse  bool
	first  uint64
	last   uint64
	logs   map[uint64]raft.Log
	logKV  map[string][]byte
	stable map[string][]byte
	snaps  map[string]*memSnapshot
	files  map[string][]byte
	watch  func(stored bool, command []byte)
}

type memSnapshot struct {
	meta raft.SnapshotMeta
	data []byte
}

// memRetain is how many snapshots are kept, as on disk.
const memRetain = 2

var errMemoryDead = errors.New("the machine has crashed")

// NewMemory returns empty stores.
func NewMemory() *Memory {
	return &Memory{
		logs:   map[uint64]raft.Log{},
		logKV:  map[string][]byte{},
		stable: map[string][]byte{},
		snaps:  map[string]*memSnapshot{},
		files:  map[string][]byte{},
	}
}

// Crash ends these stores, so that whoever still uses them writes nothing more
// and gets errors, and returns what they held for the next Open.
func (m *Memory) Crash() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	return m.copyLocked()
}

// Copy returns a copy of the stores as they are, as a backup would.
func (m *Memory) Copy() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.copyLocked()
}

func (m *Memory) copyLocked() *Memory {
	return &Memory{
		first:  m.first,
		last:   m.last,
		logs:   maps.Clone(m.logs),
		logKV:  maps.Clone(m.logKV),
		stable: maps.Clone(m.stable),
		snaps:  maps.Clone(m.snaps),
		files:  maps.Clone(m.files),
		watch:  m.watch,
	}
}

// Watch calls f for each command before it is stored, and again when it is
// (stored), in the goroutine that stores it: a test may crash the machine just
// there. It must be called before the stores are opened.
func (m *Memory) Watch(f func(stored bool, command []byte)) { m.watch = f }

// tell calls whoever watches for the commands among entries.
func (m *Memory) tell(stored bool, logs []*raft.Log) {
	if m.watch == nil {
		return
	}
	for _, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		if command, err := unseal(l.Data); err == nil {
			m.watch(stored, command)
		}
	}
}

// with runs f under the lock, unless the stores have crashed.
func (m *Memory) with(f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errMemoryDead
	}
	return f()
}

func (m *Memory) open() (*disk, error) {
	err := m.with(func() error {
		if m.inUse {
			return fmt.Errorf("%w: these memory stores are open already", ErrLocked)
		}
		m.inUse = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &disk{
		name:   "memory",
		log:    memLog{memKV{m, m.logKV}},
		stable: memKV{m, m.stable},
		snaps:  memSnaps{m},
		names:  memSnaps{m}.names,
		files:  memFiles{m},
		close: func() error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.inUse = false
			return nil
		},
	}, nil
}

// memKV is a stable store.
type memKV struct {
	m  *Memory
	kv map[string][]byte
}

func (s memKV) Set(key, val []byte) error {
	return s.m.with(func() error { s.kv[string(key)] = bytes.Clone(val); return nil })
}

func (s memKV) Get(key []byte) (val []byte, err error) {
	err = s.m.with(func() error {
		v, ok := s.kv[string(key)]
		if !ok {
			return errors.New("not found")
		}
		val = bytes.Clone(v)
		return nil
	})
	return val, err
}

func (s memKV) SetUint64(key []byte, val uint64) error {
	return s.Set(key, fmt.Append(nil, val))
}

func (s memKV) GetUint64(key []byte) (val uint64, err error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(b), &val)
	return val, err
}

// memLog is a log store with keys of its own.
type memLog struct{ memKV }

func (s memLog) FirstIndex() (i uint64, err error) {
	err = s.m.with(func() error { i = s.m.first; return nil })
	return i, err
}

func (s memLog) LastIndex() (i uint64, err error) {
	err = s.m.with(func() error { i = s.m.last; return nil })
	return i, err
}

func (s memLog) GetLog(index uint64, l *raft.Log) error {
	return s.m.with(func() error {
		e, ok := s.m.logs[index]
		if !ok {
			return raft.ErrLogNotFound
		}
		*l = e
		return nil
	})
}

func (s memLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s memLog) StoreLogs(logs []*raft.Log) error {
	s.m.tell(false, logs)
	err := s.m.with(func() error {
		for _, l := range logs {
			s.m.logs[l.Index] = *l
			if s.m.first == 0 {
				s.m.first = l.Index
			}
			s.m.last = max(s.m.last, l.Index)
		}
		return nil
	})
	if err == nil {
		s.m.tell(true, logs)
	}
	return err
}

func (s memLog) DeleteRange(lo, hi uint64) error {
	return s.m.with(func() error {
		for i := lo; i <= hi; i++ {
			delete(s.m.logs, i)
		}
		if len(s.m.logs) == 0 {
			s.m.first, s.m.last = 0, 0
			return nil
		}
		if lo <= s.m.first {
			s.m.first = hi + 1
		}
		if hi >= s.m.last {
			s.m.last = lo - 1
		}
		return nil
	})
}

// memSnaps is a snapshot store.
type memSnaps struct{ m *Memory }

func (s memSnaps) names() (names []string, err error) {
	err = s.m.with(func() error {
		names = slices.Sorted(maps.Keys(s.m.snaps))
		return nil
	})
	return names, err
}

func (s memSnaps) Create(v raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &memSink{m: s.m, snap: &memSnapshot{meta: raft.SnapshotMeta{
		Version:            v,
		ID:                 fmt.Sprintf("%d-%d-%d", term, index, time.Now().UnixMilli()),
		Index:              index,
		Term:               term,
		Configuration:      conf,
		ConfigurationIndex: confIndex,
	}}}, nil
}

func (s memSnaps) List() (metas []*raft.SnapshotMeta, err error) {
	err = s.m.with(func() error {
		for _, snap := range s.m.snaps {
			c := snap.meta
			metas = append(metas, &c)
		}
		return nil
	})
	slices.SortFunc(metas, func(a, b *raft.SnapshotMeta) int { return -compareMeta(a, b) })
	return metas, err
}

func compareMeta(a, b *raft.SnapshotMeta) int {
	va, vb := [3]uint64{a.Term, a.Index}, [3]uint64{b.Term, b.Index}
	switch {
	case less(va, vb):
		return -1
	case less(vb, va):
		return 1
	}
	return bytes.Compare([]byte(a.ID), []byte(b.ID))
}

func (s memSnaps) Open(id string) (meta *raft.SnapshotMeta, rc io.ReadCloser, err error) {
	err = s.m.with(func() error {
		snap, ok := s.m.snaps[id]
		if !ok {
			return fmt.Errorf("there is no snapshot %s", id)
		}
		c := snap.meta
		meta, rc = &c, io.NopCloser(bytes.NewReader(snap.data))
		return nil
	})
	return meta, rc, err
}

type memSink struct {
	m    *Memory
	snap *memSnapshot
	done bool
}

func (s *memSink) ID() string { return s.snap.meta.ID }

func (s *memSink) Write(p []byte) (int, error) {
	s.snap.data = append(s.snap.data, p...)
	return len(p), nil
}

func (s *memSink) Cancel() error {
	s.done = true
	return nil
}

func (s *memSink) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	return s.m.with(func() error {
		s.snap.meta.Size = int64(len(s.snap.data))
		s.m.snaps[s.snap.meta.ID] = s.snap
		byAge := slices.SortedFunc(maps.Values(s.m.snaps), func(a, b *memSnapshot) int { return compareMeta(&b.meta, &a.meta) })
		for _, old := range byAge[min(memRetain, len(byAge)):] {
			delete(s.m.snaps, old.meta.ID)
		}
		return nil
	})
}

// memFiles keeps the small files.
type memFiles struct{ m *Memory }

func (f memFiles) load(name string) (data []byte, err error) {
	err = f.m.with(func() error { data = bytes.Clone(f.m.files[name]); return nil })
	return data, err
}

func (f memFiles) save(name string, data []byte) error {
	return f.m.with(func() error { f.m.files[name] = bytes.Clone(data); return nil })
}
