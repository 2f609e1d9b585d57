package lock

import "testing"

// faulty returns a table with two files: in one two read beside each other, one
// of them has a write range besides, and two wait.
func faulty() *rangeTable {
	table := &rangeTable{}
	for _, req := range []rangeRequest{
		{Owner: RangeOwner{Session: 1, Number: 1}, End: 9},
		{Owner: RangeOwner{Session: 2, Number: 1}, End: 9},
		{Owner: RangeOwner{Session: 2, Number: 1}, Start: 20, End: 29, Kind: RangeWrite},
		{Owner: RangeOwner{Session: 3, Number: 1}, End: 9, Kind: RangeWrite, Wait: true, ID: 1},
		{Owner: RangeOwner{Session: 3, Number: 1}, Start: 25, End: 29, Wait: true, ID: 2},
		{Owner: RangeOwner{Session: 1, Number: 2}, File: 1, End: 9},
	} {
		table.Lock(req)
	}
	return table
}

// TestRangeCheck_notices plants one fault each.
func TestRangeCheck_notices(t *testing.T) {
	at := func(t *rangeTable, s Session, start uint64) *rangeRecord {
		holder := t.holderOf(t.findParty(RangeOwner{Session: s, Number: 1}), t.findFile(0))
		for slot := uint32(1); slot < t.ranges.next; slot++ {
			if r := t.ranges.get(slot); r.holder == holder && r.start == start {
				return t.ranges.mut(slot)
			}
		}
		return nil
	}
	file := func(t *rangeTable) *rangeFile { return t.files.mut(t.findFile(0)) }
	wait := func(t *rangeTable, id ID) *rangeWait { return t.waits.mut(t.findWait(3, id)) }
	for name, plant := range map[string]func(*rangeTable){
		"ranges that conflict":           func(t *rangeTable) { at(t, 1, 0).kind = RangeWrite },
		"a range that is impossible":     func(t *rangeTable) { at(t, 2, 20).end = RangeMax + 1 },
		"a reach that is wrong":          func(t *rangeTable) { at(t, 1, 0).reach[RangeRead]++ },
		"a height that is wrong":         func(t *rangeTable) { at(t, 2, 20).inHolder.height++ },
		"a range of another":             func(t *rangeTable) { at(t, 1, 0).holder = at(t, 2, 0).holder },
		"ranges that are one":            func(t *rangeTable) { at(t, 2, 0).end = 19; at(t, 2, 20).kind = RangeRead },
		"a file that counts wrongly":     func(t *rangeTable) { file(t).held++ },
		"a file that has lost a tree":    func(t *rangeTable) { file(t).waits = 0 },
		"a dead file":                    func(t *rangeTable) { file(t).live = false },
		"a request that can be granted":  func(t *rangeTable) { wait(t, 1).kind = RangeRead; t.waitTree().fix(t.findWait(3, 1)) },
		"a rank that was never given":    func(t *rangeTable) { wait(t, 2).rank = rankLate | 99 },
		"a request left as a candidate":  func(t *rangeTable) { wait(t, 1).due = true },
		"a request of another session":   func(t *rangeTable) { wait(t, 1).session = 1 },
		"requests out of order":          func(t *rangeTable) { wait(t, 1).rank, wait(t, 2).rank = wait(t, 2).rank, wait(t, 1).rank },
		"a frozen session that waits":    func(t *rangeTable) { t.sessions.mut(t.findSession(3)).frozen = true },
		"a session without anything":     func(t *rangeTable) { t.makeSession(9) },
		"an owner in the wrong session":  func(t *rangeTable) { t.parties.mut(t.findParty(RangeOwner{Session: 3, Number: 1})).owner.Session = 1 },
		"a holder that counts wrongly":   func(t *rangeTable) { t.holders.mut(at(t, 1, 0).holder).held++ },
		"an owner who lost his requests": func(t *rangeTable) { t.parties.mut(t.findParty(RangeOwner{Session: 3, Number: 1})).waitHead = 0 },
		"remains that wait":              func(t *rangeTable) { t.parties.mut(t.findParty(RangeOwner{Session: 3, Number: 1})).owner.Origin = 1 },
		"an arena that counts wrongly":   func(t *rangeTable) { t.ranges.used++ },
	} {
		table := faulty()
		if err := deepCheckRanges(table); err != nil {
			t.Fatal(err)
		}
		plant(table)
		if table.Check() == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// TestRangeRestore_refusesImpossible changes one thing of a good snapshot each.
func TestRangeRestore_refusesImpossible(t *testing.T) {
	for name, spoil := range map[string]func(*rangeImage){
		"ranges that conflict":        func(i *rangeImage) { i.Files[0].Ranges[0].Kind = RangeWrite },
		"ranges that are one":         func(i *rangeImage) { i.Files[0].Ranges[2].Kind = RangeRead; i.Files[0].Ranges[2].Start = 10 },
		"ranges that overlap":         func(i *rangeImage) { i.Files[0].Ranges[2].Start = 9 },
		"ranges out of order":         func(i *rangeImage) { r := i.Files[0].Ranges; r[0], r[1] = r[1], r[0] },
		"a range twice":               func(i *rangeImage) { i.Files[0].Ranges[1] = i.Files[0].Ranges[0] },
		"an end before the start":     func(i *rangeImage) { i.Files[0].Ranges[2].End = 19 },
		"an end beyond infinity":      func(i *rangeImage) { i.Files[0].Ranges[2].End = RangeMax + 1 },
		"no such kind":                func(i *rangeImage) { i.Files[0].Ranges[2].Kind = rangeKinds },
		"no such session":             func(i *rangeImage) { i.Files[0].Ranges[2].Owner.Session = 9 },
		"session 0":                   func(i *rangeImage) { i.Sessions = append(i.Sessions, rangeSessionState{}) },
		"a session twice":             func(i *rangeImage) { i.Sessions = append(i.Sessions, i.Sessions[0]) },
		"a session without anything":  func(i *rangeImage) { i.Sessions = append(i.Sessions, rangeSessionState{Session: 9}) },
		"a file twice":                func(i *rangeImage) { i.Files[1].File = 0 },
		"a file without anything":     func(i *rangeImage) { i.Files = append(i.Files, rangeFileState{File: 9}) },
		"a frozen session that waits": func(i *rangeImage) { i.Sessions[2].Frozen = true },
		"a request number 0":          func(i *rangeImage) { i.Files[0].Waits[0].ID = 0 },
		"a request twice":             func(i *rangeImage) { i.Files[0].Waits[1].ID = 1 },
		"an arrival number 0":         func(i *rangeImage) { i.Files[0].Waits[0].Order = 0 },
		"an arrival not yet":          func(i *rangeImage) { i.Files[0].Waits[1].Order = 3 },
		"one arrival twice":           func(i *rangeImage) { i.Files[0].Waits[0].Order = 2 },
		"one arrival twice, apart":    func(i *rangeImage) { i.Files[0].Waits[0].Order, i.Files[0].Waits[0].Ahead = 2, true },
		"requests out of order":       func(i *rangeImage) { w := i.Files[0].Waits; w[0], w[1] = w[1], w[0] },
		"a request to be granted":     func(i *rangeImage) { i.Files[0].Waits[0].Kind = RangeRead },
		"a request beyond infinity":   func(i *rangeImage) { i.Files[0].Waits[1].End = RangeMax + 1 },
		"a range without a token":     func(i *rangeImage) { i.Files[0].Ranges[0].Token = 0 },
		"a token not yet given":       func(i *rangeImage) { i.Files[0].Ranges[0].Token = i.Token + 1 },
		"remains that wait":           func(i *rangeImage) { i.Files[0].Waits[0].Owner.Origin = 9 },
		"too many arrivals":           func(i *rangeImage) { i.Order = rankLate },
	} {
		image := imageOfRanges(faulty(), 0)
		spoil(&image)
		if _, ok := restoreImage(image); ok {
			t.Errorf("%s: taken for a possible state", name)
		}
	}
	if _, ok := restoreImage(imageOfRanges(faulty(), 0)); !ok {
		t.Error("the good snapshot is refused")
	}
}

func restoreImage(image rangeImage) (*rangeTable, bool) {
	r := newRangeRestore(0)
	r.SetCounters(image.Order, image.Token)
	for _, s := range image.Sessions {
		r.Session(s)
	}
	for i := range image.Files {
		r.File(&image.Files[i])
	}
	return r.Finish()
}

// TestRangeWalk_stops and asks no more.
func TestRangeWalk_stops(t *testing.T) {
	n := 0
	faulty().Walk(func(*rangeFileState) bool { n++; return false })
	if n != 1 {
		t.Errorf("%d files after false", n)
	}
}

// FuzzRanges turns bytes into operations, possible and impossible ones, and
// compares the engines and checks the table after each.
func FuzzRanges(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("0000000000000000001000000000000000000000000000000000000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), 3000)] // some 200 operations are enough
		pick := func(n int) int {
			value := 0
			for size := 1; size < n && len(data) > 0; size <<= 8 {
				value = value<<8 | int(data[0])
				data = data[1:]
			}
			return value % n
		}
		w := newRangeTwins(rangeCrowded)
		for len(data) > 0 {
			err := w.do(chooseRangeOp(pick, rangeCrowded))
			if err == nil {
				err = w.compare()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
