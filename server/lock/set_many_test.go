package lock

import (
	"fmt"
	"testing"
)

// manySets returns a table in which a session has n sets that wait, of which the
// numbers are 200 apart.
func manySets(t testing.TB, n int) *Table {
	t.Helper()
	tab := New(Limits{})
	tab.Begin(1, 1)
	for s := Session(1); s <= 2; s++ {
		tab.Open(s, uint32(s))
		tab.Join(s, JoinRequest{Name: []byte("gfs")})
	}
	if r := tab.Lock(1, LockRequest{ID: 1, Lockspace: 1, Name: []byte("a"), Mode: EX}); r.Outcome != Granted {
		t.Fatalf("%+v", r)
	}
	for i := range n {
		req := SetRequest{ID: ID(200 * (i + 1)), Lockspace: 1}
		for k := range MaxSet {
			name := fmt.Appendf(nil, "b%d", k)
			if k == 0 {
				name = []byte("a")
			}
			req.Entries = append(req.Entries, SetEntry{ID: req.ID + 1 + ID(k), Name: name, Mode: PR})
		}
		if r := tab.LockSet(2, req); r.Outcome != Queued {
			t.Fatalf("set %d: %+v", i, r)
		}
	}
	return tab
}

// TestLockSet_numbers: the numbers of a set and of all its locks are in use while
// it waits, and no longer.
func TestLockSet_numbers(t *testing.T) {
	tab := manySets(t, 3)
	free := func(id ID) bool {
		r := tab.Lock(2, LockRequest{ID: id, Lockspace: 1, Name: []byte("x"), Mode: NL})
		if r.Outcome == Granted {
			tab.Unlock(2, UnlockRequest{ID: id})
		}
		return r.Outcome == Granted
	}
	for _, id := range []ID{400, 401, 528} {
		if free(id) {
			t.Errorf("%d is free while its set waits", id)
		}
	}
	tab.Cancel(2, 400)
	for _, id := range []ID{400, 401, 528} {
		if !free(id) {
			t.Errorf("%d is in use after its set", id)
		}
	}
	if !tab.Deny(Denial{Session: 2, ID: 200, Reason: 1}) || free(200) || !free(201) {
		t.Error("a set that was denied keeps its number, and no other, until that is known")
	}
	if tab.Unlock(2, UnlockRequest{ID: 200}); !free(200) {
		t.Error("200 is in use although its session knows")
	}
	tab.Unlock(1, UnlockRequest{ID: 1})
	if free(601) || !free(600) {
		t.Error("a set that is whole keeps the numbers of its locks only")
	}
}

// TestRestore_setNumbersTwice: a snapshot in which two locks of a set have one
// number is refused.
func TestRestore_setNumbersTwice(t *testing.T) {
	for _, twice := range []bool{false, true} {
		tab := manySets(t, 1)
		r := NewRestore(Limits{})
		r.SetCounters(tab.Counters())
		for _, s := range tab.Spaces() {
			r.Space(s)
		}
		for _, o := range tab.Owners() {
			if twice && len(o.Sets) > 0 {
				o.Sets[0].Entries[9].ID = o.Sets[0].Entries[8].ID
			}
			r.Owner(o)
		}
		tab.Walk(func(s *ResourceState) bool {
			r.Resource(s)
			return true
		})
		if _, ok := r.Finish(); ok == twice {
			t.Errorf("two of one number: %v, accepted: %v", twice, ok)
		}
	}
}

// BenchmarkManySets takes and gives back a lock beside two thousand sets of the
// same session that wait.
func BenchmarkManySets(b *testing.B) {
	tab := manySets(b, 2000)
	for b.Loop() {
		tab.Lock(2, LockRequest{ID: 1, Lockspace: 1, Name: []byte("x"), Mode: EX})
		tab.Unlock(2, UnlockRequest{ID: 1})
		tab.TakeEvents()
	}
}

// BenchmarkManyRecoveries takes and gives back a lock that may pass remains, beside
// ten thousand that are compatible with it.
func BenchmarkManyRecoveries(b *testing.B) {
	tab := New(Limits{})
	tab.Begin(1, 1)
	tab.Open(1, 1)
	tab.Join(1, JoinRequest{Name: []byte("gfs")})
	for id := ID(1); id <= 10000; id++ {
		tab.Lock(1, LockRequest{ID: id, Lockspace: 1, Name: []byte("x"), Mode: PR, Flags: Recovery})
	}
	for b.Loop() {
		tab.Lock(1, LockRequest{ID: 20000, Lockspace: 1, Name: []byte("x"), Mode: PR, Flags: Recovery})
		tab.Unlock(1, UnlockRequest{ID: 20000})
	}
}
