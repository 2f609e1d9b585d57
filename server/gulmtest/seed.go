package gulmtest

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// SeedVariable is the environment variable that sets the first seed of a
// Campaign, to repeat a run that has failed.
const SeedVariable = "GULM_SEED"

// Campaign is a test that is repeated under many seeds, with what all of them
// add up to.
type Campaign struct {
	// Hours is the simulated time of all clusters together.
	Hours Hours
	// Sometimes counts what must not happen always but sometimes.
	Sometimes Sometimes

	t testing.TB
}

// NewCampaign returns a campaign that logs its hours and counters when the test
// ends.
func NewCampaign(t testing.TB) *Campaign {
	c := &Campaign{t: t}
	t.Cleanup(func() {
		t.Logf("simulated %.2f cluster-hours; sometimes: %v", c.Hours.Total().Hours(), &c.Sometimes)
	})
	return c
}

// Seeds is Campaign.Seeds for a test that needs no sums.
func Seeds(t testing.TB, n int) iter.Seq[*Seed] {
	t.Helper()
	return NewCampaign(t).Seeds(n)
}

// Seeds yields n seeds that follow each other. The first one is GULM_SEED, a
// decimal number, or else drawn at random, so that every run tries others. It
// stops early once the test has failed, and logs how to repeat the failure. A
// GULM_SEED that is no number fails the test.
func (c *Campaign) Seeds(n int) iter.Seq[*Seed] {
	c.t.Helper()
	first := uint64(rand.Uint32())
	if text := os.Getenv(SeedVariable); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			c.t.Fatalf("%s: want a decimal number: %v", SeedVariable, err)
		}
	}
	return func(yield func(*Seed) bool) {
		for i := range n {
			if !c.try(first+uint64(i), yield) {
				return
			}
		}
	}
}

// try runs the body of the loop for one seed. Since a test that fails may leave
// by Goexit or panic, the log line is written on any way out.
func (c *Campaign) try(n uint64, yield func(*Seed) bool) (more bool) {
	already := c.t.Failed()
	ended := false
	defer func() {
		if !already && (c.t.Failed() || !ended) {
			c.t.Logf("seed %d failed; to start with it: %s=%d go test -run '^%s$'", n, SeedVariable, n, topLevel(c.t.Name()))
		}
	}()
	more = yield(&Seed{N: n, Campaign: c})
	ended = true
	return more && !c.t.Failed()
}

// topLevel cuts the names of subtests off.
func topLevel(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}

// Seed is one run of a Campaign.
type Seed struct {
	// N is what the run's sources of random numbers are made from.
	N uint64
	// Campaign is the one that the seed belongs to.
	Campaign *Campaign
}

// Rand returns a new source for one actor. It depends on the seed and on the
// actor's name only, so how much one actor draws does not change what another
// one does. A source is for one goroutine.
func (s *Seed) Rand(actor string) *rand.Rand {
	return rand.New(rand.NewPCG(s.N, hashOf(actor)))
}

// Hours adds up simulated time. The zero value is ready; it may be used from
// any goroutine.
type Hours struct {
	mu    sync.Mutex
	total time.Duration
}

// Add counts d of simulated time of one cluster.
func (h *Hours) Add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total += d
}

// Total returns the sum.
func (h *Hours) Total() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total
}

// Sometimes counts events by name, to show that a test has really met what it
// is for. The zero value is ready; it may be used from any goroutine.
type Sometimes struct {
	mu     sync.Mutex
	counts map[string]int
}

// Hit counts one event.
func (s *Sometimes) Hit(name string) { s.Add(name, 1) }

// Add counts n events of one kind.
func (s *Sometimes) Add(name string, n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[name] += n
}

// Count returns how often an event was counted.
func (s *Sometimes) Count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[name]
}

// Require fails the test, naming them all, if some of these events never
// happened.
func (s *Sometimes) Require(t testing.TB, names ...string) {
	t.Helper()
	var missing []string
	for _, name := range names {
		if s.Count(name) == 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		t.Errorf("never happened, so nothing was shown about it: %s", strings.Join(missing, ", "))
	}
}

// String returns every event with its count, by name.
func (s *Sometimes) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(s.counts)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, s.counts[name]))
	}
	return strings.Join(parts, " ")
}
