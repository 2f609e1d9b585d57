package fence

import "time"

// Defaults of Backoff.
const (
	defaultFirstPause = 5 * time.Second
	defaultMaxPause   = 60 * time.Second
)

// Backoff says how long to wait between rounds over all methods of a plan. The
// zero value is ready: 5 s, 10 s, 20 s, 40 s, then 60 s for ever. It never says
// that it is time to give up: an unfenced node keeps its locks for as long as
// it takes.
type Backoff struct {
	// First is the pause before the second round; 0 means 5 s.
	First time.Duration
	// Max bounds the pauses; 0 means 60 s. A First above it is cut to it.
	Max time.Duration
}

// Pause returns the pause before the given round, counted from 1: none before
// the first, First before the second, then twice the one before, up to Max.
func (b Backoff) Pause(round int) time.Duration {
	if round <= 1 {
		return 0
	}
	pause, limit := b.First, b.Max
	if pause <= 0 {
		pause = defaultFirstPause
	}
	if limit <= 0 {
		limit = defaultMaxPause
	}
	for range round - 2 {
		if pause >= limit/2 {
			return limit
		}
		pause *= 2
	}
	return min(pause, limit)
}
