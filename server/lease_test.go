package server_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// lease is the time-to-live of the lockspace "app" of these tests.
const lease = 30 * time.Second

// leased joins the lockspace "app".
func (u *user) leased() *user {
	u.w.t.Helper()
	ls, err := u.node.Join(u.w.t.Context(), "app", client.JoinOptions{Policy: client.PolicyLease, Lease: lease})
	if err != nil {
		u.w.t.Fatalf("node %s: %v", u.name, err)
	}
	return &user{Lockspace: ls, w: u.w, name: u.name, node: u.node}
}

// leaseOnly leaves every other lockspace first.
func (u *user) leaseOnly() *user {
	u.w.t.Helper()
	if err := u.Leave(u.w.t.Context()); err != nil {
		u.w.t.Fatal(err)
	}
	return u.leased()
}

// lastSign returns when the master last heard of a node.
func (w *world) lastSign(node string) time.Time {
	w.t.Helper()
	for _, n := range w.status(w.Master()).GetNodes() {
		if n.GetName() == node && n.GetLastBeatMs() >= 0 {
			return time.Now().Add(-time.Duration(n.GetLastBeatMs()) * time.Millisecond)
		}
	}
	w.t.Fatalf("the master has never heard of %s", node)
	return time.Time{}
}

// inTime checks that something happened when a time had passed, and not a moment
// before.
func inTime(t *testing.T, what string, from, at time.Time, after time.Duration) {
	t.Helper()
	if took := at.Sub(from); took < after-time.Millisecond || took > after+look { // stamps are cut to milliseconds
		t.Errorf("%s after %v, want %v", what, took, after)
	}
}

// TestS5_LeaseEndsAfterItsTime: a node that is cut off loses what it has under a
// lease when the time has passed since it was last heard of, not a moment before,
// and has known since long; no agent runs, tokens rise, everything says what is
// waited for and how it ended. The machine has not booted; its next life may log in.
func TestS5_LeaseEndsAfterItsTime(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		a, b := n1.leaseOnly(), n2.leaseOnly()
		old := a.take("r", client.EX)
		x := b.ask("r", client.EX)
		w.cut("n1")
		time.Sleep(expiry / 2)
		last := w.lastSign("n1")
		w.awaitState("n1", member.Expired, time.Minute)
		says(t, w, "n1")
		at := x.granted(time.Minute)
		inTime(t, "granted", last, at, lease)
		lost := n1.told(client.EventLost)
		if len(lost) != 1 || old.Valid() == nil {
			t.Fatalf("n1 was told %v, its lock is good: %v", lost, old.Valid())
		}
		// It knew before the servers declared it dead, and long before the grant.
		if dead := w.expiredAt("n1"); !lost[0].At.Before(dead) || at.Sub(lost[0].At) < lease-expiry {
			t.Errorf("n1 knew at %v, was expired at %v, its lock was granted at %v", lost[0].At, dead, at)
		}
		if x.lock.Token() <= old.Token() {
			t.Errorf("token %d after %d", x.lock.Token(), old.Token())
		}
		if calls := w.Power.CallsFor("n1"); len(calls) > 0 {
			t.Errorf("agents were run: %+v", calls)
		}
		n := w.member("n1")
		if n.State != member.Fenced || n.Fence.State != member.FenceLeaseEnded || n.Fence.By != "its time-to-live of 30.000 s" {
			t.Errorf("the record says %+v", n)
		}
		if len(w.logs.find("lease ended, the node is settled without a fence", "node=n1", "incarnation=1")) != 1 {
			t.Error("the end of the lease is not in the audit log")
		}
		w.mend("n1")
		w.Node("n1").Kill()
		w.Await(time.Minute, "the end of n1", func() bool { return !w.Node("n1").Up() })
		if again := w.boot("n1"); again.node.Incarnation() != 2 {
			t.Errorf("n1 came back as incarnation %d", again.node.Incarnation())
		}
	})
}

