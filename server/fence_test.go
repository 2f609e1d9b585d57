package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// modes are all modes with one that each of them keeps out; NL keeps out none.
var modes = []struct{ held, wanted client.Mode }{
	{client.EX, client.CR},
	{client.PW, client.PR},
	{client.PR, client.CW},
	{client.CW, client.PR},
	{client.CR, client.EX},
	{client.NL, client.EX},
}

// TestS2_LocksInEveryModeStayUntilTheFenceIsProved: a node that is silent for
// the expiry time is expired and fenced once, and whoever waits for its lock
// gets it after the fence and not before.
func TestS2_LocksInEveryModeStayUntilTheFenceIsProved(t *testing.T) {
	const slow = 40 * time.Second
	for _, m := range modes {
		t.Run(m.held.String(), func(t *testing.T) {
			bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
				n1, n2 := w.boot("n1"), w.boot("n2")
				n1.take("r", m.held)
				x := n2.askBlind("r", m.wanted)
				if m.held == client.NL {
					x.granted(time.Second)
				}
				w.Power.Set("n1", sim.Behaviour{Delay: slow})
				died := time.Now()
				w.Node("n1").Kill()
				at := x.granted(2 * time.Minute)
				w.awaitState("n1", member.Fenced, 2*time.Minute)
				calls := w.Power.CallsFor("n1")
				if len(calls) != 1 || !calls[0].Cut {
					t.Fatalf("n1 was fenced by %+v, want once", calls)
				}
				ended := calls[0].Start.Add(calls[0].Dur)
				time.Sleep(time.Millisecond) // the log follows the grant
				if m.held != client.NL && at.Before(ended) {
					t.Errorf("lock was granted %v before the fence ended", ended.Sub(at))
				}
				if after := time.Since(ended); after > 2*time.Second {
					t.Errorf("fence was noted only after %v", after)
				}
				if len(w.logs.find("fence proved", "node=n1", "by=power/switch")) != 1 {
					t.Error("the proof is not in the log once")
				}
				// Its last beat may be as old as two thirds of the rate.
				if silent := w.expiredAt("n1").Sub(died); silent < expiry-2*time.Second || silent > expiry+2*look {
					t.Errorf("n1 was expired %v after its death, want about %v", silent, expiry)
				}
				if begun := calls[0].Start; begun.Before(w.expiredAt("n1")) {
					t.Error("the fence began before the node was expired")
				}
			})
		})
	}
}

// TestS2_FailingFenceIsRepeatedWithGrowingPauses: 5 s, 10 s, 20 s, 40 s, and
// nothing is granted meanwhile.
func TestS2_FailingFenceIsRepeatedWithGrowingPauses(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Fail: 5})
		w.Node("n1").Kill()
		at := x.granted(5 * time.Minute)
		calls := w.Power.CallsFor("n1")
		if len(calls) != 6 {
			t.Fatalf("%d fences were tried, want 6", len(calls))
		}
		var pauses []time.Duration
		for i := 1; i < len(calls); i++ {
			pauses = append(pauses, calls[i].Start.Sub(calls[i-1].Start).Round(time.Second))
		}
		want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 60 * time.Second}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses were %v, want %v", pauses, want)
		}
		if last := calls[5]; at.Before(last.Start.Add(last.Dur)) {
			t.Error("lock was granted before a fence succeeded")
		}
		f := w.member("n1").Fence
		if f.State != member.FenceProved || f.Rounds != 6 || len(f.Attempts) != 6 || f.By != "power/switch" {
			t.Errorf("ledger has %+v", f)
		}
	})
}

// TestS2S7_HopelessFence: a fence that fails for ever never frees a lock; the
// status names what is waited for; the operator's word by the node's name does.
func TestS2S7_HopelessFence(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Fail: -1})
		w.Node("n1").Kill()
		admin := w.admin(w.Master())
		time.Sleep(expiry / 2)
		if _, err := admin.AcknowledgeFence(ctx, &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "eve"}); !is(err, gulmerr.ErrNotPending) {
			t.Errorf("a node that is not expired was acknowledged: %v", err)
		}
		time.Sleep(30 * time.Minute)
		if x.over() {
			t.Fatal("lock was granted without a fence")
		}
		checkWaiting(t, w.status(w.Master()))
		checkFrozen(t, w)
		for _, bad := range []*gulmv1.AcknowledgeFenceRequest{{Node: "n1"}, {Node: "n9", Operator: "eve"}, {Node: "n2", Operator: "eve"}} {
			if _, err := admin.AcknowledgeFence(ctx, bad); err == nil {
				t.Errorf("%v was accepted", bad)
			}
		}
		if x.over() {
			t.Fatal("lock was granted by a refused acknowledgement")
		}
		w.Disk.FenceReported("n1", 1)
		if _, err := admin.AcknowledgeFence(ctx, &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "alice"}); err != nil {
			t.Fatal(err)
		}
		x.granted(time.Second)
		if len(w.logs.find("fence acknowledged", "node=n1", "operator=alice", "incarnation=1")) != 1 {
			t.Error("the acknowledgement is not in the audit log")
		}
		if f := w.member("n1").Fence; f.State != member.FenceAcknowledged || f.By != "alice" {
			t.Errorf("ledger has %+v", f)
		}
		tried := len(w.Power.CallsFor("n1"))
		time.Sleep(5 * time.Minute)
		if more := len(w.Power.CallsFor("n1")); more != tried {
			t.Errorf("n1 was fenced %d times after the acknowledgement", more-tried)
		}
	})
}

