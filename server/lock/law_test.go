package lock

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/reason"
)

// script makes n operations that make sense one after the other.
func script(seed uint64, n int, size world) []op {
	rng := rand.New(rand.NewPCG(seed, 3))
	table := New(Limits{})
	ops := make([]op, 0, n)
	for s := range Session(size.sessions) {
		ops = append(ops, op{kind: opOpen, session: s + 1}, op{kind: opJoin, session: s + 1, join: JoinRequest{Name: []byte("gfs")}})
	}
	for _, o := range ops {
		o.apply(table, 1)
	}
	for len(ops) < n {
		o := chooseOp(rng.IntN, size, table)
		o.apply(table, 1)
		ops = append(ops, o)
	}
	return ops
}

// TestLaw_snapshotAnywhere restores at each point of a script and plays the
// rest on both tables: same answers, same events, same digest at every step.
func TestLaw_snapshotAnywhere(t *testing.T) {
	ops := script(11, 300, crowded)
	for at := range ops {
		table := New(Limits{})
		for i, o := range ops[:at] {
			o.apply(table, uint64(i+1))
		}
		again, ok := restored(table, slices.Reverse[[]ResourceState])
		if !ok || again.Digest() != table.Digest() {
			t.Fatalf("at %d: refused or another digest", at)
		}
		for i, o := range ops[at:] {
			index := uint64(at + i + 1)
			reply, events := o.apply(table, index)
			reply2, events2 := o.apply(again, index)
			if !sameReply(reply, reply2) || !sameEvents(events, events2) || table.Digest() != again.Digest() {
				t.Fatalf("restored at %d, differs at %d %v:\n%+v %+v\n%+v %+v", at, index, o, reply, events, reply2, events2)
			}
		}
	}
}

// TestLaw_cloneKeeps reads clones while the original is written: no race, and
// each clone shows what was when it was made.
func TestLaw_cloneKeeps(t *testing.T) {
	ops := script(12, 6000, wide)
	table := New(Limits{})
	var readers sync.WaitGroup
	defer readers.Wait()
	for i, o := range ops {
		if i%200 == 0 {
			clone, want, sum := table.Clone(), imageOf(table), table.Digest()
			readers.Go(func() {
				for range 3 {
					if got := imageOf(clone); !reflect.DeepEqual(got, want) || clone.Digest() != sum {
						t.Errorf("the clone of step %d changed: %s", i, cmp.Diff(want, got))
					}
					if err := clone.Check(); err != nil {
						t.Errorf("the clone of step %d: %v", i, err)
					}
				}
			})
		}
		o.apply(table, uint64(i+1))
	}
}

// TestLaw_cloneOfClone clones a clone.
func TestLaw_cloneOfClone(t *testing.T) {
	table := New(Limits{})
	for i, o := range script(13, 2000, ordinary) {
		o.apply(table, uint64(i+1))
	}
	sum := table.Digest()
	first := table.Clone()
	second := first.Clone()
	for s := range Session(ordinary.sessions) {
		table.Release(s + 1)
	}
	if table.Digest() == sum {
		t.Fatal("releasing all changed nothing")
	}
	if first.Digest() != sum || second.Digest() != sum {
		t.Error("a clone changed with the original")
	}
}

// TestLaw_unrelatedCommute plays what concerns different resources in another
// order: each resource comes to the same state, but for the numbers that count
// across resources.
func TestLaw_unrelatedCommute(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 3))
	const resources, each = 12, 60
	scripts := make([][]op, resources)
	for r := range scripts {
		for range each {
			o := chooseOp(rng.IntN, crowded, nil)
			if o.kind > opCancel || o.space != 1 {
				continue
			}
			// Every resource has locks of its own.
			o.name, o.id = binary.BigEndian.AppendUint32(nil, uint32(r)), o.id+ID(r*100)+1
			scripts[r] = append(scripts[r], o)
		}
	}
	want, wantTold := playMixed(t, scripts, 1)
	if len(want) < resources/2 {
		t.Fatalf("only %d resources are left", len(want))
	}
	for seed := range uint64(50) {
		got, told := playMixed(t, scripts, seed+2)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("another order, another state: %s", diff)
		}
		if diff := cmp.Diff(wantTold, told); diff != "" {
			t.Fatalf("another order, other events: %s", diff)
		}
	}
}

// playMixed takes one operation after the other from the scripts, whose order in
// themselves stays.
func playMixed(t *testing.T, scripts [][]op, seed uint64) ([]ResourceState, map[string][]Event) {
	t.Helper()
	table := opened(t, crowded.sessions)
	order := rand.New(rand.NewPCG(seed, 4))
	told := map[string][]Event{}
	at := make([]int, len(scripts))
	for {
		var left []int
		for r := range scripts {
			if at[r] < len(scripts[r]) {
				left = append(left, r)
			}
		}
		if len(left) == 0 {
			break
		}
		r := left[order.IntN(len(left))]
		_, events := scripts[r][at[r]].apply(table, 1)
		for _, e := range events {
			e.Token = 0
			told[string(scripts[r][at[r]].name)] = append(told[string(scripts[r][at[r]].name)], e)
		}
		at[r]++
	}
	all := resourcesOf(table)
	sortResources(all)
	for i := range all {
		for k := range all[i].Locks {
			l := &all[i].Locks[k]
			l.Token, l.Order, l.Stamp = 0, 0, 0
		}
	}
	return all, told
}

// step is one change of a table.
type step struct {
	name string
	do   func()
}

