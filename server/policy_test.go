package server_test

import (
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

// under joins another lockspace under a policy.
func (u *user) under(policy client.Policy) *client.Lockspace {
	u.w.t.Helper()
	ls, err := u.node.Join(u.w.t.Context(), "under", client.JoinOptions{Policy: policy})
	if err != nil {
		u.w.t.Fatalf("node %s: %v", u.name, err)
	}
	return ls
}

// TestS2_ManualWaitsForTheWord: what a node held under PolicyManual stays although
// its fence is proved and it is back, and says so, until an operator acknowledges it
// by name; a lockspace of the same node under PolicyFence does not wait for that.
func TestS2_ManualWaitsForTheWord(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		m1, m2 := n1.under(client.PolicyManual), n2.under(client.PolicyManual)
		if _, err := m1.Lock(t.Context(), "r", client.EX); err != nil {
			t.Fatal(err)
		}
		n1.take("r", client.EX)
		x := &waiter{u: &user{Lockspace: m2, w: w, name: "n2"}, done: make(chan struct{})}
		go func() {
			defer close(x.done)
			x.lock, x.err = m2.Lock(t.Context(), "r", client.EX)
			x.at = time.Now()
		}()
		y := n2.askBlind("r", client.EX)
		w.Node("n1").Kill()
		y.granted(2 * time.Minute)
		w.awaitState("n1", member.Fenced, time.Minute)
		w.boot("n1")
		time.Sleep(10 * time.Minute)
		if x.over() {
			t.Fatal("the lock was granted without a word")
		}
		const text = "acknowledgement of node n1 by an operator (fence_ack_manual n1)"
		if s := w.status(w.Master()); !slices.Contains(s.GetWaitingFor(), text) {
			t.Errorf("status waits for %q", s.GetWaitingFor())
		}
		list, err := w.locks(&gulmv1.LocksRequest{Lockspace: "under", Contended: true})
		if err != nil || len(list) != 1 || list[0].GetLocks()[0].GetHeldFor() != text || list[0].GetLocks()[0].GetNode() != "n1" {
			t.Errorf("locks are %v, %v", list, err)
		}
		admin := w.admin(w.Master())
		ledger, err := admin.Fences(t.Context(), &gulmv1.FencesRequest{Node: "n1"})
		if err != nil || !strings.HasPrefix(ledger.GetNodes()[0].GetWaitsFor(), text) {
			t.Errorf("ledger says %v, %v", ledger, err)
		}
		if _, err := admin.AcknowledgeFence(t.Context(), &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "alice"}); err != nil {
			t.Fatal(err)
		}
		x.granted(time.Second)
		if _, err := admin.AcknowledgeFence(t.Context(), &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "alice"}); !is(err, gulmerr.ErrNotPending) {
			t.Errorf("acknowledged twice: %v", err)
		}
		if f := w.member("n1").Fence; f.State != member.FenceProved || f.Word != "alice" {
			t.Errorf("the record says %+v", f)
		}
		if len(w.logs.find("fence acknowledged", "node=n1", "operator=alice", "incarnation=1")) != 1 {
			t.Error("the word is not in the audit log")
		}
	})
}

// TestS2_ManualOnlyIsNotFencedByAgents: a node that is in lockspaces of PolicyManual
// only is expired and waits for the word, also under a new master; no agent runs.
func TestS2_ManualOnlyIsNotFencedByAgents(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		m1, m2 := n1.under(client.PolicyManual), n2.under(client.PolicyManual)
		if err := n1.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := m1.Lock(t.Context(), "r", client.PR); err != nil {
			t.Fatal(err)
		}
		w.Power.Set("n1", sim.Behaviour{})
		w.Node("n1").Kill()
		w.awaitState("n1", member.Expired, time.Minute)
		time.Sleep(5 * time.Minute)
		if _, err := m2.TryLock(t.Context(), "r", client.EX); err == nil {
			t.Fatal("the lock was granted without a word")
		}
		if calls := w.Power.CallsFor("n1"); len(calls) > 0 {
			t.Errorf("agents were run: %+v", calls)
		}
		if s := w.status(w.Master()); !slices.Contains(s.GetWaitingFor(), "acknowledgement of node n1 by an operator (fence_ack_manual n1)") {
			t.Errorf("status waits for %q", s.GetWaitingFor())
		}
		w.Disk.FenceReported("n1", 1)
		if _, err := w.admin(w.Master()).AcknowledgeFence(t.Context(), &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "alice"}); err != nil {
			t.Fatal(err)
		}
		if _, err := m2.TryLock(t.Context(), "r", client.EX); err != nil {
			t.Errorf("after the word: %v", err)
		}
		if f := w.member("n1").Fence; f.State != member.FenceAcknowledged {
			t.Errorf("the record says %+v", f)
		}
	})
}
