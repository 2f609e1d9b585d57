package codec

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// operations are all that a request can ask for.
var operations = []state.Op{
	state.OpLock, state.OpConvert, state.OpUnlock, state.OpCancel, state.OpJoin, state.OpLeave, state.OpPurge,
	state.OpRangeLock, state.OpRangeUnlock, state.OpRangeTest, state.OpRangeClose, state.OpLockSet,
	state.OpGulm, state.OpGulmCancel, state.OpGulmQuery, state.OpGulmHold, state.OpGulmUnhold, state.OpGulmSync, state.OpGulmDrop,
	state.OpGulmWithdraw,
	state.OpMount, state.OpMounted, state.OpRecovered, state.OpUnmount, state.OpWithdraw,
}

// randomEntries gives the locks of a set: mostly none, now and then more than fit
// into a length of one byte.
func randomEntries(pick func(int) int, number func() uint64) []lock.SetEntry {
	var entries []lock.SetEntry
	for range []int{0, 0, 0, 1, 2, 9}[pick(6)] {
		e := lock.SetEntry{ID: lock.ID(number()), Mode: lock.Mode(pick(256)), Flags: lock.Flags(number())}
		if n := []int{0, 1, 26, 127, 128, 255}[pick(6)]; n > 0 {
			e.Name = make([]byte, n)
			e.Name[0], e.Name[n-1] = byte(pick(256)), byte(pick(256))
		}
		entries = append(entries, e)
	}
	return entries
}

// TestRandomBatch_hasAll: the batches that the hand-written code is tried with have
// each operation, and each field of a request and of a set's locks, full and empty.
func TestRandomBatch_hasAll(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	ops, full, empty := map[state.Op]int{}, map[string]int{}, map[string]int{}
	note := func(kind string, v reflect.Value) {
		for i := range v.NumField() {
			name := kind + "." + v.Type().Field(i).Name
			if v.Field(i).IsZero() {
				empty[name]++
			} else {
				full[name]++
			}
		}
	}
	for range 3000 {
		for _, g := range randomBatch(rng.IntN).Groups {
			for _, r := range g.Requests {
				ops[r.Op]++
				note("Request", reflect.ValueOf(r))
				for _, e := range r.Entries {
					note("SetEntry", reflect.ValueOf(e))
				}
			}
		}
	}
	for _, op := range operations {
		if ops[op] < 5 {
			t.Errorf("operation %d is there %d times", op, ops[op])
		}
	}
	for _, kind := range []reflect.Type{reflect.TypeFor[state.Request](), reflect.TypeFor[lock.SetEntry]()} {
		for i := range kind.NumField() {
			if name := kind.Name() + "." + kind.Field(i).Name; full[name] < 20 || empty[name] < 20 {
				t.Errorf("%s is set %d times and empty %d times", name, full[name], empty[name])
			}
		}
	}
}

