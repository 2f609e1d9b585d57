package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

func unimportant(c *client.Config) { c.Unimportant, c.Process = true, "watcher" }

func locked(c *client.Config) { c.Locked, c.Process = true, "mount" }

// pair boots n1 with two processes, the second changed.
func (w *world) pair(change ...func(*client.Config)) (first, second *client.Node) {
	w.t.Helper()
	ready := make(chan error, 1)
	w.Node("n1").Boot(func(ctx context.Context, life *gulmtest.Life) {
		var err error
		if first, err = life.Dial(ctx); err == nil {
			second, err = life.Dial(ctx, change...)
		}
		ready <- err
		<-ctx.Done()
	})
	if err := <-ready; err != nil {
		w.t.Fatal(err)
	}
	return first, second
}

// sessions returns how many sessions a node has.
func (w *world) sessions(node string) (n int) {
	w.view(w.Master(), func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if x.Node == node {
				n++
			}
		}
	})
	return n
}

// TestService_UnimportantEndsAlone: a watcher that crashes ends its session, and
// nothing else: nobody is told anything, nobody is fenced. So too if it was the
// node's only one.
func TestService_UnimportantEndsAlone(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		first, second := w.pair(unimportant)
		only := w.boot("n2", unimportant, func(c *client.Config) { c.Process = "alone" })
		if err := only.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, n := range w.status(w.Master()).GetNodes() {
			for _, s := range n.GetSessions() {
				if s.GetUnimportant() == (s.GetProcess() == "sim") {
					t.Errorf("%s: %v", n.GetName(), s)
				}
			}
		}
		_ = second.Close()
		_ = only.node.Close()
		w.Await(time.Minute, "one session less", func() bool { return w.sessions("n1") == 1 && w.sessions("n2") == 0 })
		time.Sleep(10 * expiry)
		w.nobodyDied()
		if s := first.State(); s != client.StateSafe {
			t.Errorf("the important one is %v", s)
		}
		if n := w.member("n2"); n.State != member.LoggedOut {
			t.Errorf("n2 is %v", n.State)
		}
		if c := w.status(w.Master()).GetCounters()["sessions_ended"]; c != 2 {
			t.Errorf("%d sessions ended", c)
		}
	})
}

// TestService_UnimportantWithALockspaceFailsTheNode: as soon as it has joined a
// lockspace that needs a fence its silence counts, and its sibling knows in time.
func TestService_UnimportantWithALockspaceFailsTheNode(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		first, second := w.pair(unimportant)
		if _, err := second.Join(t.Context(), "fs", client.JoinOptions{}); err != nil {
			t.Fatal(err)
		}
		w.logs.on(func(e entry) {
			if e.is("node expired") && first.State() < client.StateLost {
				t.Errorf("the sibling was %v when its node was expired", first.State())
			}
		})
		_ = second.Close()
		w.awaitState("n1", member.Fenced, time.Minute)
	})
}

// TestService_LockedHoldsUpAShutdown that would cost the quorum, by name; force
// overrides, and says so in the log.
func TestService_LockedHoldsUpAShutdown(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		w.boot("n1", locked)
		w.boot("n2")
		ctx := t.Context()
		first := w.others(w.Master())[0]
		if err := w.ShutdownServer(ctx, first, false); err != nil {
			t.Fatalf("with a quorum left: %v", err)
		}
		time.Sleep(2 * expiry)
		second := w.Master()
		_, err := w.admin(second).Shutdown(ctx, &gulmv1.ShutdownRequest{})
		if !is(err, gulmerr.ErrLastQuorum) || !strings.Contains(err.Error(), "n1: mount (session") || strings.Contains(err.Error(), "n2") {
			t.Errorf("shutdown: %v", err)
		}
		if _, err := w.admin(second).Shutdown(ctx, &gulmv1.ShutdownRequest{Force: true}); err != nil {
			t.Errorf("by force: %v", err)
		}
		if log := w.logs.find("server logs out by force", "server="+second); len(log) != 1 || !strings.Contains(log[0].Attrs["reason"], "mount") {
			t.Errorf("audit: %v", log)
		}
	})
}

// TestService_CleanLogoutReleasesEverythingWithoutAFence, of whatever kind the
// service is.
func TestService_CleanLogoutReleasesEverythingWithoutAFence(t *testing.T) {
	for _, kind := range []func(*client.Config){func(*client.Config) {}, unimportant, locked, inContainer} {
		bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
			n1, n2 := w.boot("n1", kind), w.boot("n2")
			n1.take("r", client.EX)
			x := n2.ask("r", client.EX)
			if err := n1.node.Logout(t.Context()); err != nil {
				t.Fatal(err)
			}
			x.granted(time.Second)
			time.Sleep(10 * expiry)
			w.nobodyDied()
			if n := w.member("n1"); n.State != member.LoggedOut {
				t.Errorf("n1 is %v", n.State)
			}
		})
	}
}

// TestForceExpire_CondemnsTheBeats: from the decision on no beat of the node is
// acknowledged, though it goes on beating; who and why are kept.
func TestForceExpire_CondemnsTheBeats(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		n1.take("r", client.EX)
		master := w.Master()
		for _, s := range w.others(master) { // the decision takes a while
			w.Net.SetDelay(master, s, 100*time.Millisecond, 0)
			w.Net.SetDelay(s, master, 100*time.Millisecond, 0)
		}
		time.Sleep(expiry)
		w.Power.Set("n1", sim.Behaviour{Delay: expiry})
		var decided time.Time
		w.logs.on(func(e entry) {
			if e.is("node expired", "node=n1") {
				decided = e.At
			}
		})
		_, err := w.admin(master).ForceExpire(t.Context(), &gulmv1.ForceExpireRequest{Node: "n1", Operator: "carol", Reason: "stuck in D"})
		if err != nil {
			t.Fatal(err)
		}
		w.Await(expiry, "n1 to be told", func() bool { return len(n1.told(client.EventExpired)) == 1 })
		if at := n1.told(client.EventExpired)[0].At; at.Sub(decided) > time.Second || !errors.Is(n1.node.Err(), client.ErrNodeExpired) {
			t.Errorf("told %v after the decision: %v", at.Sub(decided), n1.node.Err())
		}
		w.awaitState("n1", member.Fenced, time.Minute)
		if f := w.member("n1").Fence; f.Operator != "carol" || f.Reason != "forced: stuck in D" {
			t.Errorf("record: %+v", f)
		}
		if w.status(master).GetCounters()["nodes_force_expired"] != 1 {
			t.Error("not counted")
		}
	})
}
