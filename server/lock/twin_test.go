package lock

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var operations = flag.Int("operations", 400_000, "random operations for TestTwin_bulk")

// source chooses a number from 0 to n-1.
type source func(n int) int

// world is how much there is to choose from.
type world struct{ sessions, ids, names int }

var (
	crowded  = world{sessions: 4, ids: 6, names: 2}
	ordinary = world{sessions: 5, ids: 10, names: 12}
	wide     = world{sessions: 24, ids: 150, names: 3000}
)

// kind is one of the operations.
type kind int

const (
	opLock kind = iota
	opConvert
	opUnlock
	opCancel
	opOpen
	opJoin
	opLeave
	opFreeze
	opRelease
	opLimits
	opClone
	opRestore
)

var kindNames = [...]string{
	"lock", "convert", "unlock", "cancel", "open", "join", "leave", "freeze", "release", "limits", "clone", "restore",
}

// weights says how often each is chosen.
var weights = [...]int{
	opLock: 400, opConvert: 320, opUnlock: 130, opCancel: 50, opOpen: 60, opJoin: 80, opLeave: 5, opFreeze: 4, opRelease: 8,
	opLimits: 3, opClone: 5, opRestore: 8,
}

// op is one operation with its arguments.
type op struct {
	kind    kind
	session Session
	id      ID
	space   uint32
	name    []byte
	mode    Mode
	flags   Flags
	limits  Limits
}

func (o op) String() string {
	return fmt.Sprintf("%s %d/%d space %d name %.8q(%d) %v flags %x limits %v",
		kindNames[o.kind], o.session, o.id, o.space, o.name, len(o.name), o.mode, uint32(o.flags), o.limits)
}

// chooseOp chooses an operation; now and then one with impossible arguments.
func chooseOp(pick source, w world, spaces []space) op {
	// A lockspace that may exist.
	chooseSpace := func() uint32 {
		if len(spaces) == 0 || pick(20) == 0 {
			return uint32(pick(5))
		}
		return spaces[pick(len(spaces))].number
	}
	total := 0
	for _, n := range weights {
		total += n
	}
	o := op{}
	for n := pick(total); n >= weights[o.kind]; o.kind++ {
		n -= weights[o.kind]
	}
	o.session = Session(pick(w.sessions) + 1)
	switch o.kind {
	case opLock, opConvert, opUnlock, opCancel:
		o.id = ID(pick(w.ids + 1))
		o.mode = Mode(pick(modes))
		if pick(50) == 0 {
			o.mode = modes
		}
		o.flags = [...]Flags{0, 0, 0, 0, 0, 0, NoQueue, NoQueue | NoQueueBast, NoCallbacks, 0, NoQueueBast, 2}[pick(12)]
		o.name = chooseName(pick, w.names)
		o.space = chooseSpace()
	case opJoin:
		o.name = [...][]byte{[]byte("gfs"), []byte("gfs"), []byte("ocfs"), bytes.Repeat([]byte("l"), 64), {}}[pick(5)]
	case opLeave:
		o.space = chooseSpace()
	case opLimits:
		if pick(4) == 0 {
			o.limits = Limits{Locks: uint64(pick(20)), Resources: uint64(pick(8)), Lockspaces: uint64(pick(3))}
		}
	case opOpen, opFreeze, opRelease, opClone, opRestore:
	}
	return o
}

// chooseName gives names of all lengths that matter.
func chooseName(pick source, names int) []byte {
	n := pick(names)
	length := [...]int{8, 30, 31, 255}[n%4]
	if pick(100) == 0 {
		length = 256 * pick(2)
	}
	name := bytes.Repeat([]byte{byte(n), byte(n >> 8), 0, 0xff}, 64)
	return name[:length]
}

// twins runs three engines side by side: the naive one, the real one which is
// cloned and restored on the way, and a real one which is not.
type twins struct {
	real, plain *Table
	naive       *naive
	step        uint64
	shuffle     *rand.Rand

	clone      *Table
	cloneImage image
	cloneSum   uint64
}

func newTwins() *twins {
	return &twins{real: New(Limits{}), plain: New(Limits{}), naive: &naive{}, shuffle: rand.New(rand.NewPCG(1, 2))}
}

// engine is what the twins have in common.
type engine interface {
	Begin(index uint64, stamp int64)
	SetLimits(Limits)
	Open(Session)
	Join(Session, []byte, Policy) Reply
	Leave(Session, uint32) Reply
	Lock(Session, LockRequest) Reply
	Convert(Session, ID, Mode, Flags) Reply
	Unlock(Session, ID) Reply
	Cancel(Session, ID) Reply
	Freeze(Session)
	Release(Session)
	TakeEvents() []Event
}

func (o op) apply(e engine, index uint64) (Reply, []Event) {
	var reply Reply
	e.Begin(index, int64(index)*10)
	switch o.kind {
	case opLock:
		reply = e.Lock(o.session, LockRequest{ID: o.id, Lockspace: o.space, Name: o.name, Mode: o.mode, Flags: o.flags})
	case opConvert:
		reply = e.Convert(o.session, o.id, o.mode, o.flags)
	case opUnlock:
		reply = e.Unlock(o.session, o.id)
	case opCancel:
		reply = e.Cancel(o.session, o.id)
	case opOpen:
		e.Open(o.session)
	case opJoin:
		reply = e.Join(o.session, o.name, PolicyFence)
	case opLeave:
		reply = e.Leave(o.session, o.space)
	case opFreeze:
		e.Freeze(o.session)
	case opRelease:
		e.Release(o.session)
	case opLimits:
		e.SetLimits(o.limits)
	case opClone, opRestore:
	}
	return reply, e.TakeEvents()
}

