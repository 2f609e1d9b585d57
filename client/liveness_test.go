package client

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

func TestDeadlines_LostIsAlwaysBeforeExpiry(t *testing.T) {
	for _, rate := range []time.Duration{10 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 15 * time.Second} {
		for misses := range 10 {
			e := rate * time.Duration(misses+1)
			d, err := deadlinesOf(&gulmv1.LoginReply{HeartbeatRateMs: rate.Milliseconds(), ExpiryMs: e.Milliseconds()})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case d.lost > e-e/6 || d.jeopardy >= d.lost || d.beat <= 0:
				t.Errorf("rate %v, expiry %v: beat %v, jeopardy %v, lost %v", rate, e, d.beat, d.jeopardy, d.lost)
			case d.beat >= rate || d.beat >= d.patience || d.patience > d.jeopardy || d.attach > d.patience:
				t.Errorf("rate %v, expiry %v: beats every %v, patience %v leave no time", rate, e, d.beat, d.patience)
			}
		}
	}
	for _, bad := range []*gulmv1.LoginReply{{}, {HeartbeatRateMs: 10}, {HeartbeatRateMs: -1, ExpiryMs: 5}, {HeartbeatRateMs: 10, ExpiryMs: 9}} {
		_, err := deadlinesOf(bad)
		wantErr(t, err, gulmerr.ErrBadConfig)
	}
}

// TestNode_JeopardyLostSafe takes the acknowledgements away: the events come in
// order and in time, lost before the servers can expire the node.
func TestNode_JeopardyLostSafe(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		l := mustLock(t, joinSpace(t, n), "r", EX)
		time.Sleep(10 * time.Minute)
		held, lost := l.Context(), n.Lost()
		if err := l.Valid(); err != nil || n.State() != StateSafe || held.Err() != nil {
			t.Fatalf("after ten quiet minutes: %v, %v, %v", err, n.State(), held.Err())
		}
		lifeEvents(n, time.Now())

		c.with(func(f *faults) { f.mute = true })
		newest := c.newestBeat() // the servers count from here, the node from before
		<-lost
		events := lifeEvents(n, newest)
		want := []stamp{{EventJeopardy, 3 * time.Second}, {EventLost, 5 * time.Second}}
		if !slices.Equal(events, want) {
			t.Fatalf("events are %v, want %v", events, want)
		}
		if lateBy := time.Since(newest); lateBy >= c.expiry {
			t.Fatalf("lost %v after the newest beat, the servers expire after %v", lateBy, c.expiry)
		}
		wantErr(t, l.Valid(), ErrLost)
		wantErr(t, context.Cause(held), ErrLost)
		wantErr(t, context.Cause(l.Context()), ErrLost)
		if n.State() != StateLost {
			t.Fatalf("state is %v", n.State())
		}

		c.with(func(f *faults) { f.mute = false })
		for n.State() != StateSafe {
			time.Sleep(100 * time.Millisecond)
		}
		if events := lifeEvents(n, newest); len(events) != 1 || events[0].kind != EventSafe {
			t.Fatalf("events are %v, want safe", events)
		}
		if err := l.Valid(); err != nil || l.Context().Err() != nil || held.Err() == nil {
			t.Fatalf("after safe: %v, fresh context %v, old one %v", err, l.Context().Err(), held.Err())
		}
		select {
		case <-n.Lost():
			t.Fatal("Lost gave no fresh channel")
		default:
		}
		time.Sleep(10 * time.Minute)
		if events := lifeEvents(n, newest); len(events) != 0 {
			t.Fatalf("later events: %v", events)
		}
	})
}

func (c *fakeCluster) newestBeat() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var newest time.Time
	for _, s := range c.sessions {
		if s.beat.After(newest) {
			newest = s.beat
		}
	}
	return newest
}

// TestNode_JeopardyAlone stops short of lost: no context ends.
func TestNode_JeopardyAlone(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		l := mustLock(t, joinSpace(t, n), "r", EX)
		held := l.Context()
		lifeEvents(n, time.Now())
		c.with(func(f *faults) { f.mute = true })
		newest := c.newestBeat()
		time.Sleep(3500 * time.Millisecond)
		if n.State() != StateJeopardy || l.Valid() != nil {
			t.Fatalf("state is %v, valid: %v", n.State(), l.Valid())
		}
		c.with(func(f *faults) { f.mute = false })
		time.Sleep(time.Minute)
		events := lifeEvents(n, newest)
		if len(events) != 2 || events[0].kind != EventJeopardy || events[1].kind != EventSafe || held.Err() != nil {
			t.Fatalf("events are %v, context %v", events, held.Err())
		}
	})
}

