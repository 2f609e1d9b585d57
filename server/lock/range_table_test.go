package lock

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lock_gulmd/server/reason"
)

// spans writes what an owner has as r10-19 w20-29, a range to infinity as r10-.
func spans(t *rangeTable, o RangeOwner) string {
	var words []string
	state, _ := t.File(0)
	for _, r := range state.Ranges {
		if r.Owner != o {
			continue
		}
		last := ""
		if r.End < RangeMax {
			last = strconv.FormatUint(r.End, 10)
		}
		words = append(words, fmt.Sprintf("%c%d-%s", "rw"[r.Kind], r.Start, last))
	}
	return strings.Join(words, " ")
}

// swapKinds turns a table's expectation into that for the other kind.
func swapKinds(s string) string { return strings.NewReplacer("r", "w", "w", "r").Replace(s) }

// TestRange_arithmetic has all thirteen ways in which two ranges can lie to each
// other, and the edges: what an owner of r10-19 has after locking the range for
// reading, for writing, and after unlocking it; and with both kinds swapped.
func TestRange_arithmetic(t *testing.T) {
	for _, c := range []struct {
		position             string
		start, end           uint64
		same, other, without string
	}{
		{"far before", 0, 5, "r0-5 r10-19", "w0-5 r10-19", "r10-19"},
		{"touches before", 5, 9, "r5-19", "w5-9 r10-19", "r10-19"},
		{"over the start", 5, 14, "r5-19", "w5-14 r15-19", "r15-19"},
		{"just the first", 10, 10, "r10-19", "w10-10 r11-19", "r11-19"},
		{"same start, shorter", 10, 14, "r10-19", "w10-14 r15-19", "r15-19"},
		{"equal", 10, 19, "r10-19", "w10-19", ""},
		{"same start, longer", 10, 25, "r10-25", "w10-25", ""},
		{"inside", 12, 15, "r10-19", "r10-11 w12-15 r16-19", "r10-11 r16-19"},
		{"one inside", 12, 12, "r10-19", "r10-11 w12-12 r13-19", "r10-11 r13-19"},
		{"same end, shorter", 15, 19, "r10-19", "r10-14 w15-19", "r10-14"},
		{"just the last", 19, 19, "r10-19", "r10-18 w19-19", "r10-18"},
		{"same end, longer", 5, 19, "r5-19", "w5-19", ""},
		{"around", 5, 25, "r5-25", "w5-25", ""},
		{"over the end", 15, 25, "r10-25", "r10-14 w15-25", "r10-14"},
		{"touches after", 20, 25, "r10-25", "r10-19 w20-25", "r10-19"},
		{"far after", 30, 35, "r10-19 r30-35", "r10-19 w30-35", "r10-19"},
		{"everything", 0, RangeMax, "r0-", "w0-", ""},
		{"to infinity", 15, RangeMax, "r10-", "r10-14 w15-", "r10-14"},
		{"the last offset", RangeMax, RangeMax, "r10-19 r9223372036854775807-", "r10-19 w9223372036854775807-", "r10-19"},
	} {
		for _, kind := range []RangeKind{RangeRead, RangeWrite} {
			want := []string{c.same, c.other, c.without}
			if kind == RangeWrite {
				want = []string{swapKinds(c.same), swapKinds(c.other), c.without}
				want[2] = swapKinds(want[2])
			}
			for i, do := range []string{"same", "other", "unlock"} {
				table, o := &rangeTable{}, RangeOwner{Session: 1, Number: 1}
				table.Lock(rangeRequest{Owner: o, Start: 10, End: 19, Kind: kind})
				switch i {
				case 0, 1:
					table.Lock(rangeRequest{Owner: o, Start: c.start, End: c.end, Kind: (kind + RangeKind(i)) % 2})
				default:
					table.Unlock(o, 0, c.start, c.end)
				}
				if got := spans(table, o); got != want[i] {
					t.Errorf("%s, %s, from kind %d: got %q, want %q", c.position, do, kind, got, want[i])
				}
				if err := deepCheckRanges(table); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestRange_arithmeticExhaustive does all sequences of two locks and a lock or
// unlock on five offsets, and compares with cells.
func TestRange_arithmeticExhaustive(t *testing.T) {
	const offsets = 5 // of naiveBounds, the last two wide
	type step struct{ from, to, value int }
	var steps []step
	for from := range offsets {
		for to := from; to < offsets; to++ {
			for value := range 3 {
				steps = append(steps, step{from, to, value})
			}
		}
	}
	o := RangeOwner{Session: 1, Number: 1}
	do := func(table *rangeTable, c cells, s step) cells {
		if s.value == 0 {
			table.Unlock(o, 0, naiveBounds[s.from], cellEnd(s.to))
		} else {
			table.Lock(rangeRequest{Owner: o, Start: naiveBounds[s.from], End: cellEnd(s.to), Kind: RangeKind(s.value - 1)})
		}
		return c.with(s.from, s.to, uint8(s.value))
	}
	table := &rangeTable{}
	for _, a := range steps {
		for _, b := range steps {
			for _, c := range steps {
				table.Unlock(o, 0, 0, RangeMax)
				want := do(table, do(table, do(table, cells{}, a), b), c)
				var got []rangeSpan
				state, _ := table.File(0)
				for _, r := range state.Ranges {
					got = append(got, rangeSpan{r.Start, r.End, r.Kind})
				}
				if runs, _ := want.runs(); !slices.Equal(got, runs) {
					t.Fatalf("%v %v %v: got %+v, want %+v", a, b, c, got, runs)
				}
			}
		}
	}
}

// TestRange_many keeps thousands of ranges of a few owners in one file, against
// an array that says who has each offset.
func TestRange_many(t *testing.T) {
	const owners, offsets = 4, 12_000
	var want [owners][offsets]uint8
	table := &rangeTable{}
	rng := rand.New(rand.NewPCG(9, 9))
	most := 0
	for step := range 60_000 {
		n := rng.IntN(owners)
		o := RangeOwner{Session: Session(n%2 + 1), Number: uint64(n)}
		start := rng.IntN(offsets)
		end := min(offsets-1, start+rng.IntN(6))
		if rng.IntN(4000) == 0 {
			end = min(offsets-1, start+4000)
		}
		value := uint8(rng.IntN(4)) % 3 // unlock, read, write, unlock
		can := true
		for other := range owners {
			for i := start; i <= end && other != n; i++ {
				can = can && (value == 0 || want[other][i] == 0 || value == 1 && want[other][i] == 1)
			}
		}
		outcome := Unlocked
		if value == 0 {
			outcome = table.Unlock(o, 0, uint64(start), uint64(end)).Outcome
		} else {
			outcome = table.Lock(rangeRequest{Owner: o, Start: uint64(start), End: uint64(end), Kind: RangeKind(value - 1)}).Outcome
		}
		if can != (outcome != Refused) {
			t.Fatalf("step %d: %d", step, outcome)
		}
		for i := start; i <= end && can; i++ {
			want[n][i] = value
		}
		most = max(most, table.Counts().Ranges)
		if step%3000 == 0 {
			compareMany(t, table, &want[0], RangeOwner{Session: 1, Number: 0})
			compareMany(t, table, &want[3], RangeOwner{Session: 2, Number: 3})
		}
	}
	if most < 2000 {
		t.Errorf("at most %d ranges", most)
	}
}

func compareMany(t *testing.T, table *rangeTable, want *[12_000]uint8, o RangeOwner) {
	t.Helper()
	if err := deepCheckRanges(table); err != nil {
		t.Fatal(err)
	}
	var got [12_000]uint8
	state, _ := table.File(0)
	for _, r := range state.Ranges {
		for i := r.Start; i <= r.End && r.Owner == o; i++ {
			got[i] = 1 + uint8(r.Kind)
		}
	}
	if got != *want {
		t.Fatalf("owner %+v has something else", o)
	}
}

// TestRange_snapshotAnywhere restores at each point of a script and plays the
// rest on both tables: same answers, same events, same digest at every step.
func TestRange_snapshotAnywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 2))
	var ops []rangeOp
	for range 300 {
		ops = append(ops, chooseRangeOp(rng.IntN, rangeOrdinary))
	}
	for at := range ops {
		table := &rangeTable{}
		for _, o := range ops[:at] {
			o.apply(table, 0)
		}
		again, ok := restoredRanges(table, 0, 77)
		if !ok || digestOfRanges(again, 77) != digestOfRanges(table, 0) {
			t.Fatalf("at %d: refused or another digest", at)
		}
		for i, o := range ops[at:] {
			got, want := o.apply(again, 77), o.apply(table, 0)
			if !reflect.DeepEqual(got, want) || digestOfRanges(again, 77) != digestOfRanges(table, 0) {
				t.Fatalf("restored at %d, differs at %d %v:\n%+v\n%+v", at, at+i, o, got, want)
			}
		}
	}
}

// chain makes a table in which owner 1/i holds offset i of file 0 and, but for
// the last, waits for the next one's.
func chain(owners int) *rangeTable {
	table := &rangeTable{}
	for i := range uint64(owners) {
		table.Lock(rangeRequest{Owner: RangeOwner{Session: 1, Number: i}, Start: i, End: i, Kind: RangeWrite})
	}
	for i := range uint64(owners - 1) {
		table.Lock(rangeRequest{Owner: RangeOwner{Session: 1, Number: i}, Start: i + 1, End: i + 1, Kind: RangeWrite, Wait: true, ID: ID(i + 1)})
	}
	return table
}

// TestRange_longCircle closes a circle of ten thousand.
func TestRange_longCircle(t *testing.T) {
	const owners = 10_000
	table := chain(owners)
	last := rangeRequest{Owner: RangeOwner{Session: 1, Number: owners - 1}, Kind: RangeWrite, Wait: true, ID: owners}
	if r := table.Lock(last); r != rangeRefuse(reason.Deadlock) {
		t.Errorf("%+v", r)
	}
	if err := deepCheckRanges(table); err != nil {
		t.Error(err)
	}
	table.Unlock(RangeOwner{Session: 1, Number: 0}, 0, 0, 0)
	if r := table.Lock(last); r.Outcome != Granted {
		t.Errorf("after the first one's unlock: %+v", r)
	}
}

// TestRange_searchTooLong makes a queue in which every request has other
// obstacles than the rest, and asks for something behind it.
func TestRange_searchTooLong(t *testing.T) {
	const readers, writers = 700, 600
	table := &rangeTable{}
	for i := range uint64(readers) {
		table.Lock(rangeRequest{Owner: RangeOwner{Session: 1, Number: i}, End: RangeMax})
	}
	for i := range uint64(writers) {
		req := rangeRequest{Owner: RangeOwner{Session: 2, Number: i}, Start: i, End: i + writers, Kind: RangeWrite, Wait: true, ID: ID(i + 1)}
		if r := table.Lock(req); r.Outcome != Queued {
			t.Fatalf("%+v", r)
		}
	}
	held := rangeRequest{Owner: RangeOwner{Session: 3, Number: 1}, File: 1, Kind: RangeWrite}
	table.Lock(held)
	last := rangeRequest{Owner: held.Owner, Start: 2*writers - 1, End: 2*writers - 1, Kind: RangeWrite, Wait: true, ID: 1}
	sum, order := digestOfRanges(table, 0), table.Order()
	// Nobody waits for what the owner holds: nothing to search for.
	if r := table.Lock(last); r.Outcome != Queued {
		t.Errorf("nobody waits for it: %+v", r)
	}
	table.Cancel(3, 1)
	held.Owner, held.Wait, held.ID = RangeOwner{Session: 4, Number: 1}, true, 1
	table.Lock(held)
	begin := time.Now()
	if r := table.Lock(last); r != rangeRefuse(reason.Limit) {
		t.Errorf("somebody waits for it: %+v", r)
	}
	t.Log(time.Since(begin))
	if table.Cancel(4, 1); table.Order() != order+2 || digestOfRanges(table, 0) == sum {
		t.Errorf("order %d, began with %d", table.Order(), order)
	}
	if err := deepCheckRanges(table); err != nil {
		t.Error(err)
	}
}

// TestRange_emptyCostsNothing leaves nothing behind whichever way all goes.
func TestRange_emptyCostsNothing(t *testing.T) {
	for _, end := range []func(*rangeTable){
		func(t *rangeTable) { t.Release(1); t.Release(2) },
		func(t *rangeTable) {
			t.CloseOwner(RangeOwner{Session: 1, Number: 1}, everyFile)
			t.CloseOwner(RangeOwner{Session: 2, Number: 1}, everyFile)
		},
		func(t *rangeTable) { t.Cancel(2, 1); t.Unlock(RangeOwner{Session: 1, Number: 1}, 5, 0, RangeMax) },
		func(t *rangeTable) {
			t.Unlock(RangeOwner{Session: 1, Number: 1}, 5, 0, 9)
			t.CloseFile(RangeOwner{Session: 2, Number: 1}, 5)
		},
		func(t *rangeTable) { t.Freeze(2); t.Freeze(1); t.Release(1); t.Release(2) },
	} {
		table := &rangeTable{}
		table.Lock(rangeRequest{Owner: RangeOwner{Session: 1, Number: 1}, File: 5, End: 9, Kind: RangeWrite})
		table.Lock(rangeRequest{Owner: RangeOwner{Session: 2, Number: 1}, File: 5, End: 9, Wait: true, ID: 1})
		end(table)
		if c := table.Counts(); c != (RangeCounts{}) || table.sessions.used+table.holders.used != 0 {
			t.Errorf("left: %+v", c)
		}
		if err := deepCheckRanges(table); err != nil {
			t.Error(err)
		}
	}
}
