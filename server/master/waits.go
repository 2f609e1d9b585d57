package master

import (
	"container/heap"
	"context"
	"time"

	"lock_gulmd/server/codec"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/state"
)

const (
	// searchPause is before a search for deadlocks, and so between two of them:
	// most waits are over by then.
	searchPause = 100 * time.Millisecond
	// quickBudget is how much a search may look at while nothing is applied: well
	// below a millisecond of it. What needs more is searched in a copy, with
	// fullBudget and after fullPause.
	quickBudget = 1 << 12
	fullBudget  = 1 << 22
	fullPause   = time.Second
	// denialsAtOnce is how many denials are under way at once.
	denialsAtOnce = 64
	// spareDeadlines is how many deadlines of waits that are over are kept before
	// they are looked through.
	spareDeadlines = 4096
)

// stirs wakes those who look after the requests that wait and have an owner, a
// time-out, or belong to a set.
type stirs struct{ deadlines, deadlocks chan struct{} }

func newStirs() stirs {
	s := stirs{make(chan struct{}, 1), make(chan struct{}, 1)}
	s.stir() // what waits already when the term begins
	return s
}

// stir says that somebody waits, or that who waits for whom may have changed.
func (s stirs) stir() {
	for _, wake := range []chan struct{}{s.deadlines, s.deadlocks} {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// applied looks at what the log answered to an entry.
func (s stirs) applied(value any) {
	if r, ok := value.(state.Result); ok && r.Watched {
		s.stir()
	}
}

// deadlines denies requests that have waited for as long as they may. The time
// counts from when this master learned of the wait: a new master starts it anew.
func (t *term) deadlines(ctx context.Context) error {
	d := &deadlines{known: map[lock.Watching]struct{}{}}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := time.Hour
		if len(d.heap) > 0 {
			next = time.Until(d.heap[0].at)
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-t.stirs.deadlines:
			t.m.cfg.Machine.View(func(s *state.State) { d.learn(s, time.Now()) })
		case <-timer.C:
			var over []lock.Watching
			t.m.cfg.Machine.View(func(s *state.State) { over = d.over(s.Locks(), time.Now()) })
			if err := t.timeOut(ctx, over); err != nil {
				return err
			}
		}
	}
}

// timeOut denies requests, many at a time.
func (t *term) timeOut(ctx context.Context, over []lock.Watching) error {
	for len(over) > 0 {
		n := min(len(over), denialsAtOnce)
		denials := make([]state.Deny, 0, n)
		for _, w := range over[:n] {
			denials = append(denials, state.Deny{
				Term: t.number, Session: uint64(w.Session), Lock: w.ID, Since: w.Since, Reason: reason.TimedOut,
			})
		}
		if _, err := t.deny(ctx, denials); err != nil {
			return err
		}
		over = over[n:]
	}
	return nil
}

// deny proposes denials, and returns how many of them were carried out: the
// others came too late.
func (t *term) deny(ctx context.Context, denials []state.Deny) (int, error) {
	futures := make([]*replica.Future, 0, len(denials))
	for _, d := range denials {
		f, err := t.batches.write(ctx, codec.Encode(time.Now().UnixMilli(), d))
		if err != nil {
			return 0, translate(err)
		}
		futures = append(futures, f)
	}
	done := 0
	for _, f := range futures {
		value, _, err := f.Wait(ctx)
		if err != nil {
			return done, translate(err)
		}
		if r, ok := value.(state.Result); ok && r.Reason == reason.None {
			done++
		}
		t.stirs.applied(value)
	}
	return done, nil
}

// deadline is when one wait is over.
type deadline struct {
	at   time.Time
	wait lock.Watching
}

// deadlines are those of all waits with a time-out that the master knows of, and
// of some that are over.
type deadlines struct {
	seen  uint64 // log index up to which all waits are known
	known map[lock.Watching]struct{}
	heap  deadlineHeap
}

// learn notes the waits that began since the last time.
func (d *deadlines) learn(s *state.State, now time.Time) {
	t := s.Locks()
	t.Watch(d.seen, func(w lock.Watching) bool {
		if _, known := d.known[w]; w.Timeout > 0 && !known {
			d.known[w] = struct{}{}
			heap.Push(&d.heap, deadline{now.Add(time.Duration(w.Timeout) * time.Millisecond), w})
		}
		return true
	})
	d.seen = s.Index()
	if len(d.heap) > 2*t.Watched()+spareDeadlines {
		d.forget(t)
	}
}

// forget drops the deadlines of waits that are over.
func (d *deadlines) forget(t *lock.Table) {
	kept := d.heap[:0]
	for _, x := range d.heap {
		if t.Waits(x.wait) {
			kept = append(kept, x)
		} else {
			delete(d.known, x.wait)
		}
	}
	clear(d.heap[len(kept):])
	d.heap = kept
	heap.Init(&d.heap)
}

// over takes the waits whose time is over and that are not.
func (d *deadlines) over(t *lock.Table, now time.Time) []lock.Watching {
	var over []lock.Watching
	for len(d.heap) > 0 && !d.heap[0].at.After(now) {
		x := heap.Pop(&d.heap).(deadline)
		delete(d.known, x.wait)
		if t.Waits(x.wait) {
			over = append(over, x.wait)
		}
	}
	return over
}

// deadlineHeap has the earliest deadline first.
type deadlineHeap []deadline

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h deadlineHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push and Pop are for package heap.
func (h *deadlineHeap) Push(x any) { *h = append(*h, x.(deadline)) }

func (h *deadlineHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
