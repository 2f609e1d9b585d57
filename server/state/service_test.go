package state_test

import (
	"strings"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// survives demands that a state comes back from a snapshot as it is.
func (c *cluster) survives() {
	c.Helper()
	again, err := reread(c.State)
	if err != nil {
		c.Fatal(err)
	}
	if err := same(c.State, again); err != nil {
		c.Fatal(err)
	}
}

func flagged(node, boot string, id byte, flags member.SessionFlags, replaces uint64) state.Login {
	l := login(node, boot, id)
	l.Flags, l.Replaces = flags, replaces
	return l
}

// TestEndSession: only of an unimportant session that has nothing that needs a
// fence and gave no newer sign of life, by the present master.
func TestEndSession(t *testing.T) {
	c := newCluster(t, state.Limits{})
	important := c.must(login("a", "boot1", 1)).Login.Number
	idle := c.must(flagged("a", "boot1", 2, member.Unimportant, 0)).Login.Number
	joined := c.must(flagged("b", "boot1", 3, member.Unimportant, 0)).Login.Number
	c.ask(joined, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	c.survives()
	for _, step := range []struct {
		name string
		c    state.EndSession
		why  reason.Reason
	}{
		{"old master", state.EndSession{Term: 0, Session: idle, Seen: 99}, reason.StaleTerm},
		{"unknown", state.EndSession{Term: 1, Session: 99, Seen: 99}, reason.NoSession},
		{"important", state.EndSession{Term: 1, Session: important, Seen: 99}, reason.InUse},
		{"a member", state.EndSession{Term: 1, Session: joined, Seen: 99}, reason.InUse},
		{"newer sign of life", state.EndSession{Term: 1, Session: idle, Seen: c.Seen(idle) - 1}, reason.Alive},
		{"silent", state.EndSession{Term: 1, Session: idle, Seen: c.Seen(idle)}, reason.None},
		{"again", state.EndSession{Term: 1, Session: idle, Seen: 99}, reason.NoSession},
	} {
		if r := c.do(step.c); r.Reason != step.why {
			t.Errorf("%s: %v, want %v", step.name, r.Reason, step.why)
		}
	}
	if n, _ := c.Members().Node("a"); n.State != member.LoggedIn {
		t.Errorf("a is %v", n.State)
	}
	c.ask(joined, state.Request{Op: state.OpLeave, Lockspace: 1})
	c.must(state.EndSession{Term: 1, Session: joined, Seen: c.Seen(joined)})
	if n, _ := c.Members().Node("b"); n.State != member.LoggedOut {
		t.Errorf("b is %v", n.State)
	}
	c.expire("a")
	if r := c.do(state.EndSession{Term: 1, Session: important, Seen: 99}); r.Reason != reason.NodeExpired {
		t.Errorf("expired: %v", r.Reason)
	}
	c.survives()
}

// TestReboot_oneCommand: the login of the next boot settles the life before and
// releases its locks, logged in or expired, in one command, and no other does.
func TestReboot_oneCommand(t *testing.T) {
	for _, expired := range []bool{false, true} {
		c := newCluster(t, state.Limits{})
		a, b := c.enter("a"), c.enter("b")
		c.ask(a, lockOn("r", lock.EX))
		c.ask(b, lockOn("r", lock.EX))
		if expired {
			c.expire("a")
		}
		if r := c.do(flagged("a", "boot2", 9, 0, 7)); r.Reason == reason.None || len(r.Events) > 0 || len(r.Ended) > 0 {
			t.Fatalf("a claim about another life: %+v", r)
		}
		r := c.must(flagged("a", "boot2", 9, 0, 1))
		if r.Login.Incarnation != 2 || len(r.Ended) != 1 || r.Ended[0] != a || len(r.Events) != 1 || r.Events[0].Session != lock.Session(b) {
			t.Errorf("expired %v: %+v", expired, r)
		}
		n, _ := c.Members().Node("a")
		if n.State != member.LoggedIn || n.Fence.State != member.FenceProved || n.Fence.Incarnation != 1 ||
			!strings.Contains(n.Fence.By, "boot1 -> boot2") {
			t.Errorf("node: %+v", n)
		}
		if again := c.must(flagged("a", "boot2", 9, 0, 1)); again.Login.Number != r.Login.Number || len(again.Ended) > 0 {
			t.Errorf("repeated: %+v", again)
		}
		c.survives()
	}
}

// TestBreaker_commands: who may pause and resume what, and what a pause refuses.
func TestBreaker_commands(t *testing.T) {
	c := newCluster(t, state.Limits{})
	c.enter("a")
	c.enter("b")
	step := func(name string, command state.Command, why reason.Reason) {
		t.Helper()
		if r := c.do(command); r.Reason != why {
			t.Errorf("%s: %v, want %v", name, r.Reason, why)
		}
		c.survives()
	}
	byItself, resume := state.PauseFencing{Term: 1, Reason: "4 of 6"}, state.ResumeFencing{Term: 1, Reason: "back"}
	alice, resumed := state.PauseFencing{Term: 1, Operator: "alice"}, state.ResumeFencing{Term: 1, Operator: "alice"}
	step("nothing to resume", resume, reason.NotPending)
	step("nor by hand", resumed, reason.NotPending)
	step("old master", state.PauseFencing{Term: 0}, reason.StaleTerm)
	step("trip", byItself, reason.None)
	step("trip again", byItself, reason.Paused)
	expiry := state.Expire{Term: 1, Life: c.life("a"), Seen: 99, Reason: "silent"}
	step("expiry", expiry, reason.Paused)
	expiry.Operator = "alice"
	step("forced expiry", expiry, reason.None)
	step("its fence", state.FenceBegin{Term: 1, Life: c.life("a")}, reason.None)
	step("its agent", state.FenceStarted{Term: 1, Life: c.life("a"), Method: "power", Device: "apc", Agent: "fence_apc off"}, reason.None)
	c.must(state.BeginTerm{Term: 1, Server: "s1"})
	if !c.Breaker().Paused {
		t.Error("a new term forgot the pause")
	}
	step("back", resume, reason.None)
	c.expire("b")
	step("trip with a fence pending", byItself, reason.None)
	step("that fence", state.FenceBegin{Term: 1, Life: c.life("b")}, reason.Paused)
	step("an agent in its midst", state.FenceStarted{Term: 1, Life: c.life("b"), Method: "power", Device: "apc", Agent: "fence_apc off"}, reason.Paused)
	step("its proof", state.FenceProved{Term: 1, Life: c.life("b"), By: "power/apc", Power: true}, reason.None)
	step("by hand", resumed, reason.None)
	if b := c.Breaker(); b.Paused || !b.Overridden || b.Operator != "alice" || b.Trips != 2 || b.Resumes != 2 {
		t.Errorf("%+v", b)
	}
	step("trip while overridden", byItself, reason.WrongState)
	step("ready again", resume, reason.None)
	step("ready already", resume, reason.NotPending)
	step("pause by hand", alice, reason.None)
	step("nodes do not end that", resume, reason.WrongState)
	step("old master", state.ResumeFencing{Term: 0, Operator: "alice"}, reason.StaleTerm)
	step("a person does", resumed, reason.None)
	if b := c.Breaker(); b.Overridden || b.Paused {
		t.Errorf("%+v", b)
	}
}

// TestServers_commands: a server logs in like a node, out when it leaves, and is
// dropped without a boot id; its session is nobody else's.
func TestServers_commands(t *testing.T) {
	c := newCluster(t, state.Limits{Sessions: 1})
	c.enter("n")
	first := c.must(state.ServerEntered{Server: "s1", BootID: "boot1"}) // beyond the limit of sessions
	if again := c.must(state.ServerEntered{Server: "s1", BootID: "boot1"}); again.Login.Number != first.Login.Number {
		t.Errorf("entered again: %+v", again)
	}
	if r := c.do(state.ServerEntered{Server: "s1", BootID: "boot2"}); r.Reason != reason.StaleIncarnation {
		t.Errorf("another boot: %v", r.Reason)
	}
	if r := c.must(state.ServerEntered{Server: "s1", BootID: "boot2", Replaces: 1}); r.Login.Incarnation != 2 {
		t.Errorf("rebooted: %+v", r)
	}
	c.survives()
	c.must(state.ServerLeft{Server: "s1"})
	if n, _ := c.Members().Node("s1"); n.State != member.LoggedOut || len(c.ServersLeft()) != 1 {
		t.Errorf("left: %+v, %v", n, c.ServersLeft())
	}
	c.must(state.ServerEntered{Server: "s1", BootID: "boot2"})
	c.must(state.ServerEntered{Server: "s1"})
	if n, _ := c.Members().Node("s1"); n.State != member.LoggedOut || len(c.ServersLeft()) != 0 {
		t.Errorf("dropped: %+v, %v", n, c.ServersLeft())
	}
	c.must(state.ServerEntered{Server: "s1", BootID: "boot2"})
	l := c.expire("s1")
	c.must(state.ServerLeft{Server: "s1"})
	c.must(state.ServerEntered{Server: "s1"})
	if n, _ := c.Members().Node("s1"); n.State != member.Expired {
		t.Errorf("an expired server that leaves is %v", n.State)
	}
	if r := c.do(state.ServerEntered{Server: "s1", BootID: "boot2"}); r.Reason != reason.NotFenced {
		t.Errorf("not fenced: %v", r.Reason)
	}
	c.must(state.FenceProved{Term: 1, Life: l, By: "power/apc", Power: true})
	if r := c.do(state.ServerEntered{Server: "s1", BootID: "boot2"}); r.Reason != reason.FenceLied {
		t.Errorf("the same boot after a power fence: %v", r.Reason)
	}
	c.must(state.ServerEntered{Server: "s1", BootID: "boot3"})
	c.survives()
}
