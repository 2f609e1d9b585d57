package lock

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lock_gulmd/server/reason"
)

// TestRoll: a roll does what a list does that is looked through.
func TestRoll(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r roll[endedLock]
	var list []ID
	for step := range 20_000 {
		id := ID(1 + rng.IntN(60))
		at := slices.Index(list, id)
		if r.has(id) != (at >= 0) || (r.get(id) != nil) != (at >= 0) || at >= 0 && r.get(id).id != id {
			t.Fatalf("step %d: %d is in the list at %d, found: %+v", step, id, at, r.get(id))
		}
		if rng.IntN(2) == 0 {
			if r.add(endedLock{id: id}) != (at < 0) {
				t.Fatalf("step %d: %d was added again", step, id)
			}
			if at < 0 {
				list = append(list, id)
			}
		} else {
			if r.remove(id) != (at >= 0) {
				t.Fatalf("step %d: removed %d", step, id)
			}
			if at >= 0 {
				list = slices.Delete(list, at, at+1)
			}
		}
		c := r.clone()
		for _, x := range []*roll[endedLock]{&r, &c} {
			var got []ID
			for m := range x.all {
				got = append(got, m.id)
			}
			if !slices.Equal(got, list) || x.count() != len(list) || !x.sound() {
				t.Fatalf("step %d: %v, want %v", step, got, list)
			}
		}
	}
}

// queueUp is a table where session 1 holds a resource in EX and session 2 can ask
// for it again and again.
func queueUp(t testing.TB) *Table {
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
	return tab
}

// waitSets lets session 2 wait with n sets.
func waitSets(t testing.TB, tab *Table, n int) {
	t.Helper()
	for i := range n {
		r := tab.LockSet(2, SetRequest{ID: ID(2*i + 1), Lockspace: 1, Entries: []SetEntry{{ID: ID(2*i + 2), Name: []byte("a"), Mode: PR}}})
		if r.Outcome != Queued {
			t.Fatalf("set %d: %+v", i, r)
		}
	}
}

// TestLockSet_crowd: sets of one session that wait for one lock all go on when it is
// unlocked, each once, in their order.
func TestLockSet_crowd(t *testing.T) {
	const n = 3000
	tab := queueUp(t)
	waitSets(t, tab, n)
	tab.TakeEvents()
	if r := tab.Cancel(2, 2*7+1); r.Outcome != Cancelled {
		t.Fatalf("%+v", r)
	}
	tab.Unlock(1, UnlockRequest{ID: 1})
	var got []ID
	for _, e := range tab.TakeEvents() {
		if e.Kind == EventGranted {
			got = append(got, e.Lock)
		}
	}
	var want []ID
	for i := range n {
		if i != 7 {
			want = append(want, ID(2*i+2))
		}
	}
	if !slices.Equal(got, want) || tab.Check() != nil {
		t.Errorf("%d granted, want %d: %v", len(got), len(want), tab.Check())
	}
}

// TestGulmPart_besideManySets: whether a key is wanted by a set is known without
// looking through all sets.
func TestGulmPart_besideManySets(t *testing.T) {
	tab := queueUp(t)
	set := SetRequest{ID: 1, Lockspace: 1, Entries: []SetEntry{{ID: 2, Name: []byte("a"), Mode: PR}, {ID: 3, Name: []byte("b"), Mode: PR}}}
	if r := tab.LockSet(2, set); r.Outcome != Queued {
		t.Fatalf("%+v", r)
	}
	part := GulmRequest{ID: 9, Lockspace: 1, Key: []byte("b"), Mode: EX, Flags: GulmRange | GulmTry, End: 5}
	if r := tab.Gulm(1, part); r.Reason != reason.InUse {
		t.Errorf("a part of a key that a set wants: %+v", r)
	}
	tab.Cancel(2, 1)
	if r := tab.Gulm(1, part); r.Outcome != Granted || tab.Check() != nil {
		t.Errorf("after the set: %+v, %v", r, tab.Check())
	}
}

// BenchmarkCrowdOfSets and BenchmarkCrowdOfEnds are the cost of one of many: it
// must not grow with their number.
func BenchmarkCrowdOfSets(b *testing.B) {
	for _, n := range []int{16, 16_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				tab := queueUp(b)
				waitSets(b, tab, n)
				b.StartTimer()
				tab.Unlock(1, UnlockRequest{ID: 1})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/set")
		})
	}
}

func BenchmarkCrowdOfEnds(b *testing.B) {
	for _, n := range []int{16, 16_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				tab := queueUp(b)
				for i := range n {
					tab.Lock(2, LockRequest{ID: ID(i + 1), Lockspace: 1, Name: []byte("a"), Mode: PR, Flags: Timeout, Terms: Terms{Timeout: 5}})
					tab.Deny(Denial{Session: 2, ID: ID(i + 1), Reason: reason.TimedOut})
				}
				b.StartTimer()
				for i := n; i > 0; i-- {
					tab.Unlock(2, UnlockRequest{ID: ID(i)})
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/end")
		})
	}
}
