package client

import (
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// tick is the smallest step of a clock: what is to happen at a time does not happen
// a tick before.
const tick = time.Nanosecond

// TestTiming_JeopardyAndLost: both come exactly at their time, counted from before
// the newest acknowledged beat was sent, however late the acknowledgement was.
func TestTiming_JeopardyAndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, late := range []time.Duration{0, time.Second, 3*time.Second - tick} {
			l, kinds := lifeless(t)
			beat := l.nextBeat()
			sent := time.Now()
			time.Sleep(late)
			l.acknowledged(beat)
			at := func(d time.Duration, want State) {
				t.Helper()
				time.Sleep(time.Until(sent.Add(d)))
				if state, _ := l.current(); state != want {
					t.Errorf("acknowledged after %v: %v after %v, want %v", late, state, d, want)
				}
			}
			at(3*time.Second-tick, StateSafe)
			at(3*time.Second, StateJeopardy)
			at(5*time.Second-tick, StateJeopardy)
			if err := l.good(); err != nil {
				t.Errorf("a tick before it is lost: %v", err)
			}
			at(5*time.Second, StateLost)
			wantErr(t, l.good(), ErrLost)
			// What proves too little is no way back, what proves enough is.
			old := l.nextBeat()
			time.Sleep(3 * time.Second)
			l.acknowledged(old)
			wantErr(t, l.good(), ErrLost)
			old = l.nextBeat()
			time.Sleep(3*time.Second - tick)
			if l.acknowledged(old); l.good() != nil {
				t.Errorf("a tick within jeopardy does not end lost: %v", l.good())
			}
			if want := []EventKind{EventSafe, EventJeopardy, EventLost, EventSafe}; !slices.Equal(*kinds, want) {
				t.Errorf("events are %v, want %v", *kinds, want)
			}
		}
	})
}

// TestTiming_Beats: a node beats every 4/3 s with the defaults, not more often, also
// while it has other things to send.
func TestTiming_Beats(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		var gaps []time.Duration
		last := c.newestBeat()
		for len(gaps) < 20 {
			_ = mustLock(t, ls, "r", EX).Unlock()
			time.Sleep(10 * time.Millisecond)
			if b := c.newestBeat(); b.After(last) {
				gaps, last = append(gaps, b.Sub(last)), b
			}
		}
		for _, gap := range gaps {
			// Looked for every 10 ms and a bit, and the fake's network takes its time.
			if gap < n.live.beat-50*time.Millisecond || gap > n.live.beat+50*time.Millisecond {
				t.Errorf("beats are %v apart, want %v", gap, n.live.beat)
			}
		}
		if n.live.beat != 2*2*time.Second/3 {
			t.Errorf("a beat every %v", n.live.beat)
		}
	})
}

// TestTiming_ProbeBound: a probe that fails stops the beats with the first try that
// ends when its bound is over, not with one that ends a tick before; when it
// succeeds again the bound begins anew.
func TestTiming_ProbeBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			l, _ := lifeless(t)
			n := &Node{live: l, health: newHealth(), log: slog.New(slog.DiscardHandler), ctx: t.Context()}
			x := patient{Probe: Probe{Name: "work", Bound: 30 * time.Second}, node: n, stop: func() {}}
			x.began = time.Now()
			x.failed(errBroken)
			time.Sleep(30*time.Second - tick)
			if x.failed(errBroken); n.health.sick() != nil {
				t.Error("sick a tick before the bound")
			}
			if told := n.health.tell(time.Now()); len(told) != 1 || told[0].GetStopsInMs() != 0 {
				t.Errorf("told: %v", told)
			}
			time.Sleep(tick)
			x.failed(errBroken)
			wantErr(t, n.health.sick(), errBroken)
			if l.nextBeat() != 0 {
				t.Error("a sick node beats")
			}
			x.result(nil)
			if n.health.sick() != nil || l.nextBeat() == 0 {
				t.Error("a node that is well again does not beat")
			}
			x.began = time.Now()
			x.failed(errBroken)
			time.Sleep(30*time.Second - tick)
			if x.failed(errBroken); n.health.sick() != nil {
				t.Error("the bound does not begin anew")
			}
		}
	})
}

// TestTiming_ProbeDoubt: after the time of the doubt, and not a tick before, the
// beats go on, and the bound begins anew.
func TestTiming_ProbeDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := lifeless(t)
		n := &Node{live: l, health: newHealth(), log: slog.New(slog.DiscardHandler), ctx: t.Context()}
		x := patient{Probe: Probe{Name: "work", Bound: 30 * time.Second, Doubt: 12 * time.Second}, node: n, stop: func() {}}
		x.began = time.Now()
		x.failed(errBroken)
		time.Sleep(30 * time.Second)
		x.failed(errBroken)
		time.Sleep(12*time.Second - tick)
		x.failed(errBroken)
		wantErr(t, n.health.sick(), errBroken)
		time.Sleep(tick)
		if x.failed(errBroken); n.health.sick() != nil {
			t.Error("no benefit of the doubt")
		}
		time.Sleep(30*time.Second - tick)
		if x.failed(errBroken); n.health.sick() != nil {
			t.Error("the bound does not begin anew after the doubt")
		}
		time.Sleep(tick)
		x.failed(errBroken)
		wantErr(t, n.health.sick(), errBroken)
	})
}

// TestTiming_Pauses: between two tries for a master a node waits for half to all of a
// time that doubles from its least to its most.
func TestTiming_Pauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pauses{min: DefaultPauseMin, max: DefaultPauseMax}
		for _, want := range []time.Duration{50, 100, 200, 400, 800, 1000, 1000} {
			want *= time.Millisecond
			began := time.Now()
			p.wait(t.Context())
			if took := time.Since(began); took < want/2 || took > want {
				t.Errorf("waited %v, want %v to %v", took, want/2, want)
			}
		}
		p.reset()
		began := time.Now()
		if p.wait(t.Context()); time.Since(began) > DefaultPauseMin {
			t.Errorf("after a success %v", time.Since(began))
		}
	})
}
