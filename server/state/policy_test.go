package state_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// join logs a node in and joins a lockspace under a policy; it returns the session
// and the lockspace's number.
func (c *cluster) join(node, space string, p lock.Policy) (session uint64, lockspace uint32) {
	c.Helper()
	session = c.must(login(node, "boot1", 1)).Login.Number
	r := c.ask(session, state.Request{Op: state.OpJoin, Name: []byte(space), Policy: p})
	c.want(r, lock.Joined, 0)
	return session, r.Number
}

func (c *cluster) word(node string, incarnation uint64) state.Result {
	c.Helper()
	return c.do(state.FenceAcknowledged{Term: 1, Life: member.Life{Node: node, Incarnation: incarnation}, Operator: "root"})
}

// rangeOn asks for an exclusive byte range of lockspace 1.
func rangeOn(id lock.ID, name string, flags lock.Flags) state.Request {
	return state.Request{
		Op: state.OpRangeLock, Lock: id, Lockspace: 1, Name: []byte(name), Mode: lock.EX, Flags: flags,
		Range: state.Range{Owner: 7, Start: 0, End: 9},
	}
}

// TestPolicy_manualWaits: S2 under PolicyManual. Locks in every mode, orphans and
// ranges stay when the fence is proved, also when the node is back; one word by the
// node's name releases them, once.
func TestPolicy_manualWaits(t *testing.T) {
	for _, m := range []lock.Mode{lock.CR, lock.CW, lock.PR, lock.PW, lock.EX} {
		c := newCluster(t, state.Limits{})
		a, _ := c.join("a", "gfs", lock.PolicyManual)
		b, _ := c.join("b", "gfs", lock.PolicyManual)
		c.want(c.on(a, 1, "r", m, 0), lock.Granted, 0)
		c.want(c.on(a, 2, "orphan", m, lock.Persistent), lock.Granted, 0)
		c.want(c.ask(a, rangeOn(3, "file", 0)), lock.Granted, 0)
		other := c.must(login("a", "boot1", 2)).Login.Number
		c.must(state.Logout{Session: a})
		c.want(c.ask(other, state.Request{Op: state.OpJoin, Name: []byte("gfs"), Policy: lock.PolicyManual}), lock.Joined, 0)
		c.want(c.on(other, 1, "r", m, 0), lock.Granted, 0)
		c.want(c.ask(other, rangeOn(3, "file", 0)), lock.Granted, 0)
		c.expire("a")
		c.want(c.on(b, 1, "r", lock.EX, 0), lock.Queued, 0)
		if r := c.fence("a"); len(granted(r)) > 0 || !c.AwaitsWord("a") {
			t.Fatalf("%v: the proof granted %v, waits for a word: %v", m, granted(r), c.AwaitsWord("a"))
		}
		back, _ := c.join("a", "gfs", lock.PolicyManual)
		c.want(c.on(back, 1, "r", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
		c.want(c.on(b, 2, "orphan", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
		c.want(c.ask(b, rangeOn(4, "file", lock.NoQueue)), lock.Refused, reason.TryFailed)
		c.want(c.ask(b, state.Request{Op: state.OpGulmDrop, Lockspace: 1}), lock.Unlocked, 0)
		for _, of := range []member.Life{{Node: "a", Incarnation: 2}, {Node: "b", Incarnation: 1}} {
			if r := c.word(of.Node, of.Incarnation); r.Reason != reason.NotPending {
				t.Fatalf("%v: a word about %v: %v", m, of, r.Reason)
			}
		}
		if s, ok := restored(c.State); !ok || same(c.State, s) != nil {
			t.Fatal("what waits for a word is not restored")
		}
		if r := c.word("a", 1); !slices.Equal(granted(r), []lock.Session{lock.Session(b)}) {
			t.Fatalf("%v: the word granted %v: %+v", m, granted(r), r)
		}
		c.want(c.on(b, 5, "orphan", lock.EX, lock.NoQueue), lock.Granted, 0)
		c.want(c.ask(b, rangeOn(6, "file", lock.NoQueue)), lock.Granted, 0)
		if n, _ := c.Members().Node("a"); n.Fence.Word != "root" || n.Fence.State != member.FenceProved || c.AwaitsWord("a") {
			t.Errorf("%v: the record says %+v", m, n.Fence)
		}
		if r := c.word("a", 1); r.Reason != reason.NotPending {
			t.Errorf("%v: the word a second time: %v", m, r.Reason)
		}
		if len(c.Locks().Spaces()) != 1 {
			t.Errorf("%v: lockspaces %v", m, c.Locks().Spaces())
		}
	}
}

// TestPolicy_wordBeforeTheProof releases all at once; in a lockspace of another
// policy the proof is enough.
func TestPolicy_wordBeforeTheProof(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, _ := c.join("a", "gfs", lock.PolicyManual)
	b, _ := c.join("b", "gfs", lock.PolicyManual)
	c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
	c.expire("a")
	c.want(c.on(b, 1, "r", lock.EX, 0), lock.Queued, 0)
	if r := c.word("a", 1); !slices.Equal(granted(r), []lock.Session{lock.Session(b)}) || c.AwaitsWord("a") {
		t.Fatalf("the word granted %v", granted(r))
	}
	if r := c.ask(b, state.Request{Op: state.OpJoin, Name: []byte("gfs")}); r.Reason != reason.Policy {
		t.Errorf("joined under another policy: %+v", r)
	}
	d, space := c.join("d", "other", lock.PolicyFence)
	c.want(c.ask(d, state.Request{Op: state.OpLock, Lock: 1, Lockspace: space, Name: []byte("r"), Mode: lock.EX}), lock.Granted, 0)
	c.expire("d")
	if c.AwaitsWord("d") || !c.NeedsAgents("d") {
		t.Error("a node under PolicyFence waits for a word")
	}
	c.fence("d")
	if r := c.word("d", 1); r.Reason != reason.NotPending {
		t.Errorf("a word for nothing: %v", r.Reason)
	}
}

// TestPolicy_agents: only who is in lockspaces of PolicyManual and nothing else is
// not fenced by agents.
func TestPolicy_agents(t *testing.T) {
	c := newCluster(t, state.Limits{})
	c.join("manual", "m", lock.PolicyManual)
	c.join("fence", "f", lock.PolicyFence)
	both, _ := c.join("both", "m", lock.PolicyManual)
	c.ask(both, state.Request{Op: state.OpJoin, Name: []byte("f")})
	c.must(login("none", "boot1", 1))
	for node, want := range map[string][2]bool{"manual": {false, true}, "fence": {true, false}, "both": {true, true}, "none": {true, false}} {
		if c.AwaitsWord(node) {
			t.Errorf("%s lives and waits for a word", node)
		}
		c.expire(node)
		if got := [2]bool{c.NeedsAgents(node), c.AwaitsWord(node)}; got != want {
			t.Errorf("%s needs agents, a word: %v, want %v", node, got, want)
		}
	}
}

// TestPolicy_manualJournals: both gates, in both orders. Nobody replays the journal
// before the word, nor mounts first.
func TestPolicy_manualJournals(t *testing.T) {
	for _, wordFirst := range []bool{false, true} {
		c := newCluster(t, state.Limits{})
		a, _ := c.join("a", "gfs", lock.PolicyManual)
		b, _ := c.join("b", "gfs", lock.PolicyManual)
		c.mustMount(a, 0)
		c.say(a, state.OpMounted, 0)
		c.mustMount(b, 1)
		c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
		c.want(c.ask(a, rangeOn(2, "file", 0)), lock.Granted, 0)
		c.expire("a")
		c.want(c.on(b, 1, "r", lock.EX, 0), lock.Queued, 0)
		if !wordFirst {
			if r := c.fence("a"); len(granted(r)) > 0 || handed(r) != "[]" {
				t.Fatalf("the proof granted %v, handed %v", granted(r), handed(r))
			}
			c.want(c.on(b, 2, "r", lock.EX, lock.Recovery|lock.NoQueue), lock.Refused, reason.NotRecovering)
			if s, ok := restored(c.State); !ok || same(c.State, s) != nil {
				t.Fatal("a journal that waits for a word is not restored")
			}
		}
		if r := c.word("a", 1); r.Reason != 0 || len(granted(r)) > 0 || handed(r) != fmt.Sprintf("[%d:0]", b) {
			t.Fatalf("the word granted %v, handed %v: %v", granted(r), handed(r), r.Reason)
		}
		c.want(c.ask(b, rangeOn(3, "file", lock.NoQueue)), lock.Refused, reason.TryFailed)
		req := state.Request{Op: state.OpRecovered, Lockspace: 1, Seq: c.Applied(b) + 1}
		if r := c.do(batch(group(b, 0, req))); !slices.Equal(granted(r), []lock.Session{lock.Session(b)}) {
			t.Fatalf("after the recovery %+v", r)
		}
		c.want(c.ask(b, rangeOn(4, "file", lock.NoQueue)), lock.Granted, 0)
	}
}

// TestPolicy_manualFirstMounter: nobody replays all journals while one waits for a
// word.
func TestPolicy_manualFirstMounter(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, _ := c.join("a", "gfs", lock.PolicyManual)
	c.mustMount(a, 0)
	c.say(a, state.OpMounted, 0)
	c.expire("a")
	c.fence("a")
	b, _ := c.join("b", "gfs", lock.PolicyManual)
	c.want(c.mount(b), lock.Queued, 0)
	r := c.word("a", 1)
	if len(r.Journals) != 1 || r.Journals[0].Kind != journal.EventMounted || !r.Journals[0].First {
		t.Errorf("the word brought %+v", r.Journals)
	}
}

// awaiting returns the locks that wait for an operator's word.
func awaiting(s *state.State) map[kept]string {
	out := map[kept]string{}
	heirs := map[lock.Session]string{}
	for _, n := range s.Members().Nodes() {
		heirs[lock.AwaitOf(n.Number)], heirs[lock.AwaitGivenOf(n.Number)] = n.Name, n.Name
	}
	for r := range s.Locks().Walk {
		for _, l := range r.Locks {
			if node, ok := heirs[l.Session]; ok {
				out[kept{r.Lockspace, string(r.Name), uint64(l.Origin), l.Granted}] = node
			}
		}
	}
	return out
}

// manual makes all joins of a command those of a lockspace of PolicyManual.
func manual(c state.Command) state.Command {
	if b, ok := c.(*state.Batch); ok {
		for i := range b.Groups {
			for k := range b.Groups[i].Requests {
				if r := &b.Groups[i].Requests[k]; r.Op == state.OpJoin {
					r.Policy = lock.PolicyManual
				}
			}
		}
	}
	return c
}

// TestLaw_manualStay: S2 under PolicyManual in random logs. What a dead session
// holds goes only with an operator's word about its node, and where it had a journal
// it becomes remains then. So it is for what its node had given up before it died.
func TestLaw_manualStay(t *testing.T) {
	var waited, released, buried, given int
	for seed := range uint64(40) {
		s, index := state.New(), uint64(0)
		step := func(c state.Command) {
			index++
			held, old := frozenLocks(s)
			maps.Copy(held, awaiting(s))
			expired := func(node string) bool {
				n, _ := s.Members().Node(node)
				return n.State == member.Expired
			}
			maps.DeleteFunc(old, func(_ kept, node string) bool { return !expired(node) })
			maps.Copy(held, old)
			journals := s.Journals().Clone()
			r := s.Apply(index, 1, c)
			still, remains := frozenLocks(s)
			waiting := awaiting(s)
			for k, node := range held {
				if waiting[k] == node {
					waited++
				}
				if waiting[k] == node || still[k] == node || remains[k] == node && expired(node) {
					continue
				}
				ack, ok := c.(state.FenceAcknowledged)
				if !ok || r.Reason != 0 || ack.Node != node {
					t.Fatalf("seed %d, %d %+v: %+v of %s is gone", seed, index, c, k, node)
				}
				released++
				if old[k] == node {
					given++
				}
				sp, _ := journals.Space(k.lockspace)
				if journals.Holds(k.lockspace, k.from) || sp.LeftBy(k.from) != journal.NoJID {
					buried++
					if remains[k] != node {
						t.Fatalf("seed %d, %d %+v: %+v of %s had a journal and is gone", seed, index, c, k, node)
					}
				}
			}
			if err := s.Check(); err != nil {
				t.Fatalf("seed %d, %d %+v: %v", seed, index, c, err)
			}
		}
		for i, c := range script(seeded(900+seed), 500) {
			step(manual(c))
			for _, n := range s.Members().Nodes() {
				if i%23 == 0 && n.State != member.Expired && s.AwaitsWord(n.Name) {
					step(state.FenceAcknowledged{Term: s.Term(), Life: member.Life{Node: n.Name, Incarnation: n.Fence.Incarnation}, Operator: "root"})
				}
			}
			if i%100 == 99 {
				again, err := reread(s)
				if err != nil {
					t.Fatal(err)
				}
				if err := same(s, again); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Logf("%d times a lock waited for a word, %d went with one, %d of them to a journal, %d were given up before", waited, released, buried, given)
	if waited < 50 || released < 20 || buried < 5 || given < 5 {
		t.Error("the logs hardly touch what waits for a word")
	}
}