// TestNode_RequestsWaitThroughLost asks while the servers are gone.
func TestNode_RequestsWaitThroughLost(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		c.stop(c.addr(0))
		got := lockLater(t, ls, "r", EX)
		time.Sleep(time.Minute)
		pending(t, got)
		if n.State() != StateLost || n.Master() != "" {
			t.Fatalf("state is %v, master %q", n.State(), n.Master())
		}
		c.start(c.addr(0))
		if l := <-got; l.Valid() != nil {
			t.Fatal(l.Valid())
		}
		if n.Master() != c.addr(0) {
			t.Fatalf("master is %q", n.Master())
		}
	})
}

// TestNode_GrantWhileLost lets a grant come in while no beat is acknowledged:
// nobody may rely on it before the node is safe again.
func TestNode_GrantWhileLost(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		c.with(func(f *faults) { f.mute = true })
		<-n.Lost()
		got := lockLater(t, ls, "r", EX)
		time.Sleep(time.Minute)
		pending(t, got)
		_, err := ls.Lock(shortly(t, time.Minute), "s", EX)
		wantErr(t, err, context.DeadlineExceeded)
		wantErr(t, err, ErrLost)
		c.with(func(f *faults) { f.mute = false })
		if l := <-got; l.Valid() != nil {
			t.Fatal(l.Valid())
		}
		time.Sleep(time.Second)
		if n := c.left(); n != 1 {
			t.Fatalf("%d locks are left, want the one that was waited for", n)
		}
	})
}

func TestNode_Expired(t *testing.T) {
	bubble(t, 2, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		l := mustLock(t, ls, "r", EX)
		held := l.Context()
		waiting := make(chan error, 1)
		go func() {
			_, err := ls.Lock(t.Context(), "r", EX)
			waiting <- err
		}()
		synctest.Wait()
		lifeEvents(n, time.Now())
		c.expireNode("n1")
		wantErr(t, <-waiting, ErrNodeExpired)
		wantErr(t, l.Valid(), ErrNodeExpired)
		wantErr(t, l.Unlock(), ErrNodeExpired)
		wantErr(t, l.Convert(t.Context(), NL), ErrNodeExpired)
		wantErr(t, context.Cause(held), ErrNodeExpired)
		wantErr(t, context.Cause(l.Context()), ErrNodeExpired)
		wantErr(t, n.Err(), ErrNodeExpired)
		wantErr(t, n.Valid(), ErrNodeExpired)
		_, err := ls.Lock(t.Context(), "s", EX)
		wantErr(t, err, ErrNodeExpired)
		_, err = n.Join(t.Context(), "gfs02", JoinOptions{})
		wantErr(t, err, ErrNodeExpired)
		wantErr(t, ls.Leave(t.Context()), ErrNodeExpired)
		<-n.Lost()
		if events := lifeEvents(n, time.Now()); len(events) != 1 || events[0].kind != EventExpired || n.State() != StateExpired {
			t.Fatalf("events are %v, state %v", events, n.State())
		}
		wantErr(t, n.Logout(t.Context()), ErrNodeExpired)
	})
}

// TestNode_ExpiredWhileCutOff learns of its death only when it comes back.
func TestNode_ExpiredWhileCutOff(t *testing.T) {
	for _, end := range []error{gulmerr.ErrNodeExpired, gulmerr.ErrStaleIncarnation, gulmerr.ErrNoSession} {
		bubble(t, 1, func(t *testing.T, c *fakeCluster) {
			n := dialNode(t, c, "n1")
			l := mustLock(t, joinSpace(t, n), "r", EX)
			lifeEvents(n, time.Now())
			c.with(func(f *faults) { f.attach = end })
			c.stop(c.addr(0))
			<-n.Lost()
			wantErr(t, l.Valid(), ErrLost)
			c.start(c.addr(0))
			<-n.dead
			wantErr(t, l.Valid(), end)
			wantErr(t, context.Cause(l.Context()), end)
			var kinds []EventKind
			for _, e := range lifeEvents(n, time.Now()) {
				kinds = append(kinds, e.kind)
			}
			if !slices.Equal(kinds, []EventKind{EventJeopardy, EventLost, EventExpired}) {
				t.Fatalf("events are %v", kinds)
			}
		})
	}
}

