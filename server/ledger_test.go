package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

const (
	settle        = 30 * time.Second
	firstRehearse = 10 * time.Second
)

// second asks for a login of another boot of n1.
func (w *world) second(t *testing.T, id byte) error {
	_, err := w.core(w.Master()).Login(t.Context(), &gulmv1.LoginRequest{
		Cluster: "sim", Node: "n1", BootId: "second", LoginId: slices.Repeat([]byte{id}, 16), Process: "test",
	})
	return err
}

// TestS2_WhatWasGivenUpHoldsTheNode: an attempt failed that may still be carried
// out, and another one succeeded. The locks are free at once, the node is not: it
// may log in after the settle time, and it is told so.
func TestS2_WhatWasGivenUpHoldsTheNode(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Fail: 1, Late: true})
		w.Node("n1").Kill()
		x.granted(time.Minute)
		w.awaitState("n1", member.Fenced, time.Second)
		fenced := time.Now()
		if n := w.member("n1"); !n.Ledger.Held || !n.Fence.Late || n.Fence.Cut {
			t.Fatalf("n1 is %+v", n)
		}
		if said := strings.Join(w.status(w.Master()).GetWaitingFor(), "\n"); !strings.Contains(said, "settle time of node n1") {
			t.Errorf("status says %q", said)
		}
		for id := byte(1); time.Since(fenced) < settle-2*time.Second; id++ {
			err := w.second(t, id)
			if !is(err, gulmerr.ErrNotFenced) || !strings.Contains(err.Error(), "may log in after about") {
				t.Fatalf("after %v: %v", time.Since(fenced), err)
			}
			time.Sleep(5 * time.Second)
		}
		w.Await(settle, "n1 to be released", func() bool { return !w.member("n1").Ledger.Held })
		if took := time.Since(fenced); took < settle-time.Second || took > settle+3*time.Second {
			t.Errorf("n1 was held for %v, want %v", took, settle)
		}
		if err := w.second(t, 100); err != nil {
			t.Errorf("login after the settle time: %v", err)
		}
	})
}

// TestS2_AttemptOfALostMasterIsCutOff: a master is lost while its agent runs. The
// next one finds the attempt in the ledger, fences anew, and holds the node for as
// long as that agent may run, and a new clock counts.
func TestS2_AttemptOfALostMasterIsCutOff(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Delay: 30 * time.Second})
		w.Node("n1").Kill()
		w.Await(time.Minute, "an agent to run", func() bool { return len(w.Power.CallsFor("n1")) == 1 })
		w.Await(time.Second, "the attempt to be in the ledger", func() bool {
			a := w.member("n1").Fence.Attempts
			return len(a) == 1 && a[0].Open
		})
		first := w.Master()
		w.KillServer(first)
		w.Power.Set("n1", sim.Behaviour{})
		x.granted(time.Minute)
		fenced := time.Now()
		n := w.member("n1")
		if !n.Ledger.Held || !n.Fence.Cut || n.Fence.Attempts[0].Outcome != member.OutcomeCut || !n.Fence.Attempts[0].Late {
			t.Fatalf("n1 is %+v", n)
		}
		time.Sleep(settle + 5*time.Second)
		second := w.Master()
		w.StartServer(first)
		w.KillServer(second)
		w.AwaitMaster(time.Minute)
		again := time.Now()
		if !w.member("n1").Ledger.Held {
			t.Fatalf("n1 was released %v after its fence, the agent of a lost master may run for a minute", time.Since(fenced))
		}
		const whole = settle + time.Minute + 5*time.Second
		w.Await(2*whole, "n1 to be released", func() bool { return !w.member("n1").Ledger.Held })
		if took := time.Since(again); took < whole-5*time.Second || took > whole+5*time.Second {
			t.Errorf("the new master held n1 for %v, want %v", took, whole)
		}
	})
}

// TestS2_AcknowledgedWhileAnAgentRuns: the operator's word frees the locks; the
// agent is stopped, but what it has asked for may come.
func TestS2_AcknowledgedWhileAnAgentRuns(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Hang: true})
		w.Node("n1").Kill()
		w.Await(time.Minute, "an agent to run", func() bool { return len(w.member("n1").Fence.Attempts) == 1 })
		w.Disk.FenceReported("n1", 1)
		if _, err := w.admin(w.Master()).AcknowledgeFence(t.Context(), &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "alice"}); err != nil {
			t.Fatal(err)
		}
		x.granted(time.Second)
		if n := w.member("n1"); !n.Ledger.Held || n.Fence.State != member.FenceAcknowledged {
			t.Errorf("n1 is %+v", n)
		}
		if err := w.second(t, 1); !is(err, gulmerr.ErrNotFenced) {
			t.Errorf("login: %v", err)
		}
	})
}