func checkWaiting(t *testing.T, s *gulmv1.StatusReply) {
	t.Helper()
	if len(s.GetPendingFences()) != 1 || s.GetPendingFences()[0].GetNode() != "n1" || s.GetPendingFences()[0].GetRounds() < 30 {
		t.Errorf("pending fences are %v", s.GetPendingFences())
	}
	if f := s.GetPendingFences()[0]; len(f.GetAttempts()) != member.MaxAttempts || f.GetAttempts()[0].GetOutcome() != "failed" {
		t.Errorf("the ledger shows %d attempts: %v", len(f.GetAttempts()), f.GetAttempts())
	}
	said := strings.Join(s.GetWaitingFor(), "\n")
	for _, want := range []string{"fence of node n1", "1 locks frozen", "fence_ack_manual n1", "1 requests wait"} {
		if !strings.Contains(said, want) {
			t.Errorf("status does not say %q but %q", want, said)
		}
	}
	if s.GetWaiters() != 1 || s.GetLocks() != 2 || !s.GetQuorate() {
		t.Errorf("status counts %d waiters, %d locks, quorate %v", s.GetWaiters(), s.GetLocks(), s.GetQuorate())
	}
}

// checkFrozen: who holds, who waits, since when.
func checkFrozen(t *testing.T, w *world) {
	t.Helper()
	list, err := w.locks(&gulmv1.LocksRequest{Contended: true})
	if err != nil || len(list) != 1 || len(list[0].GetLocks()) != 2 {
		t.Fatalf("listed %v, %v", list, err)
	}
	holder, waits := list[0].GetLocks()[0], list[0].GetLocks()[1]
	if holder.GetNode() != "n1" || !holder.GetFrozen() || holder.GetGranted() != gulmv1.Mode_MODE_EX {
		t.Errorf("holder is %v", holder)
	}
	if waits.GetNode() != "n2" || waits.GetQueue() != gulmv1.Queue_QUEUE_WAITING || waits.GetAgeMs() < (30*time.Minute).Milliseconds() {
		t.Errorf("waiter is %v", waits)
	}
}

// is reports whether a gRPC error is a refusal with that sentinel.
func is(err, sentinel error) bool { return errors.Is(gulmerr.FromStatus(err), sentinel) }

// TestS7_ForceExpire: an operator declares a node dead; it is fenced like any
// other, and told so.
func TestS7_ForceExpire(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.PR)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Delay: 20 * time.Second})
		admin := w.admin(w.Master())
		for req, want := range map[*gulmv1.ForceExpireRequest]error{
			{Node: "n1"}:                     gulmerr.ErrInvalid,
			{Node: "n9", Reason: "no such"}:  gulmerr.ErrUnknownNode,
			{Node: "n3", Reason: "never in"}: gulmerr.ErrUnknownNode,
		} {
			if _, err := admin.ForceExpire(ctx, req); !is(err, want) {
				t.Errorf("%v: %v, want %v", req, err, want)
			}
		}
		standby := w.others(w.Master())[0]
		if _, err := w.admin(standby).ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: "n1", Reason: "x"}); !is(err, gulmerr.ErrNotMaster) {
			t.Errorf("a standby answered %v", err)
		}
		began := time.Now()
		if _, err := admin.ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: "n1", Reason: "smoke"}); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: "n1", Reason: "smoke"}); !is(err, gulmerr.ErrWrongState) {
			t.Errorf("expired twice: %v", err)
		}
		w.Await(time.Second, "n1 to be told", func() bool { return len(n1.told(client.EventExpired)) == 1 })
		if at := x.granted(time.Minute); at.Sub(began) < 20*time.Second {
			t.Errorf("lock was granted after %v, before the fence", at.Sub(began))
		}
		if len(w.logs.find("node expired", "node=n1", "reason=forced: smoke")) != 1 || len(w.Power.CallsFor("n1")) != 1 {
			t.Error("want one line in the audit log and one fence")
		}
	})
}

