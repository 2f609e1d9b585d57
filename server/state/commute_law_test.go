package state_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

const (
	islands    = 3
	inhabiters = 3 // sessions of one island
	dry        = 2 // the island without journals
)

// island is what happens in one lockspace, between sessions that use no other. The
// requests are those of many batches, in order.
type island struct {
	commands []state.Command
	// answered are the answers, in the order in which the island got them.
	answered answers
}

// archipelago is a state in which each island has its lockspace, that its sessions
// have joined, and that never ends since a keeper stays in all of them.
func archipelago(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, state.Limits{})
	keeper := c.must(login("keeper", "boot1", 1)).Login.Number
	for i := range islands {
		c.ask(keeper, state.Request{Op: state.OpJoin, Name: spaceName(i)})
		for k := range inhabiters {
			session := c.must(login(fmt.Sprint("n", i, k), "boot1", 1)).Login.Number
			if session != sessionOf(i, k) {
				t.Fatalf("session %d, want %d", session, sessionOf(i, k))
			}
			c.ask(session, state.Request{Op: state.OpJoin, Name: spaceName(i)})
		}
	}
	return c
}

func spaceName(i int) []byte         { return fmt.Appendf(nil, "gfs%d", i) }
func sessionOf(island, k int) uint64 { return uint64(2 + island*inhabiters + k) }

// live makes an island's requests: what makes sense if it is alone.
func live(t *testing.T, pick source, number, n int, reached map[string]int) *island {
	t.Helper()
	c := archipelago(t)
	c.next++ // everything that follows is at one index, so that its order does not show there
	isle := &island{}
	for len(isle.commands) < n {
		command := c.inhabit(pick, number)
		if command == nil {
			continue
		}
		r := c.Apply(c.next, int64(c.next), command)
		note(reached, command, r)
		isle.commands = append(isle.commands, command)
	}
	return isle
}

// inhabit picks what an island does next, nil if nothing this time.
func (c *cluster) inhabit(pick source, number int) state.Command {
	var command state.Command
	switch n := pick(10); {
	case n == 0:
		return c.denyIn(pick, number)
	case n < 2:
		command = batch(state.Group{Requests: []state.Request{chooseHolder(pick)}})
	case n < 4 && number != dry:
		command = chooseReplay(pick, c.State)
	case n < 6:
		command = chooseOne(pick, c.State)
	default:
		command = batch(chooseGroup(pick, c.State))
	}
	// Whatever was picked, one of the island's sessions asks for it there, next.
	g := command.(*state.Batch).Groups[0]
	g.Session = sessionOf(number, pick(inhabiters))
	g.Confirmed = c.Applied(g.Session) - min(c.Applied(g.Session), 3)
	for i := range g.Requests {
		r := &g.Requests[i]
		r.Seq = c.Applied(g.Session) + 1 + uint64(i)
		r.Lockspace = uint32(number) + 1
		switch {
		case r.Op != state.OpJoin && !c.Locks().Joined(r.Lockspace, lock.Session(g.Session)) && pick(4) > 0:
			*r = state.Request{Seq: r.Seq, Op: state.OpJoin, Name: spaceName(number)}
		case r.Op == state.OpJoin:
			r.Name = spaceName(number)
		case number == dry && r.Op >= state.OpMount && r.Op <= state.OpWithdraw:
			r.Op, r.Name = state.OpGulmDrop, nil
		case r.Op == state.OpGulmDrop && len(r.Node) > 0:
			r.Node = fmt.Appendf(nil, "n%d%d", number, pick(inhabiters))
		}
	}
	return batch(g)
}

// chooseHolder asks for something about one key of the GULM layer, and its value
// block.
func chooseHolder(pick source) state.Request {
	r := state.Request{Op: state.OpGulm, Lock: lock.ID(40 + pick(40)), Name: []byte("key"), Sub: uint64(pick(2))}
	switch pick(6) {
	case 0, 1:
		r.Mode = []lock.Mode{lock.EX, lock.EX, lock.PR}[pick(3)]
	case 2:
		r.Op, r.Value = state.OpGulmSync, []byte("written")
	case 3:
		r.Op = []state.Op{state.OpGulmHold, state.OpGulmHold, state.OpGulmUnhold}[pick(3)]
	case 4:
		r.Op = state.OpGulmCancel
	}
	return r
}

