package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// TestStream_CutAppliesOnce cuts the stream right after each kind of request
// was applied, so that its reply is lost.
func TestStream_CutAppliesOnce(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		seen := map[uint64]bool{}
		cuts := 0
		c.with(func(f *faults) {
			f.cutAfter = func(r *gulmv1.Request) bool {
				first := !seen[r.GetSeq()]
				seen[r.GetSeq()] = true
				if first {
					cuts++
				}
				return first
			}
		})
		ls := joinSpace(t, n)
		for i := range 50 {
			l := mustLock(t, ls, fmt.Sprint(i%7), PR)
			if err := l.Convert(t.Context(), EX); err != nil {
				t.Fatal(err)
			}
			if err := l.UnlockWait(t.Context()); err != nil {
				t.Fatal(err) // applied twice, it would be refused with NOT_HELD
			}
		}
		if err := ls.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if cuts != 152 || c.applied["OP_LOCK"] != 50 || c.applied["OP_CONVERT"] != 50 || c.applied["OP_UNLOCK"] != 50 {
			t.Fatalf("%d cuts, applied %v", cuts, c.applied)
		}
	})
}

// TestStream_MasterChangeKeepsPlacesInQueues elects another master while locks
// are held and waited for.
func TestStream_MasterChangeKeepsPlacesInQueues(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		holder := mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "r", EX)
		var waiters []<-chan *Lock
		for i := range 4 {
			waiters = append(waiters, lockLater(t, joinSpace(t, dialNode(t, c, fmt.Sprintf("w%d", i))), "r", EX))
		}
		for i, got := range waiters {
			switch i % 2 {
			case 0: // the old master says where the new one is
				c.elect(c.addr((i + 1) % 3))
			case 1: // the master dies while the grant is under way
				old := c.addr(i % 3)
				c.elect("")
				_ = holder.Unlock()
				c.stop(old)
				time.Sleep(time.Second)
				c.elect(c.addr(2))
				c.start(old)
			}
			_ = holder.Unlock()
			holder = <-got
			if err := holder.Valid(); err != nil {
				t.Fatal(err)
			}
			for _, other := range waiters[i+1:] {
				pending(t, other)
			}
		}
		if c.applied["OP_LOCK"] != 5 {
			t.Fatalf("applied %v", c.applied)
		}
	})
}

// TestStream_RedirectNeedsNoPause follows the old master's word at once.
func TestStream_RedirectNeedsNoPause(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		for i := range 20 {
			c.elect(c.addr((i + 1) % 3))
			start := time.Now()
			_ = mustLock(t, ls, "r", EX).Unlock()
			if took := time.Since(start); took != 0 {
				t.Fatalf("change %d took %v of pauses", i, took)
			}
			if want := c.addr((i + 1) % 3); n.Master() != want {
				t.Fatalf("stream goes to %s, want %s", n.Master(), want)
			}
		}
	})
}

// TestStream_TwoServersThatNameEachOther must not keep the node busy.
func TestStream_TwoServersThatNameEachOther(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		tries := 0
		l := n.servers
		at := course{hint: c.addr(0)}
		for i := range 8 {
			addr, err := l.next(t.Context(), &at)
			if err != nil {
				t.Fatal(err)
			}
			l.failed(&at, addr, gulmerr.NotMaster("other", c.addr((i+1)%2)))
			if !at.redirected {
				tries++
			}
		}
		if tries < 2 {
			t.Fatalf("8 redirects made only %d pauses", tries)
		}
	})
}

// TestStream_SilentServerIsLeft has a server that takes connections and answers
// nothing; the others have another master.
func TestStream_SilentServerIsLeft(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		l := mustLock(t, joinSpace(t, n), "r", EX)
		held := l.Context()
		c.mu.Lock()
		c.servers[c.addr(0)].hang = true
		c.mu.Unlock()
		c.with(func(f *faults) { f.mute = true })
		newest := c.newestBeat()
		time.Sleep(time.Second)
		c.mu.Lock()
		c.master = c.addr(1)
		c.mu.Unlock()
		time.Sleep(time.Until(newest.Add(2900 * time.Millisecond))) // jeopardy would come at 3 s
		c.with(func(f *faults) { f.mute = false })
		time.Sleep(50 * time.Millisecond)
		if n.Master() != c.addr(1) || held.Err() != nil || n.State() != StateSafe {
			t.Fatalf("master is %q, context %v, state %v", n.Master(), held.Err(), n.State())
		}
	})
}