// TestS2_FencesOfTwoNodesRunInParallel: one that hangs does not hold up the
// other.
func TestS2_FencesOfTwoNodesRunInParallel(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2, n3 := w.boot("n1"), w.boot("n2"), w.boot("n3")
		n1.take("a", client.EX)
		n2.take("b", client.EX)
		a, b := n3.ask("a", client.EX), n3.ask("b", client.EX)
		w.Power.Set("n1", sim.Behaviour{Hang: true})
		w.Node("n1").Kill()
		w.Node("n2").Kill()
		died := time.Now()
		if at := b.granted(time.Minute); at.Sub(died) > expiry+2*look {
			t.Errorf("the healthy fence took %v", at.Sub(died))
		}
		time.Sleep(10 * time.Minute)
		if a.over() {
			t.Fatal("lock was granted while the fence hung")
		}
		w.Power.Set("n1", sim.Behaviour{})
		a.granted(3 * time.Minute)
	})
}

// TestS2_LyingFence: an agent that says that it succeeded and did not is the one
// thing that the servers cannot see. A holder that minds the library's word has
// stopped by then.
func TestS2_LyingFence(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		l := n1.take("r", client.EX)
		h1 := gulmtest.Holder{Node: "n1", Incarnation: 1}
		w.Disk.Granted(h1, "r", gulmtest.EX, l.Token())
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Lie: true})
		w.cut("n1")
		writes := 0
		for !x.over() {
			if l.Valid() == nil {
				if err := w.Disk.Write(gulmtest.Write{Holder: h1, Resource: "r", Mode: gulmtest.EX, Token: l.Token()}); err != nil {
					t.Fatal(err)
				}
				writes++
			} else {
				w.Disk.Released(h1, "r")
			}
			time.Sleep(50 * time.Millisecond)
		}
		x.granted(time.Second)
		w.Disk.Granted(gulmtest.Holder{Node: "n2", Incarnation: 1}, "r", gulmtest.EX, x.lock.Token())
		if writes < 50 {
			t.Errorf("n1 wrote %d times, so this shows little", writes)
		}
	})
}

// TestS2_LoginIsRefusedUntilTheEarlierLifeIsFenced: another boot of a node gets
// nothing while the first is logged in, expired, or being fenced.
func TestS2_LoginIsRefusedUntilTheEarlierLifeIsFenced(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		l := n1.take("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Delay: 15 * time.Second})
		login := func(id byte) (*gulmv1.LoginReply, error) {
			return w.core(w.Master()).Login(t.Context(), &gulmv1.LoginRequest{
				Cluster: "sim", Node: "n1", BootId: "second", LoginId: slices.Repeat([]byte{id}, 16), Process: "test",
			})
		}
		if _, err := login(1); !is(err, gulmerr.ErrStaleIncarnation) {
			t.Errorf("second boot beside a living one: %v", err)
		}
		if l.Valid() != nil {
			t.Error("the refused login disturbed the living one")
		}
		w.Node("n1").Kill()
		w.awaitState("n1", member.Expired, time.Minute)
		if _, err := login(2); !is(err, gulmerr.ErrNotFenced) {
			t.Errorf("second boot before the fence: %v", err)
		}
		w.awaitState("n1", member.Fenced, time.Minute)
		reply, err := login(3)
		if err != nil || reply.GetIncarnation() != 2 {
			t.Fatalf("second boot after the fence: %v, %v", reply, err)
		}
		again, err := login(3)
		if err != nil || again.GetSession() != reply.GetSession() {
			t.Errorf("repeated login: session %d, %v; want %d", again.GetSession(), err, reply.GetSession())
		}
	})
}

// TestS2_CleanLogoutReleasesWithoutAFence.
func TestS2_CleanLogoutReleasesWithoutAFence(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		for i := range 3 {
			n1.take(fmt.Sprint("r", i), client.EX)
		}
		x := n2.ask("r1", client.EX)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := n1.node.Logout(ctx); err != nil {
			t.Fatal(err)
		}
		x.granted(time.Second)
		time.Sleep(3 * expiry)
		w.nobodyDied()
		if s := w.member("n1").State; s != member.LoggedOut {
			t.Errorf("n1 is %v", s)
		}
		if c := w.counts(); c.Locks != 1 || c.Resources != 1 {
			t.Errorf("after the logout there are %+v", c)
		}
	})
}
