package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// TestLease_locks: a lockspace under a lease is shown as such, and what its frozen
// locks wait for.
func TestLease_locks(t *testing.T) {
	const held = "lease of node fs01 to end, 12s left (a new master counts anew)"
	r := &gulmv1.Resource{
		Lockspace: "app", Name: []byte("r"), Policy: gulmv1.Policy_POLICY_LEASE, LeaseMs: 30_000,
		Locks: []*gulmv1.Lock{{Node: "fs01", Session: 1, Lock: 2, Granted: gulmv1.Mode_MODE_EX, Frozen: true, HeldFor: held}},
	}
	var out bytes.Buffer
	if err := printLocks(&out, []*gulmv1.Resource{r}, nil, false, 0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`app "r" (policy lease of 30s: no fence)`, "frozen for " + held} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
	if got := policyToJSON(r); got != (policyJSON{"lease", 30_000}) {
		t.Errorf("for programs it is %+v", got)
	}
	for policy, want := range map[gulmv1.Policy]string{gulmv1.Policy_POLICY_FENCE: "", gulmv1.Policy_POLICY_MANUAL: " (policy manual)"} {
		if got := policyWords(&gulmv1.RangeFile{Policy: policy}); got != want {
			t.Errorf("policy %v is shown as %q", policy, got)
		}
	}
}

// TestLease_explain: for each lockspace under a lease it is said how long others wait,
// which is never less than until the node is expired.
func TestLease_explain(t *testing.T) {
	now := &gulmv1.Node{Leases: []*gulmv1.Lease{{Lockspace: "short", TimeMs: 6000}, {Lockspace: "long", TimeMs: 30_000}}}
	x := &explainer{
		settings: &gulmv1.TimeoutsReply{LookMs: 500}, expiry: 6 * time.Second, slow: 10 * time.Millisecond, limit: 250 * time.Millisecond,
	}
	terms := x.leases(now, time.Second)
	if len(terms) != 2 {
		t.Fatalf("%d terms", len(terms))
	}
	for i, want := range []struct {
		key         string
		best, worst time.Duration
	}{
		{"lease short", 5 * time.Second, 7*time.Second + 875*time.Millisecond},
		{"lease long", 29 * time.Second, 30*time.Second + 875*time.Millisecond},
	} {
		got := terms[i]
		if got.Key != want.key || got.best != want.best || got.worst != want.worst || got.usual < got.best || got.usual > got.worst ||
			!strings.Contains(got.Text, "check tokens") {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// TestLease_fence: a fence that was settled so says it.
func TestLease_fence(t *testing.T) {
	f := &gulmv1.Fence{
		Node: "fs01", Incarnation: 3, State: gulmv1.FenceState_FENCE_STATE_LEASE_ENDED, By: "its time-to-live of 30.000 s",
		Reason: "silent for 6s", SettledMs: 1_790_000_000_000,
	}
	if got := fenceWords(f); !strings.HasPrefix(got, "lease ended by its time-to-live of 30.000 s at ") {
		t.Errorf("nodeinfo says %q", got)
	}
	var out bytes.Buffer
	if err := printLedgers(&out, []*gulmv1.FenceLedger{{Node: "fs01", Fence: f}}); err != nil || !strings.Contains(out.String(), "lease ended") {
		t.Errorf("fence list says %q, %v", out.String(), err)
	}
	if got := leasesToJSON(&gulmv1.Node{Leases: []*gulmv1.Lease{{Lockspace: "app", TimeMs: 30_000, LeftMs: 12_000, Locks: 2}}}); len(got) != 1 ||
		got[0] != (leaseJSON{"app", 30_000, 12_000, 2}) {
		t.Errorf("for programs it is %+v", got)
	}
}
