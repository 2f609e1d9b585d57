package master

import (
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/server/member"
)

// run lets a master's pulse beat in time for d.
func (b *beats) run(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(b.patience/2, time.Until(end)))
		b.tick()
	}
}

// TestBeats_clock: the time in which this server stood still is not in its clock, be
// it noticed already or not.
func TestBeats_clock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBeats(time.Second)
		reads := func(want time.Duration) {
			t.Helper()
			if got := b.clock(); got != want {
				t.Fatalf("the clock says %v, want %v", got, want)
			}
		}
		b.run(10 * time.Second)
		reads(10 * time.Second)
		time.Sleep(900 * time.Millisecond)
		reads(10900 * time.Millisecond)
		time.Sleep(time.Hour) // nobody has noticed yet
		reads(10 * time.Second)
		if b.tick() == 0 {
			t.Fatal("a server that stood still for an hour noticed nothing")
		}
		reads(10 * time.Second)
		b.run(5 * time.Second)
		reads(15 * time.Second)
	})
}

// TestBeats_heardAt: the newest sign of life of any of the sessions counts, on that
// clock, and never one from before this server stood still.
func TestBeats_heardAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBeats(time.Second)
		hears := func(want time.Duration, all ...uint64) {
			t.Helper()
			if got := b.heardAt(all); got != want {
				t.Fatalf("sessions %v were heard of at %v, want %v", all, got, want)
			}
		}
		b.alive(1, 1)
		b.run(3 * time.Second)
		b.alive(2, 1)
		b.run(4 * time.Second)
		hears(0, 1)
		hears(3*time.Second, 1, 2)
		hears(3*time.Second, 2, 1)
		hears(7*time.Second, 1, 2, 3) // one that it has not looked at yet
		hears(7 * time.Second)
		time.Sleep(time.Hour)
		hears(7*time.Second, 1, 2)
		b.tick()
		b.run(2 * time.Second)
		hears(7*time.Second, 1, 2)
	})
}

// TestLeases_since: what this term expired counts from the last sign of life; what it
// found expired from when it did; a forgotten one anew.
func TestLeases_since(t *testing.T) {
	l := leases{began: map[member.Life]time.Duration{}}
	known, found := member.Life{Node: "a", Incarnation: 1}, member.Life{Node: "a", Incarnation: 2}
	l.begin(known, 3*time.Second)
	for _, now := range []time.Duration{5 * time.Second, 9 * time.Second} {
		if got := l.since(known, now); got != 3*time.Second {
			t.Errorf("known since %v", got)
		}
		if got := l.since(found, now); got != 5*time.Second {
			t.Errorf("found since %v", got)
		}
	}
	l.begin(known, 6*time.Second) // the state had refused the expiry, and then it was late again
	l.forget(found)
	if got := [2]time.Duration{l.since(known, 0), l.since(found, 10*time.Second)}; got != [2]time.Duration{6 * time.Second, 10 * time.Second} {
		t.Errorf("afterwards since %v", got)
	}
}
