package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// randomState is a state after many commands, with nodes in every state, frozen
// sessions, kept replies and all queues.
func randomState(seed uint64, commands int) *state.State {
	rng := rand.New(rand.NewPCG(seed, 9))
	s := state.New()
	index := uint64(0)
	apply := func(c state.Command) state.Result { index++; return s.Apply(index, int64(index)*10, c) }
	apply(state.BeginTerm{Term: 3, Server: "s1", Limits: state.Limits{Locks: 500, Resources: 400, Lockspaces: 9, Sessions: 60, InFlight: 90}})
	apply(state.ServerLeft{Server: "s2"})
	for range commands {
		node := fmt.Sprint("node", rng.IntN(8))
		n, _ := s.Members().Node(node)
		life := member.Life{Node: node, Incarnation: n.Incarnation}
		switch k := rng.IntN(60); {
		case k < 9:
			r := apply(state.Login{LoginRequest: member.LoginRequest{
				Node: node, BootID: "boot", LoginID: member.LoginID{byte(rng.IntN(3) + 1)}, Process: "lockd", Watchdog: int64(rng.IntN(3)),
			}})
			if number := r.Login.Number; number != 0 && s.Applied(number) == 0 {
				apply(&state.Batch{Groups: []state.Group{{Session: number, Requests: []state.Request{
					{Seq: 1, Op: state.OpJoin, Name: []byte("gfs\xff")}, {Seq: 2, Op: state.OpJoin, Name: []byte("mounted")},
				}}}})
				if number%3 == 0 {
					apply(&state.Batch{Groups: []state.Group{{Session: number, Requests: []state.Request{{
						Seq: 3, Op: state.OpJoin, Name: []byte("app"), Policy: lock.PolicyLease, Lease: lock.MaxLease,
					}}}}})
				}
			}
		case k == 9:
			apply(state.Expire{Term: 3, Life: life, Seen: index, Reason: "silent – lange"})
		case k == 10:
			apply(state.FenceBegin{Term: 3, Life: life})
			apply(state.FenceAttempted{Term: 3, Life: life, Attempt: member.Attempt{Method: "m", Device: "d", Agent: "a off", Outcome: "failed", Output: "o", Start: 1, Duration: 2}})
			apply(state.FenceStarted{Term: 3, Life: life, Method: "m", Device: "d", Agent: "a off", Start: 3})
			apply(state.FenceSeen{Term: 3, Node: node, Alive: life.Incarnation, Outlets: []member.Outlet{
				{Device: "d", Plug: "7", Print: "p", Power: []string{"on", "off", "no answer"}[rng.IntN(3)], Stamp: 4, Reason: "r"},
			}})
			apply(state.FenceManual{Node: node, ManualFence: member.ManualFence{Operator: "root", Stamp: 5, Fenced: true, By: "m/d", Attempts: []member.Attempt{{Method: "m"}}}})
			apply(state.FenceReleased{Term: 3, Life: life})
		case k == 11:
			apply(state.LeaseEnded{Term: 3, Life: life, Silent: lock.MaxLease})
			apply(state.FenceProved{Term: 3, Life: life, By: "m/d"})
		case k == 12:
			apply(state.Logout{Session: uint64(rng.IntN(60))})
		default:
			randomRequests(rng, s, apply)
		}
	}
	return s
}

func randomRequests(rng *rand.Rand, s *state.State, apply func(state.Command) state.Result) {
	sessions := s.Members().Sessions()
	if len(sessions) == 0 {
		return
	}
	number := sessions[rng.IntN(len(sessions))].Number
	g := state.Group{Session: number, Confirmed: s.Applied(number) * uint64(rng.IntN(2))}
	for i := range uint64(1 + rng.IntN(4)) {
		g.Requests = append(g.Requests, state.Request{
			Seq: s.Applied(number) + 1 + i, Op: []state.Op{state.OpLock, state.OpLock, state.OpConvert, state.OpUnlock}[rng.IntN(4)],
			Lock: lock.ID(1 + rng.IntN(30)), Lockspace: 1, Name: fmt.Appendf(nil, "\x00\xffname%*d", rng.IntN(2)*40, rng.IntN(20)),
			Mode: lock.Mode(rng.IntN(6)), Flags: []lock.Flags{0, 0, lock.NoCallbacks}[rng.IntN(3)],
		})
		if rng.IntN(3) == 0 {
			randomRange(rng, &g.Requests[i])
		} else if rng.IntN(3) == 0 {
			randomOther(rng, &g.Requests[i])
		}
	}
	apply(&state.Batch{Groups: []state.Group{g}})
}

