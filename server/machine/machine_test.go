package machine

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"lock_gulmd/server/codec"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/state"
)

var _ replica.Machine = (*Machine)(nil)

// apply sends a command through its encoding.
func apply(t testing.TB, m *Machine, index uint64, c state.Command) any {
	t.Helper()
	return m.Apply(index, 1, codec.Encode(int64(index), c))
}

// done is apply for a command that must be carried out.
func done(t testing.TB, m *Machine, index uint64, c state.Command) state.Result {
	t.Helper()
	r, ok := apply(t, m, index, c).(state.Result)
	if !ok || r.Reason != 0 {
		t.Fatalf("%+v: %+v", c, r)
	}
	return r
}

func login(node string) state.Login {
	return state.Login{LoginRequest: member.LoginRequest{Node: node, BootID: "boot", LoginID: member.LoginID{1}}}
}

// joined returns a machine with one session in lockspace 1, at index 3.
func joined(t testing.TB) *Machine {
	t.Helper()
	m := New(func(*Applied) {})
	done(t, m, 1, state.BeginTerm{Term: 1, Server: "s1"})
	done(t, m, 2, login("a"))
	done(t, m, 3, &state.Batch{Groups: []state.Group{{Session: 1, Requests: []state.Request{{Seq: 1, Op: state.OpJoin, Name: []byte("gfs")}}}}})
	return m
}

// take is a batch in which session 1 takes lock seq on a resource of its own.
func take(seq uint64) *state.Batch {
	return &state.Batch{Groups: []state.Group{{Session: 1, Confirmed: seq - 1, Requests: []state.Request{{
		Seq: seq, Op: state.OpLock, Lock: lock.ID(seq), Lockspace: 1, Name: fmt.Append(nil, "r", seq), Mode: lock.EX,
	}}}}}
}

func digest(m *Machine) (d uint64) {
	m.View(func(s *state.State) { d = s.Digest() })
	return d
}

// TestApply_observed: every command is told once, in order, with its result and
// while the machine is locked.
func TestApply_observed(t *testing.T) {
	var told []Applied
	var m *Machine
	m = New(func(a *Applied) {
		if m.mu.TryRLock() {
			t.Error("the machine is not locked")
			m.mu.RUnlock()
		}
		told = append(told, *a)
	})
	results := []state.Result{
		done(t, m, 4, state.BeginTerm{Term: 1, Server: "s1"}),
		done(t, m, 5, login("a")),
		apply(t, m, 9, state.Logout{Session: 7}).(state.Result),
	}
	if len(told) != len(results) {
		t.Fatalf("%d told", len(told))
	}
	for i, index := range []uint64{4, 5, 9} {
		if a := told[i]; a.Index != index || a.Result.Reason != results[i].Reason || a.Result.Login != results[i].Login {
			t.Errorf("%+v, want %+v at %d", a, results[i], index)
		}
	}
	if c, ok := told[1].Command.(state.Login); !ok || c != login("a") {
		t.Errorf("%+v", told[1].Command)
	}
}

// TestApply_faults: what this version does not know, and a digest that is not
// the master's, stop the server; nothing is applied or told then.
func TestApply_faults(t *testing.T) {
	for _, c := range []struct {
		name string
		data func(m *Machine) []byte
		want string
	}{
		{"no command", func(*Machine) []byte { return nil }, "log entry 4: "},
		{"damaged", func(*Machine) []byte { return codec.Encode(1, take(2))[:20] }, "log entry 4: "},
		{"of a later kind", func(*Machine) []byte { return []byte{0xf2, 0x01, 0x00} }, "upgrade this server"},
		{"another digest", func(m *Machine) []byte { return codec.Encode(1, state.Check{Index: 3, Digest: digest(m) + 1}) }, "has diverged"},
	} {
		m := joined(t)
		m.observe = func(a *Applied) { t.Errorf("%s: %+v is told", c.name, a) }
		before := digest(m)
		fault, ok := m.Apply(4, 1, c.data(m)).(replica.Fault)
		if !ok || fault.Err == nil || !strings.Contains(fault.Err.Error(), c.want) {
			t.Errorf("%s: %+v", c.name, fault)
		}
		m.View(func(s *state.State) {
			if s.Digest() != before || s.Index() != 3 {
				t.Errorf("%s: was applied", c.name)
			}
		})
	}
}

