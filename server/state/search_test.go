package state_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

var searched = flag.Int("states", 10_000, "states for TestSearch; 0 for all there are")

// key names a world up to what no decision reads: the numbers of indexes,
// tokens and sessions, and which machine is which.
func (w *world) key() string {
	parts := w.parts()
	slices.Sort(parts)
	return fmt.Sprint(w.state.Term()) + strings.Join(parts, "\xfe")
}

// parts is the key of each machine.
func (w *world) parts() []string {
	resource, _ := w.state.Locks().Resource(1, []byte("r"))
	parts := make([]string, 0, machines)
	for i := range w.machines {
		m := &w.machines[i]
		n, _ := w.state.Members().Node(machineNames[i])
		s, ok := w.state.Members().Session(m.session)
		b := []byte{
			byte(n.State), byte(n.Incarnation), m.boot, byte(m.uses), byte(m.begun), byte(m.done), byte(m.owed), byte(m.claim),
			boolByte(ok) | boolByte(s.Frozen)<<1 | boolByte(m.session != 0)<<2 | boolByte(n.BootID == fmt.Sprint("boot", m.boot))<<3 |
				boolByte(m.of == m.session)<<4,
		}
		for at, l := range resource.Locks {
			if s, _ := w.state.Members().Session(uint64(l.Session)); s.Node == machineNames[i] {
				b = append(b, byte(at+1), byte(l.Queue), byte(l.Granted), byte(l.Requested), boolByte(l.Frozen), boolByte(uint64(l.Session) == m.session))
			}
		}
		for _, s := range w.state.Members().Sessions() {
			if s.Node == machineNames[i] {
				b = append(b, 0xff, s.LoginID[0], boolByte(s.Frozen))
			}
		}
		parts = append(parts, string(b))
	}
	return parts
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// found is one state of the search: how it was reached, and until it has been
// expanded what there is.
type found struct {
	saved    *saved
	machines [machines]machine
	from     int
	by       string
}

// search visits worlds breadth first, at most limit of them if that is not 0,
// and returns how many it saw and the shortest story that breaks a promise.
func search(ap apply, limit int) (int, error) { return searchFrom(newWorld(), ap, limit) }

// searchFrom is search from a world.
func searchFrom(first *world, ap apply, limit int) (int, error) {
	states := []found{{saved: save(first.state), machines: first.machines}}
	seen := map[string]bool{first.key(): true}
	for at := 0; at < len(states); at++ {
		here := states[at]
		states[at].saved = nil
		w := &world{here.saved.state(), here.machines, first.lease}
		term, parts := w.state.Term(), w.parts()
		for _, m := range w.moves() {
			err := m.do(w, ap)
			if err == nil {
				err = w.check()
			}
			if err != nil {
				return len(states), fmt.Errorf("%w, after:\n%s", err, told(states, at, m.name))
			}
			if w.state.Term() == term && slices.Equal(w.parts(), parts) {
				continue // a refusal: only the index went on
			}
			if next := w.key(); !seen[next] && (limit == 0 || len(states) < limit) {
				seen[next] = true
				states = append(states, found{save(w.state), w.machines, at, m.name})
			}
			w = &world{here.saved.state(), here.machines, first.lease}
		}
	}
	return len(states), nil
}

// told is the story that leads to a state.
func told(states []found, at int, last string) string {
	lines := []string{last}
	for ; at != 0; at = states[at].from {
		lines = append(lines, states[at].by)
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// TestSearch goes through everything that three machines on one resource and
// two masters can do, in every order, from the shortest on.
func TestSearch(t *testing.T) {
	limit := *searched
	if testing.Short() {
		limit = min(limit, 2000)
	}
	n, err := search(realApply, limit)
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d states", n)
	if n < limit {
		t.Errorf("%d states only", n)
	}
}

// releaseAtExpire gives a dead node's locks away when it expires, and only then
// sees to its fence.
func releaseAtExpire(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	s, r := realApply(s, index, c)
	expire, ok := c.(state.Expire)
	if !ok || r.Reason != reason.None {
		return s, r
	}
	expired := save(s)
	released := s.Apply(index, 0, state.FenceProved{Term: expire.Term, Life: expire.Life})
	r.Events = append(r.Events, released.Events...)
	v := save(s)
	v.image.Nodes, v.image.Sessions, v.image.Owners = expired.image.Nodes, expired.image.Sessions, expired.image.Owners
	return v.state(), r
}

// forgetAtTerm lets a new master begin with an empty ledger.
func forgetAtTerm(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	s, r := realApply(s, index, c)
	if begin, ok := c.(state.BeginTerm); ok {
		for _, l := range s.Members().Pending() {
			q := s.Apply(index, 0, state.FenceProved{Term: begin.Term, Life: l})
			r.Events = append(r.Events, q.Events...)
		}
	}
	return s, r
}

// releaseAtBegin takes the intent for the deed.
func releaseAtBegin(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	s, r := realApply(s, index, c)
	if begin, ok := c.(state.FenceBegin); ok && r.Reason == reason.None {
		q := s.Apply(index, 0, state.FenceProved{Term: begin.Term, Life: begin.Life})
		r.Events = append(r.Events, q.Events...)
	}
	return s, r
}

// anyTerm takes decisions of dead masters.
func anyTerm(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	switch d := c.(type) {
	case state.Expire:
		d.Term = s.Term()
		return realApply(s, index, d)
	case state.FenceProved:
		d.Term = s.Term()
		return realApply(s, index, d)
	}
	return realApply(s, index, c)
}

// anyLife takes the proof of one life for that of another.
func anyLife(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	if d, ok := c.(state.FenceProved); ok {
		n, _ := s.Members().Node(d.Node)
		d.Incarnation = n.Incarnation
		return realApply(s, index, d)
	}
	return realApply(s, index, c)
}

// rejoinUnfenced lets a node log in that is expired and not fenced.
func rejoinUnfenced(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	if d, ok := c.(state.Login); ok {
		n, _ := s.Members().Node(d.Node)
		if n.State == member.Expired {
			s.Apply(index, 0, state.FenceProved{Term: s.Term(), Life: member.Life{Node: d.Node, Incarnation: n.Incarnation}})
		}
	}
	return realApply(s, index, c)
}

// unlockFrozen lets a logout of a dead node's session end it.
func unlockFrozen(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	d, ok := c.(state.Logout)
	session, known := s.Members().Session(d.Session)
	if !ok || !known || !session.Frozen {
		return realApply(s, index, c)
	}
	return realApply(s, index, state.FenceProved{Term: s.Term(), Life: member.Life{Node: session.Node, Incarnation: session.Incarnation}})
}

// TestSearch_finds: the search finds what it is there to find.
func TestSearch_finds(t *testing.T) {
	for _, c := range []struct {
		name string
		ap   apply
		want string
	}{
		{"release at expire", releaseAtExpire, "has NL"},
		{"forget at new term", forgetAtTerm, "owed and forgotten"},
		{"release at begin", releaseAtBegin, "owed and forgotten"},
		{"decisions of any term", anyTerm, "of the present term: false"},
		{"proof of any life", anyLife, "of the present term: false"},
		{"rejoin without fence", rejoinUnfenced, "while its fence is owed"},
		{"logout of a frozen session", unlockFrozen, "owed and forgotten"},
	} {
		n, err := search(c.ap, 5000)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d states, %v", c.name, n, err)
		}
		t.Logf("%s: %d states, %v", c.name, n, err)
	}
}

// TestSearch_findsDoubleUse: without a look into the ledger or the table, the
// truth about the machines alone shows what breaks exclusion.
func TestSearch_findsDoubleUse(t *testing.T) {
	for name, ap := range map[string]apply{"expire": releaseAtExpire, "term": forgetAtTerm, "begin": releaseAtBegin} {
		w := newWorld()
		script := []string{
			"a logs in", "b logs in", "a asks for EX", "a is expired", "b asks for EX", "a's fence is begun", "the master dies, another begins",
		}
		for _, step := range script {
			moves := w.moves()
			at := slices.IndexFunc(moves, func(m move) bool { return m.name == step })
			if at < 0 {
				break // it went another way before
			}
			if err := moves[at].do(w, ap); err != nil {
				t.Fatal(err)
			}
		}
		if lock.Compatible(w.machines[0].uses, w.machines[1].uses) {
			t.Errorf("release at %s: a uses %v, b uses %v", name, w.machines[0].uses, w.machines[1].uses)
		}
	}
}
