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

// times are the times-to-live of lockspaces, 0 for those under another policy.
type times map[uint32]uint32

func leaseTimes(s *state.State) times {
	t := times{}
	for _, sp := range s.Locks().Spaces() {
		t[sp.Number] = sp.Lease
	}
	return t
}

// over reports whether a command released what a node had in a lockspace because its
// time-to-live has passed.
func (t times) over(c state.Command, r state.Result, lockspace uint32, node string) bool {
	end, ok := c.(state.LeaseEnded)
	return ok && r.Reason == reason.None && end.Node == node && t[lockspace] > 0 && int64(t[lockspace]) <= end.Silent
}

// leased logs a node in, which is told of an expiry time, and joins a lockspace under
// a lease of so many milliseconds.
func (c *cluster) leased(node, space string, lease uint32) (session uint64, lockspace uint32) {
	c.Helper()
	req := login(node, "boot1", 1)
	req.Expiry = 5
	session = c.must(req).Login.Number
	return session, c.also(session, space, lock.PolicyLease, lease)
}

// also joins a session to a lockspace.
func (c *cluster) also(session uint64, space string, p lock.Policy, lease uint32) (lockspace uint32) {
	c.Helper()
	r := c.ask(session, state.Request{Op: state.OpJoin, Name: []byte(space), Policy: p, Lease: lease})
	c.want(r, lock.Joined, 0)
	return r.Number
}

// in asks for a lock of a lockspace.
func (c *cluster) in(lockspace uint32, session uint64, id lock.ID, name string, m lock.Mode, flags lock.Flags) lock.Reply {
	c.Helper()
	return c.ask(session, state.Request{Op: state.OpLock, Lock: id, Lockspace: lockspace, Name: []byte(name), Mode: m, Flags: flags})
}

func (c *cluster) leaseEnded(node string, incarnation uint64, silent int64) state.Result {
	c.Helper()
	return c.do(state.LeaseEnded{Term: 1, Life: member.Life{Node: node, Incarnation: incarnation}, Silent: silent})
}

