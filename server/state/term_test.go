package state_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// TestBeginTerm: terms only grow, and each has one master.
func TestBeginTerm(t *testing.T) {
	c := newCluster(t, state.Limits{})
	for _, step := range []struct {
		term   uint64
		server string
		why    reason.Reason
	}{
		{1, "s1", reason.None}, // again
		{1, "s2", reason.StaleTerm},
		{0, "s1", reason.StaleTerm},
		{5, "s2", reason.None},
		{5, "s1", reason.StaleTerm},
		{4, "s2", reason.StaleTerm},
		{5, "s2", reason.None},
	} {
		limits := state.Limits{Sessions: step.term, Locks: 7}
		before := pictureOf(c.State).Image
		r := c.do(state.BeginTerm{Term: step.term, Server: step.server, Limits: limits})
		if r.Reason != step.why {
			t.Errorf("term %d of %s: %v, want %v", step.term, step.server, r.Reason, step.why)
		}
		if step.why == reason.None {
			if c.Term() != step.term || c.Master() != step.server || c.Limits() != limits {
				t.Errorf("term %d of %s became %d of %s, limits %+v", step.term, step.server, c.Term(), c.Master(), c.Limits())
			}
		} else if c.Term() != before.Term || c.Master() != before.Master || c.Limits() != before.Limits {
			t.Errorf("refused term %d of %s became %d of %s, limits %+v", step.term, step.server, c.Term(), c.Master(), c.Limits())
		}
	}
	// Nobody is master of term 0, which is before any other.
	if r := state.New().Apply(1, 0, state.BeginTerm{Server: "s1"}); r.Reason != reason.StaleTerm {
		t.Errorf("term 0: %v", r.Reason)
	}
}

// TestTerm_lifeAndDeath: commands that decide life and death are refused, without
// a trace, unless they carry the present term.
func TestTerm_lifeAndDeath(t *testing.T) {
	c := newCluster(t, state.Limits{})
	alive, dead := c.enter("alive"), c.enter("dead")
	c.ask(alive, lockOn("r", lock.PR))
	c.ask(dead, lockOn("q", lock.PR))
	c.expire("dead")
	c.must(state.BeginTerm{Term: 3, Server: "s3"})
	in, out := c.life("alive"), c.life("dead")
	commands := func(term uint64) []state.Command {
		return []state.Command{
			state.FenceBegin{Term: term, Life: out},
			state.FenceAttempted{Term: term, Life: out, Attempt: member.Attempt{Method: "m"}},
			state.FenceStarted{Term: term, Life: out, Method: "m"},
			state.FenceSeen{Term: term, Node: "alive", Outlets: []member.Outlet{{Device: "d", Power: "on"}}},
			state.Expire{Term: term, Life: in, Seen: ^uint64(0)},
			state.FenceProved{Term: term, Life: out},
			state.FenceAcknowledged{Term: term, Life: in},
		}
	}
	for _, term := range []uint64{0, 1, 2, 4, ^uint64(0)} {
		for _, command := range commands(term) {
			before := pictureOf(c.State)
			r := c.do(command)
			after := pictureOf(c.State)
			after.Image.Index, after.Image.Digest = before.Image.Index, before.Image.Digest
			if want := (state.Result{Reason: reason.StaleTerm}); !reflect.DeepEqual(r, want) || !reflect.DeepEqual(before, after) {
				t.Errorf("%T of term %d: %+v\n%s", command, term, r, cmp.Diff(before, after))
			}
		}
	}
	for _, command := range commands(3) {
		if r := c.do(command); r.Reason != reason.None || r.Node == "" {
			t.Errorf("%T of the present term: %+v", command, r)
		}
	}
}

// TestServers: who logged out and who is back.
func TestServers(t *testing.T) {
	c := newCluster(t, state.Limits{})
	left := func(want ...string) {
		t.Helper()
		if got := c.ServersLeft(); !slices.Equal(got, want) {
			t.Errorf("left %v, want %v", got, want)
		}
	}
	for _, server := range []string{"s2", "s1", "s3", "s2"} {
		c.must(state.ServerLeft{Server: server})
	}
	left("s1", "s2", "s3")
	c.must(state.ServerEntered{Server: "s2"})
	c.must(state.ServerEntered{Server: "s9"})
	left("s1", "s3")
	c.must(state.BeginTerm{Term: 2, Server: "s1"})
	left("s3")
	again, err := reread(c.State)
	if err != nil || !slices.Equal(again.ServersLeft(), []string{"s3"}) {
		t.Errorf("%v %v", again.ServersLeft(), err)
	}
}

// TestLimits: of the lock table and of sessions, as the term's master says.
func TestLimits(t *testing.T) {
	c := newCluster(t, state.Limits{Locks: 2, Resources: 1, Lockspaces: 1, Sessions: 2})
	a := c.enter("a")
	c.enter("b")
	if r := c.do(login("c", "boot", 1)); r.Reason != reason.Limit {
		t.Errorf("third session: %v", r.Reason)
	}
	second := lockOn("r", lock.PR)
	second.Lock = 2
	third := second
	third.Lock = 3
	for _, step := range []struct {
		request state.Request
		why     reason.Reason
	}{
		{state.Request{Op: state.OpJoin, Name: []byte("other")}, reason.Limit},
		{lockOn("r", lock.PR), reason.None},
		{state.Request{Op: state.OpLock, Lock: 2, Lockspace: 1, Name: []byte("q"), Mode: lock.PR}, reason.Limit},
		{second, reason.None},
		{third, reason.Limit},
	} {
		if got := c.ask(a, step.request); got.Reason != step.why {
			t.Errorf("%+v: %v, want %v", step.request, got.Reason, step.why)
		}
	}
	// The next master allows more, also after a restore.
	again, err := reread(c.State)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*state.State{c.State, again} {
		d := &cluster{t, s, c.next}
		if got := d.ask(a, third); got.Reason != reason.Limit {
			t.Errorf("%+v", got)
		}
		d.must(state.BeginTerm{Term: 2, Server: "s2", Limits: state.Limits{Locks: 3}})
		d.must(login("c", "boot", 1))
		if got := d.ask(a, third); got.Outcome != lock.Granted {
			t.Errorf("%+v", got)
		}
	}
}

// TestUnknown: a command that is none, and an operation that is none.
func TestUnknown(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a := c.enter("a")
	if r := c.do(nil); r.Reason != reason.Invalid {
		t.Errorf("%+v", r)
	}
	for _, op := range []state.Op{0, state.OpPurge + 1, 255} {
		if got := c.ask(a, state.Request{Op: op}); got.Reason != reason.Invalid {
			t.Errorf("operation %d: %+v", op, got)
		}
	}
}
