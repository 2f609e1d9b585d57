package master

import (
	"testing"
	"time"
)

// TestS5_CondemnedAfterTheSilenceThatWasAllowed: a beat that arrives while the
// majority is asked counts, by the time that the session was promised.
func TestS5_CondemnedAfterTheSilenceThatWasAllowed(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		b.alive(1, 0)
		sleep(30 * time.Second)
		if late := b.keep(map[uint64]time.Duration{1: 25 * time.Second}); len(late) != 1 {
			t.Fatal(late)
		}
		b.alive(1, 5) // arrives while the majority is asked, which takes 7 s
		sleep(7 * time.Second)
		if b.condemn(1, 25*time.Second, []uint64{1}) {
			t.Error("condemned 7 s after a beat, was promised 25 s")
		}
	})
}
