package lock

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	gocmp "github.com/google/go-cmp/cmp"

	"lock_gulmd/server/reason"
)

// spaceTwins drives ranges and GULM's parts of keys through a table of locks, and a
// naive twin that knows of these, and of keys that somebody has as a whole, only.
type spaceTwins struct {
	t       rapid.TB
	pick    func(n int) int
	table   *Table
	naive   naiveRanges
	wholes  []naiveWhole
	doubted map[Session]bool // remains, while there are any
	index   uint64
	id      ID
	seen    map[string]int
}

func newSpaceTwins(t rapid.TB, pick func(n int) int) *spaceTwins {
	w := &spaceTwins{t: t, pick: pick, table: New(Limits{}), doubted: map[Session]bool{}, seen: map[string]int{}}
	w.table.Begin(1, 1)
	for s := range Session(spaceSessions) {
		w.enter(s + 1)
	}
	return w
}

// step does one thing, mostly a request.
func (w *spaceTwins) step() {
	w.index++
	w.table.Begin(w.index, int64(w.index))
	w.naive.index = w.index
	s := Session(1 + w.pick(spaceSessions))
	switch n := w.pick(100); {
	case n < 48:
		w.ask(s)
	case n < 86:
		w.gulm(s)
	case n < 92:
		w.withdraw()
	case n < 98:
		w.turn(s)
	default:
		w.compare()
	}
}

const spaceSessions, spaceFiles = 4, 2

// fileKey is the naive twin's number of a file.
func fileKey(space uint32, n int, class rangeClass) uint32 {
	return space*100 + uint32(n) + uint32(class)*spaceFiles
}

func inSpace(space uint32) func(uint32) bool {
	return func(key uint32) bool { return key/100 == space }
}

func (w *spaceTwins) enter(s Session) {
	w.table.Open(s, nodeOf(s))
	for _, name := range []string{"a", "b"} {
		if r := w.table.Join(s, JoinRequest{Name: []byte(name)}); r.Outcome != Joined {
			w.t.Fatalf("join: %+v", r)
		}
	}
}

// expect compares a reply, and what was told.
func (w *spaceTwins) expect(what string, got Reply, want rangeReply, found []RangeConflict) {
	w.t.Helper()
	w.seen[fmt.Sprint(what, " ", want.Outcome, " ", want.Reason)]++
	var conflicts []RangeConflict
	if got.Conflicts != nil {
		conflicts = got.Conflicts.List
	}
	if got.Outcome != want.Outcome || got.Reason != want.Reason || got.Token != want.Token || !slices.Equal(conflicts, found) {
		w.t.Fatalf("step %d, %s: got %+v, want %+v %+v", w.index, what, got, want, found)
	}
}

// events compares what the sessions are told, also of a resume, and lets them say
// that they know.
func (w *spaceTwins) events(denied *Event) {
	w.t.Helper()
	var want []Event
	if denied != nil {
		want = append(want, *denied)
	}
	for _, e := range w.naive.TakeEvents() {
		want = append(want, Event{Session: e.Owner.Session, Lock: e.ID, Kind: EventGranted, Mode: rangeMode(Granted, e.Kind), Token: e.Token})
	}
	got := w.table.TakeEvents()
	if !slices.EqualFunc(got, want, sameEvent) {
		w.t.Fatalf("step %d: events %+v, want %+v", w.index, got, want)
	}
	for _, e := range got {
		again := w.table.Changed(e.Session, w.index-1, nil)
		if !slices.ContainsFunc(again, func(x Event) bool { return sameEvent(x, e) }) {
			w.t.Fatalf("step %d: a resume tells %+v, and not %+v", w.index, again, e)
		}
	}
	for _, e := range got {
		if r := w.table.Unlock(e.Session, UnlockRequest{ID: e.Lock}); r.Outcome != Unlocked {
			w.t.Fatalf("step %d: acknowledge %+v: %+v", w.index, e, r)
		}
		w.seen[fmt.Sprint("event ", e.Kind)]++
	}
}

// file chooses a file and what is asked of it.
func (w *spaceTwins) request() (RangeRequest, rangeRequest) {
	space, n, flock := uint32(1+w.pick(2)), w.pick(spaceFiles), w.pick(5) == 0
	from := w.pick(naiveCells)
	w.id++
	r := RangeRequest{
		ID: w.id, Lockspace: space, Name: fmt.Appendf(nil, "file%*d", 40*n, n), Owner: uint64(w.pick(2)),
		Start: naiveBounds[from], End: cellEnd(min(from+w.pick(6), naiveCells-1)), Kind: RangeKind(w.pick(2)),
	}
	if flock {
		r.Flags, r.Start, r.End = RangeFlock, 0, RangeMax
	}
	return r, rangeRequest{File: fileKey(space, n, classOf(flock, false)), Start: r.Start, End: r.End, Kind: r.Kind, ID: r.ID}
}