// TestStream_ReplacedMasterIsNotBelieved attaches to a server that knows less
// than the node has seen.
func TestStream_ReplacedMasterIsNotBelieved(t *testing.T) {
	bubble(t, 2, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		mustLock(t, ls, "r", EX)
		c.mu.Lock()
		session := c.sessions[n.Session()]
		applied := session.applied
		session.applied = 0
		c.mu.Unlock()
		c.cut(gulmerr.ErrUnavailable)
		time.Sleep(time.Minute)
		if n.Master() != "" || n.State() != StateLost || n.Err() != nil {
			t.Fatalf("master is %q, state %v, err %v", n.Master(), n.State(), n.Err())
		}
		c.mu.Lock()
		session.applied = applied
		c.mu.Unlock()
		mustLock(t, ls, "s", EX)

		c.mu.Lock() // now it knows the requests, but not the newest index
		index := c.index
		c.index = 1
		c.mu.Unlock()
		c.cut(gulmerr.ErrUnavailable)
		time.Sleep(time.Minute)
		if n.State() != StateLost || n.Err() != nil {
			t.Fatalf("state is %v, err %v", n.State(), n.Err())
		}
		c.mu.Lock()
		c.index = index
		c.mu.Unlock()
		mustLock(t, ls, "t", EX)
	})
}

// TestStream_EventsAreRepeatedAndForeign hands the node events that it must
// not believe.
func TestStream_EventsAreRepeatedAndForeign(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		l := mustLock(t, ls, "r", EX)
		old := l.Token()
		_ = l.Convert(t.Context(), PR)
		other := mustLock(t, joinSpace(t, dialNode(t, c, "n2")), "r", PR)
		done := make(chan error, 1)
		go func() { done <- l.Convert(t.Context(), EX) }()
		synctest.Wait()
		granted := func(lock, token uint64, mode Mode) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.send(c.sessions[n.Session()], &gulmv1.Event{
				Lock: lock, Kind: gulmv1.EventKind_EVENT_KIND_GRANTED, Mode: gulmv1.Mode(mode), Token: token,
			})
		}
		granted(l.number, old, EX)         // the first grant again
		granted(l.number, l.Token(), PR)   // the present one again
		granted(l.number+77, old+1000, EX) // a lock that is gone
		pending(t, done)
		if l.Mode() != PR {
			t.Fatalf("relies on %v", l.Mode())
		}
		_ = other.Unlock()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestStream_HintBeforeGrant: servers may tell a lock to give way right before
// they tell that it is granted.
func TestStream_HintBeforeGrant(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		holder := mustLock(t, joinSpace(t, dialNode(t, c, "n2")), "r", EX)
		got := lockLater(t, ls, "r", PR)
		c.mu.Lock()
		c.send(c.sessions[n.Session()], &gulmv1.Event{
			Lock: n.lastLock, Kind: gulmv1.EventKind_EVENT_KIND_BLOCKING, Mode: gulmv1.Mode_MODE_EX,
		})
		c.mu.Unlock()
		synctest.Wait()
		_ = holder.Unlock()
		if wanted := <-(<-got).Blocking(); wanted != EX {
			t.Fatalf("told to give way to %v", wanted)
		}
	})
}