// digestSteps are changes of a table, one after the other.
func digestSteps(table *Table) []step {
	lock := func(s Session, id ID, name string, m Mode, f Flags) func() {
		return func() { table.Lock(s, LockRequest{ID: id, Lockspace: 1, Name: []byte(name), Mode: m, Flags: f}) }
	}
	lock(1, 9, "v", NL, 0)()
	write := func(name string, f Flags, value string) func() {
		return func() {
			lock(1, 8, name, EX, 0)()
			table.Unlock(1, UnlockRequest{ID: 8, Flags: f, Value: []byte(value)})
		}
	}
	return []step{
		{"open", func() { table.Open(4, 4) }},
		{"join", func() { table.Join(1, JoinRequest{Name: []byte("home")}) }},
		{"join too", func() { table.Join(2, JoinRequest{Name: []byte("home")}) }},
		{"lock", lock(1, 1, "a", PR, 0)},
		{"a long name", lock(1, 2, string(bytes.Repeat([]byte("n"), 200)), PR, 0)},
		{"another", lock(2, 1, "a", PR, NoCallbacks)},
		{"waiting", lock(3, 1, "a", EX, 0)},
		{"converting", func() { convert(table, 1, EX, 0) }},
		{"converting to another mode", func() { table.Cancel(1, 1); convert(table, 1, PW, 0) }},
		{"later", func() { table.Begin(2, 0); table.Cancel(1, 1) }},
		{"frozen", func() { table.Freeze(2) }},
		{"released", func() { table.Release(2) }},
		{"a new token", func() { table.Convert(1, ConvertRequest{ID: 2, Mode: PR, Flags: 0}) }},
		{"a number used up", func() { lock(1, 3, "b", NL, 0)(); table.Unlock(1, UnlockRequest{ID: 3}) }},
		{"another status", func() { lock(1, 4, "c", PR, 0)(); lock(3, 4, "c", CW, AltPR)() }},
		{"denied", func() { table.Deny(Denial{Session: 3, ID: 1, Reason: reason.TimedOut}) }},
		{"known", func() { table.Unlock(3, UnlockRequest{ID: 1}) }},
		{"a value", write("v", ValBlk, "one")},
		{"another value", write("v", ValBlk, "two")},
		{"the same value again", write("v", ValBlk, "two")},
		{"a value that is not valid", write("v", IvValBlk, "")},
		{"persistent", lock(3, 6, "p", PR, Persistent)},
		{"an orphan", func() { table.Close(3) }},
		{"an orphan that is frozen", func() { table.Freeze(OrphansOf(3)) }},
		{"remains", func() { table.Bury(OrphansOf(3)) }},
		{"remains in doubt", func() { table.DoubtRemains(3) }},
		{"a sub-id", func() { table.Gulm(1, GulmRequest{ID: 30, Lockspace: 1, Key: []byte("g"), Sub: 1, Mode: PR}) }},
		{"another sub-id", func() { table.Gulm(1, GulmRequest{ID: 31, Lockspace: 1, Key: []byte("g"), Sub: 2, Mode: PR}) }},
		{"a hold", func() { table.GulmHold(1, GulmRequest{ID: 32, Lockspace: 1, Key: []byte("g")}) }},
		{"longer values", func() { table.Join(4, JoinRequest{Name: []byte("long"), ValueLen: 64}) }},
		{"kept values", func() { table.Join(4, JoinRequest{Name: []byte("kept"), KeepValues: true}) }},
		{"overtaken", func() {
			table.Open(5, 5)
			table.Join(5, JoinRequest{Name: []byte("gfs")})
			lock(5, 1, "c", EX, 0)()
			lock(5, 2, "c", PR, HeadQue)()
		}},
		{"left", func() { table.Leave(1, 2, false) }},
	}
}

// TestLaw_digestSees changes one thing after the other, each of which the
// digest must show.
func TestLaw_digestSees(t *testing.T) {
	table := opened(t, 3)
	seen := map[uint64]string{table.Digest(): "start"}
	for _, step := range digestSteps(table) {
		step.do()
		sum := table.Digest()
		if other, ok := seen[sum]; ok {
			t.Errorf("%q has the digest of %q", step.name, other)
		}
		seen[sum] = step.name
		if again := table.Clone().Digest(); again != sum {
			t.Errorf("%q: the clone has another digest", step.name)
		}
	}
}

// TestLaw_digestSeesEveryField changes each field of a lock that is part of the
// state, and each that is not.
func TestLaw_digestSeesEveryField(t *testing.T) {
	for _, c := range []struct {
		field string
		part  bool
		set   func(l *lockRecord)
	}{
		{"id", true, func(l *lockRecord) { l.id++ }},
		{"session", true, func(l *lockRecord) { l.session++ }},
		{"token", true, func(l *lockRecord) { l.token++ }},
		{"order", true, func(l *lockRecord) { l.order++ }},
		{"changed", true, func(l *lockRecord) { l.changed++ }},
		{"flags", true, func(l *lockRecord) { l.flags ^= NoCallbacks }},
		{"granted", true, func(l *lockRecord) { l.granted++ }},
		{"requested", true, func(l *lockRecord) { l.requested++ }},
		{"queue", true, func(l *lockRecord) { l.queue++ }},
		{"blocking", true, func(l *lockRecord) { l.blocking ^= 1 << EX }},
		{"status", true, func(l *lockRecord) { l.status ^= AltMode }},
		{"denied", true, func(l *lockRecord) { l.denied++ }},
		{"origin", true, func(l *lockRecord) { l.origin++ }},
		{"stamp", false, func(l *lockRecord) { l.stamp++ }},
	} {
		table := opened(t, 2)
		lockIn(table, 1, PR)
		before := table.Digest()
		c.set(table.locks.mut(table.owners[0].head))
		if changed := table.Digest() != before; changed != c.part {
			t.Errorf("%s: digest changed is %v, want %v", c.field, changed, c.part)
		}
	}
}
