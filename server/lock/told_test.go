package lock

import (
	"fmt"
	"slices"
	"testing"

	"lock_gulmd/server/reason"
)

// denyOne makes session 1 hold lock id in PR beside session 2, and denies it EX with
// a detail.
func denyOne(t *testing.T, table *Table, id ID, detail string) {
	t.Helper()
	name := fmt.Appendf(nil, "r%d", id)
	for s := Session(1); s <= 2; s++ {
		if table.findLock(s, id) == 0 {
			table.Lock(s, LockRequest{ID: id, Lockspace: 1, Name: name, Mode: PR})
		}
	}
	table.Convert(1, ConvertRequest{ID: id, Mode: EX})
	if !table.Deny(Denial{Session: 1, ID: id, Reason: reason.Deadlock, Detail: detail}) {
		t.Fatalf("lock %d is not denied", id)
	}
	table.TakeEvents()
	checkTable(t, table)
}

func checkTable(t *testing.T, table *Table) {
	t.Helper()
	if err := table.Check(); err != nil {
		t.Fatal(err)
	}
}

// wantTold demands what session 1 is told again of a lock.
func wantTold(t *testing.T, table *Table, id ID, detail string) {
	t.Helper()
	checkTable(t, table)
	for _, e := range table.Changed(1, 0, nil) {
		if e.Lock == id && e.Kind == EventDenied {
			if e.Detail != detail || e.Reason != reason.Deadlock || e.Mode != PR {
				t.Errorf("lock %d is told again as %+v, want detail %q", id, e, detail)
			}
			return
		}
	}
	t.Errorf("the denial of lock %d is not told again", id)
}

// TestDeny_conversionToldAgain: what is said of a denied conversion is told again
// like its reason, also after a restore, until the lock changes.
func TestDeny_conversionToldAgain(t *testing.T) {
	table := opened(t, 2)
	before := table.Digest()
	denyOne(t, table, 1, "one waits for two")
	wantTold(t, table, 1, "one waits for two")
	again, ok := restored(table, slices.Reverse[[]ResourceState])
	if !ok || again.Digest() != table.Digest() || again.Digest() == before {
		t.Fatal("refused, or another digest")
	}
	wantTold(t, again, 1, "one waits for two")
	wantTold(t, table.Clone(), 1, "one waits for two")

	denyOne(t, table, 1, "two waits for one")
	wantTold(t, table, 1, "two waits for one")
	denyOne(t, table, 1, "")
	wantTold(t, table, 1, "")
	if again.Digest() == table.Digest() {
		t.Error("the digest does not show the detail")
	}
	wantTold(t, again, 1, "one waits for two") // a copy of its own
}

// TestDeny_forgetsDetail: a detail goes when its lock changes, whichever way.
func TestDeny_forgetsDetail(t *testing.T) {
	for name, change := range map[string]func(*Table){
		"queued":   func(t *Table) { t.Convert(1, ConvertRequest{ID: 1, Mode: EX}) },
		"granted":  func(t *Table) { t.Convert(1, ConvertRequest{ID: 1, Mode: CR}) },
		"unlocked": func(t *Table) { t.Unlock(1, UnlockRequest{ID: 1}) },
		"left":     func(t *Table) { t.Leave(1, 1, true) },
		"closed":   func(t *Table) { t.Close(1) },
		"buried":   func(t *Table) { t.Freeze(1); t.Bury(1) },
		"released": func(t *Table) { t.Freeze(1); t.Release(1) },
	} {
		t.Run(name, func(t *testing.T) {
			table := opened(t, 2)
			denyOne(t, table, 1, "one waits for two")
			change(table)
			checkTable(t, table)
			for _, o := range table.Owners() {
				if len(o.Told) > 0 {
					t.Errorf("%+v is left", o.Told)
				}
			}
		})
	}
}

// TestDeny_keepsFewDetails: of many denied conversions the newest are told again in
// full, the others without the detail.
func TestDeny_keepsFewDetails(t *testing.T) {
	table := opened(t, 2)
	for id := ID(1); id <= maxTold+5; id++ {
		denyOne(t, table, id, fmt.Sprint("circle ", id))
	}
	wantTold(t, table, 5, "")
	wantTold(t, table, 6, "circle 6")
	wantTold(t, table, maxTold+5, fmt.Sprint("circle ", maxTold+5))
	if again, ok := restored(table, slices.Reverse[[]ResourceState]); !ok || again.Digest() != table.Digest() {
		t.Error("refused, or another digest")
	}
}

// TestRestore_told: no detail is taken that belongs to no denied conversion.
func TestRestore_told(t *testing.T) {
	table := opened(t, 2)
	denyOne(t, table, 1, "one waits for two")
	for name, wrong := range map[string][]ToldState{
		"of no lock":   {{ID: 9, Detail: "x"}},
		"empty":        {{ID: 1}},
		"twice":        {{ID: 1, Detail: "x"}, {ID: 1, Detail: "y"}},
		"of a granted": {{ID: 1, Detail: "x"}, {ID: 2, Detail: "x"}},
	} {
		r := NewRestore(Limits{})
		r.SetCounters(table.Counters())
		for _, sp := range table.Spaces() {
			r.Space(sp)
		}
		for _, o := range table.Owners() {
			if o.Session == 1 {
				o.Told = wrong
			}
			r.Owner(o)
		}
		table.Walk(func(s *ResourceState) bool { r.Resource(s); return true })
		if _, ok := r.Finish(); ok {
			t.Errorf("%s: taken", name)
		}
	}
}
