package lock

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var operations = flag.Int("operations", 400_000, "random operations for TestTwin_bulk")

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
	case !sameReply(reply, wantReply) || !sameReply(plainReply, wantReply):
		return fmt.Errorf("step %d %v: got %+v, want %+v, without restore %+v", w.step, o, reply, wantReply, plainReply)
	case !sameEvents(events, wantEvents) || !sameEvents(plainEvents, wantEvents):
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
			got, want := w.real.Changed(o.Session, seen, nil), w.naive.Changed(o.Session, seen)
			if !reflect.DeepEqual(got, want) {
				return fmt.Errorf("step %d: session %d since %d: %s", w.step, o.Session, seen, cmp.Diff(want, got))
			}
		}
		if got, want := w.real.Locks(o.Session), len(w.naive.locksOf(o.Session)); got != want {
			return fmt.Errorf("step %d: session %d has %d locks, want %d", w.step, o.Session, got, want)
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
		w, size := newTwins(), []world{crowded, ordinary, unruly}[pick(3)]
		prepare(w, size)
		t.Repeat(map[string]func(*rapid.T){
			"op": func(t *rapid.T) {
				o := chooseOp(pick, size, w.real)
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
		for _, o := range []op{{kind: opOpen, session: s + 1}, {kind: opJoin, session: s + 1, join: JoinRequest{Name: []byte("gfs")}}} {
			if err := w.do(o); err != nil {
				panic(err) // nothing here can differ
			}
		}
	}
}

// TestTwin_bulk runs many operations; -operations says how many, of which -short
// leaves a tenth.
func TestTwin_bulk(t *testing.T) {
	total := *operations
	if testing.Short() {
		total /= 10
	}
	for _, c := range []struct {
		name  string
		size  world
		part  float64
		every int // operations between two comparisons
	}{
		{"crowded", crowded, 0.4, 16},
		{"unruly", unruly, 0.1, 16},
		{"ordinary", ordinary, 0.4, 32},
		{"wide", wide, 0.1, 2000},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(c.size.names)))
			w := newTwins()
			prepare(w, c.size)
			seen := tally{}
			for i := range int(float64(total) * c.part) {
				o := chooseOp(rng.IntN, c.size, w.real)
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
			if !testing.Short() && (seen.locks < 10 || seen.converting < 2 || seen.waiting < 3 || seen.ended == 0 || seen.values < 2 ||
				seen.sets == 0 || seen.watched < 2 ||
				c.size != wide && !c.size.unruly && (seen.frozen == 0 || seen.orphans < 2 || seen.remains < 3 || seen.crossed == 0 || seen.gulms < 4)) {
				t.Error("the run hardly touched anything")
			}
		})
	}
}

func rare(k kind) bool {
	return k >= opLeave && k < opGulm
}

// tally remembers how far a run went.
type tally struct {
	locks, converting, waiting, frozen, orphans, remains, crossed, ended, values, gulms, sets, watched int
}

func (s *tally) note(w *twins) {
	c := w.real.Counts()
	s.locks, s.converting, s.waiting = max(s.locks, c.Locks), max(s.converting, c.Converting), max(s.waiting, c.Waiting)
	frozen := 0
	for _, o := range w.real.owners {
		s.sets = max(s.sets, o.sets.count())
		if o.frozen {
			frozen++
		}
		if o.session.orphans() {
			s.orphans = max(s.orphans, o.locks)
		}
		if o.session.remains() {
			s.remains = max(s.remains, o.locks)
		}
	}
	crossings := 0
	for slot := uint32(1); slot < w.real.resources.next && len(w.real.spaces) > 0; slot++ {
		if w.real.resources.get(slot).strong&crossed != 0 {
			crossings++
		}
	}
	s.crossed, s.gulms = max(s.crossed, crossings), max(s.gulms, w.real.gulms.used)
	s.watched = max(s.watched, w.real.Watched())
	s.frozen, s.ended, s.values = max(s.frozen, frozen), max(s.ended, w.real.ended), max(s.values, w.real.values.used)
}
