package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
)

// journals asks the master for the only lockspace with journals.
func (w *world) journals() *gulmv1.JournalSpace {
	w.t.Helper()
	reply, err := w.admin(w.Master()).Journals(w.t.Context(), &gulmv1.JournalsRequest{Lockspace: "fs"})
	if err != nil {
		w.t.Fatal(err)
	}
	return reply.GetLockspaces()[0]
}

// TestJournals_named: S7. A journal that must be replayed, a lock that waits for
// that, and a mount that waits say for what, step by step; and each step is logged.
func TestJournals_named(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		answer := make(chan error)
		options := client.MountOptions{Journals: 2, OnRecover: func(ctx context.Context, _ client.Recovery) error {
			select {
			case err := <-answer:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}}
		m1, err := n1.Mount(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		says := func(journal int, text string) {
			t.Helper()
			if got := w.journals().GetJournals()[journal].GetWaitsFor(); got != text {
				t.Errorf("journal %d waits for %q, want %q", journal, got, text)
			}
		}
		go func() { _, _ = n2.Mount(t.Context(), options) }()
		time.Sleep(time.Second)
		if got := w.journals().GetMounts()[1]; got.GetWaitsFor() != "node n1, the first mounter, to replay all journals" || got.GetJid() != -1 {
			t.Errorf("n2's mount is %v", got)
		}
		if err := m1.OthersMayMount(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n2.take("r", client.EX)
		w.Power.Set("n2", sim.Behaviour{Delay: 10 * time.Second})
		w.Node("n2").Kill()
		time.Sleep(10 * time.Second)
		says(1, "fence of node n2")
		time.Sleep(20 * time.Second)
		says(1, "recovery by node n1")
		says(0, "")
		if s := w.status(w.Master()); !slices.Contains(s.GetWaitingFor(), `journal 1 of node n2 in lockspace "fs": recovery by node n1`) {
			t.Errorf("status waits for %q", s.GetWaitingFor())
		}
		stream, err := w.admin(w.Master()).Locks(t.Context(), &gulmv1.LocksRequest{})
		if err != nil {
			t.Fatal(err)
		}
		reply, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if l := reply.GetResources()[0].GetLocks()[0]; l.GetHeldFor() != "journal 1 of node n2: recovery by node n1" || l.GetNode() != "n2" {
			t.Errorf("the lock is %v", l)
		}
		answer <- context.DeadlineExceeded
		time.Sleep(time.Second)
		if got := w.journals().GetJournals()[1].GetWaitsFor(); !strings.HasPrefix(got, "another node to mount: everybody failed") {
			t.Errorf("waits for %q", got)
		}
		for _, message := range []string{
			"mounted as the first", "mount waits", "all journals are replayed", "mounted", "journal must be replayed", "journal recovery handed out",
			"journal recovery failed",
		} {
			if len(w.logs.find(message, "lockspace=fs")) == 0 {
				t.Errorf("%q was not logged", message)
			}
		}
	})
}
