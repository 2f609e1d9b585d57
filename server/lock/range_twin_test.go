package lock

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lock_gulmd/server/reason"
)

var rangeOperations = flag.Int("range-operations", 250_000, "random operations for TestRangeTwin_bulk")

// rangeEngine is what a table and its naive twin have in common.
type rangeEngine interface {
	SetLimit(uint64)
	Lock(rangeRequest) rangeReply
	Flock(rangeRequest) rangeReply
	Unlock(o RangeOwner, file uint32, start, end uint64) rangeReply
	Cancel(Session, ID) rangeReply
	CloseFile(RangeOwner, uint32) rangeReply
	CloseOwner(RangeOwner, func(uint32) bool) rangeReply
	CloseIn(Session, func(uint32) bool)
	FreezeIn(s, heir Session, doubted bool, match func(uint32) bool) int
	ReleaseIn(s, from Session, match func(uint32) bool) int
	Doubt(heir Session, doubted bool)
	Freeze(Session)
	Release(Session)
	Test(o RangeOwner, file uint32, s rangeSpan, skip, limit int) ([]RangeConflict, bool, reason.Reason)
	TakeEvents() []rangeEvent
}

// rangeWorld is how much there is to choose from.
type rangeWorld struct{ sessions, owners, files, cells int }

var (
	rangeCrowded  = rangeWorld{sessions: 2, owners: 2, files: 1, cells: 6}
	rangeOrdinary = rangeWorld{sessions: 3, owners: 2, files: 3, cells: naiveCells}
	rangeWide     = rangeWorld{sessions: 6, owners: 5, files: 6, cells: naiveCells}
)

// flockFile is where files for flock begin.
const flockFile = 100

type rangeOpKind int

const (
	rangeOpLock rangeOpKind = iota
	rangeOpUnlock
	rangeOpTest
	rangeOpCancel
	rangeOpFlock
	rangeOpCloseFile
	rangeOpCloseOwner
	rangeOpCloseIn
	rangeOpFreezeIn
	rangeOpReleaseIn
	rangeOpDoubt
	rangeOpFreeze
	rangeOpRelease
	rangeOpLimit
	rangeOpClone
	rangeOpRestore
)

var rangeWeights = [...]int{
	rangeOpLock: 450, rangeOpUnlock: 280, rangeOpTest: 40, rangeOpCancel: 40, rangeOpFlock: 30, rangeOpCloseFile: 12,
	rangeOpCloseOwner: 6, rangeOpCloseIn: 2, rangeOpFreezeIn: 2, rangeOpReleaseIn: 12, rangeOpDoubt: 4, rangeOpFreeze: 1, rangeOpRelease: 8, rangeOpLimit: 4, rangeOpClone: 3, rangeOpRestore: 5,
}

var rangeOpNames = [...]string{
	"lock", "unlock", "test", "cancel", "flock", "closefile", "closeowner", "closein", "freezein", "releasein", "doubt", "freeze", "release", "limit", "clone", "restore",
}

type rangeOp struct {
	kind  rangeOpKind
	req   rangeRequest
	limit int
}

func (o rangeOp) String() string {
	return fmt.Sprintf("%s %+v limit %d", rangeOpNames[o.kind], o.req, o.limit)
}

