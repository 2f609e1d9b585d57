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

// TestJournal_firstReleasesAll: remains from before the lockspace had journals go
// when the first mounter has replayed all, for nobody else may release them.
func TestJournal_firstReleasesAll(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, b := c.enter("a"), c.enter("b")
	c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
	if r := c.ask(a, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1}); r.Number != 1 {
		t.Fatalf("%+v", r)
	}
	c.mustMount(b, 0)
	c.want(c.on(b, 1, "r", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
	c.want(c.ask(b, state.Request{Op: state.OpGulmDrop, Lockspace: 1}), lock.Refused, reason.NotRecovering)
	c.say(b, state.OpMounted, 0)
	c.want(c.on(b, 2, "r", lock.EX, lock.NoQueue), lock.Granted, 0)
}

// TestJournal_doubt: what a session left that withdrew is released neither by the
// replay nor by the fence alone, if its node failed meanwhile.
func TestJournal_doubt(t *testing.T) {
	c, a, b, _ := three(t)
	c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
	other := c.must(login("a", "boot1", 2)).Login.Number
	c.must(state.Logout{Session: a})
	c.expire("a")
	c.want(c.on(b, 1, "r", lock.EX, lock.Recovery|lock.NoQueue), lock.Refused, reason.TryFailed)
	c.say(b, state.OpRecovered, 0)
	c.want(c.on(b, 2, "r", lock.EX, 0), lock.Queued, 0)
	if r := c.fence("a"); !slices.Equal(granted(r), []lock.Session{lock.Session(b)}) || !slices.Contains(r.Ended, other) {
		t.Fatalf("%+v", r)
	}
}

// TestJournal_nobodyHandsOnEarly: neither the journal of a dead mounter nor one
// that it replays is handed on before its fence is proved.
func TestJournal_nobodyHandsOnEarly(t *testing.T) {
	c, a, b, d := three(t)
	if r := c.do(state.Logout{Session: a}); handed(r) != fmt.Sprintf("[%d:0]", b) {
		t.Fatalf("%+v", r.Journals)
	}
	if r := c.do(state.Expire{Term: 1, Life: c.life("b"), Seen: c.next, Reason: "silent"}); len(r.Journals) > 0 {
		t.Fatalf("at expiry %+v", r.Journals)
	}
	late := c.enter("e")
	c.mustMount(late, 3)
	if r := c.fence("b"); handed(r) != fmt.Sprintf("[%d:0 %d:1]", d, late) {
		t.Fatalf("after the fence %+v", r.Journals)
	}
}

// TestImage_impossibleJournals: a snapshot with mounts that cannot be is refused.
func TestImage_impossibleJournals(t *testing.T) {
	c, a, _, _ := three(t)
	c.must(state.Logout{Session: a})
	for name, spoil := range map[string]func(*journal.Space){
		"unknown lockspace":      func(p *journal.Space) { p.Lockspace = 9 },
		"mounter of another one": func(p *journal.Space) { p.Journals[1].Mounter = p.Mounts[1].Session },
		"mount of a stranger":    func(p *journal.Space) { p.Mounts[0].Session = 99 },
		"mount of another life":  func(p *journal.Space) { p.Mounts[0].Life.Incarnation = 7 },
		"dead mount":             func(p *journal.Space) { p.Mounts[0].Dead = true },
		"two of a node":          func(p *journal.Space) { p.Mounts[1].Life.Node = p.Mounts[0].Life.Node },
		"first beside others":    func(p *journal.Space) { p.Mounts[0].State = journal.First },
		"journal beyond":         func(p *journal.Space) { p.Mounts[0].JID = 9 },
		"recoverer of nothing":   func(p *journal.Space) { p.Journals[1].Recoverer = p.Mounts[0].Session },
		"not handed out":         func(p *journal.Space) { p.Journals[0].Recoverer, p.Journals[0].Changed = 0, 0 },
		"nobody left it":         func(p *journal.Space) { p.Journals[0].Left[0].Sessions = nil },
		"left by a stranger":     func(p *journal.Space) { p.Journals[0].Left[0].Life.Node = "x" },
		"doubted for nothing":    func(p *journal.Space) { p.Journals[0].Left[0].Doubted = true },
		"late for nothing":       func(p *journal.Space) { p.Late = p.Journals[0].Left },
	} {
		p := pictureOf(c.State)
		if _, ok := rebuilt(pictureOf(c.State)); !ok {
			t.Fatal("the possible one is refused")
		}
		spoil(&p.Image.Journals[0])
		if _, ok := rebuilt(p); ok {
			t.Errorf("%s: restored", name)
		}
	}
}
