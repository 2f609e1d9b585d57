package state_test

import (
	"fmt"
	"slices"
	"testing"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// mount mounts lockspace 1, which has four journals.
func (c *cluster) mount(session uint64) lock.Reply {
	c.Helper()
	return c.ask(session, state.Request{Op: state.OpMount, Lockspace: 1, Journals: 4})
}

// mustMount demands a journal at once.
func (c *cluster) mustMount(session uint64, jid uint32) {
	c.Helper()
	if r := c.mount(session); r.Outcome != lock.Mounted || r.Number != jid {
		c.Fatalf("session %d has %+v, want journal %d", session, r, jid)
	}
}

// say sends a request about the mount of lockspace 1 that must be accepted.
func (c *cluster) say(session uint64, op state.Op, jid uint32) {
	c.Helper()
	if r := c.ask(session, state.Request{Op: op, Lockspace: 1, JID: jid}); r.Outcome != lock.Noted {
		c.Fatalf("session %d, op %d: %+v", session, op, r)
	}
}

// on asks for a lock with flags, under an ID of its own.
func (c *cluster) on(session uint64, id lock.ID, name string, m lock.Mode, flags lock.Flags) lock.Reply {
	c.Helper()
	return c.ask(session, state.Request{Op: state.OpLock, Lock: id, Lockspace: 1, Name: []byte(name), Mode: m, Flags: flags})
}

func (c *cluster) want(r lock.Reply, outcome lock.Outcome, why reason.Reason) {
	c.Helper()
	if r.Outcome != outcome || r.Reason != why {
		c.Fatalf("answered %+v, want outcome %d, reason %v", r, outcome, why)
	}
}

// fence proves the fence of an expired node.
func (c *cluster) fence(node string) state.Result {
	c.Helper()
	return c.must(state.FenceProved{Term: 1, Life: c.life(node), By: "m/d"})
}

// handed are the events that hand journals out.
func handed(r state.Result) string {
	var out []string
	for _, e := range r.Journals {
		if e.Kind == journal.EventRecover {
			out = append(out, fmt.Sprintf("%d:%d", e.Session, e.JID))
		}
	}
	return fmt.Sprint(out)
}

func granted(r state.Result) []lock.Session {
	var out []lock.Session
	for _, e := range r.Events {
		if e.Kind == lock.EventGranted {
			out = append(out, e.Session)
		}
	}
	return out
}

// three are nodes that have mounted, with journals 0, 1 and 2.
func three(t *testing.T) (c *cluster, a, b, d uint64) {
	t.Helper()
	c = newCluster(t, state.Limits{})
	a, b, d = c.enter("a"), c.enter("b"), c.enter("d")
	c.mustMount(a, 0)
	c.say(a, state.OpMounted, 0)
	c.mustMount(b, 1)
	c.mustMount(d, 2)
	return c, a, b, d
}

// TestJournal_locksWait: S2. What a mounter held is not granted before its fence
// is proved, and then not before its journal is recovered; what it waited for, and
// what others hold, goes on.
func TestJournal_locksWait(t *testing.T) {
	for _, m := range []lock.Mode{lock.CR, lock.CW, lock.PR, lock.PW, lock.EX} {
		c, a, b, d := three(t)
		c.want(c.on(a, 1, "r", m, 0), lock.Granted, 0)
		c.want(c.on(a, 2, "q", m, lock.Persistent), lock.Granted, 0)
		c.expire("a")
		c.want(c.on(b, 1, "r", lock.EX, 0), lock.Queued, 0)
		c.want(c.on(b, 2, "other", lock.EX, 0), lock.Granted, 0)
		c.want(c.on(b, 9, "r", lock.EX, lock.Recovery), lock.Refused, reason.NotRecovering)
		r := c.fence("a")
		if len(granted(r)) > 0 || handed(r) != "[2:0]" {
			t.Fatalf("%v: granted %v, handed %v", m, granted(r), handed(r))
		}
		c.want(c.on(d, 1, "q", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
		c.want(c.on(d, 2, "q", lock.EX, lock.Recovery|lock.NoQueue), lock.Refused, reason.NotRecovering)
		c.want(c.ask(d, state.Request{Op: state.OpRecovered, Lockspace: 1}), lock.Refused, reason.NotRecovering)
		c.want(c.on(b, 3, "q", lock.EX, lock.Recovery|lock.NoQueue), lock.Granted, 0)
		req := state.Request{Op: state.OpRecovered, Lockspace: 1, Seq: c.Applied(b) + 1}
		if r := c.do(batch(group(b, 0, req))); !slices.Equal(granted(r), []lock.Session{lock.Session(b)}) {
			t.Fatalf("%v: after the recovery %+v", m, r)
		}
	}
}

// TestJournal_recoveryEnds: a request that may pass remains does so no more once
// its session's recovery is over, be it queued already.
func TestJournal_recoveryEnds(t *testing.T) {
	for _, end := range []state.Op{state.OpRecovered, state.OpUnmount} {
		c, a, b, d := three(t)
		other := c.enter("e")
		c.mustMount(other, 3)
		c.want(c.on(d, 1, "r", lock.EX, 0), lock.Granted, 0)
		c.must(state.Logout{Session: a})
		c.want(c.on(b, 1, "r", lock.EX, lock.Recovery), lock.Queued, 0)
		c.say(b, end, 0)
		if end == state.OpRecovered {
			c.say(b, state.OpUnmount, 0)
		}
		c.expire("d")
		r := c.fence("d")
		if len(granted(r)) > 0 {
			t.Errorf("after op %d: %v was granted what d left, which nobody has recovered", end, granted(r))
		}
	}
}
