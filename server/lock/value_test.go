package lock

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// valueCase is one change of mode with the value block taking part, or not.
type valueCase struct {
	fresh      bool // a new lock, which holds nothing
	from, to   Mode
	flags      Flags
	block      string // what the resource has: "" for no block
	stale      bool
	queued     bool // granted later, by an event
	valueGiven string
}

func (c valueCase) String() string {
	from := c.from.String()
	if c.fresh {
		from = "nothing"
	}
	return fmt.Sprintf("%s to %v flags %x block %q stale %v queued %v", from, c.to, uint32(c.flags), c.block, c.stale, c.queued)
}

// TestValue_everyChange compares every change of mode, with every combination of
// VALBLK and IVVALBLK, on no block, a valid and a stale one, in place and queued,
// with the DLM's table.
func TestValue_everyChange(t *testing.T) {
	cases := 0
	for from := Mode(0); from <= modes; from++ { // modes stands for nothing
		for to := range Mode(modes) {
			for _, flags := range []Flags{0, ValBlk, IvValBlk, ValBlk | IvValBlk} {
				for _, block := range []string{"", "old"} {
					for _, stale := range []bool{false, true} {
						for _, queued := range []bool{false, true} {
							c := valueCase{from == modes, from % modes, to, flags, block, stale, queued, "new"}
							if stale && block == "" {
								continue
							}
							if changeValue(t, c) {
								cases++
							}
						}
					}
				}
			}
		}
	}
	// 7 rows of 6 in place, and what another holder can keep waiting: 7 of 6
	// less those that no holder beside the old mode blocks.
	if want := 12 * (42 + blockable()); cases != want {
		t.Errorf("%d cases, want %d", cases, want)
	}
}

// blockable counts the changes of mode that some other holder blocks.
func blockable() int {
	n := 0
	for from := Mode(0); from <= modes; from++ {
		for to := range Mode(modes) {
			if _, ok := blocker(from%modes, to); ok {
				n++
			}
		}
	}
	return n
}

// blocker returns a mode that can be held beside `from` and not beside `to`.
func blocker(from, to Mode) (Mode, bool) {
	for m := range Mode(modes) {
		if compatible[from][m] && !compatible[to][m] {
			return m, true
		}
	}
	return 0, false
}

// changeValue plays one case and reports whether it can happen.
func changeValue(t *testing.T, c valueCase) bool {
	t.Helper()
	table := opened(t, 3)
	lockIn(table, 3, NL) // keeps the resource
	if c.block != "" {
		convert(table, 3, EX, 0)
		table.Convert(3, ConvertRequest{ID: 1, Mode: NL, Flags: ValBlk, Value: []byte(c.block)})
	}
	if c.stale {
		convert(table, 3, EX, 0)
		convert(table, 3, NL, IvValBlk)
	}
	if !c.fresh {
		lockIn(table, 1, c.from)
	}
	if c.queued {
		m, ok := blocker(c.from, c.to)
		if !ok {
			return false
		}
		lockIn(table, 2, m)
	}
	var reply Reply
	if c.fresh {
		reply = table.Lock(1, LockRequest{ID: 1, Lockspace: 1, Name: []byte("r"), Mode: c.to, Flags: c.flags})
	} else {
		reply = table.Convert(1, ConvertRequest{ID: 1, Mode: c.to, Flags: c.flags, Value: []byte(c.valueGiven)})
	}
	if c.queued {
		table.TakeEvents()
		unlock(table, 2)
		e := table.TakeEvents()
		if reply.Outcome != Queued || len(e) != 1 {
			t.Errorf("%v: %+v, then %+v", c, reply, e)
			return true
		}
		reply = Reply{Outcome: Granted, Mode: e[0].Mode, Status: e[0].Status, Value: e[0].Value}
	}
	c.check(t, table, reply)
	return true
}

// check compares what came of a case with the table.
func (c valueCase) check(t *testing.T, table *Table, got Reply) {
	t.Helper()
	row := valueRow[c.from]
	if c.fresh {
		row = valueRow[NL]
	}
	use := row[c.to]
	wantRead, wantStatus := "none", Status(0)
	block, stale := c.block, c.stale
	switch {
	case use == write && c.flags&IvValBlk != 0:
		stale = block != ""
	case use == write && c.flags&ValBlk != 0:
		block, stale = c.valueGiven, false
	case use != write && c.flags&ValBlk != 0:
		if use == read {
			wantRead = block
		}
		if stale {
			wantStatus = ValNotValid
		}
	}
	gotRead := "none"
	if got.Value != nil {
		gotRead = strings.TrimRight(string(got.Value), "\x00")
	}
	state, _ := table.Resource(1, []byte("r"))
	gotBlock := strings.TrimRight(string(state.Value), "\x00")
	if got.Outcome != Granted || gotRead != wantRead || got.Status != wantStatus || gotBlock != block || state.ValueInvalid != stale {
		t.Errorf("%v: read %q status %d, block %q stale %v; want %q %d, %q %v",
			c, gotRead, got.Status, gotBlock, state.ValueInvalid, wantRead, wantStatus, block, stale)
	}
	if err := deepCheck(table); err != nil {
		t.Errorf("%v: %v", c, err)
	}
}