// randomRange makes a request one for a range.
func randomRange(rng *rand.Rand, r *state.Request) {
	ops := []state.Op{state.OpRangeLock, state.OpRangeLock, state.OpRangeLock, state.OpRangeUnlock, state.OpRangeTest, state.OpRangeClose}
	r.Op, r.Flags, r.Lock = ops[rng.IntN(len(ops))], []lock.Flags{0, 0, 0, lock.RangeFlock}[rng.IntN(4)], r.Lock+100
	r.Name = fmt.Appendf(nil, "file%*d", rng.IntN(2)*40, rng.IntN(4))
	r.Range = state.Range{Owner: uint64(rng.IntN(3)), Start: uint64(rng.IntN(50)), End: uint64(50 + rng.IntN(9)), Skip: uint64(rng.IntN(3))}
	switch {
	case r.Op == state.OpRangeUnlock || r.Op == state.OpRangeClose:
		r.Mode = lock.NL
	case rng.IntN(2) == 0:
		r.Mode = lock.PR
	default:
		r.Mode = lock.EX
	}
	if rng.IntN(9) == 0 {
		r.Range.End = lock.RangeMax
	}
}

func written(t testing.TB, s *state.State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSnapshot(&b, s.Clone()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sameState compares everything but the order of resources.
func sameState(t testing.TB, a, b *state.State) {
	t.Helper()
	x, y := a.Clone().Image(), b.Clone().Image()
	if len(x.Left)+len(y.Left) == 0 {
		x.Left, y.Left = nil, nil
	}
	if !reflect.DeepEqual(x, y) || a.Locks().Digest() != b.Locks().Digest() {
		t.Fatalf("locks %x and %x; %s", a.Locks().Digest(), b.Locks().Digest(), cmp.Diff(x, y))
	}
	if p, q := stamps(a), stamps(b); !slices.Equal(p, q) {
		t.Fatal("stamps differ") // no part of a digest
	}
}

func stamps(s *state.State) []string {
	var out []string
	s.Clone().Locks().Walk(func(r *lock.ResourceState) bool {
		for _, l := range r.Locks {
			out = append(out, fmt.Sprint(l.Session, l.ID, l.Stamp))
		}
		return true
	})
	s.Clone().Locks().WalkRanges(func(f *lock.RangeFile) bool {
		for _, r := range f.Ranges {
			out = append(out, fmt.Sprint(r.Owner, r.Start, r.Stamp))
		}
		for _, w := range f.Waits {
			out = append(out, fmt.Sprint(w.Owner, w.ID, w.Stamp))
		}
		return true
	})
	slices.Sort(out)
	return out
}

// TestSnapshot_roundTrip writes and reads random states, also through a reader
// that gives a byte at a time.
func TestSnapshot_roundTrip(t *testing.T) {
	states := []*state.State{state.New()}
	var seen [4]int
	var converting, waiting, ranges, rangeWaits, told, conflicts int
	for seed := range uint64(40) {
		s := randomState(seed, 600)
		states = append(states, s)
		for _, n := range s.Members().Nodes() {
			seen[n.State]++
		}
		c := s.Locks().Counts()
		converting, waiting = converting+c.Converting, waiting+c.Waiting
		ranges, rangeWaits = ranges+s.Locks().RangeCounts().Ranges, rangeWaits+s.Locks().RangeCounts().Waiting
		for _, o := range s.Locks().Owners() {
			for _, e := range o.Ended {
				told += int(e.Mode)
			}
		}
		for _, x := range s.Image().Sessions {
			for _, k := range x.Kept {
				if k.Conflicts != nil {
					conflicts += len(k.Conflicts.List)
				}
			}
		}
	}
	if ranges < 100 || rangeWaits < 50 || told < 50 || conflicts < 50 {
		t.Errorf("%d ranges, %d waiting, grants of %d modes, %d conflicts", ranges, rangeWaits, told, conflicts)
	}
	if slices.Min(seen[1:]) < 5 || converting < 50 || waiting < 500 {
		t.Errorf("nodes by state: %v, %d conversions, %d waiting", seen, converting, waiting)
	}
	for i, s := range states {
		data := written(t, s)
		for _, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
			again, err := ReadSnapshot(r)
			if err != nil {
				t.Fatalf("state %d: %v", i, err)
			}
			sameState(t, s, again)
		}
	}
}

// TestSnapshot_manyRecords: more locks than a record holds, and one resource
// with more than that.
func TestSnapshot_manyRecords(t *testing.T) {
	s := state.New()
	s.Apply(1, 1, state.Login{LoginRequest: member.LoginRequest{Node: "n", BootID: "b", LoginID: member.LoginID{1}}})
	g := state.Group{Session: 1, Requests: []state.Request{{Seq: 1, Op: state.OpJoin, Name: []byte("gfs")}}}
	for i := range uint64(5 * locksPerRecord) {
		name := fmt.Appendf(nil, "r%d", i)
		if i > 3*locksPerRecord {
			name = []byte("crowd")
		}
		g.Requests = append(g.Requests, state.Request{Seq: i + 2, Op: state.OpLock, Lock: lock.ID(i + 1), Lockspace: 1, Name: name, Mode: lock.PR})
	}
	s.Apply(2, 1, &state.Batch{Groups: []state.Group{g}})
	again, err := ReadSnapshot(bytes.NewReader(written(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, s, again)
	if n := again.Locks().Counts().Locks; n != 5*locksPerRecord {
		t.Errorf("%d locks", n)
	}
}

// TestSnapshot_longTexts: texts that were cut can be written.
func TestSnapshot_longTexts(t *testing.T) {
	for shift := range 4 {
		text := strings.Repeat("x", shift) + strings.Repeat("\U0001F512", member.MaxText)
		s := randomState(1, 1)
		life := member.Life{Node: "long", Incarnation: 1}
		for i, c := range []state.Command{
			state.Login{LoginRequest: member.LoginRequest{Node: "long", BootID: "b", LoginID: member.LoginID{1}}},
			state.Expire{Term: 3, Life: life, Seen: ^uint64(0), Reason: text + "y"},
			state.FenceAttempted{Term: 3, Life: life, Attempt: member.Attempt{Output: text + "y"}},
			state.FenceAcknowledged{Term: 3, Life: life, Operator: text + "y"},
		} {
			if r := s.Apply(s.Index()+1, 0, c); r.Reason != 0 {
				t.Fatalf("%d: %v", i, r.Reason)
			}
		}
		again, err := ReadSnapshot(bytes.NewReader(written(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		sameState(t, s, again)
	}
}

// TestSnapshot_cut: cut after any byte, a snapshot is an error.
func TestSnapshot_cut(t *testing.T) {
	data := written(t, randomState(3, 150))
	for n := range data {
		if _, err := ReadSnapshot(bytes.NewReader(data[:n])); err == nil {
			t.Fatalf("cut to %d of %d bytes, it is read", n, len(data))
		}
	}
	for _, more := range [][]byte{{0}, data, data[len(data)-3:]} {
		if _, err := ReadSnapshot(bytes.NewReader(append(bytes.Clone(data), more...))); err == nil {
			t.Errorf("%d bytes more, it is read", len(more))
		}
	}
}

// TestSnapshot_readsToTheEnd: what keeps the file tells only at its end that it
// was damaged.
func TestSnapshot_readsToTheEnd(t *testing.T) {
	damaged := errors.New("checksum differs")
	data := written(t, randomState(3, 300))
	_, err := ReadSnapshot(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(damaged)))
	if !errors.Is(err, damaged) {
		t.Errorf("%v, want %v", err, damaged)
	}
	for n := range 20 {
		n = n * len(data) / 20
		if _, err := ReadSnapshot(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(damaged))); !errors.Is(err, damaged) {
			t.Errorf("after %d bytes: %v, want %v", n, err, damaged)
		}
	}
}

// TestSnapshot_flipped: with any bit flipped a snapshot is an error or a
// possible state, which can be written and read again; never a panic.
func TestSnapshot_flipped(t *testing.T) {
	data := written(t, randomState(4, 40))
	refused, step := 0, 1
	if testing.Short() {
		step = 7
	}
	for n := 0; n < len(data); n += step {
		for bit := n % 4; bit < 8; bit += 4 {
			flipped := bytes.Clone(data)
			flipped[n] ^= 1 << bit
			s, err := ReadSnapshot(bytes.NewReader(flipped))
			if err != nil {
				refused++
				continue
			}
			again, err := ReadSnapshot(bytes.NewReader(written(t, s)))
			if err != nil {
				t.Fatalf("bit %d of byte %d flipped is read, and cannot be again: %v", bit, n, err)
			}
			sameState(t, s, again)
			// It must be fit for use, too.
			again.Apply(again.Index()+1, 0, &state.Batch{Groups: []state.Group{{Session: 1}, {Session: 2}}})
		}
	}
	t.Logf("%d of %d flips are refused", refused, 2*len(data)/step)
}

// TestSnapshot_writeError: the first error of the writer comes out, wherever it
// happens.
func TestSnapshot_writeError(t *testing.T) {
	s := randomState(5, 2000)
	size := len(written(t, s))
	full := errors.New("no space left")
	for n := 0; n < size; n += size/50 + 1 {
		if err := WriteSnapshot(&shortWriter{n, full}, s.Clone()); !errors.Is(err, full) {
			t.Errorf("room for %d of %d bytes: %v", n, size, err)
		}
	}
}

type shortWriter struct {
	room int
	err  error
}

func (w *shortWriter) Write(b []byte) (int, error) {
	if len(b) > w.room {
		return w.room, w.err
	}
	w.room -= len(b)
	return len(b), nil
}

// TestSnapshot_hugeRecord: a length that nobody wrote costs no memory.
func TestSnapshot_hugeRecord(t *testing.T) {
	for _, n := range []uint64{maxRecord, maxRecord + 1, 1 << 40, ^uint64(0)} {
		head := append(binary.AppendUvarint(nil, n), make([]byte, 100)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := ReadSnapshot(bytes.NewReader(head)); err == nil {
			t.Errorf("%d bytes are read", n)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 8*readStep {
			t.Errorf("%d bytes that are not there: %d allocated", n, used)
		}
	}
}

// TestSnapshot_largeRecord: what was written is read, however large: a resource
// may have a million locks.
func TestSnapshot_largeRecord(t *testing.T) {
	s := state.New()
	s.Apply(1, 0, state.BeginTerm{Term: 1, Server: strings.Repeat("s", 80<<20)})
	again, err := ReadSnapshot(bytes.NewReader(written(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	if again.Master() != s.Master() {
		t.Error("another text")
	}
}