// do applies one operation to all and compares what they say.
func (w *twins) do(o op) error {
	w.step++
	switch o.kind {
	case opClone:
		w.clone = w.real.Clone()
		w.cloneImage, w.cloneSum = w.naive.image(), w.plain.Digest()
	case opRestore:
		if err := w.restore(); err != nil {
			return err
		}
	default:
	}
	reply, events := o.apply(w.real, w.step)
	plainReply, plainEvents := o.apply(w.plain, w.step)
	wantReply, wantEvents := o.apply(w.naive, w.step)
	switch {
	case reply != wantReply || plainReply != wantReply:
		return fmt.Errorf("step %d %v: got %+v, want %+v, without restore %+v", w.step, o, reply, wantReply, plainReply)
	case !reflect.DeepEqual(events, wantEvents) || !reflect.DeepEqual(plainEvents, wantEvents):
		return fmt.Errorf("step %d %v: got events %+v\nwant %+v\nwithout restore %+v", w.step, o, events, wantEvents, plainEvents)
	}
	return nil
}

func (w *twins) restore() error {
	again, ok := restored(w.real, func(rs []ResourceState) {
		w.shuffle.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
	})
	switch {
	case !ok:
		return fmt.Errorf("step %d: the snapshot was refused", w.step)
	case again.Digest() != w.real.Digest():
		return fmt.Errorf("step %d: digest differs after restore: %s", w.step, cmp.Diff(imageOf(w.real), imageOf(again)))
	}
	w.real = again
	return deepCheck(again)
}

// compare compares everything that can be seen.
func (w *twins) compare() error {
	want := w.naive.image()
	for _, t := range []*Table{w.real, w.plain} {
		if err := deepCheck(t); err != nil {
			return fmt.Errorf("step %d: %w", w.step, err)
		}
		if got := imageOf(t); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("step %d: %s", w.step, cmp.Diff(want, got))
		}
	}
	if w.real.Digest() != w.plain.Digest() {
		return fmt.Errorf("step %d: digests differ", w.step)
	}
	for _, o := range w.naive.sessions {
		for _, seen := range []uint64{0, w.step - min(w.step, 10)} {
			got, want := w.real.Changed(o.number, seen, nil), w.naive.Changed(o.number, seen)
			if !reflect.DeepEqual(got, want) {
				return fmt.Errorf("step %d: session %d since %d: %s", w.step, o.number, seen, cmp.Diff(want, got))
			}
		}
		if got, want := w.real.Locks(o.number), len(w.naive.locksOf(o.number)); got != want {
			return fmt.Errorf("step %d: session %d has %d locks, want %d", w.step, o.number, got, want)
		}
	}
	if w.clone == nil {
		return nil
	}
	if got := imageOf(w.clone); !reflect.DeepEqual(got, w.cloneImage) || w.clone.Digest() != w.cloneSum {
		return fmt.Errorf("step %d: the clone changed: %s", w.step, cmp.Diff(w.cloneImage, got))
	}
	return w.clone.Check()
}

// TestMain makes rapid's sequences longer; its flags still win.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.steps", "80"); err != nil {
		panic(err)
	}
	m.Run()
}

// TestTwin lets rapid look for a short sequence that tells the engines apart.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		w, size := newTwins(), []world{crowded, ordinary}[pick(2)]
		prepare(w, size)
		t.Repeat(map[string]func(*rapid.T){
			"op": func(t *rapid.T) {
				o := chooseOp(pick, size, w.real.spaces)
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

// prepare opens and joins, so that most of what follows makes sense.
func prepare(w *twins, size world) {
	for s := range Session(size.sessions) {
		for _, o := range []op{{kind: opOpen, session: s + 1}, {kind: opJoin, session: s + 1, name: []byte("gfs")}} {
			if err := w.do(o); err != nil {
				panic(err) // nothing here can differ
			}
		}
	}
}

// TestTwin_bulk runs many operations; -operations says how many.
func TestTwin_bulk(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  world
		part  float64
		every int // operations between two comparisons
	}{
		{"crowded", crowded, 0.45, 16},
		{"ordinary", ordinary, 0.45, 32},
		{"wide", wide, 0.1, 2000},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(c.size.names)))
			w := newTwins()
			prepare(w, c.size)
			seen := tally{}
			for i := range int(float64(*operations) * c.part) {
				o := chooseOp(rng.IntN, c.size, w.real.spaces)
				if c.size == wide && rare(o.kind) && rng.IntN(60) != 0 {
					continue // so that the table fills
				}
				err := w.do(o)
				if err == nil && i%c.every == 0 {
					err = w.compare()
				}
				if err != nil {
					t.Fatal(err)
				}
				seen.note(w)
			}
			if err := w.compare(); err != nil {
				t.Fatal(err)
			}
			t.Logf("at most %+v", seen)
			if seen.locks < 10 || seen.converting < 2 || seen.waiting < 3 || seen.frozen == 0 {
				t.Error("the run hardly touched anything")
			}
		})
	}
}

func rare(k kind) bool {
	return k == opFreeze || k == opRelease || k == opLimits || k == opClone || k == opRestore
}

// tally remembers how far a run went.
type tally struct{ locks, converting, waiting, frozen int }

func (s *tally) note(w *twins) {
	c := w.real.Counts()
	s.locks, s.converting, s.waiting = max(s.locks, c.Locks), max(s.converting, c.Converting), max(s.waiting, c.Waiting)
	frozen := 0
	for _, o := range w.real.owners {
		if o.frozen {
			frozen++
		}
	}
	s.frozen = max(s.frozen, frozen)
}