// TestLease_release: what a node held in a lockspace under PolicyLease, in every mode,
// with its orphans and ranges, goes with the time and not before; tokens rise; the node
// is settled without a proof, and its next life may log in.
func TestLease_release(t *testing.T) {
	for _, m := range []lock.Mode{lock.CR, lock.CW, lock.PR, lock.PW, lock.EX} {
		c := newCluster(t, state.Limits{})
		a, _ := c.leased("a", "app", 10)
		b, _ := c.leased("b", "app", 0)
		old := c.on(a, 1, "r", m, 0)
		c.want(old, lock.Granted, 0)
		c.want(c.on(a, 2, "orphan", m, lock.Persistent), lock.Granted, 0)
		second := c.must(login("a", "boot1", 2)).Login.Number
		c.also(second, "app", lock.PolicyLease, 10)
		c.must(state.Logout{Session: a})
		c.want(c.on(second, 1, "r", m, 0), lock.Granted, 0)
		c.want(c.ask(second, rangeOn(3, "file", 0)), lock.Granted, 0)
		if r := c.leaseEnded("a", 1, 1<<40); r.Reason != reason.NotPending {
			t.Fatalf("%v: the lease of a live node ended: %+v", m, r)
		}
		c.expire("a")
		if c.NeedsAgents("a") || c.AwaitsWord("a") {
			t.Fatalf("%v: needs agents: %v, a word: %v", m, c.NeedsAgents("a"), c.AwaitsWord("a"))
		}
		c.want(c.on(b, 1, "r", lock.EX, 0), lock.Queued, 0)
		c.want(c.on(b, 2, "orphan", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
		for _, r := range []state.Result{c.leaseEnded("a", 1, 9), c.leaseEnded("a", 2, 10), c.leaseEnded("b", 1, 10), c.leaseEnded("x", 1, 10)} {
			if r.Reason != reason.NotPending || len(r.Events) > 0 {
				t.Fatalf("%v: too early, or another: %+v", m, r)
			}
		}
		if r := c.do(state.LeaseEnded{Term: 0, Life: member.Life{Node: "a", Incarnation: 1}, Silent: 10}); r.Reason != reason.StaleTerm {
			t.Fatalf("%v: of another term: %v", m, r.Reason)
		}
		if r := c.do(login("a", "boot1", 3)); r.Reason != reason.NotFenced {
			t.Fatalf("%v: back before its lease ended: %v", m, r.Reason)
		}
		want := []lock.Lease{{Lockspace: 1, Time: 10, Held: 3}}
		if got := c.LeasesOf("a"); !slices.Equal(got, want) || len(c.LeaseExpired()) != 1 {
			t.Fatalf("%v: leases %+v, want %+v", m, got, want)
		}
		c.sound()
		r := c.leaseEnded("a", 1, 10)
		if !slices.Equal(granted(r), []lock.Session{lock.Session(b)}) || !slices.Equal(r.Ended, []uint64{second}) {
			t.Fatalf("%v: the end granted %v: %+v", m, granted(r), r)
		}
		if token := r.Events[0].Token; token <= old.Token {
			t.Errorf("%v: token %d after %d", m, token, old.Token)
		}
		c.want(c.on(b, 5, "orphan", lock.EX, lock.NoQueue), lock.Granted, 0)
		c.want(c.ask(b, rangeOn(6, "file", lock.NoQueue)), lock.Granted, 0)
		n, _ := c.Members().Node("a")
		if n.State != member.Fenced || n.Fence.State != member.FenceLeaseEnded || n.Fence.By != "its time-to-live of 0.010 s" || n.Fence.Power {
			t.Errorf("%v: the record says %+v", m, n)
		}
		if r := c.leaseEnded("a", 1, 10); r.Reason != reason.NotPending || len(c.LeaseExpired()) > 0 {
			t.Errorf("%v: a second time: %+v", m, r)
		}
		if r := c.word("a", 1); r.Reason != reason.NotPending {
			t.Errorf("%v: a word for nothing: %v", m, r.Reason)
		}
		c.sound()
		back, _ := c.leased("a", "app", 10)
		if s, _ := c.Members().Session(back); s.Incarnation != 2 {
			t.Errorf("%v: came back as %+v", m, s)
		}
	}
}

// TestLease_mixed: of a node that is in lockspaces of several policies, what is under
// a lease goes with the time; the rest, and the node, wait for what they always wait
// for, and so does a lock server.
func TestLease_mixed(t *testing.T) {
	for _, other := range []lock.Policy{lock.PolicyFence, lock.PolicyManual} {
		c := newCluster(t, state.Limits{})
		a, app := c.leased("a", "app", 10)
		rest := c.also(a, "rest", other, 0)
		b, _ := c.leased("b", "app", 10)
		c.also(b, "rest", other, 0)
		for i, in := range []uint32{app, rest} {
			c.want(c.in(in, a, lock.ID(i+1), "r", lock.EX, 0), lock.Granted, 0)
		}
		c.expire("a")
		for i, in := range []uint32{app, rest} {
			c.want(c.in(in, b, lock.ID(i+1), "r", lock.EX, 0), lock.Queued, 0)
		}
		if got := [2]bool{c.NeedsAgents("a"), c.AwaitsWord("a")}; got != [2]bool{other == lock.PolicyFence, other == lock.PolicyManual} {
			t.Fatalf("policy %d: needs agents, a word: %v", other, got)
		}
		r := c.leaseEnded("a", 1, 10)
		if len(r.Events) != 1 || r.Events[0].Lock != 1 || len(r.Ended) > 0 {
			t.Fatalf("policy %d: the end of the lease brought %+v", other, r)
		}
		if n, _ := c.Members().Node("a"); n.State != member.Expired || n.Fence.State != member.FenceWanted || len(c.LeasesOf("a")) > 0 {
			t.Fatalf("policy %d: the record says %+v, leases %v", other, n, c.LeasesOf("a"))
		}
		if r := c.leaseEnded("a", 1, 1<<40); r.Reason != reason.NotPending {
			t.Fatalf("policy %d: ended twice: %+v", other, r)
		}
		c.sound()
		if other == lock.PolicyFence {
			r = c.fence("a")
		} else {
			r = c.word("a", 1)
		}
		if len(r.Events) != 1 || r.Events[0].Lock != 2 {
			t.Fatalf("policy %d: the rest brought %+v", other, r)
		}
	}
	c := newCluster(t, state.Limits{})
	c.leased("s1", "app", 10)
	c.must(state.ServerEntered{Server: "s1", BootID: "boot1"})
	c.expire("s1")
	if r := c.leaseEnded("s1", 1, 1<<40); !c.NeedsAgents("s1") || r.Reason != reason.NotPending {
		t.Errorf("a lock server is not fenced: %+v", r)
	}
}

// TestLease_proofBefore: a proof, or an operator's word, does not wait for the time.
func TestLease_proofBefore(t *testing.T) {
	for _, word := range []bool{false, true} {
		c := newCluster(t, state.Limits{})
		a, _ := c.leased("a", "app", 10)
		b, _ := c.leased("b", "app", 10)
		c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
		c.expire("a")
		c.want(c.on(b, 1, "r", lock.EX, 0), lock.Queued, 0)
		r := state.Result{}
		if word {
			r = c.word("a", 1)
		} else {
			r = c.fence("a")
		}
		if !slices.Equal(granted(r), []lock.Session{lock.Session(b)}) || len(c.LeasesOf("a")) > 0 {
			t.Errorf("word %v: granted %v, leases %v", word, granted(r), c.LeasesOf("a"))
		}
	}
}

// TestLease_severalTimes: each lockspace has its own; the node is settled with the
// longest, also if it holds nothing there.
func TestLease_severalTimes(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, short := c.leased("a", "short", 10)
	long := c.also(a, "long", lock.PolicyLease, 30)
	c.also(a, "longest", lock.PolicyLease, 50)
	for i, in := range []uint32{short, long} {
		c.want(c.in(in, a, lock.ID(i+1), "r", lock.EX, 0), lock.Granted, 0)
	}
	c.expire("a")
	left := func(want ...uint32) {
		t.Helper()
		var got []uint32
		for _, l := range c.LeasesOf("a") {
			got = append(got, l.Time)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("leases of %v ms are left, want %v", got, want)
		}
	}
	left(10, 30, 50)
	for _, step := range []struct {
		silent int64
		want   []uint32
	}{{29, []uint32{30, 50}}, {49, []uint32{50}}, {50, nil}} {
		if r := c.leaseEnded("a", 1, step.silent); r.Reason != reason.None {
			t.Fatalf("after %d ms: %v", step.silent, r.Reason)
		}
		left(step.want...)
		c.sound()
	}
	if n, _ := c.Members().Node("a"); n.Fence.State != member.FenceLeaseEnded || n.Fence.By != "its time-to-live of 0.050 s" {
		t.Errorf("the record says %+v", n.Fence)
	}
}

// TestLease_joins: who may join, and what has no place there.
func TestLease_joins(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, app := c.leased("a", "app", 10)
	for _, x := range []struct {
		name string
		req  state.Request
		want reason.Reason
	}{
		{"a lease without a time", state.Request{Name: []byte("new"), Policy: lock.PolicyLease}, reason.Lease},
		{"a time without a lease", state.Request{Name: []byte("new"), Lease: 10}, reason.Lease},
		{"shorter than the expiry time", state.Request{Name: []byte("new"), Policy: lock.PolicyLease, Lease: 4}, reason.Lease},
		{"too long", state.Request{Name: []byte("new"), Policy: lock.PolicyLease, Lease: lock.MaxLease + 1}, reason.Lease},
		{"another time", state.Request{Name: []byte("app"), Policy: lock.PolicyLease, Lease: 11}, reason.Policy},
		{"another policy", state.Request{Name: []byte("app")}, reason.Policy},
		{"the time that there is", state.Request{Name: []byte("app"), Policy: lock.PolicyLease}, reason.None},
	} {
		x.req.Op = state.OpJoin
		if r := c.ask(a, x.req); r.Reason != x.want {
			t.Errorf("%s: %v", x.name, r.Reason)
		}
	}
	later := login("b", "boot1", 1)
	later.Expiry = 11
	b := c.must(later).Login.Number
	if r := c.ask(b, state.Request{Op: state.OpJoin, Name: []byte("app"), Policy: lock.PolicyLease}); r.Reason != reason.Lease {
		t.Errorf("one that was told of a longer expiry time: %v", r.Reason)
	}
	for _, flags := range []lock.Flags{0, state.MountSpectator} {
		if r := c.ask(a, state.Request{Op: state.OpMount, Lockspace: app, Journals: 3, Flags: flags}); r.Reason != reason.NoProof {
			t.Errorf("mounted: %+v", r)
		}
	}
	if len(c.Locks().Spaces()) != 1 {
		t.Errorf("lockspaces %+v", c.Locks().Spaces())
	}
}

// TestLease_journalLeft: a node that gave up a journal, and is under leases only when
// it fails, is fenced: nobody may replay the journal without proof.
func TestLease_journalLeft(t *testing.T) {
	c, m := mounter(t)
	a := c.enter("a")
	c.mustMount(a, 1)
	c.expire("m")
	c.fence("m")
	c.say(a, state.OpWithdraw, 0)
	app := c.also(a, "app", lock.PolicyLease, 10)
	c.want(c.in(app, a, 1, "r", lock.EX, 0), lock.Granted, 0)
	c.expire("a")
	if r := c.leaseEnded("a", 1, 10); r.Reason != 0 || !c.NeedsAgents("a") || len(r.Ended) > 0 {
		t.Fatalf("needs agents: %v, the lease's end: %+v", c.NeedsAgents("a"), r)
	}
	back := c.must(login("m", "boot2", 2)).Login.Number
	c.ask(back, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	c.want(c.mount(back), lock.Queued, 0)
	if r := c.fence("a"); len(r.Journals) != 1 {
		t.Errorf("the proof brought %+v; session %d was first", r.Journals, m)
	}
}

// TestLease_pause: while automatic fencing is paused, who would be fenced is not
// expired; a node under leases only is, and its lease ends.
func TestLease_pause(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, _ := c.leased("a", "app", 10)
	mixed, _ := c.leased("mixed", "app", 10)
	c.also(mixed, "gfs", lock.PolicyFence, 0)
	manual, _ := c.leased("manual", "app", 10)
	c.also(manual, "m", lock.PolicyManual, 0)
	c.must(login("none", "boot1", 1))
	c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
	c.must(state.PauseFencing{Term: 1, Reason: "many"})
	for _, node := range []string{"mixed", "manual", "none"} {
		if r := c.do(state.Expire{Term: 1, Life: member.Life{Node: node, Incarnation: 1}, Seen: c.Index()}); r.Reason != reason.Paused || c.Unfenced(node) {
			t.Errorf("%s: %v", node, r.Reason)
		}
	}
	c.expire("a")
	if r := c.leaseEnded("a", 1, 10); r.Reason != reason.None || len(r.Ended) != 1 {
		t.Errorf("the lease's end: %+v", r)
	}
}

// TestLease_unimportant: a session that is not important and has nothing but leases
// ends alone, as it has nothing that would need a fence.
func TestLease_unimportant(t *testing.T) {
	c := newCluster(t, state.Limits{})
	req := login("a", "boot1", 1)
	req.Flags = member.Unimportant
	for policy, want := range map[lock.Policy]bool{lock.PolicyLease: true, lock.PolicyFence: false, lock.PolicyManual: false} {
		req.LoginID[5] = byte(policy) + 1
		x := c.must(req).Login
		lease := uint32(0)
		if policy == lock.PolicyLease {
			lease = 20
		}
		c.also(x.Number, fmt.Sprint("space", policy), policy, lease)
		if c.EndsAlone(x) != want || c.LeaseOf(x.Number) != int64(lease) {
			t.Errorf("policy %d: ends alone: %v, after %d ms", policy, c.EndsAlone(x), c.LeaseOf(x.Number))
		}
	}
}

// TestLease_withdrawn: what a node gave up by GULM's withdrawal goes with its lease
// when it has failed, though its remains elsewhere are in doubt and stay so.
func TestLease_withdrawn(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, app := c.leased("a", "app", 10)
	gfs := c.also(a, "gfs", lock.PolicyFence, 0)
	b, _ := c.leased("b", "app", 10)
	c.also(b, "gfs", lock.PolicyFence, 0)
	for i, in := range []uint32{app, gfs} {
		c.want(c.in(in, a, lock.ID(i+1), "r", lock.EX, 0), lock.Granted, 0)
		c.want(c.ask(a, state.Request{Op: state.OpGulmWithdraw, Lockspace: in}), lock.Unlocked, 0)
	}
	c.expire("a")
	for i, in := range []uint32{app, gfs} {
		c.want(c.in(in, b, lock.ID(i+1), "r", lock.EX, 0), lock.Queued, 0)
	}
	if r := c.leaseEnded("a", 1, 10); len(r.Events) != 1 || r.Events[0].Lock != 1 || !c.NeedsAgents("a") {
		t.Errorf("needs agents: %v, the lease's end brought %+v", c.NeedsAgents("a"), r)
	}
	c.sound()
}

// leasing makes all joins of a command those of lockspaces under PolicyLease, but for
// every fourth session, which joins another one.
func leasing(c state.Command) state.Command {
	b, ok := c.(*state.Batch)
	if !ok {
		return c
	}
	for i := range b.Groups {
		for k := range b.Groups[i].Requests {
			r := &b.Groups[i].Requests[k]
			if r.Op != state.OpJoin {
				continue
			}
			r.Name, r.Policy, r.Lease = []byte("app"), lock.PolicyLease, 10
			if b.Groups[i].Session%4 == 0 {
				r.Name, r.Policy, r.Lease = []byte("gfs"), lock.PolicyFence, 0
			}
		}
	}
	return c
}

// TestLaw_leaseStay: what dead sessions hold in random logs goes under PolicyLease with
// its time, and elsewhere not before a proof or a word; tokens rise all the while.
func TestLaw_leaseStay(t *testing.T) {
	var waited, leased, proved, settledBy int
	for seed := range uint64(40) {
		s, index := state.New(), uint64(0)
		pick := seeded(seed)
		step := func(c state.Command) {
			index++
			held, _ := frozenLocks(s)
			ranges, _ := frozenRanges(s)
			for k, node := range ranges {
				held[k] = node
			}
			times, token := leaseTimes(s), s.Locks().Counters().Token
			r := s.Apply(index, 1, c)
			still, _ := frozenLocks(s)
			left, _ := frozenRanges(s)
			life := settled(c, r)
			for k, node := range held {
				switch {
				case still[k] == node || left[k] == node:
					waited++
				case times.over(c, r, k.lockspace, node):
					leased++
				case life.Node == node:
					proved++
				default:
					t.Fatalf("seed %d, %d %T %+v: %+v of %s is gone", seed, index, c, c, k, node)
				}
			}
			if end, ok := c.(state.LeaseEnded); ok && len(r.Ended) > 0 {
				settledBy++
				if n, _ := s.Members().Node(end.Node); n.Fence.State != member.FenceLeaseEnded {
					t.Fatalf("seed %d, %d: the record says %+v", seed, index, n)
				}
			}
			for _, e := range r.Events {
				if e.Kind == lock.EventGranted && e.Token <= token {
					t.Fatalf("seed %d, %d %+v: token %d after %d", seed, index, c, e.Token, token)
				}
			}
			if err := s.Check(); err != nil {
				t.Fatalf("seed %d, %d %+v: %v", seed, index, c, err)
			}
		}
		for i, c := range script(seeded(1300+seed), 500) {
			step(leasing(c))
			if ends := s.LeaseExpired(); len(ends) > 0 && i%5 == 0 {
				step(state.LeaseEnded{Term: s.Term(), Life: ends[pick(len(ends))], Silent: int64(9 + pick(2))})
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
	t.Logf("%d times a lock waited, %d went with a lease, %d with a proof; %d nodes were settled by leases", waited, leased, proved, settledBy)
	if waited < 50 || leased < 20 || proved < 5 || settledBy < 20 {
		t.Error("the logs hardly touch a lease")
	}
}
