package server_test

import (
	"context"
	"testing"
	"time"

	"lock_gulmd/client"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// TestS2_ManualJournalsUnderANewMaster: under PolicyManual nobody replays a dead
// node's journal on a proof, nor the one that it was
// replaying; whoever is master. Each word hands on what it was about, and the locks
// go with the replay.
func TestS2_ManualJournalsUnderANewMaster(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		var n [3]*user
		var spaces [3]*client.Lockspace
		replayed := make(chan string, 16)
		hang := make(chan struct{}) // n2 never ends what it replays
		mounts := [3]*client.Mount{}
		for i, name := range []string{"n1", "n2", "n3"} {
			n[i] = w.boot(name)
			spaces[i] = n[i].under(client.PolicyManual)
			m, err := spaces[i].Mount(t.Context(), client.MountOptions{Journals: 3, OnRecover: func(ctx context.Context, r client.Recovery) error {
				if name == "n2" {
					select {
					case <-hang:
					case <-ctx.Done():
					}
					return context.Cause(ctx)
				}
				replayed <- name + " replays what " + r.Node + " left"
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
		if _, err := spaces[0].Lock(t.Context(), "r", client.EX); err != nil {
			t.Fatal(err)
		}
		quiet := func(what string) {
			t.Helper()
			time.Sleep(5 * time.Minute)
			select {
			case text := <-replayed:
				t.Fatalf("%s: %s", what, text)
			default:
			}
			if _, err := spaces[2].TryLock(t.Context(), "r", client.EX); err == nil {
				t.Fatalf("%s: the lock was granted", what)
			}
		}
		waits := func(want ...string) {
			t.Helper()
			reply, err := w.admin(w.Master()).Journals(t.Context(), &gulmv1.JournalsRequest{Lockspace: "under"})
			if err != nil {
				t.Fatal(err)
			}
			sp := reply.GetLockspaces()[0]
			for jid, text := range want {
				if got := sp.GetJournals()[jid].GetWaitsFor(); got != text {
					t.Errorf("journal %d waits for %q, want %q", jid, got, text)
				}
			}
			if sp.GetPolicy() != gulmv1.Policy_POLICY_MANUAL {
				t.Errorf("the policy is %v", sp.GetPolicy())
			}
		}
		word := func(node string) {
			t.Helper()
			if _, err := w.admin(w.Master()).AcknowledgeFence(t.Context(), &gulmv1.AcknowledgeFenceRequest{Node: node, Operator: "alice"}); err != nil {
				t.Fatal(err)
			}
		}
		const first, second = "acknowledgement of node n1 by an operator (fence_ack_manual n1)", "acknowledgement of node n2 by an operator (fence_ack_manual n2)"

		w.Node("n1").Kill()
		w.awaitState("n1", member.Fenced, time.Minute)
		quiet("n1 is fenced")
		w.KillServer(w.Master())
		w.AwaitMaster(time.Minute)
		quiet("n1 is fenced, with a new master")
		waits(first, "", "")
		word("n1") // n2 gets the journal
		quiet("n2 replays for ever")
		w.Node("n2").Kill()
		w.awaitState("n2", member.Fenced, time.Minute)
		quiet("n2 is fenced")
		waits(second+", which was replaying it", second, "")
		word("n2")
		for range 2 {
			t.Log(<-replayed)
		}
		time.Sleep(time.Second)
		if _, err := spaces[2].TryLock(t.Context(), "r", client.EX); err != nil {
			t.Errorf("after both words and replays: %v", err)
		}
		close(hang)
	})
}
