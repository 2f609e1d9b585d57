package client

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// TestLiveness_Suspended: a machine that was suspended finds its locks lost as
// soon as it looks, although its monotonic clock did not move, and what was told
// before it fell asleep proves nothing.
func TestLiveness_Suspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asleep time.Duration
		d, err := deadlinesOf(&gulmv1.LoginReply{HeartbeatRateMs: 2000, ExpiryMs: 6000})
		if err != nil {
			t.Fatal(err)
		}
		var kinds []EventKind
		l := newLiveness(d, newClock(func() time.Duration { return time.Hour + asleep }), func(e Event) { kinds = append(kinds, e.Kind) })
		l.acknowledged(l.nextBeat())
		old := l.nextBeat()
		if err := l.good(); err != nil {
			t.Fatal(err)
		}
		asleep = 4 * time.Second
		l.tick()
		if state, _ := l.current(); state != StateJeopardy || l.good() != nil {
			t.Fatalf("after 4 s of sleep: %v, %v", state, l.good())
		}
		asleep = 5 * time.Second
		l.acknowledged(old)
		wantErr(t, l.good(), ErrLost)
		l.acknowledged(l.nextBeat())
		if err := l.good(); err != nil {
			t.Fatalf("a beat that was sent after the sleep: %v", err)
		}
		time.Sleep(5 * time.Second)
		wantErr(t, l.good(), ErrLost)
		want := []EventKind{EventSafe, EventJeopardy, EventLost, EventSafe, EventJeopardy, EventLost}
		if !slices.Equal(kinds, want) {
			t.Fatalf("events are %v, want %v", kinds, want)
		}
	})
}

// TestClock_QuickSeesSleep: the wall clock is ahead after a sleep, which is
// enough to look; it is never what counts.
func TestClock_QuickSeesSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asleep time.Duration
		looks := 0
		c := newClock(func() time.Duration { looks++; return asleep })
		time.Sleep(time.Minute)
		if d := c.quick(); d != time.Minute || looks != 1 {
			t.Fatalf("%v after %d looks", d, looks)
		}
		asleep = time.Hour
		c.skew.Add(int64(-time.Hour)) // as if the wall clock had gone ahead
		if d := c.quick(); d != time.Hour+time.Minute || looks != 2 {
			t.Fatalf("after the sleep: %v after %d looks", d, looks)
		}
		c.skew.Add(int64(-time.Hour)) // the clock was set, nobody slept
		if d := c.quick(); d != time.Hour+time.Minute || looks != 3 {
			t.Fatalf("after the clock was set: %v after %d looks", d, looks)
		}
		time.Sleep(time.Minute)
		if d := c.quick(); d != time.Hour+2*time.Minute || looks != 3 {
			t.Fatalf("a minute later: %v after %d looks", d, looks)
		}
	})
}

// TestSuspended asks the real kernel: the answer does not shrink, and is steady
// while nobody sleeps.
func TestSuspended(t *testing.T) {
	first := suspended()
	for range 1000 {
		if d := suspended(); d < first-time.Millisecond || first < 0 {
			t.Fatalf("suspended for %v, then for %v", first, d)
		}
	}
}