// TestApply_checks: a digest is compared with the one at its own index, as long
// as that is remembered.
func TestApply_checks(t *testing.T) {
	m := joined(t)
	digests := map[uint64]uint64{3: digest(m)}
	for i := range uint64(4) {
		done(t, m, 4+i, take(2+i))
		digests[4+i] = digest(m)
	}
	// These are forgotten, were never there, or come later.
	done(t, m, 8, state.Check{Index: 0, Digest: 0})
	done(t, m, 9, state.Check{Index: 0, Digest: 5})
	done(t, m, 10, state.Check{Index: digestsKept + 4, Digest: 5})
	index := uint64(11)
	for at, d := range digests {
		done(t, m, index, state.Check{Index: at, Digest: d})
		if _, ok := apply(t, m, index+1, state.Check{Index: at, Digest: d ^ 1}).(replica.Fault); !ok {
			t.Errorf("another digest at %d is taken", at)
		}
		index += 2
	}
	for ; index <= digestsKept+4; index++ {
		done(t, m, index, state.ServerEntered{Server: "s1"})
	}
	done(t, m, index, state.Check{Index: 4, Digest: 5})
	if _, ok := apply(t, m, index+1, state.Check{Index: index - 1, Digest: 5}).(replica.Fault); !ok {
		t.Error("the newest is forgotten")
	}
	// Nothing is remembered over a restore.
	var b bytes.Buffer
	if err := codec.WriteSnapshot(&b, m.Clone()); err != nil {
		t.Fatal(err)
	}
	if err := m.Restore(&b); err != nil {
		t.Fatal(err)
	}
	done(t, m, index+1, state.Check{Index: index - 1, Digest: 5})
}

// TestSnapshot_whileApplying writes images while commands go on; each is the
// state at the index at which it was taken.
func TestSnapshot_whileApplying(t *testing.T) {
	m := joined(t)
	var writers sync.WaitGroup
	defer writers.Wait()
	for index := uint64(4); index < 604; index++ {
		done(t, m, index, take(index-2))
		if index%50 != 0 {
			continue
		}
		image, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		want, locks := digest(m), uint64(0)
		m.View(func(s *state.State) { locks = s.Locks().Digest() })
		writers.Go(func() {
			defer image.Release()
			var b bytes.Buffer
			if err := image.Persist(&b); err != nil {
				t.Error(err)
				return
			}
			s, err := codec.ReadSnapshot(&b)
			if err != nil || s.Index() != index || s.Digest() != want || s.Locks().Digest() != locks {
				t.Errorf("image of %d: %v", index, err)
			}
		})
	}
}

// TestView_whileApplying reads while commands go on: each view is between two
// commands.
func TestView_whileApplying(t *testing.T) {
	m := joined(t)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				m.View(func(s *state.State) {
					if n := uint64(s.Locks().Counts().Locks); n+3 != s.Index() || s.Applied(1) != n+1 {
						t.Errorf("%d locks at %d, %d applied", n, s.Index(), s.Applied(1))
					}
				})
				c := m.Clone()
				if n := uint64(c.Locks().Counts().Locks); n+3 != c.Index() || c.Check() != nil {
					t.Errorf("%d locks at %d in a clone: %v", n, c.Index(), c.Check())
				}
			}
		})
	}
	for index := uint64(4); index < 304; index++ {
		done(t, m, index, take(index-2))
	}
	close(stop)
	readers.Wait()
}

// TestClone_independent: a clone stays as it is.
func TestClone_independent(t *testing.T) {
	m := joined(t)
	c := m.Clone()
	before := c.Locks().Digest()
	done(t, m, 4, take(2))
	done(t, m, 5, state.Expire{Term: 1, Life: member.Life{Node: "a", Incarnation: 1}, Seen: 9})
	if n, _ := c.Members().Node("a"); n.State != member.LoggedIn || c.Index() != 3 || c.Locks().Digest() != before || c.Applied(1) != 1 {
		t.Errorf("the clone changed: %+v at %d", n, c.Index())
	}
}

// TestRestore: all of it or nothing.
func TestRestore(t *testing.T) {
	m := joined(t)
	done(t, m, 4, take(2))
	image, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := image.Persist(&b); err != nil {
		t.Fatal(err)
	}
	image.Release()
	data := b.Bytes()

	other := joined(t)
	want := digest(other)
	damaged := errors.New("checksum differs")
	for n := range data {
		if err := other.Restore(bytes.NewReader(data[:n])); err == nil {
			t.Fatalf("cut to %d of %d bytes is restored", n, len(data))
		}
		if digest(other) != want {
			t.Fatal("a failed restore changed the state")
		}
	}
	if err := other.Restore(iotest.TimeoutReader(iotest.HalfReader(bytes.NewReader(data)))); err == nil || digest(other) != want {
		t.Errorf("%v", err)
	}
	if err := other.Restore(slowFault(data, damaged)); !errors.Is(err, damaged) || digest(other) != want {
		t.Errorf("%v, want %v", err, damaged)
	}
	if err := other.Restore(bytes.NewReader(data)); err != nil || digest(other) != digest(m) {
		t.Errorf("%v", err)
	}
	a, z := done(t, m, 5, take(3)), done(t, other, 5, take(3))
	if !reflect.DeepEqual(a.Replies, z.Replies) || digest(m) != digest(other) {
		t.Errorf("%+v and %+v", a, z)
	}
}

// slowFault gives all data and then, instead of the end, an error.
func slowFault(data []byte, err error) *faultReader { return &faultReader{bytes.NewReader(data), err} }

type faultReader struct {
	data *bytes.Reader
	err  error
}

func (r *faultReader) Read(b []byte) (int, error) {
	n, err := r.data.Read(b)
	if err != nil {
		err = r.err
	}
	return n, err
}