func (w *spaceTwins) ask(s Session) {
	r, q := w.request()
	q.Owner = RangeOwner{Session: s, Number: r.Owner}
	switch n := w.pick(20); {
	case n < 11:
		q.Wait = n < 9
		if !q.Wait {
			r.Flags |= NoQueue
		}
		if n%5 == 1 {
			r.Flags, q.Spared = r.Flags|NoDlckWt, true
		}
		if n%3 == 1 {
			q.Timeout = uint32(n + 1)
			r.Flags, r.Timeout = r.Flags|Timeout, q.Timeout
		}
		if n%4 == 0 {
			r.Flags, q.Recovery = r.Flags|Recovery, true
		}
		reply := w.table.RangeLock(s, r)
		if r.Flags&RangeFlock != 0 {
			w.expect("flock", reply, w.naive.Flock(q), nil)
		} else {
			w.expect("lock", reply, w.naive.Lock(q), nil)
		}
	case n < 17:
		w.expect("unlock", w.table.RangeUnlock(s, r), w.naive.Unlock(q.Owner, q.File, q.Start, q.End), nil)
	case n < 18:
		found, _, why := w.naive.Test(q.Owner, q.File, rangeSpan{q.Start, q.End, q.Kind}, 0, 0)
		want := rangeReply{Outcome: Granted}
		if len(found) > 0 {
			want = rangeRefuse(reason.TryFailed)
		}
		if why != reason.None {
			want = rangeRefuse(why)
		}
		w.expect("test", w.table.RangeTest(s, r), want, found)
	case n < 19:
		w.expect("close", w.table.RangeClose(s, r), w.naive.CloseFile(q.Owner, q.File), nil)
	default:
		r.Name, r.Flags = nil, 0
		w.expect("close all", w.table.RangeClose(s, r), w.naive.CloseOwner(q.Owner, inSpace(r.Lockspace)), nil)
	}
	w.events(nil)
}

// withdraw cancels or denies one of those that wait.
func (w *spaceTwins) withdraw() {
	if len(w.naive.waits) == 0 {
		return
	}
	x := w.naive.waits[w.pick(len(w.naive.waits))]
	if w.pick(2) == 0 {
		w.expect("cancel", w.table.Cancel(x.owner.Session, x.id), w.naiveCancel(x), nil)
		w.events(nil)
		return
	}
	if !w.table.Deny(Denial{Session: x.owner.Session, ID: x.id, Reason: reason.TimedOut}) {
		w.t.Fatalf("step %d: request %d is not denied", w.index, x.id)
	}
	w.naive.Cancel(x.owner.Session, x.id)
	w.events(&Event{Session: x.owner.Session, Lock: x.id, Kind: EventDenied, Reason: reason.TimedOut})
}

// turn is what happens to a session or a node.
func (w *spaceTwins) turn(s Session) {
	space, heir := uint32(1+w.pick(2)), RemainsOf(nodeOf(s))
	frozen := w.naive.frozen(s)
	n := w.pick(12)
	w.seen[fmt.Sprint("turn ", n)]++
	got, want := 0, 0
	switch n {
	case 0:
		w.table.Freeze(s)
		w.naive.Freeze(s)
	case 1, 2:
		w.table.Release(s)
		w.naive.Release(s)
		w.dropWholes(s, 0)
		w.enter(s)
	case 3:
		if !frozen {
			w.naive.Release(s)
			w.dropWholes(s, 0)
		}
		if w.table.Close(s); !frozen {
			w.enter(s)
		}
	case 4:
		if r := w.table.Leave(s, space, true); r.Outcome == Left {
			w.naive.CloseIn(s, inSpace(space))
			w.dropWholes(s, space)
			w.enter(s)
		}
	case 5, 6:
		if got = w.table.FreezeIn(s, space, nil); !frozen {
			want = w.freezeIn(s, heir, space)
		}
	case 7:
		if w.table.Part(s, []uint32{space}, nil); frozen {
			w.freezeIn(s, heir, space)
			w.naive.Release(s)
			w.dropWholes(s, 0)
			w.enter(s)
		}
	case 8, 9:
		got, want = w.table.ReleaseIn(heir, space, nil, 0), w.naive.ReleaseIn(heir, 0, inSpace(space))
		if !w.doubted[heir] {
			want += w.dropWholes(heir, space)
		}
	case 10:
		w.table.DoubtRemains(nodeOf(s))
		w.naive.Doubt(heir, true)
		w.doubted[heir] = true
	default:
		w.table.TrustRemains(nodeOf(s), nil)
		w.naive.Doubt(heir, false)
		delete(w.doubted, heir)
	}
	w.settleDoubt()
	if got != want {
		w.t.Fatalf("step %d, turn %d: %d ranges, want %d", w.index, n, got, want)
	}
	w.events(nil)
}

