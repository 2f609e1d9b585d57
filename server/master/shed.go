package master

import (
	"context"
	"time"

	"lock_gulmd/server/state"
)

// DefaultShedInterval is how often sessions are asked to give back locks that they
// only cache, while there are too many.
const DefaultShedInterval = 10 * time.Second

// shed asks all sessions to give back cached locks while the lock table holds more
// than Config.HighLocks. It is a hint: no command, no answer, and a session without
// a stream at that moment is asked the next time.
func (t *term) shed(ctx context.Context) error {
	high := t.m.cfg.HighLocks
	if high == 0 {
		<-ctx.Done()
		return nil
	}
	above := false
	for sleep(ctx, t.m.cfg.ShedInterval) {
		locks := 0
		t.m.cfg.Machine.View(func(s *state.State) { locks = s.Locks().Counts().Locks })
		if uint64(locks) <= high {
			above = false
			continue
		}
		if !above {
			t.log.Warn("too many locks, asking nodes to give back what they only cache", "locks", locks, "high", high)
		}
		above = true
		t.m.cfg.Hub.Shed()
	}
	return nil
}