// says checks what is said of an expired node that waits for its lease only.
func says(t *testing.T, w *world, node string) {
	t.Helper()
	about := "lease of node " + node + " to end, "
	st := w.status(w.Master())
	if !slices.ContainsFunc(st.GetWaitingFor(), func(s string) bool {
		return strings.HasPrefix(s, about) && strings.HasSuffix(s, `left (a new master counts anew) in lockspace "app"; 1 locks frozen; no fence`)
	}) || slices.ContainsFunc(st.GetWaitingFor(), func(s string) bool { return strings.HasPrefix(s, "fence of") }) {
		t.Errorf("status waits for %q", st.GetWaitingFor())
	}
	for _, n := range st.GetNodes() {
		if n.GetName() != node {
			continue
		}
		l := n.GetLeases()
		if !n.GetNoAgents() || len(l) != 1 || l[0].GetLockspace() != "app" || l[0].GetTimeMs() != lease.Milliseconds() ||
			l[0].GetLeftMs() <= 0 || l[0].GetLeftMs() > (lease-expiry).Milliseconds() || l[0].GetLocks() != 1 {
			t.Errorf("%s: no agents: %v, leases %v", node, n.GetNoAgents(), l)
		}
	}
	list, err := w.locks(&gulmv1.LocksRequest{Lockspace: "app", Contended: true})
	if err != nil || len(list) != 1 || list[0].GetPolicy() != gulmv1.Policy_POLICY_LEASE || list[0].GetLeaseMs() != uint32(lease.Milliseconds()) ||
		!strings.HasPrefix(list[0].GetLocks()[0].GetHeldFor(), about) {
		t.Errorf("locks are %v, %v", list, err)
	}
	ledger, err := w.admin(w.Master()).Fences(t.Context(), &gulmv1.FencesRequest{Node: node})
	if err != nil || !strings.HasPrefix(ledger.GetNodes()[0].GetWaitsFor(), about) {
		t.Errorf("ledger says %v, %v", ledger, err)
	}
}

// TestLease_SameBootLogsInAgain: a process on a machine that has not booted logs in
// when the leases have ended, and is told before that it has to wait for them.
func TestLease_SameBootLogsInAgain(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n2 := w.boot("n2").leaseOnly()
		first, refused := make(chan error, 1), make(chan error, 1)
		again := make(chan uint64, 1)
		w.Node("n1").Boot(func(ctx context.Context, life *gulmtest.Life) {
			n, err := life.Dial(ctx)
			if err == nil {
				var ls *client.Lockspace
				if ls, err = n.Join(ctx, "app", client.JoinOptions{Policy: client.PolicyLease, Lease: lease}); err == nil {
					_, err = ls.Lock(ctx, "r", client.EX)
				}
			}
			first <- err
			_ = n.Close()
			w.Await(time.Minute, "n1 expired", func() bool { return w.member("n1").State == member.Expired })
			short, cancel := context.WithTimeout(ctx, time.Second)
			_, err = life.Dial(short)
			cancel()
			refused <- err
			for {
				if n, err := life.Dial(ctx); err == nil {
					again <- n.Incarnation()
					<-ctx.Done()
					return
				}
				time.Sleep(time.Second)
			}
		})
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		x := n2.ask("r", client.EX)
		if err := <-refused; err == nil || !strings.Contains(err.Error(), "lease of node n1 to end") {
			t.Errorf("before the lease has ended: %v", err)
		}
		at := x.granted(time.Minute)
		if incarnation := <-again; incarnation != 2 || time.Now().Before(at) {
			t.Errorf("n1 came back as incarnation %d, %v after the grant", incarnation, time.Since(at))
		}
		if len(w.Power.CallsFor("n1")) > 0 {
			t.Error("agents were run")
		}
	})
}

// TestLease_MixedNode: of a node that cannot be fenced, what is under a lease goes
// with the time; the rest waits for the proof.
func TestLease_MixedNode(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		a, b := n1.leased(), n2.leased()
		n1.take("r", client.EX)
		a.take("r", client.EX)
		x, y := b.ask("r", client.EX), n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Fail: -1})
		w.cut("n1")
		time.Sleep(expiry / 2)
		last := w.lastSign("n1")
		inTime(t, "granted", last, x.granted(time.Minute), lease)
		if n := w.member("n1"); n.State != member.Expired || y.over() {
			t.Fatalf("n1 is %v, the lock under a fence was granted: %v", n.State, y.over())
		}
		if len(w.Power.CallsFor("n1")) == 0 || len(w.logs.find("lease ended, locks are released without a fence", "node=n1")) != 1 {
			t.Errorf("agents ran %d times, log %v", len(w.Power.CallsFor("n1")), w.logs.find("lease ended, locks are released without a fence"))
		}
		time.Sleep(10 * lease)
		if y.over() {
			t.Fatal("the lock under a fence was granted without proof")
		}
		w.Power.Set("n1", sim.Behaviour{})
		y.granted(3 * time.Minute)
		if f := w.member("n1").Fence; f.State != member.FenceProved {
			t.Errorf("the record says %+v", f)
		}
	})
}

