package client

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// What a beat tells of the probes that fail, at most: the contract's limits.
const (
	maxTroubles    = 8
	maxTroubleName = 64
	maxTroubleText = 256
)

// trouble is a probe that fails at the moment, for too long or not.
type trouble struct {
	err error // with the probe's name and time, for people
	why error // what the probe said
	// since is when it began to fail, stops when the beats stop if it goes on.
	since, stops time.Time
}

// note keeps what Trouble and the beats tell of a probe that fails.
func (h *health) note(probe string, t trouble) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing[probe] = t
}

// fine forgets the trouble of a probe.
func (h *health) fine(probe string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failing, probe)
}

// Trouble returns the probes that fail at the moment, whether they have stopped
// the beats yet or not, nil if there are none. The servers show them as well, as
// long as they hear of the node.
func (n *Node) Trouble() error {
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	var all []error
	for _, probe := range slices.Sorted(maps.Keys(n.health.failing)) {
		all = append(all, n.health.failing[probe].err)
	}
	return errors.Join(all...)
}

// tell returns what the next beat says of the probes that fail.
func (h *health) tell(now time.Time) []*gulmv1.ProbeTrouble {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.failing) == 0 {
		return nil
	}
	var out []*gulmv1.ProbeTrouble
	for _, probe := range slices.Sorted(maps.Keys(h.failing)) {
		if len(out) == maxTroubles {
			break
		}
		t := h.failing[probe]
		out = append(out, &gulmv1.ProbeTrouble{
			Probe: clip(probe, maxTroubleName), Error: clip(t.why.Error(), maxTroubleText),
			FailingMs: now.Sub(t.since).Milliseconds(), StopsInMs: max(0, t.stops.Sub(now).Milliseconds()),
		})
	}
	return out
}

// clip makes a text fit for a message: UTF-8, of at most limit bytes.
func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}
