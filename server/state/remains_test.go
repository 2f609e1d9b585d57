package state_test

import (
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// heldOn returns the mode in which a session holds a resource of lockspace 1.
func heldOn(s *state.State, session uint64, name string) lock.Mode {
	r, _ := s.Locks().Resource(1, []byte(name))
	for _, l := range r.Locks {
		if l.Session == lock.Session(session) {
			return l.Granted
		}
	}
	return lock.NL
}

// mounter is a node that works as the first mounter, with journal 0.
func mounter(t *testing.T) (*cluster, uint64) {
	t.Helper()
	c := newCluster(t, state.Limits{})
	m := c.enter("m")
	c.mustMount(m, 0)
	c.say(m, state.OpMounted, 0)
	return c, m
}

// sound reports a state that does not come back from a snapshot.
func (c *cluster) sound() {
	c.Helper()
	if _, err := reread(c.State); err != nil {
		c.Fatal(err)
	}
}

// TestMount_endsRecoveries: in a lockspace without journals everybody may pass
// remains. Who has asked for that and waits when the first one mounts must not pass
// what a mounter leaves later.
func TestMount_endsRecoveries(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, b, m := c.enter("a"), c.enter("b"), c.enter("m")
	c.want(c.ask(b, lockOn("r", lock.EX)), lock.Granted, reason.None)
	c.want(c.ask(a, gulmOn("r", lock.EX, lock.GulmNoExp)), lock.Queued, reason.None)
	c.mustMount(m, 0)
	c.say(m, state.OpMounted, 0)
	c.mustMount(b, 1)
	c.expire("b")
	c.fence("b")
	if got := heldOn(c.State, a, "r"); got != lock.NL {
		t.Errorf("a was granted %v before the journal is recovered", got)
	}
	c.sound()
}

// TestRecovered_deniesAtOnce: when a recovery is over, none of its requests that
// wait is granted because another one is denied.
func TestRecovered_deniesAtOnce(t *testing.T) {
	rangeOn := func(id lock.ID, m lock.Mode, start, end uint64, flags lock.Flags) state.Request {
		return state.Request{
			Op: state.OpRangeLock, Lock: id, Lockspace: 1, Name: []byte("f"), Mode: m, Flags: flags, Range: state.Range{Owner: uint64(id), Start: start, End: end},
		}
	}
	c, m := mounter(t)
	d, h := c.enter("d"), c.enter("h")
	c.mustMount(d, 1)
	c.want(c.ask(h, lockOn("r", lock.CR)), lock.Granted, reason.None)
	c.want(c.ask(d, lockOn("r", lock.PW)), lock.Granted, reason.None)
	c.want(c.ask(h, rangeOn(20, lock.EX, 0, 9, 0)), lock.Granted, reason.None)
	c.want(c.ask(d, rangeOn(20, lock.EX, 10, 19, 0)), lock.Granted, reason.None)
	c.expire("d")
	c.fence("d")
	c.want(c.on(m, 11, "r", lock.EX, lock.Recovery), lock.Queued, reason.None)
	c.want(c.on(m, 12, "r", lock.CW, lock.Recovery), lock.Queued, reason.None)
	c.want(c.ask(m, rangeOn(13, lock.EX, 5, 15, lock.Recovery)), lock.Queued, reason.None)
	c.want(c.ask(m, rangeOn(14, lock.EX, 12, 19, lock.Recovery)), lock.Queued, reason.None)
	c.want(c.ask(m, state.Request{Op: state.OpRecovered, Lockspace: 1, JID: 1, Value: []byte("i/o error")}), lock.Noted, reason.None)
	if got := heldOn(c.State, m, "r"); got != lock.NL {
		t.Errorf("m was granted %v after its recovery had failed", got)
	}
	if n := c.Locks().Ranges(lock.Session(m)); n != 0 {
		t.Errorf("m was granted %d ranges after its recovery had failed", n)
	}
	for id := lock.ID(11); id <= 14; id++ {
		c.want(c.ask(m, state.Request{Op: state.OpUnlock, Lock: id}), lock.Unlocked, reason.None)
	}
}

// TestSettle_orphanOfOneThatWithdrew: an orphan goes with the journal of its node
// that is mounted when the node dies, not with one that its maker left before.
func TestSettle_orphanOfOneThatWithdrew(t *testing.T) {
	c, m := mounter(t)
	x := c.enter("x")
	c.mustMount(x, 1)
	c.say(x, state.OpWithdraw, 0)
	c.ask(x, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	c.want(c.on(x, 2, "s", lock.EX, lock.Persistent), lock.Granted, reason.None)
	c.must(state.Logout{Session: x})
	x = c.must(login("x", "boot1", 2)).Login.Number
	c.ask(x, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	c.mustMount(x, 2)
	c.expire("x")
	c.fence("x")
	c.sound()
	c.want(c.ask(m, lockOn("s", lock.EX)), lock.Queued, reason.None)
	c.say(m, state.OpRecovered, 1)
	if got := heldOn(c.State, m, "s"); got != lock.NL {
		t.Errorf("m has %v before journal 2 is recovered", got)
	}
	c.say(m, state.OpRecovered, 2)
	if got := heldOn(c.State, m, "s"); got != lock.EX {
		t.Errorf("m has %v after the replay", got)
	}
}

// TestMount_leavesOneJournal: a life that leaves a journal twice leaves the same
// one, also if an earlier life of its node left another.
func TestMount_leavesOneJournal(t *testing.T) {
	c, m := mounter(t)
	x := c.enter("x")
	c.mustMount(x, 1)
	c.must(state.Logout{Session: x})
	x = c.enter("x")
	c.mustMount(x, 2)
	c.say(x, state.OpWithdraw, 0)
	c.say(m, state.OpUnmount, 0)
	c.ask(x, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	c.mustMount(x, 2)
	c.must(state.Logout{Session: x})
	c.sound()
}

// TestSettle_othersOfANodeThatWithdrew: what other sessions of a node, or its
// orphans, have under a journal that the node left waits for that, too.
func TestSettle_othersOfANodeThatWithdrew(t *testing.T) {
	for _, orphan := range []bool{false, true} {
		c, m := mounter(t)
		x := c.enter("x")
		other := c.must(login("x", "boot1", 2)).Login.Number
		c.ask(other, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
		c.mustMount(x, 1)
		c.want(c.on(other, 1, "r", lock.EX, lock.Persistent), lock.Granted, reason.None)
		if orphan {
			c.must(state.Logout{Session: other})
		}
		c.say(x, state.OpWithdraw, 0)
		c.expire("x")
		c.fence("x")
		c.sound()
		c.want(c.ask(m, lockOn("r", lock.EX)), lock.Queued, reason.None)
		c.say(m, state.OpRecovered, 1)
		if got := heldOn(c.State, m, "r"); got != lock.EX {
			t.Errorf("orphan %v: m has %v after the replay", orphan, got)
		}
	}
}
