package state_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

func seeded(seed uint64) source { return rand.New(rand.NewPCG(seed, 5)).IntN }

// TestLaw_replay plays a log on two states: the same answers and digests at
// every index. It counts that the logs reach what they should.
func TestLaw_replay(t *testing.T) {
	var reached tally
	for seed := range uint64(20) {
		a, b := state.New(), state.New()
		for i, c := range script(seeded(seed), 1500) {
			index := uint64(i + 1)
			again, err := decoded(c)
			if err != nil {
				t.Fatal(err)
			}
			r, q := a.Apply(index, 1, c), b.Apply(index, 1, again)
			if !reflect.DeepEqual(r, q) || a.Digest() != b.Digest() {
				t.Fatalf("seed %d, %d %+v:\n%s", seed, index, c, cmp.Diff(r, q))
			}
			if i%50 == 0 {
				if err := same(a, b); err != nil {
					t.Fatalf("seed %d, %d: %v", seed, index, err)
				}
			}
			reached.note(c, r)
		}
		if err := a.Check(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%+v", reached)
	if reached.granted < 500 || reached.queued < 100 || reached.frozen < 50 || reached.settled < 50 || reached.refused < 100 {
		t.Error("the logs hardly touch anything")
	}
}

type tally struct{ granted, queued, frozen, settled, refused, events int }

func (n *tally) note(c state.Command, r state.Result) {
	if r.Reason != 0 {
		n.refused++
		return
	}
	switch c.(type) {
	case state.Expire:
		n.frozen++
	case state.FenceProved, state.FenceAcknowledged:
		n.settled++
	}
	for _, p := range r.Replies {
		switch p.Outcome {
		case lock.Granted:
			n.granted++
		case lock.Queued:
			n.queued++
		default:
		}
	}
	n.events += len(r.Events)
}

// TestLaw_snapshotAnywhere restores at each point of a log, by image and by
// snapshot, and plays the rest on all.
func TestLaw_snapshotAnywhere(t *testing.T) {
	commands := script(seeded(101), 220)
	step := 1
	if testing.Short() {
		step = 10
	}
	for at := 0; at < len(commands); at += step {
		a := state.New()
		for i, c := range commands[:at] {
			a.Apply(uint64(i+1), 1, c)
		}
		b, ok := restored(a)
		if !ok {
			t.Fatalf("at %d: the image is refused", at)
		}
		c, err := reread(a)
		if err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
		for _, s := range []*state.State{b, c} {
			if err := same(a, s); err != nil {
				t.Fatalf("at %d: %v", at, err)
			}
		}
		for i, command := range commands[at:] {
			index := uint64(at + i + 1)
			r := a.Apply(index, 1, command)
			for _, s := range []*state.State{b, c} {
				if q := s.Apply(index, 1, command); !reflect.DeepEqual(r, q) || a.Digest() != s.Digest() {
					t.Fatalf("restored at %d, differs at %d %+v:\n%s", at, index, command, cmp.Diff(r, q))
				}
			}
		}
		for _, s := range []*state.State{b, c} {
			if err := same(a, s); err != nil {
				t.Fatalf("restored at %d, at the end: %v", at, err)
			}
		}
	}
}

// TestLaw_cloneKeeps: a clone shows what was, whatever comes.
func TestLaw_cloneKeeps(t *testing.T) {
	s := state.New()
	var clone *state.State
	var want picture
	for i, c := range script(seeded(102), 1500) {
		if i%50 == 0 {
			clone = s.Clone()
			want = pictureOf(clone)
		}
		s.Apply(uint64(i+1), 1, c)
		if i%50 == 49 {
			if got := pictureOf(clone); !reflect.DeepEqual(got, want) {
				t.Fatalf("the clone changed before %d: %s", i, cmp.Diff(want, got))
			}
		}
	}
}

// groupsOf returns a state with sessions in lockspace 1, and groups of requests
// for it, of which each is next in line.
func groupsOf(t *testing.T, seed uint64, sessions, n int, name func(session, i int) string) (*cluster, []state.Group) {
	t.Helper()
	c := newCluster(t, state.Limits{})
	for i := range sessions {
		c.enter(fmt.Sprint("n", i))
	}
	pick := seeded(seed)
	seqs := make([]uint64, sessions)
	var groups []state.Group
	for i := range n {
		session := pick(sessions)
		g := state.Group{Session: uint64(session) + 1}
		for range 1 + pick(3) {
			r := chooseRequest(pick, seqs[session]+2, 1)
			r.Name = []byte(name(session, i))
			if r.Op != state.OpLock && r.Op != state.OpConvert && r.Op != state.OpUnlock {
				r.Op = state.OpUnlock
			}
			seqs[session]++
			g.Requests = append(g.Requests, r)
		}
		groups = append(groups, g)
	}
	return c, groups
}

// TestLaw_split: how requests are gathered into entries of the log changes no
// reply, no event and no lock, but for the index at which it changed.
func TestLaw_split(t *testing.T) {
	for seed := range uint64(10) {
		var want []state.Reply
		var wantEvents []lock.Event
		var wantLocks []lock.ResourceState
		for _, size := range []int{1, 2, 7, 1000} {
			c, groups := groupsOf(t, seed, 4, 120, func(_, i int) string { return fmt.Sprint("r", i%3) })
			var replies []state.Reply
			var events []lock.Event
			for part := range slices.Chunk(groups, size) {
				r := c.do(batch(part...))
				replies, events = append(replies, r.Replies...), append(events, r.Events...)
			}
			locks := timeless(c.State)
			if want == nil {
				want, wantEvents, wantLocks = replies, events, locks
			}
			if !reflect.DeepEqual(replies, want) || !reflect.DeepEqual(events, wantEvents) || !reflect.DeepEqual(locks, wantLocks) {
				t.Errorf("seed %d, %d groups in a batch: %s%s%s", seed, size, cmp.Diff(want, replies), cmp.Diff(wantEvents, events), cmp.Diff(wantLocks, locks))
			}
		}
	}
}

// timeless is all resources without the indexes of their changes.
func timeless(s *state.State) []lock.ResourceState {
	p := pictureOf(s)
	for _, r := range p.Resources {
		for i := range r.Locks {
			r.Locks[i].Changed, r.Locks[i].Stamp = 0, 0
		}
	}
	return p.Resources
}

// TestLaw_commute: requests of sessions that share no resource may come in any
// order between the sessions; replies and resources are equal but for the numbers
// that count across resources.
func TestLaw_commute(t *testing.T) {
	const sessions = 5
	for seed := range uint64(10) {
		var want map[uint64][]state.Reply
		var wantLocks []lock.ResourceState
		for order := range uint64(4) {
			c, groups := groupsOf(t, seed, sessions, 100, func(session, i int) string { return fmt.Sprint("r", session, "-", i%2) })
			bySession := make([][]state.Group, sessions)
			for _, g := range groups {
				bySession[g.Session-1] = append(bySession[g.Session-1], g)
			}
			got := map[uint64][]state.Reply{}
			for pick, left := seeded(order), len(groups); left > 0; {
				at := pick(sessions)
				if len(bySession[at]) == 0 {
					continue
				}
				for _, p := range c.do(batch(bySession[at][0])).Replies {
					p.Token = 0
					got[p.Session] = append(got[p.Session], p)
				}
				bySession[at] = bySession[at][1:]
				left--
			}
			locks := timeless(c.State)
			for _, r := range locks {
				for i := range r.Locks {
					r.Locks[i].Token, r.Locks[i].Order = 0, 0
				}
			}
			if want == nil {
				want, wantLocks = got, locks
			}
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(locks, wantLocks) {
				t.Errorf("seed %d, order %d: %s%s", seed, order, cmp.Diff(want, got), cmp.Diff(wantLocks, locks))
			}
		}
	}
}

// TestLaw_digestTells: two logs that differ in one command have different
// digests ever after, if that command was answered otherwise.
func TestLaw_digestTells(t *testing.T) {
	commands := script(seeded(103), 300)
	told := 0
	for at := range commands {
		a, b := state.New(), state.New()
		for i, c := range commands {
			index := uint64(i + 1)
			r := a.Apply(index, 1, c)
			if i != at {
				b.Apply(index, 1, c)
				continue
			}
			if q := b.Apply(index, 1, state.Logout{}); r.Reason == q.Reason && len(r.Replies) == 0 {
				break // answered alike
			}
			told++
		}
		if a.Index() == uint64(len(commands)) && a.Digest() == b.Digest() {
			t.Errorf("the digest does not tell that command %d was another: %+v", at, commands[at])
		}
	}
	if told < 200 {
		t.Errorf("%d commands tried only", told)
	}
}

// TestLaw_rapid lets rapid look for a short log after which a snapshot, a
// decoded log, or the ledger of fences tells otherwise.
func TestLaw_rapid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		a, b := state.New(), state.New()
		index := uint64(0)
		apply := func(c state.Command) {
			index++
			pending := a.Members().Pending()
			again, err := decoded(c)
			if err != nil {
				t.Fatal(err)
			}
			if r, q := a.Apply(index, 1, c), b.Apply(index, 1, again); !reflect.DeepEqual(r, q) {
				t.Fatalf("%+v: %s", c, cmp.Diff(r, q))
			}
			if err := stillPending(pending, a, c); err != nil {
				t.Fatal(err)
			}
		}
		apply(state.BeginTerm{Term: 1, Server: "s1"})
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				c := choose(pick, a)
				t.Logf("%T %+v", c, c)
				apply(c)
			},
			"restore": func(t *rapid.T) {
				s, err := reread(b)
				if err != nil {
					t.Fatal(err)
				}
				b = s
			},
			"": func(t *rapid.T) {
				if err := a.Check(); err != nil {
					t.Fatal(err)
				}
				if err := same(a, b); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// stillPending: a fence that is wanted stays so but for the two commands that
// settle it.
func stillPending(before []member.Life, s *state.State, c state.Command) error {
	after := s.Members().Pending()
	for _, l := range before {
		var settled member.Life
		switch c := c.(type) {
		case state.FenceProved:
			settled = c.Life
		case state.FenceAcknowledged:
			settled = c.Life
		}
		if !slices.Contains(after, l) && settled != l {
			return fmt.Errorf("%+v lost the pending fence of %+v", c, l)
		}
	}
	return nil
}
