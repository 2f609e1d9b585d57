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
	kinds := map[string]int{}
	for seed := range uint64(20) {
		a, b := state.New(), state.New()
		for i, c := range fullScript(seeded(seed), 1500) {
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
			note(kinds, c, r)
		}
		if err := a.Check(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%+v", reached)
	if reached.granted < 500 || reached.queued < 100 || reached.frozen < 50 || reached.settled < 50 || reached.refused < 100 {
		t.Error("the logs hardly touch anything")
	}
	everyKind(t, kinds)
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
	commands := fullScript(seeded(101), 300)
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
	for i, c := range fullScript(seeded(102), 1500) {
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

// TestLaw_digestTells: two logs that differ in one command have different
// digests ever after, if that command was answered otherwise.
func TestLaw_digestTells(t *testing.T) {
	commands := fullScript(seeded(103), 300)
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

// stillPending: a fence that is wanted stays so but for the three commands that
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
		case state.LeaseEnded:
			settled = c.Life
		}
		if !slices.Contains(after, l) && settled != l {
			return fmt.Errorf("%+v lost the pending fence of %+v", c, l)
		}
	}
	return nil
}
