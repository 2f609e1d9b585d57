package state_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// entry is one entry of a log in parts: batches of one request each that may as
// well be one batch, or one command of another kind.
type entry []state.Command

// joined is the entry as one command.
func (e entry) joined() state.Command {
	if _, ok := e[0].(*state.Batch); !ok {
		return e[0]
	}
	all := &state.Batch{}
	for _, part := range e {
		all.Groups = append(all.Groups, part.(*state.Batch).Groups...)
	}
	return all
}

// parts takes a command apart as far as that goes.
func parts(c state.Command) []state.Command {
	b, ok := c.(*state.Batch)
	if !ok {
		return []state.Command{c}
	}
	var all []state.Command
	for _, g := range b.Groups {
		if len(g.Requests) == 0 {
			all = append(all, batch(g))
		}
		for _, r := range g.Requests {
			all = append(all, batch(group(g.Session, g.Confirmed, r)))
		}
	}
	return all
}

// answers is what several commands brought about, one after the other.
type answers struct {
	state.Result // of the only one that is no batch
	Replies      []state.Reply
	Events       []lock.Event
	Journals     []journal.Event
	Notes        []state.Note
	Watched      bool
}

func (a *answers) add(r state.Result) {
	a.Replies, a.Events = append(a.Replies, r.Replies...), append(a.Events, r.Events...)
	a.Journals, a.Notes = append(a.Journals, r.Journals...), append(a.Notes, r.Notes...)
	a.Watched = r.Watched
	r.Replies, r.Events, r.Journals, r.Notes, r.Watched = nil, nil, nil, nil, false
	a.Result = r
}

// splitRun plays one log three times: entries whole; in parts that stand at the
// index of the entry; and in parts that are entries themselves.
type splitRun struct {
	t                  *testing.T
	seed               uint64
	pick               source
	whole, parts, fine *state.State
	// last is the index of the last part of each entry in the fine log, entryOf the
	// entry of each of its indexes.
	last    renaming
	entryOf renaming
	open    entry
	room    int
	reached map[string]int
}

// run makes a log of so many entries and plays it.
func (s *splitRun) run(entries int) {
	s.whole, s.parts, s.fine = state.New(), state.New(), state.New()
	s.last, s.entryOf = renaming{0: 0}, renaming{0: 0}
	var told [2]answers
	s.room = 1
	s.take(state.BeginTerm{Term: 1, Server: "s1"}, &told)
	for int(s.parts.Index()) < entries {
		s.take(s.choose(), &told)
	}
}

// choose picks the next command, from what the state is in the middle of an entry.
func (s *splitRun) choose() state.Command {
	if cycles, _ := s.parts.Locks().Deadlocks(1000); len(cycles) > 0 && s.pick(2) == 0 {
		if d, ok := cycles[0].Denial(); ok {
			return state.Deny{
				Term: s.parts.Term(), Session: uint64(d.Session), Lock: d.ID, Reason: d.Reason, Since: d.Since, Cycle: d.Cycle,
			}
		}
	}
	switch n := s.pick(20); {
	case n < 4:
		session := chooseSession(s.pick, s.parts)
		r := chooseHolder(s.pick)
		r.Seq, r.Lockspace = s.parts.Applied(session)+1, spaceOf(s.parts, 1)
		return batch(group(session, r.Seq-1, r))
	case n < 10:
		return choose(s.pick, s.parts)
	}
	return chooseAny(s.pick, s.parts)
}

// take adds a command to the open entry, or ends that first.
func (s *splitRun) take(c state.Command, told *[2]answers) {
	_, batched := c.(*state.Batch)
	if len(s.open) > 0 && (!batched || len(s.open) >= s.room) {
		s.end(told)
	}
	if len(s.open) == 0 {
		s.room = 1 + s.pick(12)
	}
	at := s.parts.Index()
	if len(s.open) == 0 {
		at++
	}
	for _, part := range parts(c) {
		r := s.parts.Apply(at, int64(at)*10, part)
		note(s.reached, part, r)
		if d, ok := part.(state.Deny); ok && len(d.Cycle) > 0 && r.Reason == reason.None {
			s.reached["cycles that were broken"]++
		}
		told[0].add(r)
		there := s.fine.Index() + 1
		told[1].add(s.fine.Apply(there, int64(at)*10, s.translated(part)))
		s.entryOf[there], s.last[at] = at, there
		s.open = append(s.open, part)
	}
	if !batched {
		s.end(told)
	}
}

// translated is a command as it would stand in the fine log.
func (s *splitRun) translated(c state.Command) state.Command {
	switch c := c.(type) {
	case state.Expire:
		c.Seen = s.last[c.Seen]
		return c
	case state.EndSession:
		c.Seen = s.last[c.Seen]
		return c
	case state.Deny:
		entry := c.Since
		c.Since = s.last[entry]
		s.fine.Locks().Watch(0, func(w lock.Watching) bool {
			if uint64(w.Session) == c.Session && w.ID == c.Lock && s.entryOf[w.Since] == entry && entry != 0 {
				c.Since = w.Since
			}
			return true
		})
		return c
	}
	return c
}

