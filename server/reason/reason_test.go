package reason

import (
	"testing"

	"lock_gulmd/proto/gulmerr"
)

// TestString_inTable: every reason has a string, and package gulmerr knows it.
func TestString_inTable(t *testing.T) {
	known := map[string]bool{}
	for _, row := range gulmerr.Table() {
		known[row.Reason] = true
	}
	for r := range Reason(Count) {
		switch {
		case r == None:
			if r.String() != "" {
				t.Errorf("none is %q", r)
			}
		case !known[r.String()]:
			t.Errorf("reason %d is %q, which package gulmerr does not know", r, r)
		}
	}
	for _, r := range []Reason{Reason(Count), 255} {
		if r.String() != "INTERNAL" || !known[r.String()] {
			t.Errorf("unknown reason %d is %q", r, r)
		}
	}
}

// TestString_numbers: the numbers stand in snapshots and never change.
func TestString_numbers(t *testing.T) {
	want := []string{
		"", "TRY_FAILED", "DEADLOCK", "BUSY", "NOT_HELD", "INVALID", "NO_LOCKSPACE", "IN_USE", "POLICY", "LIMIT", "OUT_OF_ORDER",
		"NODE_EXPIRED", "NOT_FENCED", "STALE_INCARNATION", "NO_SESSION", "UNKNOWN_NODE", "WRONG_STATE", "NOT_PENDING", "STALE_TERM",
		"WRONG_STATE", // of a node that is alive
		"EXISTS", "TIMED_OUT",
		"NO_JOURNAL", "NOT_RECOVERING", "MOUNTED", "NOT_MOUNTED",
		"FENCE_LIED", "PAUSED",
		"NOT_FENCED", // of a node that is held
		"LEASE", "NO_PROOF",
	}
	if Count != len(want) {
		t.Fatalf("%d reasons, %d are listed here: append the new ones", Count, len(want))
	}
	for i, s := range want {
		if got := Reason(i).String(); got != s {
			t.Errorf("reason %d is %q, want %q", i, got, s)
		}
	}
}