func TestStream_BatchesWhatIsQueued(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		cfg := c.config("n1")
		cfg.BatchLimit = 100
		n, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		ls := joinSpace(t, n)
		c.stop(c.addr(0))
		synctest.Wait()
		var asked sync.WaitGroup
		for i := range 1000 {
			asked.Go(func() {
				if _, err := ls.Lock(t.Context(), fmt.Sprint(i), EX); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		before := c.messages
		c.start(c.addr(0))
		asked.Wait()
		if got := c.messages - before; got < 10 || got > 20 || c.largest != 100 {
			t.Fatalf("1000 requests came in %d messages, the largest with %d; want some more than 10, and 100", got, c.largest)
		}
	})
}

// TestStream_KeepsTheServersLimit has many more callers than the session may
// have requests; the fake complains about one too many.
func TestStream_KeepsTheServersLimit(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		c.inFlight = 7
		ls := joinSpace(t, dialNode(t, c, "n1"))
		var asked sync.WaitGroup
		for i := range 200 {
			asked.Go(func() {
				l, err := ls.Lock(t.Context(), fmt.Sprint(i), EX)
				if err != nil {
					t.Error(err)
					return
				}
				if err := l.Unlock(); err != nil {
					t.Error(err)
				}
			})
		}
		asked.Wait()
		synctest.Wait()
		if n := c.left(); n != 0 {
			t.Fatalf("%d locks are left", n)
		}
		c.with(func(f *faults) { f.holdReplies = true })
		for i := range 7 {
			_, err := ls.Lock(shortly(t, time.Millisecond), fmt.Sprint(i), EX)
			wantErr(t, err, context.DeadlineExceeded)
		}
		_, err := ls.Lock(shortly(t, time.Millisecond), "no slot", EX)
		wantErr(t, err, context.DeadlineExceeded)
		c.with(func(f *faults) { f.holdReplies = false })
		if err := ls.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStream_Storm has nodes lock, convert, cancel and unlock at random while
// streams are cut and masters change. At no moment do two hold what excludes
// each other; in the end servers and nodes agree that nothing is left.
func TestStream_Storm(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		rooms := newRooms(t)
		var work sync.WaitGroup
		for i := range 3 {
			ls := joinSpace(t, dialNode(t, c, fmt.Sprintf("n%d", i)))
			for j := range 4 {
				work.Go(func() { stormWorker(t, ls, rooms, rand.New(rand.NewPCG(uint64(i), uint64(j)))) })
			}
		}
		stop := make(chan struct{})
		var trouble sync.WaitGroup
		trouble.Go(func() { makeTrouble(c, stop) })
		work.Wait()
		close(stop)
		trouble.Wait()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := c.left(); n != 0 {
			t.Fatalf("%d locks are left", n)
		}
	})
}

func makeTrouble(c *fakeCluster, stop chan struct{}) {
	rng := rand.New(rand.NewPCG(7, 7))
	for {
		select {
		case <-stop:
			return
		case <-time.After(upTo(rng, 500*time.Millisecond)):
		}
		switch rng.IntN(3) {
		case 0:
			c.cut(gulmerr.ErrUnavailable)
		case 1:
			c.elect(c.addr(rng.IntN(3)))
		case 2:
			left := rng.IntN(5)
			c.with(func(f *faults) {
				f.cutAfter = func(*gulmv1.Request) bool { left--; return left == 0 }
			})
		}
	}
}

// rooms is what the locks protect: it knows who is inside in which mode.
type rooms struct {
	t      *testing.T
	mu     sync.Mutex
	inside map[string]map[*Lock]Mode
}

func newRooms(t *testing.T) *rooms { return &rooms{t: t, inside: map[string]map[*Lock]Mode{}} }

func (r *rooms) enter(l *Lock, mode Mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inside[l.Name()] == nil {
		r.inside[l.Name()] = map[*Lock]Mode{}
	}
	for o, m := range r.inside[l.Name()] {
		if !compatible[m][mode] {
			r.t.Errorf("%s: lock %d enters in %v while %d is inside in %v", l.Name(), l.number, mode, o.number, m)
		}
	}
	r.inside[l.Name()][l] = mode
}

func (r *rooms) exit(l *Lock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inside[l.Name()], l)
}

func stormWorker(t *testing.T, ls *Lockspace, r *rooms, rng *rand.Rand) {
	modes := []Mode{NL, CR, CW, PR, PW, EX}
	for range 150 {
		ctx, cancel := context.WithTimeout(t.Context(), upTo(rng, time.Second))
		l, err := ls.Lock(ctx, fmt.Sprint(rng.IntN(3)), modes[rng.IntN(6)])
		cancel()
		if err != nil {
			continue
		}
		for range rng.IntN(3) {
			if l.Valid() == nil {
				r.enter(l, l.Mode())
				time.Sleep(upTo(rng, 20*time.Millisecond))
				r.exit(l)
			}
			ctx, cancel := context.WithTimeout(t.Context(), upTo(rng, 500*time.Millisecond))
			_ = l.Convert(ctx, modes[rng.IntN(6)])
			cancel()
		}
		if err := l.Unlock(); err != nil {
			t.Errorf("unlock: %v", err)
		}
	}
}

// upTo returns a random time of at most d, and not 0.
func upTo(rng *rand.Rand, d time.Duration) time.Duration {
	return 1 + time.Duration(rng.Int64N(int64(d)))
}