// chooseRangeOp chooses an operation; now and then an impossible one.
func chooseRangeOp(pick func(int) int, w rangeWorld) rangeOp {
	total := 0
	for _, n := range rangeWeights {
		total += n
	}
	o := rangeOp{}
	for n := pick(total); n >= rangeWeights[o.kind]; o.kind++ {
		n -= rangeWeights[o.kind]
	}
	from := pick(w.cells)
	to := min(from+pick(4), w.cells-1)
	if pick(8) == 0 {
		from, to = 0, naiveCells-1
	}
	o.req = rangeRequest{
		Owner: RangeOwner{Session: Session(pick(w.sessions) + 1), Number: uint64(pick(w.owners))},
		File:  uint32(pick(w.files)),
		Start: naiveBounds[from], End: cellEnd(to), Kind: RangeKind(pick(2)),
		Wait: pick(3) > 0, ID: ID(pick(40)), Recovery: pick(10) == 0,
	}
	o.limit = pick(4)
	switch o.kind {
	case rangeOpFlock:
		o.req.File += flockFile
	case rangeOpLimit:
		o.limit = [...]int{0, 0, 0, 0, 6, 30}[pick(6)]
	default:
		switch pick(300) {
		case 0:
			o.req.Start, o.req.End = o.req.End+1, o.req.Start
		case 1:
			o.req.End = RangeMax + 1
		case 2:
			o.req.Kind = rangeKinds
		case 3:
			o.req.Owner.Session = 0
		}
	}
	return o
}

// rangeAnswer is all that an operation says.
type rangeAnswer struct {
	Reply     rangeReply
	Conflicts []RangeConflict
	More      bool
	Ranges    int
	Events    []rangeEvent
}

// apply runs the operation; the engine knows file f as key ^ f.
func (o rangeOp) apply(e rangeEngine, key uint32) rangeAnswer {
	var a rangeAnswer
	req := o.req
	req.File ^= key
	match := func(file uint32) bool { return o.limit == 0 || int(file^key)%2 == o.limit%2 }
	switch o.kind {
	case rangeOpLock:
		a.Reply = e.Lock(req)
	case rangeOpFlock:
		a.Reply = e.Flock(req)
	case rangeOpUnlock:
		a.Reply = e.Unlock(req.Owner, req.File, req.Start, req.End)
	case rangeOpTest:
		a.Conflicts, a.More, a.Reply.Reason = e.Test(req.Owner, req.File, rangeSpan{req.Start, req.End, req.Kind}, int(req.ID)%3, o.limit)
	case rangeOpCancel:
		a.Reply = e.Cancel(req.Owner.Session, req.ID)
	case rangeOpCloseFile:
		a.Reply = e.CloseFile(req.Owner, req.File)
	case rangeOpCloseOwner:
		a.Reply = e.CloseOwner(req.Owner, match)
	case rangeOpCloseIn:
		e.CloseIn(req.Owner.Session, match)
	case rangeOpFreezeIn:
		a.Ranges = e.FreezeIn(req.Owner.Session, naiveHeir(req.Owner.Session), o.limit == 3, match)
	case rangeOpReleaseIn:
		s, from := req.Owner.Session, Session(0)
		if o.limit != 1 {
			s = naiveHeir(s)
		}
		if o.limit == 2 {
			from = req.Owner.Session
		}
		a.Ranges = e.ReleaseIn(s, from, match)
	case rangeOpDoubt:
		e.Doubt(naiveHeir(req.Owner.Session), o.limit == 0)
	case rangeOpFreeze:
		e.Freeze(req.Owner.Session)
	case rangeOpRelease:
		e.Release(req.Owner.Session)
	case rangeOpLimit:
		e.SetLimit(uint64(o.limit))
	case rangeOpClone, rangeOpRestore:
	}
	a.Events = e.TakeEvents()
	for i := range a.Events {
		a.Events[i].File ^= key
	}
	return a
}

// rangeImage is all that can be seen of a table, by file.
type rangeImage struct {
	Files    []rangeFileState
	Sessions []rangeSessionState
	Order    uint64
	Token    uint64
}

func imageOfRanges(t *rangeTable, key uint32) rangeImage {
	image := rangeImage{Sessions: t.Sessions(), Order: t.Order(), Token: t.lastToken}
	t.Walk(func(f *rangeFileState) bool {
		copied := rangeFileState{
			File: f.File ^ key, Ranges: append([]RangeState(nil), f.Ranges...), Waits: append([]RangeWaitState(nil), f.Waits...),
		}
		image.Files = append(image.Files, copied)
		return true
	})
	slices.SortFunc(image.Files, func(a, b rangeFileState) int { return int(a.File) - int(b.File) })
	return image
}