// TestRehearsal: live nodes are asked about soon after their login, and then at
// the interval; what their devices say is in the ledger.
func TestRehearsal(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Settings: "fence_rehearsal_interval = 60"}, func(t *testing.T, w *world) {
		w.boot("n1")
		time.Sleep(firstRehearse + 5*time.Second)
		o := w.member("n1").Ledger.Outlets
		if w.Power.Asked("n1") != 1 || len(o) != 1 || !o[0].On || o[0].Power != "on" || o[0].Device != "switch" || o[0].Plug != "n1" {
			t.Fatalf("asked %d times, ledger %+v", w.Power.Asked("n1"), o)
		}
		time.Sleep(2*time.Minute + 20*time.Second)
		if n := w.Power.Asked("n1"); n < 3 || n > 4 {
			t.Errorf("asked %d times in two minutes and a half", n)
		}
		if w.Power.Asked("n2") != 0 {
			t.Error("a node that is not there was rehearsed")
		}
		if len(w.logs.find("fence rehearsal alarm")) != 0 {
			t.Error("alarm")
		}
	})
}

// TestRehearsal_alarms: no answer is an alarm; off for a living node is one, and
// the outlet proves nothing until it says on.
func TestRehearsal_alarms(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		rehearse := func(node string) []*gulmv1.FenceRehearsal {
			t.Helper()
			reply, err := w.admin(w.Master()).RehearseFence(t.Context(), &gulmv1.RehearseFenceRequest{Node: node})
			if err != nil {
				t.Fatal(err)
			}
			return reply.GetOutlets()
		}
		if all := rehearse(""); len(all) != 2 || all[0].GetAlarm() != "" || !all[0].GetLive() || all[1].GetOutlet().GetPower() != "on" {
			t.Errorf("healthy: %v", all)
		}
		w.Power.Set("n2", sim.Behaviour{Power: fence.PowerNone})
		if all := rehearse("n2"); len(all) != 1 || !strings.Contains(all[0].GetAlarm(), "no answer: told not to answer") {
			t.Errorf("silent device: %v", all)
		}
		w.Power.Set("n1", sim.Behaviour{Power: fence.PowerOff})
		if all := rehearse("n1"); len(all) != 1 || !strings.Contains(all[0].GetAlarm(), "says off, and the node lives") {
			t.Errorf("wrong outlet: %v", all)
		}
		if len(w.logs.find("fence rehearsal alarm", "node=n1")) == 0 || len(w.logs.find("fence rehearsal alarm", "node=n2")) == 0 {
			t.Error("the alarms are not in the log")
		}
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Node("n1").Kill()
		time.Sleep(5 * time.Minute)
		if x.over() {
			t.Fatal("a fence by the wrong outlet was believed")
		}
		f := w.member("n1").Fence
		if len(f.Attempts) == 0 || f.Attempts[0].Outcome != string(fence.OutcomeNotBelieved) {
			t.Errorf("ledger has %+v", f)
		}
		w.Disk.FenceReported("n1", 1)
		if _, err := w.admin(w.Master()).AcknowledgeFence(t.Context(), &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "alice"}); err != nil {
			t.Fatal(err)
		}
		x.granted(time.Second)
	})
}

// TestRehearsal_powerLoss: a node that has just lost its power says nothing
// against its outlet, which says off before the node is expired.
func TestRehearsal_powerLoss(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		time.Sleep(firstRehearse + 5*time.Second)
		w.Power.Set("n1", sim.Behaviour{Power: fence.PowerOff})
		w.Node("n1").Kill()
		reply, err := w.admin(w.Master()).RehearseFence(t.Context(), &gulmv1.RehearseFenceRequest{Node: "n1"})
		if err != nil || len(reply.GetOutlets()) != 1 || reply.GetOutlets()[0].GetAlarm() != "" || reply.GetOutlets()[0].GetLive() {
			t.Errorf("%v, %v", reply, err)
		}
		if o := w.member("n1").Ledger.Outlets; len(o) != 1 || o[0].Wrong || !o[0].On || o[0].Power != "off" {
			t.Errorf("ledger has %+v", o)
		}
		x.granted(time.Minute)
	})
}