// end plays the open entry as a whole and compares.
func (s *splitRun) end(told *[2]answers) {
	at := s.parts.Index()
	c := s.open.joined()
	var want answers
	want.add(s.whole.Apply(at, int64(at)*10, c))
	for i, how := range []string{"in parts", "in parts at indexes of their own"} {
		if !reflect.DeepEqual(want, told[i]) {
			s.t.Fatalf("seed %d, entry %d %s is answered otherwise: %+v\n%s", s.seed, at, how, c, cmp.Diff(want, told[i]))
		}
	}
	if len(s.open) > 1 {
		s.reached["entries of several parts"]++
	}
	if err := s.sameDigest(at%8 == 0); err != nil {
		s.t.Fatalf("seed %d, entry %d %+v: %v", s.seed, at, c, err)
	}
	s.open, *told = nil, [2]answers{}
}

// sameDigest compares the three states; thoroughly by looking at everything.
func (s *splitRun) sameDigest(thoroughly bool) error {
	want := s.whole.Locks().Digest()
	if got := s.parts.Locks().Digest(); got != want {
		return fmt.Errorf("digest %x whole, %x in parts", want, got)
	}
	if !thoroughly {
		return nil
	}
	picture := pictureOf(s.whole)
	parts := pictureOf(s.parts)
	parts.Image.Digest = picture.Image.Digest // of the answers by entry
	if !reflect.DeepEqual(picture, parts) {
		return fmt.Errorf("in parts: %s", cmp.Diff(picture, parts))
	}
	fine := pictureOf(s.fine)
	s.entryOf.apply(&fine, indexes)
	fine.Image.Digest = picture.Image.Digest
	again, ok := rebuilt(fine)
	if !ok {
		return fmt.Errorf("in parts at indexes of their own: not a possible state under the indexes of the entries: %s", cmp.Diff(picture, fine))
	}
	if got := again.Locks().Digest(); got != want {
		return fmt.Errorf("digest %x whole, %x in parts at indexes of their own, under those of the entries: %s", want, got, cmp.Diff(picture, fine))
	}
	fine.Locks = picture.Locks
	if !reflect.DeepEqual(picture, fine) {
		return fmt.Errorf("in parts at indexes of their own: %s", cmp.Diff(picture, fine))
	}
	return again.Check()
}

// TestLaw_split: how requests are gathered into entries of the log changes nothing.
// Requests at one index have the same answers, events and digest be they one batch
// or many. At indexes of their own the state differs in nothing but these: the
// digest is the same again once each stands for the entry that it was part of.
func TestLaw_split(t *testing.T) {
	const seeds, entries = 40, 300
	reached := map[string]int{}
	for seed := range uint64(seeds) {
		run := splitRun{t: t, seed: seed, pick: seeded(700 + seed), reached: reached}
		run.run(entries)
	}
	t.Logf("%v", reached)
	everyKind(t, reached)
	if several, broken := reached["entries of several parts"], reached["cycles that were broken"]; several < seeds*entries/4 || broken == 0 {
		t.Errorf("only %d entries have several parts, only %d cycles were broken", several, broken)
	}
}

// everyRequest fails unless requests of every kind had an effect.
func everyRequest(t *testing.T, reached map[string]int) {
	t.Helper()
	ops := map[state.Op]int{}
	for name, n := range reached {
		var op, outcome int
		if _, err := fmt.Sscanf(name, "op%d/%d", &op, &outcome); err == nil && lock.Outcome(outcome) != lock.Refused {
			ops[state.Op(op)] += n
		}
	}
	for _, part := range [][2]state.Op{{state.OpLock, state.OpLockSet}, {state.OpMount, state.OpWithdraw}, {state.OpGulm, state.OpGulmWithdraw}} {
		for op := part[0]; op <= part[1]; op++ {
			if ops[op] == 0 {
				t.Errorf("no request %d had an effect", op)
			}
		}
	}
}

// everyKind is everyRequest for commands, too.
func everyKind(t *testing.T, reached map[string]int) {
	t.Helper()
	everyRequest(t, reached)
	for _, c := range []state.Command{
		state.BeginTerm{},
		state.Login{},
		state.Logout{},
		state.Expire{},
		state.FenceBegin{},
		state.FenceAttempted{},
		state.FenceProved{},
		state.FenceAcknowledged{},
		state.Check{},
		state.ServerLeft{},
		state.ServerEntered{},
		state.Deny{},
		state.EndSession{},
		state.PauseFencing{},
		state.ResumeFencing{},
		state.FenceStarted{},
		state.FenceSeen{},
		state.FenceReleased{},
		state.FenceManual{},
		state.LeaseEnded{},
	} {
		if reached[fmt.Sprintf("%T", c)] == 0 {
			t.Errorf("no %T had an effect", c)
		}
	}
}