// freezeIn is FreezeIn for what the naive twin knows.
func (w *spaceTwins) freezeIn(s, heir Session, space uint32) int {
	n := w.leaveWholes(s, heir, space)
	if n > 0 {
		w.seen["remains of wholes"]++
	}
	return n + w.naive.FreezeIn(s, heir, w.doubted[heir], inSpace(space))
}

// compare holds all files against the naive twin's, and takes the table through a
// snapshot.
func (w *spaceTwins) compare() {
	w.t.Helper()
	if err := deepCheck(w.table); err != nil {
		w.t.Fatalf("step %d: %v", w.index, err)
	}
	got, want := map[uint32]rangeFileState{}, map[uint32]rangeFileState{}
	for _, f := range rangeFilesOf(w.table) {
		key := fileKey(f.Lockspace, int(f.Name[len(f.Name)-1]-'0'), classOf(f.Flock, f.Gulm))
		for i := range f.Ranges {
			f.Ranges[i].Stamp = 0
		}
		for i := range f.Waits {
			f.Waits[i].Stamp = 0
		}
		got[key] = rangeFileState{File: key, Ranges: f.Ranges, Waits: f.Waits}
	}
	for space := range uint32(2) {
		for n := range 3 * spaceFiles {
			key := fileKey(space+1, n/3, rangeClass(n%3))
			if f := w.naive.file(key); len(f.Ranges)+len(f.Waits) > 0 {
				want[key] = f
			}
		}
	}
	w.watched(w.table)
	w.compareWholes()
	if !reflect.DeepEqual(got, want) {
		w.t.Fatalf("step %d: %s", w.index, gocmp.Diff(want, got, gocmp.AllowUnexported(rangeFileState{})))
	}
	again, ok := restored(w.table, slices.Reverse[[]ResourceState])
	if !ok || again.Digest() != w.table.Digest() || w.table.Clone().Digest() != w.table.Digest() {
		w.t.Fatalf("step %d: a snapshot is refused or has another digest", w.index)
	}
	w.watched(again)
	w.watched(w.table.Clone())
	w.table = again
}

// watched compares the list of those that wait with a time-out.
func (w *spaceTwins) watched(t *Table) {
	w.t.Helper()
	var want, got []Watching
	for _, x := range w.naive.waits {
		if x.timeout != 0 {
			want = append(want, Watching{
				Session: x.owner.Session, ID: x.id, Range: true, Since: x.since, Owner: x.owner.Number, Timeout: x.timeout,
			})
		}
	}
	slices.SortFunc(want, func(a, b Watching) int { return cmp.Compare(b.Since, a.Since) })
	after := uint64(0)
	if len(want) > 2 {
		after = want[len(want)-1].Since
		want = want[:len(want)-1]
	}
	t.Watch(after, func(x Watching) bool {
		got = append(got, x)
		return true
	})
	if !slices.Equal(got, want) {
		w.t.Fatalf("step %d: %+v are watched, want %+v", w.index, got, want)
	}
	if len(got) > 0 {
		w.seen["watched"]++
	}
}

// TestRangeSpace_twin plays requests, withdrawals, deaths, withdrawn lockspaces,
// recoveries and snapshots.
func TestRangeSpace_twin(t *testing.T) {
	w := newSpaceTwins(t, rand.New(rand.NewPCG(8, 15)).IntN)
	for range rangeOps() {
		w.step()
	}
	w.compare()
	t.Log(w.seen)
	for _, must := range []string{
		"lock 1 ", "lock 2 ", "lock 0 DEADLOCK", "lock 0 NODE_EXPIRED", "flock 2 ", "test 0 TRY_FAILED", "cancel 4 ", "event 1", "event 3", "turn 7", "watched",
		"gulm 1 ", "gulm 2 ", "gulm 3 ", "gulm 0 DEADLOCK", "gulm 0 IN_USE", "gulm 0 BUSY", "gulm 0 NOT_HELD", "gulm cancel 4 ", "query", "whole",
		"lock beside parts 0 IN_USE", "remains of wholes",
	} {
		if w.seen[must] < 3 && !testing.Short() {
			t.Errorf("%q happened %d times", must, w.seen[must])
		}
	}
}
