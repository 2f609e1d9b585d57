package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"
)

// Beneath the frame, each stored snapshot ends in a seal that binds the bytes to
// what raft's meta data say about them: index, term, configuration. raft's own
// checksum covers the bytes only, and raft skips in silence what it cannot read.
const (
	sealMagic = "GLMSEAL\x01"
	sealLen   = len(sealMagic) + 8 + 8 + 8 + 4 + 8 + 4 + 4
)

// snapStore wraps a snapshot store: what is closed in it is whole, what is opened
// from it has been verified.
type snapStore struct {
	inner raft.SnapshotStore
}

var _ raft.SnapshotStore = (*snapStore)(nil)

func appendSeal(m *raft.SnapshotMeta, size uint64, sum uint32) []byte {
	b := []byte(sealMagic)
	b = binary.BigEndian.AppendUint64(b, m.Index)
	b = binary.BigEndian.AppendUint64(b, m.Term)
	b = binary.BigEndian.AppendUint64(b, m.ConfigurationIndex)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(raft.EncodeConfiguration(m.Configuration), castagnoli))
	b = binary.BigEndian.AppendUint64(b, size)
	b = binary.BigEndian.AppendUint32(b, sum)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Create implements raft.SnapshotStore.
func (s *snapStore) Create(v raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	inner, err := s.inner.Create(v, index, term, conf, confIndex, t)
	if err != nil {
		return nil, err
	}
	return &snapSink{
		SnapshotSink: inner,
		meta:         raft.SnapshotMeta{Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex},
		frame:        newFrameChecker(),
		sum:          crc32.New(castagnoli),
	}, nil
}

// List implements raft.SnapshotStore.
func (s *snapStore) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.inner.List()
	if err != nil {
		return nil, err
	}
	out := make([]*raft.SnapshotMeta, len(metas))
	for i, m := range metas {
		c := *m
		c.Size -= int64(sealLen)
		out[i] = &c
	}
	return out, nil
}

// Open implements raft.SnapshotStore. It reads the snapshot twice: once to
// verify it, once to hand it out.
func (s *snapStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if err := s.verify(id); err != nil {
		return nil, nil, err
	}
	m, rc, err := s.inner.Open(id)
	if err != nil {
		return nil, nil, err
	}
	c := *m
	c.Size -= int64(sealLen)
	return &c, readCloser{io.LimitReader(rc, c.Size), rc}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// verify reads the snapshot called id and compares it with its seal, its frame,
// its name and its meta data.
func (s *snapStore) verify(id string) error {
	m, rc, err := s.inner.Open(id)
	if err != nil {
		return fmt.Errorf("cannot be opened: %w", err)
	}
	defer rc.Close()
	term, index, _, err := parseSnapshotName(id)
	if err != nil {
		return err
	}
	if m.ID != id || m.Index != index || m.Term != term {
		return fmt.Errorf("meta data speak of snapshot %s at index %d of term %d", m.ID, m.Index, m.Term)
	}
	if m.Version != raft.SnapshotVersionMax {
		return fmt.Errorf("meta data speak of version %d", m.Version)
	}
	body := m.Size - int64(sealLen)
	if body < 0 {
		return errors.New("too short")
	}
	frame, sum := newFrameChecker(), crc32.New(castagnoli)
	if _, err := io.CopyN(io.MultiWriter(frame, sum), rc, body); err != nil {
		return fmt.Errorf("shorter than its meta data say: %w", err)
	}
	seal, err := io.ReadAll(io.LimitReader(rc, int64(sealLen)+1))
	if err != nil {
		return err
	}
	if string(seal) != string(appendSeal(m, uint64(body), sum.Sum32())) {
		return errors.New("contents and meta data do not belong together")
	}
	return frame.check()
}

// parseSnapshotName splits a name made by raft's snapshot store.
func parseSnapshotName(id string) (term, index, msec uint64, err error) {
	parts := strings.Split(id, "-")
	if len(parts) != 3 {
		return 0, 0, 0, fmt.Errorf("%q is not the name of a snapshot", id)
	}
	var v [3]uint64
	for i, p := range parts {
		if v[i], err = strconv.ParseUint(p, 10, 64); err != nil {
			return 0, 0, 0, fmt.Errorf("%q is not the name of a snapshot", id)
		}
	}
	return v[0], v[1], v[2], nil
}

// newestSnapshot returns the name raft would have given to the newest of names,
// whether or not raft could read it. No names: "".
func newestSnapshot(names []string) (string, error) {
	var newest string
	var best [3]uint64
	for _, name := range names {
		term, index, msec, err := parseSnapshotName(name)
		if err != nil {
			return "", err
		}
		v := [3]uint64{term, index, msec}
		if newest == "" || less(best, v) {
			newest, best = name, v
		}
	}
	return newest, nil
}

func less(a, b [3]uint64) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// snapSink lets nothing but a whole frame become a snapshot and seals it.
type snapSink struct {
	raft.SnapshotSink
	meta   raft.SnapshotMeta
	frame  *frameChecker
	sum    hash.Hash32
	n      uint64
	closed bool
}

// Write implements io.Writer.
func (s *snapSink) Write(p []byte) (int, error) {
	n, err := s.SnapshotSink.Write(p)
	_, _ = s.frame.Write(p[:n])
	_, _ = s.sum.Write(p[:n])
	s.n += uint64(n)
	return n, err
}

// Close implements raft.SnapshotSink.
func (s *snapSink) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.frame.check(); err != nil {
		return errors.Join(fmt.Errorf("snapshot not kept: %w", err), s.SnapshotSink.Cancel())
	}
	if _, err := s.SnapshotSink.Write(appendSeal(&s.meta, s.n, s.sum.Sum32())); err != nil {
		return errors.Join(err, s.SnapshotSink.Cancel())
	}
	return s.SnapshotSink.Close()
}

// Cancel implements raft.SnapshotSink.
func (s *snapSink) Cancel() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return s.SnapshotSink.Cancel()
}