// TestLease_ProofComesFirst: a fence that succeeds before the time has passed
// releases what is under the lease as well.
func TestLease_ProofComesFirst(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		a, b := n1.leased(), n2.leased()
		a.take("r", client.EX)
		x := b.ask("r", client.EX)
		w.Node("n1").Kill()
		killed := time.Now()
		if took := x.granted(time.Minute).Sub(killed); took >= lease {
			t.Errorf("granted after %v", took)
		}
		if f := w.member("n1").Fence; f.State != member.FenceProved {
			t.Errorf("the record says %+v", f)
		}
	})
}

// TestLease_NewMasterCountsAnew: what one master has counted is not known to the
// next, which begins when its term does.
func TestLease_NewMasterCountsAnew(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		a, b := w.boot("n1").leaseOnly(), w.boot("n2").leaseOnly()
		a.take("r", client.EX)
		x := b.ask("r", client.EX)
		w.Node("n1").Kill()
		w.awaitState("n1", member.Expired, time.Minute)
		time.Sleep(lease - expiry - 5*time.Second)
		first := w.Master()
		w.KillServer(first)
		var second string
		w.Await(time.Minute, "another master", func() bool { second = w.Master(); return second != "" && second != first })
		at := x.granted(2 * time.Minute)
		took := w.logs.find("master", "server="+second)
		if len(took) != 1 {
			t.Fatalf("%s became master %d times", second, len(took))
		}
		inTime(t, "granted", took[0].At, at, lease)
	})
}

// TestLease_DeposedMasterReleasesNothing: a master that is cut off when the time has
// passed releases nothing; the next one counts anew.
func TestLease_DeposedMasterReleasesNothing(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		a, b := w.boot("n1").leaseOnly(), w.boot("n2").leaseOnly()
		a.take("r", client.EX)
		x := b.ask("r", client.EX)
		w.Node("n1").Kill()
		w.awaitState("n1", member.Expired, time.Minute)
		time.Sleep(lease - expiry - 3*time.Second)
		first := w.Master()
		w.Net.Partition([]string{first}, w.others(first))
		var second string
		w.Await(time.Minute, "another master", func() bool {
			for _, s := range w.logs.find("master") {
				if s.Attrs["server"] != first {
					second = s.Attrs["server"]
				}
			}
			return second != ""
		})
		at := x.granted(3 * time.Minute)
		took := w.logs.find("master", "server="+second)
		inTime(t, "granted", took[0].At, at, lease)
	})
}

// TestLease_PauseHoldsNothing: while automatic fencing is paused a node under leases
// only is expired and loses its locks with the time, as nobody is fenced for it; one
// that would be fenced is not even expired.
func TestLease_PauseHoldsNothing(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Nodes: 4}, func(t *testing.T, w *world) {
		users := w.bootAll(4)
		a, b, mixed := users[0].leaseOnly(), users[1].leaseOnly(), users[2].leased()
		a.take("r", client.EX)
		mixed.take("s", client.EX)
		x, y := b.ask("r", client.EX), b.ask("s", client.EX)
		if _, err := w.admin(w.Master()).PauseFencing(t.Context(), &gulmv1.PauseFencingRequest{Operator: "alice", Reason: "works"}); err != nil {
			t.Fatal(err)
		}
		w.Node("n1").Kill()
		w.Node("n3").Kill()
		time.Sleep(expiry / 2)
		last := w.lastSign("n1")
		inTime(t, "granted", last, x.granted(time.Minute), lease)
		time.Sleep(10 * lease)
		if n := w.member("n3"); n.State != member.LoggedIn || y.over() {
			t.Errorf("n3 is %v, its lock was granted: %v", n.State, y.over())
		}
		if len(w.Power.Calls()) > 0 {
			t.Errorf("agents were run: %+v", w.Power.Calls())
		}
		if _, err := w.admin(w.Master()).ResumeFencing(t.Context(), &gulmv1.ResumeFencingRequest{Operator: "alice"}); err != nil {
			t.Fatal(err)
		}
		y.granted(time.Minute)
	})
}

// TestLease_ForcedExpiry: an operator's word ends a node's life, not its lease: that
// ends when its time has passed since.
func TestLease_ForcedExpiry(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		a, b := n1.leaseOnly(), n2.leaseOnly()
		old := a.take("r", client.EX)
		x := b.ask("r", client.EX)
		time.Sleep(time.Minute)
		last := w.lastSign("n1")
		if _, err := w.admin(w.Master()).ForceExpire(t.Context(), &gulmv1.ForceExpireRequest{Node: "n1", Operator: "alice", Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		w.Await(expiry, "n1 told", func() bool { return old.Valid() != nil })
		inTime(t, "granted", last, x.granted(time.Minute), lease)
		if len(w.Power.CallsFor("n1")) > 0 {
			t.Error("agents were run")
		}
	})
}

