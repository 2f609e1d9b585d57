package master

import (
	"container/heap"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// tick is the smallest step of a clock: what is to happen at a time does not happen
// a tick before.
const tick = time.Nanosecond

// TestTiming_Expiry: a session that was silent for exactly what it is allowed is
// not late; a tick later it is, and is condemned. Any sign of life starts it anew.
func TestTiming_Expiry(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		for range 2 { // the second time after another sign of life
			b.pardon([]uint64{1})
			b.alive(1, 0)
			sleep(testLimit)
			if late := b.keep(allow(1)); len(late) != 0 || b.condemn(1, testLimit, []uint64{1}) {
				t.Errorf("late at the boundary: %v", late)
			}
			sleep(tick)
			if late := b.keep(allow(1)); late[1] != testLimit+tick || !b.condemn(1, testLimit, []uint64{1}) {
				t.Errorf("a tick later: %v", late)
			}
		}
	})
}

// TestTiming_Standstill: a pulse that comes as late as it may changes nothing; one
// that comes a tick later gives every session its full time from then on. Between
// the standstill and the pulse that notices it nobody is condemned.
func TestTiming_Standstill(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		b.alive(1, 0)
		sleep(testLimit - testPatience)
		time.Sleep(testPatience)
		if gap := b.tick(); gap != 0 {
			t.Errorf("as late as it may be: a gap of %v", gap)
		}
		sleep(tick)
		if late := b.keep(allow(1)); len(late) != 1 {
			t.Error("a pulse that was in time gave a new period")
		}
		time.Sleep(testPatience)
		if !b.condemn(1, testLimit, []uint64{1}) {
			t.Error("not condemned although the pulse may be so late")
		}
		b.pardon([]uint64{1})
		time.Sleep(tick)
		if b.condemn(1, testLimit, []uint64{1}) {
			t.Error("condemned by a server that is later than it may be")
		}
		if gap := b.tick(); gap != testPatience+tick {
			t.Errorf("noticed a gap of %v", gap)
		}
		sleep(testLimit)
		if late := b.keep(allow(1)); len(late) != 0 {
			t.Errorf("late are %v, a full time after the standstill", late)
		}
		sleep(tick)
		if late := b.keep(allow(1)); len(late) != 1 {
			t.Error("a tick after that nobody is late")
		}
	})
}

// TestTiming_Grace: a new master's beats know nobody; whoever it looks for has the
// full time from its first look, which is when its term begins.
func TestTiming_Grace(t *testing.T) {
	in(t, func(t *testing.T, old *beats, sleep func(time.Duration)) {
		old.alive(1, 0)
		sleep(testLimit)
		b := newBeats(testPatience) // of the next term
		b.keep(allow(1))
		for at := time.Duration(0); at < testLimit; at += testPatience / 3 {
			time.Sleep(testPatience / 3)
			b.tick()
		}
		if late := b.keep(allow(1)); len(late) != 0 {
			t.Errorf("late at the end of the grace: %v", late)
		}
		time.Sleep(tick)
		if late := b.keep(allow(1)); len(late) != 1 {
			t.Error("a tick later nobody is late")
		}
	})
}

// TestTiming_Siblings: a beat is answered at once while every other session of the
// node was heard of within the slack, to the tick.
func TestTiming_Siblings(t *testing.T) {
	in(t, func(t *testing.T, b *beats, _ func(time.Duration)) {
		slack := testLimit / siblingShare
		answered := func() (yes bool) {
			b.settle(1, beat{1, time.Now()}, []uint64{2}, slack, func() { yes = true })
			return yes
		}
		b.alive(1, 0)
		b.alive(2, 0)
		time.Sleep(slack)
		if !answered() {
			t.Error("not answered at the boundary")
		}
		time.Sleep(tick)
		if answered() {
			t.Error("answered although the sibling was silent for a tick longer")
		}
	})
}

// TestTiming_Missing: a node counts as missing for the breaker when it was silent
// for more than half of what it is allowed.
func TestTiming_Missing(t *testing.T) {
	n := member.Node{Name: "n1", Incarnation: 1}
	for silent, missing := range map[time.Duration]bool{testLimit / missingShare: false, testLimit/missingShare + tick: true} {
		l := &look{
			alone: map[uint64]bool{}, sessions: []member.Session{{Number: 1, Node: "n1"}},
			census: census{missing: map[string]bool{}, known: map[string]bool{}},
		}
		l.judge(n, allow(1), nil, map[uint64]time.Duration{1: silent})
		if l.missing["n1"] != missing || !l.known["n1"] {
			t.Errorf("silent for %v: missing is %v", silent, l.missing["n1"])
		}
	}
}

