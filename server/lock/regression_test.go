package lock

import (
	"reflect"
	"slices"
	"testing"

	"lock_gulmd/server/reason"
)

// opened returns a table with sessions 1 to n in lockspace 1.
func opened(tb testing.TB, n int) *Table {
	tb.Helper()
	t := New(Limits{})
	t.Begin(1, 1000)
	for s := range Session(n) {
		t.Open(s+1, uint32(s+1))
		if r := t.Join(s+1, JoinRequest{Name: []byte("gfs")}); r.Outcome != Joined || r.Number != 1 {
			tb.Fatalf("join of session %d: %+v", s+1, r)
		}
	}
	return t
}

// lockIn asks for lock 1 of a session, on the resource "r".
func lockIn(t *Table, s Session, mode Mode) Reply {
	return t.Lock(s, LockRequest{ID: 1, Lockspace: 1, Name: []byte("r"), Mode: mode})
}

// convert asks for a conversion of lock 1 of a session.
func convert(t *Table, s Session, mode Mode, flags Flags) Reply {
	return t.Convert(s, ConvertRequest{ID: 1, Mode: mode, Flags: flags})
}

// unlock gives up lock 1 of a session.
func unlock(t *Table, s Session) Reply { return t.Unlock(s, UnlockRequest{ID: 1}) }

// sameReply and sameEvent compare answers, which hold slices.
func sameReply(a, b Reply) bool { return reflect.DeepEqual(a, b) }

func sameEvent(a, b Event) bool { return reflect.DeepEqual(a, b) }

func sameImage(a, b image) bool { return reflect.DeepEqual(a, b) }

func sameEvents(a, b []Event) bool { return slices.EqualFunc(a, b, sameEvent) }

// A conversion used to be queued behind one that waited for its own old mode,
// if the two requests were compatible otherwise: both hung for ever.
func TestConvert_behindOneThatWaitsForIt(t *testing.T) {
	table := opened(t, 3)
	for s, mode := range []Mode{NL, CR, PR} {
		if r := lockIn(table, Session(s+1), mode); r.Outcome != Granted {
			t.Fatalf("lock of session %d: %+v", s+1, r)
		}
	}
	if r := convert(table, 1, EX, 0); r.Outcome != Queued {
		t.Fatalf("first conversion: %+v", r)
	}
	// It waits for session 3, and queues behind session 1, which waits for its CR.
	if r := convert(table, 2, CW, 0); !sameReply(r, refuse(reason.Deadlock)) {
		t.Fatalf("second conversion: %+v, want Deadlock", r)
	}
	unlock(table, 3)
	unlock(table, 2)
	if r, _ := table.Resource(1, []byte("r")); len(r.Locks) != 1 || r.Locks[0].Granted != EX {
		t.Fatalf("the first conversion was not granted: %+v", r)
	}
}

// After a conversion in place the holder was asked for PR alone, but remembered
// as asked for CW too: the next CW request asked it only on a server that had
// been restored from a snapshot. Now it is asked for both at once.
func TestAsk_sameAfterRestore(t *testing.T) {
	table := opened(t, 4)
	lockIn(table, 1, PW)
	lockIn(table, 2, CW)
	lockIn(table, 3, PR)
	table.TakeEvents()
	if r := convert(table, 1, EX, 0); r.Outcome != Granted {
		t.Fatalf("conversion: %+v", r)
	}
	want := []Event{
		{Session: 1, Lock: 1, Kind: EventBlocking, Mode: PR},
		{Session: 1, Lock: 1, Kind: EventBlocking, Mode: CW},
	}
	if got := table.TakeEvents(); !sameEvents(got, want) {
		t.Errorf("events %+v, want %+v", got, want)
	}
	again, ok := restored(table, func([]ResourceState) {})
	if !ok {
		t.Fatal("the snapshot was refused")
	}
	for name, table := range map[string]*Table{"original": table, "restored": again} {
		lockIn(table, 4, CW)
		if got := table.TakeEvents(); len(got) > 0 {
			t.Errorf("%s: asked again: %+v", name, got)
		}
	}
}

// A queued request that was granted while others wait was asked to give way
// before it was told of the grant; the kernel tells of the grant first.
func TestGrant_toldBeforeAsked(t *testing.T) {
	table := opened(t, 3)
	lockIn(table, 1, EX)
	lockIn(table, 2, EX)
	lockIn(table, 3, PR)
	table.TakeEvents()
	unlock(table, 1)
	want := []Event{
		{Session: 2, Lock: 1, Kind: EventGranted, Mode: EX, Token: 2},
		{Session: 2, Lock: 1, Kind: EventBlocking, Mode: PR},
	}
	if got := table.TakeEvents(); !sameEvents(got, want) {
		t.Errorf("events %+v, want %+v", got, want)
	}
}

// A query for deferred said that a key was free which others had parts of to read: who
// then asked for it was refused.
func TestGulmQuery_deferredSeesReadersOfParts(t *testing.T) {
	table := opened(t, 2)
	part := GulmRequest{ID: 1, Lockspace: 1, Key: []byte("k"), Mode: PR, Flags: GulmRange, Start: 3, End: 5}
	if r := table.Gulm(1, part); r.Outcome != Granted {
		t.Fatalf("%+v", r)
	}
	r := table.GulmQuery(2, GulmRequest{Lockspace: 1, Key: []byte("k"), Mode: CW})
	if r.Reason != reason.TryFailed || r.Holders == nil || len(r.Holders.List) != 1 || r.Holders.List[0].Start != 3 {
		t.Errorf("a query for deferred beside a reader of a part: %+v", r)
	}
}

// A range that was left to a node beneath a stronger one gave its token to what lay on
// the other side of that.
func TestRangeRemains_tokensStayWithTheirRanges(t *testing.T) {
	table := &rangeTable{}
	heir := RemainsOf(1)
	take := func(start, end uint64, kind RangeKind) uint64 {
		r := table.Lock(rangeRequest{Owner: RangeOwner{Session: 1}, Start: start, End: end, Kind: kind, Recovery: true})
		if r.Outcome != Granted {
			t.Fatalf("%d-%d: %+v", start, end, r)
		}
		return r.Token
	}
	write, far := take(10, 19, RangeWrite), take(20, 29, RangeRead)
	table.FreezeIn(1, heir, false, everyFile)
	near := take(0, 19, RangeRead)
	table.FreezeIn(1, heir, false, everyFile)
	f, _ := table.File(0)
	if len(f.Ranges) != 3 || f.Ranges[0].Token != near || f.Ranges[1].Token != write || f.Ranges[2].Token != far {
		t.Errorf("remains %+v, granted with tokens %d, %d and %d", f.Ranges, near, write, far)
	}
}

// The same, where what divides the two comes to the remains in the same step.
func TestRangeRemains_tokensStayApartInOneStep(t *testing.T) {
	table := &rangeTable{}
	heir := RemainsOf(1)
	take := func(start, end uint64, kind RangeKind) uint64 {
		return table.Lock(rangeRequest{Owner: RangeOwner{Session: 1}, Start: start, End: end, Kind: kind, Recovery: true}).Token
	}
	old := take(0, 99, RangeRead)
	table.FreezeIn(1, heir, false, everyFile)
	near, write := take(0, 9, RangeRead), take(10, 19, RangeWrite)
	table.FreezeIn(1, heir, false, everyFile)
	f, _ := table.File(0)
	if len(f.Ranges) != 3 || f.Ranges[0].Token != near || f.Ranges[1].Token != write || f.Ranges[2].Token != old {
		t.Errorf("remains %+v, granted with tokens %d, %d and %d", f.Ranges, old, near, write)
	}
}
