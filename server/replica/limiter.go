package replica

import (
	"sync"
	"time"
)

// limiter lets one line per key and period through and counts the rest, so that
// a stranger who knocks a thousand times a second fills no disk.
type limiter struct {
	period time.Duration
	mu     sync.Mutex
	keys   map[string]*limited
}

type limited struct {
	next    time.Time
	dropped int
}

// limiterKeys bounds the memory of a limiter; further keys share one entry.
const limiterKeys = 256

func newLimiter(period time.Duration) *limiter {
	return &limiter{period: period, keys: map[string]*limited{}}
}

// allow reports whether a line for key may be written now, and how many were
// held back since the last one.
func (l *limiter) allow(key string) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.keys[key]
	if e == nil {
		if len(l.keys) >= limiterKeys {
			key = ""
		}
		if e = l.keys[key]; e == nil {
			e = &limited{}
			l.keys[key] = e
		}
	}
	now := time.Now()
	if now.Before(e.next) {
		e.dropped++
		return 0, false
	}
	suppressed, e.dropped = e.dropped, 0
	e.next = now.Add(l.period)
	return suppressed, true
}