// TestTiming_Window: who vanished counts for the whole window from when this master
// learned of it, to the tick, and for longer while fencing is paused because of that
// and the node is not back.
func TestTiming_Window(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 30 * time.Second
		tm := &term{m: New(Config{Breaker: Breaker{Window: window}})}
		l := member.Life{Node: "n1", Incarnation: 1}
		count := func(b state.Breaker, back ...member.Life) *census {
			c := &census{
				missing: map[string]bool{}, known: map[string]bool{}, back: map[member.Life]bool{},
				vanished: []member.Life{l}, breaker: b,
			}
			for _, l := range back {
				c.back[l] = true
			}
			tm.count(c)
			return c
		}
		count(state.Breaker{})
		time.Sleep(window)
		if c := count(state.Breaker{}); !c.missing["n1"] || len(c.over) != 0 {
			t.Errorf("at the end of the window: %+v", c)
		}
		time.Sleep(tick)
		for what, c := range map[string]*census{
			"no pause": count(state.Breaker{}), "paused by hand": count(state.Breaker{Paused: true, Operator: "alice"}),
			"overruled": count(state.Breaker{Overridden: true, Operator: "alice"}),
		} {
			if c.missing["n1"] || len(c.over) != 1 {
				t.Errorf("a tick later, %s: %+v", what, c)
			}
		}
		if c := count(state.Breaker{Paused: true}); !c.missing["n1"] || len(c.over) != 0 {
			t.Errorf("a tick later, paused: %+v", c)
		}
		if c := count(state.Breaker{Paused: true}, l); c.missing["n1"] || len(c.over) != 1 {
			t.Errorf("a tick later, paused, and the node is back: %+v", c)
		}
		tm = &term{m: tm.m} // another master
		if c := count(state.Breaker{}); !c.missing["n1"] || len(c.over) != 0 {
			t.Errorf("a new master: %+v", c)
		}
	})
}

// TestTiming_Deadlines: a wait with a time-out is over when its time is, not a tick
// before, from when the master learned of it.
func TestTiming_Deadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deadlines{known: map[lock.Watching]struct{}{}}
		now := time.Now()
		heap.Push(&d.heap, deadline{now.Add(3 * time.Second), lock.Watching{}})
		table := lock.New(lock.Limits{}) // in which nobody waits any more
		if d.over(table, now.Add(3*time.Second-tick)); len(d.heap) != 1 {
			t.Error("over a tick too early")
		}
		if d.over(table, now.Add(3*time.Second)); len(d.heap) != 0 {
			t.Error("not over when the time is")
		}
	})
}

// TestTiming_Rounds: the slowest round counts for nine to ten minutes.
func TestTiming_Rounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		if r.worst() != 0 {
			t.Error("measured before there was anything")
		}
		r.note(time.Second)
		r.note(time.Millisecond)
		time.Sleep((roundSlots-1)*roundSlot - tick)
		if r.note(2 * time.Millisecond); r.worst() != time.Second {
			t.Errorf("within nine minutes: %v", r.worst())
		}
		time.Sleep(roundSlot + tick)
		if r.worst() != 2*time.Millisecond {
			t.Errorf("after ten minutes: %v", r.worst())
		}
		time.Sleep(100 * time.Hour)
		if r.worst() != 0 {
			t.Errorf("long after: %v", r.worst())
		}
	})
}

// TestTiming_Look: how often a master looks, and how late it may be, for the shortest
// settings and the default ones.
func TestTiming_Look(t *testing.T) {
	for rate, want := range map[time.Duration][2]time.Duration{
		50 * time.Millisecond: {20 * time.Millisecond, 250 * time.Millisecond},
		2 * time.Second:       {500 * time.Millisecond, time.Second},
		15 * time.Second:      {3750 * time.Millisecond, 7500 * time.Millisecond},
	} {
		if look, late := LookPeriod(rate), Lateness(rate); look != want[0] || late != want[1] {
			t.Errorf("a heartbeat every %v: looks every %v, late by %v; want %v", rate, look, late, want)
		}
	}
}
