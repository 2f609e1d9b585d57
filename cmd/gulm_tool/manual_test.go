package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"lock_gulmd/client"
	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// word is what servers say for what waits for an operator.
const word = "acknowledgement of node fs01 by an operator (fence_ack_manual fs01)"

// awaiting makes the first server say that fs01 is fenced, and back, and that what it
// held waits for an operator.
func awaiting(c *tooltest.Cluster) {
	c.Expire("fs01")
	frozen, held := lockOf(1, granted, ex, ex), lockOf(2, waiting, nl, pr)
	frozen.Frozen, frozen.HeldFor = true, word
	held.Blockers = blockedBy(frozen)
	c.Servers[0].Set(func(s *tooltest.Script) {
		nodes := s.Status.GetNodes()
		n := nodes[slices.IndexFunc(nodes, func(n *gulmv1.Node) bool { return n.GetName() == "fs01" })]
		n.State, n.Incarnation, n.AwaitsWord, n.Awaiting = gulmv1.NodeState_NODE_STATE_LOGGED_IN, 4, true, 2
		n.Fence.State, n.Fence.By, n.Fence.SettledMs = gulmv1.FenceState_FENCE_STATE_PROVED, "power/rackpdu", 1_790_000_200_000
		s.Status.WaitingFor = []string{word}
		s.Locks = []*gulmv1.LocksReply{{
			Resources: []*gulmv1.Resource{{Lockspace: "alpha:gfs01", Name: []byte("a"), Locks: []*gulmv1.Lock{frozen, held}}},
			RangeFiles: []*gulmv1.RangeFile{{Lockspace: "alpha:gfs01", Name: []byte("f"), Ranges: []*gulmv1.RangeLock{
				{Node: "fs01", Session: 1, Owner: 5, End: 9, Mode: ex, Token: 3, AgeMs: 60_000, Frozen: true, HeldFor: word},
			}}},
		}}
		s.Journals = busyJournals()
		s.Journals.Lockspaces[0].Policy = gulmv1.Policy_POLICY_MANUAL
		s.Journals.Lockspaces[0].Journals[1] = &gulmv1.JournalInfo{
			Jid: 1, State: gulmv1.JournalState_JOURNAL_STATE_DIRTY, Node: "fs01", Incarnation: 3, AgeMs: 1500, WaitsFor: word,
		}
	})
}

// TestManual_golden: whoever asks what goes on is told which command is waited for.
func TestManual_golden(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	awaiting(c)
	golden(t, c, "manual/nodeinfo.txt", 0, on(c, "nodeinfo", "fs01"))
	golden(t, c, "manual/nodeinfo.json", 0, on(c, "nodeinfo", "fs01", "--json"))
	golden(t, c, "manual/locks.txt", 0, on(c, "locks"))
	golden(t, c, "manual/locks.json", 0, on(c, "locks", "--json"))
	golden(t, c, "manual/journals.txt", 0, on(c, "journals"))
	golden(t, c, "manual/journals.json", 0, on(c, "journals", "--json"))
	t.Setenv("SUDO_USER", "alice")
	r := tooltest.Run(Main, "fs01\n", "--config", c.Dir, "ack", "fs01")
	r.Stdout = strings.ReplaceAll(r.Stdout, tool.Operator(), "OPERATOR")
	golden(t, c, "manual/ack.txt", 0, r)
}

// TestManual_realServer: with a real lock_gulmd, what a node held under the policy
// manual is released by a word after the proof that it has booted again.
func TestManual_realServer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	dir, address, wait := realServer(t)
	args := func(more ...string) []string { return append([]string{"--config", dir}, more...) }
	eventually(t, "a master", func(r tooltest.Result) bool { return r.Code == 0 }, args("status")...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dead, other := loginManual(ctx, t, "fs01", "boot1", address), loginManual(ctx, t, "fs02", "boot1", address)
	if _, err := dead.Lock(ctx, "inode", client.EX); err != nil {
		t.Fatal(err)
	}
	if _, err := dead.RangeLock(ctx, "file", client.Range{Owner: 1, Kind: client.RangeWrite, End: 9}); err != nil {
		t.Fatal(err)
	}
	if r := run(args("expire", "fs01", "--reason", "test")...); r.Code != 0 {
		t.Fatalf("expire: %+v", r)
	}
	if r := run(args("nodeinfo", "fs01")...); !strings.Contains(r.Stdout, "waits for the operator: fence_ack_manual fs01") {
		t.Errorf("nodeinfo before the proof:\n%s", r.Stdout)
	}
	back := loginManual(ctx, t, "fs01", "boot2", address)
	eventually(t, "the proof", func(r tooltest.Result) bool {
		return strings.Contains(r.Stdout, "proved by reboot") && strings.Contains(r.Stdout, "fence_ack_manual fs01, for 2 locks")
	}, args("nodeinfo", "fs01")...)
	for _, ls := range []*client.Lockspace{back, other} {
		if _, err := ls.TryLock(ctx, "inode", client.CR); !errors.Is(err, client.ErrTryFailed) {
			t.Fatalf("granted without a word: %v", err)
		}
	}
	if r := run(args("locks")...); strings.Count(r.Stdout, word) != 2 {
		t.Errorf("locks:\n%s%s", r.Stdout, r.Stderr)
	}
	r := tooltest.Run(Main, "fs01\n", args("ack", "fs01")...)
	if r.Code != 0 || !strings.Contains(r.Stdout, "waits for your word") || !strings.Contains(r.Stdout, "2, frozen until you acknowledge") {
		t.Fatalf("ack: %+v", r)
	}
	if _, err := other.TryLock(ctx, "inode", client.EX); err != nil {
		t.Errorf("after the word: %v", err)
	}
	if r := run(args("ack", "fs01", "--yes")...); r.Code != gulmerr.ExitNotFound {
		t.Errorf("a second word: %+v", r)
	}
	if r := run(args("nodeinfo", "fs01")...); !strings.Contains(r.Stdout, ", acknowledged by ") || strings.Contains(r.Stdout, "waits for") {
		t.Errorf("nodeinfo after the word:\n%s", r.Stdout)
	}
	for _, ls := range []*client.Lockspace{back, other} {
		if err := ls.Node().Logout(ctx); err != nil {
			t.Error(err)
		}
	}
	if r := run(args("shutdown", "lk1")...); r.Code != 0 {
		t.Fatalf("shutdown: %+v", r)
	}
	if err := wait(); err != nil {
		t.Errorf("lock_gulmd ended with %v", err)
	}
}

// loginManual logs a life of a node in and joins a lockspace of PolicyManual. The
// earlier life must not be heard of any more, since then a new boot proves that it
// is gone.
func loginManual(ctx context.Context, t *testing.T, node, boot, address string) *client.Lockspace {
	t.Helper()
	container := false
	n, err := client.Dial(ctx, client.Config{
		Cluster: "farm7", Node: node, Servers: []string{address}, BootID: node + "-" + boot, Container: &container,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	ls, err := n.Join(ctx, "farm7:manual", client.JoinOptions{Policy: client.PolicyManual})
	if err != nil {
		t.Fatal(err)
	}
	return ls
}
