package client

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxSkew is how far the wall clock may drift from the monotonic one before the
// clock looks whether the machine was suspended.
const maxSkew = 10 * time.Millisecond

// minSleep is the shortest suspend that counts.
const minSleep = time.Millisecond

// clock is the monotonic clock, but it goes on while the machine is suspended:
// Go's stands still then, and a machine that wakes up would think that its locks
// are as good as when it fell asleep.
type clock struct {
	base time.Time
	// asleep returns for how long the machine was suspended since it was
	// started, and start is what it was at base.
	asleep func() time.Duration
	start  time.Duration
	// slept is asleep since base as far as it is known, skew how far the wall
	// clock was ahead of the time since base when that was found.
	slept, skew atomic.Int64
	mu          sync.Mutex
}

// newClock starts now; asleep is suspended but in tests.
func newClock(asleep func() time.Duration) *clock {
	if asleep == nil {
		asleep = suspended
	}
	c := &clock{base: time.Now(), asleep: asleep, start: asleep()}
	c.skew.Store(c.ahead(c.base, 0))
	return c
}

// now returns the time, and asks the kernel for how long the machine was
// suspended. It is for differences only.
func (c *clock) now() time.Time {
	c.mu.Lock() // else an older reading could replace a newer one
	defer c.mu.Unlock()
	now := time.Now()
	slept := c.asleep() - c.start
	if known := time.Duration(c.slept.Load()); slept < known+minSleep {
		slept = known // readings differ a little, and nobody wakes up from less
	}
	c.slept.Store(int64(slept))
	c.skew.Store(c.ahead(now, now.Sub(c.base)))
	return now.Add(slept)
}

// quick is now as time since base, which asks the kernel only if there was
// reason to: a suspended machine finds its wall clock ahead. That is a hint only;
// what a wall clock hides that is set back meanwhile, now finds, which is called
// several times in an expiry time.
func (c *clock) quick() time.Duration {
	now := time.Now()
	passed := now.Sub(c.base)
	if skew := c.ahead(now, passed) - c.skew.Load(); skew > int64(maxSkew) || skew < -int64(maxSkew) {
		return c.now().Sub(c.base)
	}
	return passed + time.Duration(c.slept.Load())
}

// ahead returns the wall clock at now, less the time that has passed since base,
// in nanoseconds.
func (c *clock) ahead(now time.Time, passed time.Duration) int64 {
	return now.UnixNano() - int64(passed)
}