func (n *naiveRanges) image(w rangeWorld) rangeImage {
	image := rangeImage{Sessions: append([]rangeSessionState{}, n.sessions...), Order: n.order, Token: n.token}
	for file := range uint32(w.files) {
		for _, f := range []uint32{file, file + flockFile} {
			if state := n.file(f); len(state.Ranges)+len(state.Waits) > 0 {
				image.Files = append(image.Files, state)
			}
		}
	}
	slices.SortFunc(image.Files, func(a, b rangeFileState) int { return int(a.File) - int(b.File) })
	return image
}

func digestOfRanges(t *rangeTable, key uint32) uint64 {
	return t.Digest(func(file uint32) uint64 { return uint64(file ^ key) })
}

// restoredRanges takes a table through a walk; the files come in another order
// and with other numbers.
func restoredRanges(t *rangeTable, key, newKey uint32) (*rangeTable, bool) {
	r := newRangeRestore(t.limit)
	r.SetCounters(t.Order(), t.lastToken)
	for _, s := range t.Sessions() {
		r.Session(s)
	}
	files := imageOfRanges(t, key).Files
	for i := range files {
		f := &files[len(files)-1-i]
		f.File ^= newKey
		r.File(f)
	}
	return r.Finish()
}

// deepCheckRanges is Check, and that every record is found where it is.
func deepCheckRanges(t *rangeTable) error {
	if err := t.Check(); err != nil {
		return err
	}
	for slot := uint32(1); slot < t.files.next; slot++ {
		if f := t.files.get(slot); f.live && t.findFile(f.key) != slot {
			return fmt.Errorf("file %d is not found", f.key)
		}
	}
	for slot := uint32(1); slot < t.waits.next; slot++ {
		if w := t.waits.get(slot); w.id != 0 && t.findWait(w.session, w.id) != slot {
			return fmt.Errorf("request %d/%d is not found", w.session, w.id)
		}
	}
	for slot := uint32(1); slot < t.parties.next; slot++ {
		if p := t.parties.get(slot); p.holders != 0 && t.findParty(p.owner) != slot {
			return fmt.Errorf("owner %+v is not found", p.owner)
		}
	}
	for slot := uint32(1); slot < t.holders.next; slot++ {
		if h := t.holders.get(slot); h.party != 0 && t.holderOf(h.party, h.file) != slot {
			return fmt.Errorf("holder %+v is not found", h)
		}
	}
	for slot := uint32(1); slot < t.sessions.next; slot++ {
		if s := t.sessions.get(slot); s.session != 0 && t.findSession(s.session) != slot {
			return fmt.Errorf("session %d is not found", s.session)
		}
	}
	if t.waitIndex.used != t.waits.used || t.fileIndex.used != t.files.used || t.partyIndex.used != t.parties.used ||
		t.holderIndex.used != t.holders.used || t.sessionIndex.used != t.sessions.used {
		return fmt.Errorf("an index holds what is gone")
	}
	return nil
}

// rangeTwins runs three engines side by side: the naive one, the real one which
// is cloned and restored on the way, and a real one which is not.
type rangeTwins struct {
	world       rangeWorld
	real, plain *rangeTable
	naive       *naiveRanges
	key         uint32 // of the real one's files
	step        int

	clone      *rangeTable
	cloneKey   uint32
	cloneImage rangeImage
	cloneSum   uint64

	seen map[string]int
}

func newRangeTwins(w rangeWorld) *rangeTwins {
	return &rangeTwins{world: w, real: &rangeTable{}, plain: &rangeTable{}, naive: &naiveRanges{}, seen: map[string]int{}}
}