// TestLease_UnimportantEndsAlone: a session that is not important and holds locks under
// a lease is ended alone, when the time has passed.
func TestLease_UnimportantEndsAlone(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		first, second := w.pair(unimportant)
		b := w.boot("n2").leaseOnly()
		ls, err := second.Join(t.Context(), "app", client.JoinOptions{Policy: client.PolicyLease})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ls.Lock(t.Context(), "r", client.EX); err != nil {
			t.Fatal(err)
		}
		x := b.ask("r", client.EX)
		_ = second.Close()
		closed := time.Now()
		at := x.granted(time.Minute)
		if took := at.Sub(closed); took < lease-expiry || took > lease+time.Second {
			t.Errorf("granted after %v", took)
		}
		w.nobodyDied()
		if first.State() != client.StateSafe {
			t.Errorf("the important one is %v", first.State())
		}
	})
}

// TestLease_Joins: it must be asked for by name, with a time that all agree upon and
// that is not too short; file systems have no place there.
func TestLease_Joins(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		for _, c := range []struct {
			opts client.JoinOptions
			want error
		}{
			{client.JoinOptions{Policy: client.PolicyLease}, gulmerr.ErrLease},
			{client.JoinOptions{Policy: client.PolicyLease, Lease: n1.node.Expiry() - time.Millisecond}, gulmerr.ErrLease},
			{client.JoinOptions{Policy: client.PolicyLease, Lease: 24*time.Hour + 1}, gulmerr.ErrLease},
			{client.JoinOptions{Policy: client.PolicyLease, Lease: -1}, gulmerr.ErrLease},
			{client.JoinOptions{Lease: lease}, gulmerr.ErrLease},
			{client.JoinOptions{Policy: client.PolicyManual, Lease: lease}, gulmerr.ErrLease},
		} {
			if _, err := n1.node.Join(t.Context(), "new", c.opts); !is(err, c.want) {
				t.Errorf("%+v: %v, want %v", c.opts, err, c.want)
			}
		}
		a := n1.leased()
		for _, opts := range []client.JoinOptions{{}, {Policy: client.PolicyManual}, {Policy: client.PolicyLease, Lease: lease + 1}} {
			if _, err := n2.node.Join(t.Context(), "app", opts); !is(err, gulmerr.ErrPolicy) {
				t.Errorf("%+v: %v", opts, err)
			}
		}
		if _, err := n2.node.Join(t.Context(), "app", client.JoinOptions{Policy: client.PolicyLease}); err != nil {
			t.Errorf("the time that there is: %v", err)
		}
		_, err := a.Mount(t.Context(), client.MountOptions{Journals: 2, OnRecover: func(context.Context, client.Recovery) error { return nil }})
		if !is(err, gulmerr.ErrNoProof) {
			t.Errorf("mounted: %v", err)
		}
	})
}

// TestLease_LastByAReplay: a node that died is in nothing but a lockspace under a lease
// when another has replayed the journal that it gave up before, and that changes no
// node: its lease settles it all the same.
func TestLease_LastByAReplay(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.leaseOnly()
		replayed, done := make(chan struct{}), make(chan struct{})
		end := sync.OnceFunc(func() { close(done) })
		defer end()
		var mounts [2]*client.Mount
		for i, n := range []*user{n1, n2} {
			m, err := n.under(client.PolicyManual).Mount(t.Context(), client.MountOptions{Journals: 2, OnRecover: func(ctx context.Context, _ client.Recovery) error {
				close(replayed)
				<-done
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			if mounts[i] = m; i == 0 {
				if err := m.OthersMayMount(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := mounts[0].Withdraw(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-replayed
		w.cut("n1")
		w.awaitState("n1", member.Expired, time.Minute)
		time.Sleep(10 * lease)
		if n := w.member("n1"); n.State != member.Expired {
			t.Fatalf("n1 is %v while the journal that it gave up is not replayed", n.State)
		}
		end()
		w.awaitState("n1", member.Fenced, lease)
		if f := w.member("n1").Fence; f.State != member.FenceLeaseEnded || len(w.Power.CallsFor("n1")) > 0 {
			t.Errorf("the record says %+v, agents ran %d times", f, len(w.Power.CallsFor("n1")))
		}
	})
}
