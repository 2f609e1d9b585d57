package state_test

import (
	"fmt"
	"slices"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// manualThree are nodes a, b and d that have mounted lockspace 1 under PolicyManual,
// with journals 0, 1 and 2.
func manualThree(t *testing.T) (c *cluster, a, b, d uint64) {
	t.Helper()
	c = newCluster(t, state.Limits{})
	a, _ = c.join("a", "gfs", lock.PolicyManual)
	b, _ = c.join("b", "gfs", lock.PolicyManual)
	d, _ = c.join("d", "gfs", lock.PolicyManual)
	c.mustMount(a, 0)
	c.say(a, state.OpMounted, 0)
	c.mustMount(b, 1)
	c.mustMount(d, 2)
	return c, a, b, d
}

// back demands that the state comes back from a snapshot as it is.
func (c *cluster) back() {
	c.Helper()
	s, err := reread(c.State)
	if err == nil {
		err = same(c.State, s)
	}
	if err != nil {
		c.Fatal(err)
	}
}

// TestManual_withdrawnThenDead: a withdrawal is a promise to write no more. If the
// node fails afterwards that counts for nothing until the word, whatever is proved:
// neither is its journal handed out nor is what it left passed or released.
func TestManual_withdrawnThenDead(t *testing.T) {
	for _, replayed := range []bool{false, true} {
		c, a, b, _ := manualThree(t)
		other := c.must(login("a", "boot1", 2)).Login.Number
		c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
		c.want(c.ask(a, rangeOn(2, "file", 0)), lock.Granted, 0)
		if !replayed {
			for _, s := range slices.Clone(c.Members().Sessions()) { // nobody is there to replay it
				if s.Node != "a" {
					c.must(state.Logout{Session: s.Number})
				}
			}
		}
		c.say(a, state.OpWithdraw, 0)
		c.expire("a")
		if replayed {
			c.say(b, state.OpRecovered, 0)
		} else {
			b, _ = c.join("b", "gfs", lock.PolicyManual)
			c.want(c.mount(b), lock.Queued, 0)
		}
		if !c.AwaitsWord("a") {
			t.Error("nobody is told that a word is needed")
		}
		c.want(c.on(b, 10, "r", lock.EX, 0), lock.Queued, 0)
		if r := c.fence("a"); len(granted(r)) > 0 || len(r.Journals) > 0 || !slices.Contains(r.Ended, other) {
			t.Fatalf("replayed %v: the proof brought %+v %+v", replayed, r.Events, r.Journals)
		}
		c.want(c.ask(b, rangeOn(11, "file", lock.NoQueue)), lock.Refused, reason.TryFailed)
		if !c.AwaitsWord("a") {
			t.Error("after the proof nobody is told that a word is needed")
		}
		c.back()
		r := c.word("a", 1)
		if replayed != slices.Contains(granted(r), lock.Session(b)) || replayed == (len(r.Journals) == 1) {
			t.Fatalf("replayed %v: the word brought %+v %+v", replayed, r.Events, r.Journals)
		}
		if !replayed {
			c.say(b, state.OpMounted, 0)
		}
		c.want(c.ask(b, rangeOn(12, "file", lock.NoQueue)), lock.Granted, 0)
		if heldOn(c.State, b, "r") != lock.EX || c.AwaitsWord("a") {
			t.Errorf("replayed %v: b has %v", replayed, heldOn(c.State, b, "r"))
		}
	}
}

// TestManual_withdrawnKeyByKey: what a GULM client gave up by a mask in a lockspace
// without journals can be passed and dropped as long as the node lives, not from its
// death to the word, and again after that; the word releases only what it died with.
func TestManual_withdrawnKeyByKey(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, _ := c.join("a", "gfs", lock.PolicyManual)
	b, _ := c.join("b", "gfs", lock.PolicyManual)
	c.want(c.on(a, 1, "given", lock.EX, 0), lock.Granted, 0)
	c.want(c.ask(a, rangeOn(3, "given", 0)), lock.Granted, 0)
	if r := c.ask(a, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1, Name: []byte("given")}); r.Number != 2 {
		t.Fatalf("%+v", r)
	}
	c.want(c.on(a, 4, "kept", lock.EX, 0), lock.Granted, 0)
	c.expire("a")
	c.fence("a")
	drop := func(want uint32) {
		t.Helper()
		if r := c.ask(b, state.Request{Op: state.OpGulmDrop, Lockspace: 1}); r.Number != want {
			t.Errorf("dropped %d, want %d", r.Number, want)
		}
	}
	drop(0)
	c.want(c.ask(b, gulmOn("given", lock.EX, lock.GulmNoExp|lock.GulmTry)), lock.Refused, reason.TryFailed)
	c.back()
	c.must(state.FenceAcknowledged{Term: 1, Life: member.Life{Node: "a", Incarnation: 1}, Operator: "root"})
	c.want(c.on(b, 2, "kept", lock.EX, lock.NoQueue), lock.Granted, 0)
	c.want(c.on(b, 3, "given", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
	drop(2)
	c.want(c.on(b, 5, "given", lock.EX, lock.NoQueue), lock.Granted, 0)
}

// TestManual_recovererDies: who replayed a journal may be writing into it until an
// operator says that it is gone, so nobody else gets it on a proof.
func TestManual_recovererDies(t *testing.T) {
	c, a, b, d := manualThree(t)
	c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
	c.expire("a")
	c.fence("a")
	if r := c.word("a", 1); handed(r) != fmt.Sprintf("[%d:0]", b) {
		t.Fatalf("after the word %+v", r.Journals)
	}
	c.expire("b")
	if r := c.fence("b"); len(r.Journals) > 0 {
		t.Fatalf("the proof handed out %+v", r.Journals)
	}
	c.back()
	e, _ := c.join("e", "gfs", lock.PolicyManual)
	c.mustMount(e, 3)
	if r := c.word("b", 1); handed(r) != fmt.Sprintf("[%d:0 %d:1]", d, e) {
		t.Fatalf("after the word about b %+v", r.Journals)
	}
	c.want(c.on(d, 1, "r", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
	c.say(d, state.OpRecovered, 0)
	c.want(c.on(d, 2, "r", lock.EX, lock.NoQueue), lock.Granted, 0)
	c.back()
}

// TestManual_agentsForAJournal: a node that left a dirty journal in a lockspace of
// PolicyFence is fenced by agents although all that it still uses is manual: else
// nobody would ever replay that journal.
func TestManual_agentsForAJournal(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, _ := c.join("a", "gfs", lock.PolicyFence)
	c.mustMount(a, 0)
	c.say(a, state.OpMounted, 0)
	c.say(a, state.OpWithdraw, 0)
	c.ask(a, state.Request{Op: state.OpJoin, Name: []byte("other"), Policy: lock.PolicyManual})
	c.expire("a")
	if !c.NeedsAgents("a") || !c.AwaitsWord("a") {
		t.Errorf("needs agents %v, a word %v", c.NeedsAgents("a"), c.AwaitsWord("a"))
	}
}

// TestManual_nextLifeDies: one word by the name covers every life up to the last one
// that failed, and a word about an earlier one nothing.
func TestManual_nextLifeDies(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, _ := c.join("a", "gfs", lock.PolicyManual)
	b, _ := c.join("b", "gfs", lock.PolicyManual)
	c.want(c.on(a, 1, "one", lock.EX, 0), lock.Granted, 0)
	c.expire("a")
	c.fence("a")
	a = c.must(login("a", "boot2", 2)).Login.Number
	c.want(c.ask(a, state.Request{Op: state.OpJoin, Name: []byte("gfs"), Policy: lock.PolicyManual}), lock.Joined, 0)
	c.want(c.on(a, 1, "two", lock.EX, 0), lock.Granted, 0)
	c.expire("a")
	if r := c.word("a", 1); r.Reason != reason.NotPending {
		t.Fatalf("a word about the first life while the second is expired: %v", r.Reason)
	}
	c.fence("a")
	if r := c.word("a", 1); r.Reason != reason.NotPending {
		t.Fatalf("a word about the first life after the second: %v", r.Reason)
	}
	for _, name := range []string{"one", "two"} {
		c.want(c.on(b, 1, name, lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
	}
	c.word("a", 2)
	c.want(c.on(b, 3, "one", lock.EX, lock.NoQueue), lock.Granted, 0)
	c.want(c.on(b, 4, "two", lock.EX, lock.NoQueue), lock.Granted, 0)
}

// TestManual_lockspaceOfTheDead: a lockspace whose members are all gone stays as long
// as something in it waits for a word, with its policy.
func TestManual_lockspaceOfTheDead(t *testing.T) {
	for _, what := range []string{"lock", "range", "journal", "part"} {
		c := newCluster(t, state.Limits{})
		a, _ := c.join("a", "gfs", lock.PolicyManual)
		switch what {
		case "lock":
			c.want(c.on(a, 1, "r", lock.PR, 0), lock.Granted, 0)
		case "range":
			c.want(c.ask(a, rangeOn(1, "file", 0)), lock.Granted, 0)
		case "part":
			part := gulmOn("key", lock.EX, lock.GulmRange)
			part.Range = state.Range{Start: 1, End: 5}
			c.want(c.ask(a, part), lock.Granted, 0)
		case "journal":
			c.mustMount(a, 0)
		}
		c.expire("a")
		c.fence("a")
		b := c.must(login("b", "boot1", 1)).Login.Number
		c.want(c.ask(b, state.Request{Op: state.OpJoin, Name: []byte("gfs"), Policy: lock.PolicyFence}), lock.Refused, reason.Policy)
		c.want(c.ask(b, state.Request{Op: state.OpJoin, Name: []byte("gfs"), Policy: lock.PolicyManual}), lock.Joined, 0)
		c.back()
		c.word("a", 1)
		if what == "journal" {
			c.mustMount(b, 1)
			c.say(b, state.OpMounted, 0)
		}
		c.must(state.Logout{Session: b})
		if n := len(c.Locks().Spaces()); (n != 0) != (what == "journal") {
			t.Errorf("%s: %d lockspaces are left", what, n)
		}
	}
}

// TestManual_olderThanTheJournals: what a node gave up before the lockspace had
// journals, and then died, goes with the word if all journals are replayed by then.
func TestManual_olderThanTheJournals(t *testing.T) {
	for _, proved := range []bool{false, true} {
		c := newCluster(t, state.Limits{})
		a, _ := c.join("a", "gfs", lock.PolicyManual)
		b, _ := c.join("b", "gfs", lock.PolicyManual)
		c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
		c.want(c.ask(a, rangeOn(2, "file", 0)), lock.Granted, 0)
		c.ask(a, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1})
		c.expire("a")
		if proved {
			c.fence("a")
		}
		c.mustMount(b, 0)
		c.want(c.on(b, 1, "r", lock.EX, lock.Recovery|lock.NoQueue), lock.Refused, reason.TryFailed)
		c.say(b, state.OpMounted, 0)
		if !proved {
			c.fence("a")
		}
		c.want(c.on(b, 2, "r", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
		c.back()
		c.word("a", 1)
		c.want(c.on(b, 3, "r", lock.EX, lock.NoQueue), lock.Granted, 0)
		c.want(c.ask(b, rangeOn(4, "file", lock.NoQueue)), lock.Granted, 0)
	}
}