// lifeless returns a liveness without the goroutine that makes timers fire, as
// in a process that was stopped.
func lifeless(t *testing.T) (*liveness, *[]EventKind) {
	t.Helper()
	d, err := deadlinesOf(&gulmv1.LoginReply{HeartbeatRateMs: 2000, ExpiryMs: 6000})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []EventKind
	return newLiveness(d, newClock(nil), func(e Event) { kinds = append(kinds, e.Kind) }), &kinds
}

func TestLiveness_NoTimerIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, kinds := lifeless(t)
		wantErr(t, l.good(), ErrLost)
		l.acknowledged(l.nextBeat())
		time.Sleep(5*time.Second - time.Nanosecond)
		if err := l.good(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Nanosecond)
		wantErr(t, l.good(), ErrLost)
		if want := []EventKind{EventSafe, EventJeopardy, EventLost}; !slices.Equal(*kinds, want) {
			t.Fatalf("events are %v, want %v", *kinds, want)
		}
	})
}

// TestLiveness_OldNewsIsNoProof reads, after a stop, what had arrived before it.
func TestLiveness_OldNewsIsNoProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, kinds := lifeless(t)
		l.acknowledged(l.nextBeat())
		_, alive := l.current()
		time.Sleep(time.Second)
		old := l.nextBeat()
		time.Sleep(time.Minute)
		if !l.acknowledged(old) {
			t.Fatal("the beat was not known")
		}
		wantErr(t, l.good(), ErrLost)
		wantErr(t, context.Cause(alive), ErrLost)
		first := l.nextBeat()
		time.Sleep(time.Second)
		l.nextBeat()
		l.acknowledged(first)
		if err := l.good(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second) // first is 5 s old, and the second beat is not acknowledged
		wantErr(t, l.good(), ErrLost)
		if l.acknowledged(first) || l.acknowledged(old) {
			t.Fatal("news that was told before counted again")
		}
		want := []EventKind{EventSafe, EventJeopardy, EventLost, EventSafe, EventJeopardy, EventLost}
		if !slices.Equal(*kinds, want) {
			t.Fatalf("events are %v, want %v", *kinds, want)
		}
	})
}

// TestLiveness_LateAcknowledgement is told in time to prolong, but too late for
// safe.
func TestLiveness_LateAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, kinds := lifeless(t)
		l.acknowledged(l.nextBeat())
		time.Sleep(time.Second)
		late := l.nextBeat()
		time.Sleep(3500 * time.Millisecond)
		l.acknowledged(late) // 3.5 s old
		if state, _ := l.current(); state != StateJeopardy {
			t.Fatalf("state is %v", state)
		}
		time.Sleep(1499 * time.Millisecond)
		if err := l.good(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		wantErr(t, l.good(), ErrLost)
		if want := []EventKind{EventSafe, EventJeopardy, EventLost}; !slices.Equal(*kinds, want) {
			t.Fatalf("events are %v, want %v", *kinds, want)
		}
	})
}

func TestLiveness_ForgetsTheOldestBeats(t *testing.T) {
	l, _ := lifeless(t)
	for range 10 * maxBeats {
		l.nextBeat()
	}
	if len(l.beats) != maxBeats || !l.acknowledged(10*maxBeats) || len(l.beats) != 0 {
		t.Fatalf("%d beats are remembered", len(l.beats))
	}
}

func TestNode_SlowEventReader(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		const cuts = 100 // each makes two events, and nobody reads
		for range cuts {
			c.cut(gulmerr.ErrUnavailable)
			mustLock(t, ls, "r", PR)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		var events []Event
		for e := range n.Events() {
			events = append(events, e)
		}
		missed := 0
		for _, e := range events {
			missed += e.Missed
		}
		if len(events) != eventBuffer || missed < cuts*2-eventBuffer || events[len(events)-1].Kind != EventDisconnected {
			t.Fatalf("%d events, %d missed, the last is %v", len(events), missed, events[len(events)-1].Kind)
		}
	})
}