// TestValue_everyEnd ends a lock in each mode in each way: only PW and EX write
// or spoil.
func TestValue_everyEnd(t *testing.T) {
	ends := []struct {
		name  string
		wrong bool // the holder did not do it
		do    func(t *Table)
		flags Flags
	}{
		{name: "unlock", do: func(t *Table) { t.Unlock(1, UnlockRequest{ID: 1, Value: []byte("new")}) }},
		{name: "unlock valblk", flags: ValBlk},
		{name: "unlock ivvalblk", flags: IvValBlk},
		{name: "unlock both", flags: ValBlk | IvValBlk},
		{name: "close", wrong: true, do: func(t *Table) { t.Close(1) }},
		{name: "release", wrong: true, do: func(t *Table) { t.Release(1) }},
		{name: "freeze, release", wrong: true, do: func(t *Table) { t.Freeze(1); t.Release(1) }},
		{name: "leave", wrong: true, do: func(t *Table) { t.Leave(1, 1, true) }},
		{name: "orphan, purge", wrong: true, do: func(t *Table) {
			t.locks.mut(t.owner(1).head).flags |= Persistent
			t.Close(1)
			if n := t.Purge(1, 1); n != 1 {
				panic(n)
			}
		}},
	}
	for _, end := range ends {
		for m := range Mode(modes) {
			table := opened(t, 3)
			lockIn(table, 3, EX)
			table.Convert(3, ConvertRequest{ID: 1, Mode: NL, Flags: ValBlk, Value: []byte("old")})
			lockIn(table, 1, m)
			if end.do == nil {
				table.Unlock(1, UnlockRequest{ID: 1, Flags: end.flags, Value: []byte("new")})
			} else {
				end.do(table)
			}
			want, stale := "old", false
			switch {
			case m < PW:
			case end.wrong || end.flags&IvValBlk != 0:
				stale = true
			case end.flags&ValBlk != 0:
				want = "new"
			}
			r, _ := table.Resource(1, []byte("r"))
			if got := strings.TrimRight(string(r.Value), "\x00"); got != want || r.ValueInvalid != stale {
				t.Errorf("%s in %v: %q stale %v, want %q %v", end.name, m, got, r.ValueInvalid, want, stale)
			}
			if err := deepCheck(table); err != nil {
				t.Errorf("%s in %v: %v", end.name, m, err)
			}
		}
	}
}

// TestValue_lengths writes, on lockspaces of every length, values from none to one
// byte too many.
func TestValue_lengths(t *testing.T) {
	for length := 0; length <= MaxValueLen; length++ {
		size := length
		if length == 0 {
			size = DefaultValueLen
		}
		table := New(Limits{})
		table.Open(1, 1)
		table.Join(1, JoinRequest{Name: []byte("gfs"), ValueLen: uint8(length)})
		for _, n := range []int{0, 1, size - 1, size, size + 1} {
			lockIn(table, 1, EX)
			value := slices.Repeat([]byte{'v'}, n)
			reply := table.Convert(1, ConvertRequest{ID: 1, Mode: PR, Flags: ValBlk, Value: value})
			if (reply.Outcome == Granted) != (n <= size) {
				t.Fatalf("length %d, value of %d: %+v", length, n, reply)
			}
			if n <= size {
				got := convert(table, 1, PR, ValBlk).Value
				if len(got) != size || strings.TrimRight(string(got), "\x00") != string(value) {
					t.Fatalf("length %d, value of %d: read %q", length, n, got)
				}
			}
			unlock(table, 1)
		}
	}
}

// TestValue_callersBytes changes what was given and what was returned: the table
// must not see it.
func TestValue_callersBytes(t *testing.T) {
	table := opened(t, 1)
	lockIn(table, 1, EX)
	mine := []byte("mine")
	table.Convert(1, ConvertRequest{ID: 1, Mode: PR, Flags: ValBlk, Value: mine})
	mine[0] = 'X'
	first := convert(table, 1, PR, ValBlk).Value
	first[1] = 'X'
	if got := convert(table, 1, PR, ValBlk).Value; !strings.HasPrefix(string(got), "mine\x00") {
		t.Errorf("read %q", got)
	}
}