func (w *rangeTwins) do(o rangeOp) error {
	w.step++
	switch o.kind {
	case rangeOpClone:
		w.clone, w.cloneKey = w.real.Clone(), w.key
		w.cloneImage, w.cloneSum = w.naive.image(w.world), digestOfRanges(w.plain, 0)
	case rangeOpRestore:
		key := uint32(mix64(uint64(w.step)))
		again, ok := restoredRanges(w.real, w.key, key)
		if !ok {
			return fmt.Errorf("step %d: the snapshot was refused: %v", w.step, again.Check())
		}
		w.real, w.key = again, key
	default:
	}
	want := o.apply(w.naive, 0)
	got, plain := o.apply(w.real, w.key), o.apply(w.plain, 0)
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(plain, want) {
		return fmt.Errorf("step %d %v: got %+v\nwant %+v\nwithout restore %+v", w.step, o, got, want, plain)
	}
	w.seen[fmt.Sprint(rangeOpNames[o.kind], " ", want.Reply.Outcome, " ", want.Reply.Reason)]++
	w.seen["events"] += len(want.Events)
	return nil
}

// compare compares everything that can be seen.
func (w *rangeTwins) compare() error {
	want := w.naive.image(w.world)
	for _, f := range want.Files {
		for _, wait := range f.Waits {
			if wait.Ahead {
				w.seen["ahead"]++
			}
			if w.naive.circle(wait.Owner) {
				return fmt.Errorf("step %d: %+v waits for itself", w.step, wait)
			}
		}
	}
	for _, e := range []struct {
		table *rangeTable
		key   uint32
	}{{w.real, w.key}, {w.plain, 0}} {
		if err := deepCheckRanges(e.table); err != nil {
			return fmt.Errorf("step %d: %w", w.step, err)
		}
		if got := imageOfRanges(e.table, e.key); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("step %d: %s", w.step, cmp.Diff(want, got))
		}
	}
	if digestOfRanges(w.real, w.key) != digestOfRanges(w.plain, 0) {
		return fmt.Errorf("step %d: digests differ", w.step)
	}
	if w.clone == nil {
		return nil
	}
	if got := imageOfRanges(w.clone, w.cloneKey); !reflect.DeepEqual(got, w.cloneImage) || digestOfRanges(w.clone, w.cloneKey) != w.cloneSum {
		return fmt.Errorf("step %d: the clone changed: %s", w.step, cmp.Diff(w.cloneImage, got))
	}
	return w.clone.Check()
}

// TestRangeTwin lets rapid look for a short sequence that tells the engines
// apart.
func TestRangeTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		world := []rangeWorld{rangeCrowded, rangeOrdinary}[pick(2)]
		w := newRangeTwins(world)
		t.Repeat(map[string]func(*rapid.T){
			"op": func(t *rapid.T) {
				o := chooseRangeOp(pick, world)
				t.Log(o)
				if err := w.do(o); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				if err := w.compare(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// rangeOps is how many operations a long run has, of which -short leaves a tenth.
func rangeOps() int {
	if testing.Short() {
		return *rangeOperations / 10
	}
	return *rangeOperations
}

// TestRangeTwin_bulk runs many operations; -range-operations says how many.
func TestRangeTwin_bulk(t *testing.T) {
	for i, c := range []struct {
		name  string
		world rangeWorld
		part  int // percent of the operations
		every int // operations between two comparisons
	}{{"crowded", rangeCrowded, 50, 8}, {"ordinary", rangeOrdinary, 38, 16}, {"wide", rangeWide, 12, 50}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(5, uint64(i)))
			w := newRangeTwins(c.world)
			for n := range rangeOps() * c.part / 100 {
				err := w.do(chooseRangeOp(rng.IntN, c.world))
				if err == nil && n%c.every == 0 {
					err = w.compare()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			t.Log(w.seen)
			for _, must := range []string{"lock 2 ", "lock 0 DEADLOCK", "lock 0 LIMIT", "unlock 0 LIMIT", "cancel 4 ", "events", "ahead"} {
				if w.seen[must] < 3 && !testing.Short() {
					t.Errorf("%q happened %d times: the run hardly touched it", must, w.seen[must])
				}
			}
		})
	}
}
