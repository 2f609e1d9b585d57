package member

import (
	"fmt"
	"testing"

	"lock_gulmd/server/reason"
)

// TestLedger_bounded: however often a node dies and whatever its devices are
// called, what is kept of it is bounded, and it is the newest.
func TestLedger_bounded(t *testing.T) {
	var r Registry
	for i := range 3 * MaxPast {
		l := Life{"n", uint64(i + 1)}
		if _, why := r.Login(request("n", fmt.Sprint("boot", i), byte(i+1)), uint64(i+1), 0, 0); why != reason.None {
			t.Fatal(why)
		}
		r.Expire(l, ^uint64(0), "silent", int64(i))
		for k := range 2 * MaxAttempts {
			r.StartAttempt(l, Attempt{Method: fmt.Sprint(k)})
			r.NoteAttempt(l, Attempt{Method: fmt.Sprint(k), Outcome: "ok"})
		}
		r.SettleFence(l, FenceProved, "m/d", int64(i))
		r.NoteManual("n", ManualFence{Stamp: int64(i), Attempts: make([]Attempt, 3*MaxPastAttempts)})
		for k := range 10 {
			r.SeeOutlets("n", 0, []Outlet{{Device: fmt.Sprint(10*i + k), Stamp: int64(10*i + k)}})
		}
		if err := sound(&r); err != nil {
			t.Fatal(err)
		}
	}
	n, _ := r.Node("n")
	l := n.Ledger
	if len(l.Past) != MaxPast || l.Past[MaxPast-1].Incarnation != n.Incarnation-1 || len(l.Past[0].Attempts) != MaxPastAttempts {
		t.Errorf("past %+v", l.Past)
	}
	if a := l.Past[0].Attempts[MaxPastAttempts-1]; a.Method != fmt.Sprint(2*MaxAttempts-1) {
		t.Errorf("newest attempt of a past fence is %+v", a)
	}
	if len(l.Manual) != MaxManual || l.Manual[0].Stamp != int64(3*MaxPast-MaxManual) || len(l.Manual[0].Attempts) != MaxPastAttempts {
		t.Errorf("by hand %+v", l.Manual)
	}
	if len(l.Outlets) != MaxOutlets {
		t.Errorf("%d outlets", len(l.Outlets))
	}
	for _, o := range l.Outlets {
		if o.Stamp < int64(30*MaxPast-MaxOutlets) {
			t.Errorf("%+v is kept, though it is older than others", o)
		}
	}
}

// TestWatchdog: the longest times of the sessions of one life.
func TestWatchdog(t *testing.T) {
	var r Registry
	for i, x := range []struct{ watchdog, expiry int64 }{{0, 9000}, {10_000, 6000}, {4000, 6000}} {
		req := request("n", "boot", byte(i+1))
		req.Watchdog, req.Expiry = x.watchdog, x.expiry
		if _, why := r.Login(req, 1, 0, 0); why != reason.None {
			t.Fatal(why)
		}
	}
	if timeout, expiry := r.Watchdog(Life{"n", 1}); timeout != 10_000 || expiry != 9000 {
		t.Errorf("timeout %d, expiry %d", timeout, expiry)
	}
	if timeout, expiry := r.Watchdog(Life{"n", 2}); timeout != 0 || expiry != 0 {
		t.Errorf("another life: timeout %d, expiry %d", timeout, expiry)
	}
}