// denyIn ends a wait of an island's session: one in a cycle if there is one, or any
// that has a time-out.
func (c *cluster) denyIn(pick source, number int) state.Command {
	ours := func(s lock.Session) bool {
		return uint64(s) >= sessionOf(number, 0) && uint64(s) < sessionOf(number+1, 0)
	}
	var found state.Command
	cycles, _ := c.Locks().Deadlocks(1000)
	for i := range cycles {
		if d, ok := cycles[i].Denial(); ok && ours(d.Session) {
			return state.Deny{Term: c.Term(), Session: uint64(d.Session), Lock: d.ID, Reason: d.Reason, Since: d.Since, Cycle: d.Cycle}
		}
	}
	c.Locks().Watch(0, func(w lock.Watching) bool {
		if w.Timeout != 0 && ours(w.Session) {
			found = state.Deny{Term: c.Term(), Session: uint64(w.Session), Lock: w.ID, Since: w.Since, Reason: 5}
		}
		return found == nil || pick(3) > 0
	})
	return found
}

// mixed plays the islands' requests on one state, in some order between them.
func mixed(t *testing.T, pick source, isles []*island) *cluster {
	t.Helper()
	c := archipelago(t)
	c.next++
	left := make([][]state.Command, len(isles))
	for i, isle := range isles {
		left[i], isle.answered = isle.commands, answers{}
	}
	for {
		from := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return len(left[i]) == 0 })
		if len(from) == 0 {
			break
		}
		i := from[pick(len(from))]
		isles[i].answered.add(c.Apply(c.next, int64(c.next), left[i][0]))
		left[i] = left[i][1:]
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLaw_commute: what happens in lockspaces that share no session may come in any
// order between them, whatever kinds of requests it is. Everybody is answered the
// same, and the digest is the same, but for the numbers that count over the whole
// cluster; once each of those is replaced by that of the same grant, or arrival, in
// the other order, nothing is left that differs.
func TestLaw_commute(t *testing.T) {
	const seeds, each = 20, 250
	reached := map[string]int{}
	renamed := 0
	for seed := range uint64(seeds) {
		var isles []*island
		for i := range islands {
			isles = append(isles, live(t, seeded(seed*10+uint64(i)), i, each, reached))
		}
		a := mixed(t, seeded(1000+seed), isles)
		var answered []answers
		for _, isle := range isles {
			answered = append(answered, isle.answered)
		}
		for order := range uint64(3) {
			b := mixed(t, seeded(2000+seed*10+order), isles)
			n, err := sameButForNumbers(a, b, answered, isles)
			if err != nil {
				t.Fatalf("seed %d, order %d: %v", seed, order, err)
			}
			renamed += n
		}
	}
	t.Logf("%d numbers, %v", renamed, reached)
	if renamed < 1000 {
		t.Errorf("only %d numbers stand for others", renamed)
	}
	everyRequest(t, reached)
}

// sameButForNumbers compares two states, and what islands were answered on the way
// there. It returns how many numbers differ.
func sameButForNumbers(a, b *cluster, answered []answers, isles []*island) (int, error) {
	want, got := pictureOf(a.State), pictureOf(b.State)
	differ := 0
	names := map[label]renaming{tokens: {}, orders: {}, arrivals: {}}
	for _, kind := range []label{tokens, orders, arrivals} {
		r := names[kind]
		for i := range isles {
			if err := r.learn(&isles[i].answered, &answered[i], kind); err != nil {
				return 0, fmt.Errorf("island %d, answers: %w", i, err)
			}
		}
		if err := r.learn(&got, &want, kind); err != nil {
			return 0, err
		}
		if !r.oneToOne() {
			return 0, fmt.Errorf("two numbers of kind %d have become one", kind)
		}
		for from, to := range r {
			if from != to {
				differ++
			}
		}
		r.apply(&got, kind)
	}
	for i := range isles {
		again := answers{Result: isles[i].answered.Result}
		again.Replies, again.Events = slices.Clone(isles[i].answered.Replies), slices.Clone(isles[i].answered.Events)
		again.Journals, again.Notes = isles[i].answered.Journals, isles[i].answered.Notes
		names[tokens].apply(&again, tokens)
		first := answered[i]
		first.Watched = false // of the whole table
		if !reflect.DeepEqual(first, again) {
			return 0, fmt.Errorf("island %d is answered otherwise: %s", i, cmp.Diff(first, again))
		}
	}
	got.Image.Digest = want.Image.Digest
	renamed, ok := rebuilt(got)
	if !ok {
		return 0, fmt.Errorf("not a possible state under the other numbers: %s", cmp.Diff(want, got))
	}
	if d := renamed.Locks().Digest(); d != want.Locks {
		return 0, fmt.Errorf("digests %x and %x: %s", want.Locks, d, cmp.Diff(want, got))
	}
	got.Locks = want.Locks
	if !reflect.DeepEqual(want, got) {
		return 0, fmt.Errorf("another order, another state: %s", cmp.Diff(want, got))
	}
	return differ, nil
}