// randomOther makes a request one of those that are about more than one lock: a
// set, GULM's with parts of keys, mounts, and what a session does with all it has.
func randomOther(rng *rand.Rand, r *state.Request) {
	r.Flags = 0
	switch n := rng.IntN(30); {
	case n < 4:
		r.Op, r.Lock = state.OpLockSet, r.Lock+200
		for i := range 1 + rng.IntN(3) {
			r.Entries = append(r.Entries, lock.SetEntry{
				ID: r.Lock + lock.ID(100*(i+1)), Name: fmt.Appendf(nil, "\x00\xffname%*d", rng.IntN(2)*40, rng.IntN(20)),
				Mode: lock.Mode(rng.IntN(6)), Flags: []lock.Flags{0, lock.ValBlk, lock.Persistent}[rng.IntN(3)],
			})
		}
	case n < 14:
		r.Op = []state.Op{state.OpGulm, state.OpGulm, state.OpGulm, state.OpGulm, state.OpGulmQuery, state.Op(int(state.OpGulm) + rng.IntN(8))}[rng.IntN(6)]
		r.Lock, r.Name, r.Sub = r.Lock+700, fmt.Appendf(nil, "key%*d", rng.IntN(2)*40, rng.IntN(12)), uint64(rng.IntN(3))
		r.Mode = []lock.Mode{lock.NL, lock.PR, lock.CW, lock.EX, lock.EX}[rng.IntN(5)]
		switch {
		case r.Op == state.OpGulmDrop:
			r.Node = []byte(fmt.Sprint("node", rng.IntN(8)))
		case r.Op == state.OpGulmWithdraw:
			r.Name = []byte([]string{"key", "key", "parts", "parts1", "file"}[rng.IntN(5)])
		case rng.IntN(2) == 0:
			r.Flags, r.Name = lock.Flags(lock.GulmRange), fmt.Appendf(nil, "parts%d", rng.IntN(3))
			r.Range = state.Range{Start: uint64(rng.IntN(50)), End: uint64(50 + rng.IntN(9))}
		default:
			r.Flags = lock.Flags([]lock.GulmFlags{0, lock.GulmTry, lock.GulmAny, lock.GulmHasLVB, lock.GulmNoCallBacks}[rng.IntN(5)])
		}
	case n < 17:
		r.Op, r.Name, r.Mode, r.Journals, r.JID = state.Op(int(state.OpMount)+rng.IntN(5)), nil, 0, 5, uint32(rng.IntN(5))
		r.Lockspace = 2
	case n < 19:
		r.Op, r.Flags, r.Value = state.OpConvert, lock.ValBlk, fmt.Appendf(nil, "value %d", rng.IntN(50))
	case n < 21:
		r.Op, r.Terms = state.OpLock, lock.Terms{Owner: uint64(rng.IntN(3)), Timeout: 900}
		r.Flags = lock.Timeout | []lock.Flags{0, lock.Persistent, lock.NoDlckWt, lock.NoOrder}[rng.IntN(4)]
	case n < 22:
		r.Op = state.OpCancel
	case n < 23:
		r.Op, r.Lock = state.OpPurge, 0
	case n < 29:
		r.Op = state.OpConvert
	default:
		r.Op, r.Lockspace, r.Flags = state.OpLeave, uint32(1+rng.IntN(2)), state.LeaveForce*lock.Flags(rng.IntN(2))
	}
}

// TestRandomState_hasAll: the states that snapshots are tried with have everything
// that a snapshot can have of locks.
func TestRandomState_hasAll(t *testing.T) {
	seen := map[string]int{}
	note := func(what string, is bool) {
		if is {
			seen[what]++
		} else {
			seen[what] += 0
		}
	}
	for seed := range uint64(40) {
		s := randomState(seed, 600)
		s.Locks().Walk(func(r *lock.ResourceState) bool {
			note("value", r.Value != nil)
			for _, l := range r.Locks {
				note("owner", l.Owner != 0)
				note("timeout", l.Timeout != 0)
				note("lock of a set", l.Set != 0)
				note("sub-id", l.Sub != 0)
				note("orphan or remains", l.Origin != 0)
			}
			return true
		})
		s.Locks().WalkRanges(func(f *lock.RangeFile) bool {
			note("parts of a key", f.Gulm && len(f.Ranges) > 0)
			note("requests for parts", f.Gulm && len(f.Waits) > 0)
			note("flock", f.Flock)
			for _, r := range f.Ranges {
				note("remains of ranges", r.Owner.Origin != 0)
			}
			return true
		})
		for _, o := range s.Locks().Owners() {
			note("sets", len(o.Sets) > 0)
			note("ended", len(o.Ended) > 0)
		}
		for _, x := range s.Image().Sessions {
			for _, k := range x.Kept {
				note("holders in a reply", k.Holders != nil)
			}
		}
		note("journals", len(s.Image().Journals) > 0)
	}
	for what, n := range seen {
		if n < 5 {
			t.Errorf("%s: %d times", what, n)
		}
	}
	t.Log(seen)
}
