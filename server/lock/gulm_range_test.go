package lock

import (
	"math/rand/v2"
	"testing"
)

// gulmCell is a part of a model key of four units.
type gulmCell struct {
	who   RangeOwner
	mode  Mode
	first uint64
	last  uint64
}

// gulmCells returns what is held of a key, by whoever and in whatever way.
func gulmCells(table *Table, key string) []gulmCell {
	var all []gulmCell
	if r, ok := table.Resource(1, []byte(key)); ok {
		for _, l := range r.Locks {
			if l.Queue != QueueWaiting {
				all = append(all, gulmCell{RangeOwner{Session: l.Session, Number: l.Sub}, l.Granted, 0, RangeMax})
			}
		}
	}
	table.WalkRanges(func(f *RangeFile) bool {
		for _, r := range f.Ranges {
			if f.Gulm && string(f.Name) == key {
				all = append(all, gulmCell{r.Owner, rangeMode(Granted, r.Kind), r.Start, r.End})
			}
		}
		return true
	})
	return all
}

// TestGulm_wholesAndPartsExclude: whatever is asked for a key, as a whole, in parts or
// past the layer, no two holders have what conflicts, and queries say what is so.
func TestGulm_wholesAndPartsExclude(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	granted := map[string]int{}
	for range 300 {
		table := &Table{}
		for s := Session(1); s <= 3; s++ {
			table.Open(s, uint32(s))
			table.Join(s, JoinRequest{Name: []byte("gfs")})
		}
		for step := range 60 {
			s, id := Session(1+rng.IntN(3)), ID(step+1)
			if rng.IntN(12) == 0 {
				if r := table.Lock(s, LockRequest{ID: id, Lockspace: 1, Name: []byte("k"), Mode: []Mode{PR, EX}[rng.IntN(2)], Flags: NoQueue}); r.Outcome == Granted {
					granted["lock"]++
				}
			} else if rng.IntN(10) == 0 {
				for old := range id {
					table.Unlock(s, UnlockRequest{ID: old})
				}
			}
			req := GulmRequest{ID: id, Lockspace: 1, Key: []byte("k"), Sub: uint64(rng.IntN(2)), Mode: []Mode{NL, NL, CW, PR, EX}[rng.IntN(5)]}
			req.Flags = []GulmFlags{0, GulmTry, GulmAny, GulmPriority}[rng.IntN(4)]
			what := "whole"
			if rng.IntN(2) == 0 {
				what = "part"
				req.Flags |= GulmRange
				req.Start = uint64(rng.IntN(4))
				req.End = req.Start + uint64(rng.IntN(4))
			} else if table.gulmFile(&req) != 0 {
				what = "whole as range"
			}
			free := table.GulmQuery(s, req).Outcome == Granted
			reply := table.Gulm(s, req)
			if reply.Outcome == Granted {
				granted[what]++
				if what != "whole" && !free && req.Flags&GulmAny == 0 { // whole: conversions may let go of what they have
					t.Fatalf("%+v is granted although a query names who is in the way", req)
				}
			}
			table.TakeEvents()
			if err := deepCheck(table); err != nil {
				t.Fatalf("after %+v: %v", req, err)
			}
			wantExclusive(t, gulmCells(table, "k"))
		}
	}
	for _, what := range []string{"lock", "whole", "part", "whole as range"} {
		if granted[what] < 50 {
			t.Errorf("%d grants of %s: the test does not reach what it is for", granted[what], what)
		}
	}
}

func wantExclusive(t *testing.T, cells []gulmCell) {
	t.Helper()
	for i, a := range cells {
		for _, b := range cells[:i] {
			if a.who != b.who && a.first <= b.last && b.first <= a.last && !compatible[a.mode][b.mode] {
				t.Fatalf("%+v and %+v are held at once", a, b)
			}
		}
	}
}

// TestCheck_noticesWholeAndPart: a state in which a key is used both ways is found
// out, and refused as a snapshot.
func TestCheck_noticesWholeAndPart(t *testing.T) {
	table := &Table{}
	table.Open(1, 1)
	table.Join(1, JoinRequest{Name: []byte("gfs")})
	table.Lock(1, LockRequest{ID: 1, Lockspace: 1, Name: []byte("k"), Mode: EX})
	whole := RangeRequest{ID: 2, Lockspace: 1, Name: []byte("k"), Owner: 1, Flags: gulmLock}
	if r := table.lockRange(1, &whole, 0); r.Outcome != Granted {
		t.Fatalf("%+v", r)
	}
	if err := table.Check(); err == nil {
		t.Error("it is not noticed")
	}
}