// TestS2_AlreadyOffIsNotBelievedOfAnUnknownOutlet: nothing is known of the outlet
// when the node dies, and it says that it is off.
func TestS2_AlreadyOffIsNotBelievedOfAnUnknownOutlet(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Settings: "fence_rehearsal_interval = 0"}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Power: fence.PowerOff})
		w.Node("n1").Kill()
		time.Sleep(3 * time.Minute)
		if x.over() || w.Power.Asked("n1") != 0 {
			t.Fatalf("lock granted %v, rehearsed %d times", x.over(), w.Power.Asked("n1"))
		}
		if f := w.member("n1").Fence; len(f.Attempts) == 0 || f.Attempts[0].Outcome != string(fence.OutcomeNotBelieved) {
			t.Errorf("ledger has %+v", f)
		}
		w.Power.Set("n1", sim.Behaviour{})
		x.granted(2 * time.Minute)
	})
}

// TestFenceLedger: what an operator sees of fences, one by hand included.
func TestFenceLedger(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Delay: 20 * time.Second})
		w.Node("n1").Kill()
		w.Await(time.Minute, "an agent to run", func() bool { return len(w.member("n1").Fence.Attempts) == 1 })
		time.Sleep(5 * time.Second)
		admin := w.admin(w.Master())
		if _, err := admin.RecordFence(ctx, &gulmv1.RecordFenceRequest{Node: "n1", Operator: "bob", Fence: &gulmv1.ManualFence{
			Fenced: true, By: "power/switch", Attempts: []*gulmv1.FenceAttempt{{Method: "power", Outcome: "ok"}},
		}}); err != nil {
			t.Fatal(err)
		}
		if x.over() {
			t.Fatal("a fence by hand counted as a proof")
		}
		reply, err := admin.Fences(ctx, &gulmv1.FencesRequest{Node: "n1"})
		if err != nil || len(reply.GetNodes()) != 1 {
			t.Fatalf("%v, %v", reply, err)
		}
		n := reply.GetNodes()[0]
		a := n.GetFence().GetAttempts()
		if len(a) != 1 || !a[0].GetRunning() || a[0].GetDurationMs() < 4000 || n.GetAgeMs() < 4000 || !strings.Contains(n.GetWaitsFor(), "power/switch") {
			t.Errorf("pending: %v", n)
		}
		if m := n.GetManual(); len(m) != 1 || m[0].GetOperator() != "bob" || !m[0].GetFenced() || len(m[0].GetAttempts()) != 1 {
			t.Errorf("by hand: %v", m)
		}
		for _, bad := range []*gulmv1.RecordFenceRequest{{Node: "n1"}, {Node: "n9", Operator: "bob"}} {
			if _, err := admin.RecordFence(ctx, bad); err == nil {
				t.Errorf("%v was accepted", bad)
			}
		}
		if _, err := admin.Fences(ctx, &gulmv1.FencesRequest{Node: "n9"}); !is(err, gulmerr.ErrUnknownNode) {
			t.Errorf("unknown node: %v", err)
		}
		x.granted(time.Minute)
		if reply, err := admin.Fences(ctx, &gulmv1.FencesRequest{}); err != nil || len(reply.GetNodes()) < 2 || reply.GetNodes()[0].GetWaitsFor() != "" {
			t.Errorf("all: %v, %v", reply, err)
		}
	})
}

// TestWatchdogIsPartOfThePlan: what the node said at login of its watchdog, and
// what it was told of its expiry, is what the fence may rely upon; a node that
// said nothing has none.
func TestWatchdogIsPartOfThePlan(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		for i, ms := range []int64{12_000, 0} {
			node := []string{"n1", "n2"}[i]
			if _, err := w.core(w.Master()).Login(t.Context(), &gulmv1.LoginRequest{
				Cluster: "sim", Node: node, BootId: "first", LoginId: slices.Repeat([]byte{7}, 16), Process: "test", WatchdogMs: ms,
			}); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []time.Duration{12 * time.Second, 0} {
			node := []string{"n1", "n2"}[i]
			w.awaitState(node, member.Fenced, time.Minute)
			calls := w.Power.CallsFor(node)
			if len(calls) != 1 || calls[0].Plan.Watchdog != want || calls[0].Plan.Expiry != expiry {
				t.Errorf("%s was fenced with %+v, want a watchdog of %v", node, calls, want)
			}
		}
	})
}
