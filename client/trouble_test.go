package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// toldTroubles returns what the only session said with its newest beat.
func (c *fakeCluster) toldTroubles() []*gulmv1.ProbeTrouble {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		return s.troubles
	}
	return nil
}

// TestProbe_TroubleIsTold: the beats say which probe fails, for how long, and when
// they will stop for it; they say nothing before, and nothing when it is over.
func TestProbe_TroubleIsTold(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n, b := dialProbed(t, c)
		time.Sleep(time.Minute)
		if told := c.toldTroubles(); told != nil {
			t.Fatalf("a node that is well says %v", told)
		}
		b.broken.Store(true)
		var first time.Time
		for first.IsZero() {
			time.Sleep(time.Millisecond)
			if n.Trouble() != nil {
				first = time.Now()
			}
		}
		time.Sleep(n.live.beat + 10*time.Millisecond)
		told := c.toldTroubles()
		if len(told) != 1 || told[0].GetProbe() != "start a process" || told[0].GetError() != errBroken.Error() {
			t.Fatalf("told: %v", told)
		}
		failing, stops := told[0].GetFailingMs(), told[0].GetStopsInMs()
		if sum := time.Duration(failing+stops) * time.Millisecond; sum < 8*time.Second-2*time.Millisecond || sum > 8*time.Second || failing < 0 {
			t.Errorf("failing for %d ms, stops in %d ms", failing, stops)
		}
		newest := c.newestBeat()
		time.Sleep(2 * time.Second)
		later := c.toldTroubles()[0]
		if d := time.Duration(later.GetFailingMs()-failing) * time.Millisecond; (d - c.newestBeat().Sub(newest)).Abs() > 2*time.Millisecond {
			t.Errorf("%v later it fails for %v longer", c.newestBeat().Sub(newest), d)
		}
		// It stops when it said, within the pause between two tries.
		end := first.Add(time.Duration(failing+stops) * time.Millisecond)
		time.Sleep(time.Until(end.Add(2*time.Second + 10*time.Millisecond)))
		if age := time.Since(c.newestBeat()); age < n.live.beat/2 || n.health.sick() == nil {
			t.Errorf("the newest beat came %v ago, sick: %v", age, n.health.sick())
		}
		b.broken.Store(false)
		time.Sleep(5 * time.Second)
		if told := c.toldTroubles(); told != nil || n.State() != StateSafe {
			t.Errorf("after the end: %v, %v", told, n.State())
		}
	})
}

// TestHealth_TellIsBounded: whatever probes are called and say, a beat carries a few
// short texts that a message can hold.
func TestHealth_TellIsBounded(t *testing.T) {
	h := newHealth()
	now := time.Now()
	for i := range 20 {
		h.note(fmt.Sprint(i, strings.Repeat("é", 100)), trouble{why: errors.New(strings.Repeat("\xff€", 300)), since: now, stops: now.Add(-time.Second)})
	}
	told := h.tell(now)
	if len(told) != maxTroubles {
		t.Fatalf("%d troubles", len(told))
	}
	for _, x := range told {
		if len(x.GetProbe()) > maxTroubleName || len(x.GetError()) > maxTroubleText || !utf8.ValidString(x.GetProbe()) ||
			!utf8.ValidString(x.GetError()) || x.GetError() == "" || x.GetStopsInMs() != 0 {
			t.Errorf("told: %q, %q, stops in %d ms", x.GetProbe(), x.GetError(), x.GetStopsInMs())
		}
	}
}
