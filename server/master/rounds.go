package master

import (
	"sync"
	"time"
)

// The slowest round of the last ten minutes is what is told.
const (
	roundSlots = 10
	roundSlot  = time.Minute
)

// rounds remember how long rounds to a majority took: commits of the master's own
// commands, and confirmations that it is the master.
type rounds struct {
	mu      sync.Mutex
	slowest [roundSlots]time.Duration
	slot    time.Time // beginning of the newest
}

// note takes a round that succeeded.
func (r *rounds) note(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(time.Now())
	r.slowest[0] = max(r.slowest[0], took)
}

// turn makes the newest slot that of now.
func (r *rounds) turn(now time.Time) {
	if r.slot.IsZero() {
		r.slot = now
	}
	for n := 0; now.Sub(r.slot) >= roundSlot; n++ {
		if n == roundSlots {
			r.slot = now // nothing was noted for longer than counts
			break
		}
		copy(r.slowest[1:], r.slowest[:])
		r.slowest[0] = 0
		r.slot = r.slot.Add(roundSlot)
	}
}

// worst returns the slowest round lately, 0 if there was none.
func (r *rounds) worst() (worst time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(time.Now())
	for _, d := range r.slowest {
		worst = max(worst, d)
	}
	return worst
}

// SlowestRound returns how long the slowest round to a majority took lately, a
// commit or a confirmation that this server is the master; 0 if it made none in
// the last nine to ten minutes.
func (m *Master) SlowestRound() time.Duration { return m.rounds.worst() }
