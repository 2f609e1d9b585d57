package state_test

import (
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// gulmOn asks for a state of a key.
func gulmOn(key string, m lock.Mode, flags lock.GulmFlags) state.Request {
	gulmLocks++
	return state.Request{
		Op: state.OpGulm, Lock: gulmLocks, Lockspace: 1, Name: []byte(key), Mode: m, Flags: lock.Flags(flags),
	}
}

// gulmLocks numbers the locks of all tests of this file.
var gulmLocks lock.ID = 1000

func drop(node, mask string) state.Request {
	return state.Request{Op: state.OpGulmDrop, Lockspace: 1, Node: []byte(node), Name: []byte(mask)}
}

// TestGulmDrop_beforeTheFence: nothing that a session can ask releases what a dead
// node holds, or passes it, before its fence is proved.
func TestGulmDrop_beforeTheFence(t *testing.T) {
	for _, held := range []lock.Mode{lock.PR, lock.CW, lock.EX} {
		c := newCluster(t, state.Limits{})
		dead, heir := c.enter("dead"), c.enter("heir")
		if r := c.ask(dead, gulmOn("k", held, 0)); r.Outcome != lock.Granted {
			t.Fatalf("%+v", r)
		}
		c.ask(dead, gulmOn("withdrawn", held, 0))
		if r := c.ask(dead, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1, Name: []byte("w")}); r.Number != 1 {
			t.Fatalf("withdrew %+v", r)
		}
		life := c.expire("dead")
		for _, ask := range []struct {
			req  state.Request
			want reason.Reason
		}{
			{drop("dead", ""), reason.NotFenced},
			{drop("dead", "k"), reason.NotFenced},
			{drop("", ""), reason.None}, // of whom nothing is left
			{drop("nobody", ""), reason.UnknownNode},
			{gulmOn("k", lock.EX, lock.GulmNoExp|lock.GulmTry), reason.TryFailed},
			{gulmOn("withdrawn", lock.EX, lock.GulmNoExp|lock.GulmTry), reason.TryFailed},
		} {
			if r := c.ask(heir, ask.req); r.Reason != ask.want || r.Number != 0 {
				t.Errorf("%v held, asked %+v: %+v, want %v", held, ask.req, r, ask.want)
			}
		}
		c.must(state.FenceProved{Term: 1, Life: life, By: "power/pdu"})
		if r := c.ask(heir, gulmOn("k", lock.EX, lock.GulmTry)); r.Outcome != lock.Granted {
			t.Errorf("%v held, after the fence: %+v", held, r)
		}
		if r := c.ask(heir, gulmOn("withdrawn", lock.EX, lock.GulmTry)); r.Reason != reason.TryFailed {
			t.Errorf("%v held, what was withdrawn, before it is dropped: %+v", held, r)
		}
		if r := c.ask(heir, drop("dead", "")); r.Number != 1 {
			t.Errorf("%v held, dropped after the fence: %+v", held, r)
		}
	}
}

// TestGulmWithdraw: the session goes on, and its locks under the mask stay in the
// way of others until they are dropped.
func TestGulmWithdraw(t *testing.T) {
	c := newCluster(t, state.Limits{})
	leaver, other := c.enter("leaver"), c.enter("other")
	for _, key := range []string{"fs1 a", "fs1 b", "fs2 a"} {
		c.ask(leaver, gulmOn(key, lock.EX, 0))
	}
	if r := c.ask(leaver, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1, Name: []byte("fs1")}); r.Number != 2 {
		t.Fatalf("%+v", r)
	}
	if r := c.ask(other, gulmOn("fs1 a", lock.PR, lock.GulmTry)); r.Reason != reason.TryFailed {
		t.Errorf("before the drop: %+v", r)
	}
	if r := c.ask(other, gulmOn("fs1 a", lock.EX, lock.GulmTry|lock.GulmNoExp)); r.Outcome != lock.Granted {
		t.Errorf("for the recovery: %+v", r)
	}
	q := gulmOn("fs1 b", lock.PR, 0)
	q.Op = state.OpGulmQuery
	if r := c.ask(other, q); r.Holders == nil || r.Holders.List[0].Session != lock.Session(leaver) || !r.Holders.List[0].Frozen {
		t.Errorf("who is in the way: %+v", r)
	}
	if r := c.ask(other, drop("leaver", "fs\xff b")); r.Number != 1 {
		t.Errorf("dropped %+v", r)
	}
	if r := c.ask(other, gulmOn("fs1 b", lock.EX, lock.GulmTry)); r.Outcome != lock.Granted {
		t.Errorf("after the drop: %+v", r)
	}
	if r := c.ask(leaver, gulmOn("fs2 a", lock.PR, lock.GulmTry)); r.Outcome != lock.Granted {
		t.Errorf("what it has not given up: %+v", r)
	}
	// Without a mask it leaves the lockspace too, and may join it again.
	if r := c.ask(leaver, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1}); r.Number != 1 {
		t.Errorf("%+v", r)
	}
	if r := c.ask(leaver, gulmOn("new", lock.PR, 0)); r.Reason != reason.NoLockspace {
		t.Errorf("after it has left: %+v", r)
	}
	c.ask(leaver, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	if r := c.ask(leaver, gulmOn("new", lock.PR, 0)); r.Outcome != lock.Granted {
		t.Errorf("after it has joined again: %+v", r)
	}
	if err := same(c.State, mustRestore(t, c.State)); err != nil {
		t.Error(err)
	}
}

func mustRestore(t *testing.T, s *state.State) *state.State {
	t.Helper()
	again, ok := restored(s)
	if !ok {
		t.Fatal("the image is refused")
	}
	return again
}

// TestGulm_behindJournals: what is under a journal goes with its recovery and by
// nothing else.
func TestGulm_behindJournals(t *testing.T) {
	c := newCluster(t, state.Limits{})
	first, second := c.enter("first"), c.enter("second")
	mount := state.Request{Op: state.OpMount, Lockspace: 1, Journals: 4}
	c.ask(first, mount)
	c.ask(first, state.Request{Op: state.OpMounted, Lockspace: 1})
	c.ask(second, mount)
	c.ask(first, gulmOn("k", lock.EX, 0))
	if r := c.ask(first, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1, Name: []byte("k")}); r.Reason != reason.InUse {
		t.Errorf("a part of a mount: %+v", r)
	}
	if r := c.ask(second, gulmOn("k", lock.PR, lock.GulmNoExp|lock.GulmTry)); r.Reason != reason.NotRecovering {
		t.Errorf("nobody has left anything: %+v", r)
	}
	if r := c.ask(first, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1}); r.Outcome == lock.Refused {
		t.Fatalf("%+v", r)
	}
	for _, req := range []state.Request{drop("first", ""), drop("", "")} {
		if r := c.ask(second, req); r.Reason != reason.NotRecovering {
			t.Errorf("dropped before the journal is replayed: %+v", r)
		}
	}
	if r := c.ask(second, gulmOn("k", lock.PR, lock.GulmTry)); r.Reason != reason.TryFailed {
		t.Errorf("before the journal is replayed: %+v", r)
	}
	if r := c.ask(second, gulmOn("k", lock.PR, lock.GulmNoExp|lock.GulmTry)); r.Outcome != lock.Granted {
		t.Errorf("for the recovery: %+v", r)
	}
	if n, _ := c.State.Members().Node("first"); n.State != member.LoggedIn {
		t.Errorf("who has withdrawn is %v", n.State)
	}
}
