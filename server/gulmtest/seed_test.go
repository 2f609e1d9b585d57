package gulmtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lock_gulmd/server/gulmtest"
)

// fakeTest is a testing.TB whose end the test decides.
type fakeTest struct {
	testing.TB
	failed   bool
	log      []string
	cleanups []func()
}

func (f *fakeTest) Helper()          {}
func (f *fakeTest) Failed() bool     { return f.failed }
func (f *fakeTest) Name() string     { return "TestCluster/big" }
func (f *fakeTest) Cleanup(g func()) { f.cleanups = append(f.cleanups, g) }

func (f *fakeTest) Logf(format string, args ...any) {
	f.log = append(f.log, fmt.Sprintf(format, args...))
}

func (f *fakeTest) Errorf(format string, args ...any) {
	f.failed = true
	f.Logf(format, args...)
}

func (f *fakeTest) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(f)
}

func TestCampaign_stopsAtTheFirstFailureAndNamesTheSeed(t *testing.T) {
	t.Setenv(gulmtest.SeedVariable, "100")
	f := &fakeTest{TB: t}
	var seen []uint64
	for seed := range gulmtest.Seeds(f, 10) {
		seen = append(seen, seed.N)
		f.failed = seed.N == 102
	}
	if fmt.Sprint(seen) != "[100 101 102]" {
		t.Errorf("seeds %v", seen)
	}
	want := "seed 102 failed; to start with it: GULM_SEED=102 go test -run '^TestCluster$'"
	if len(f.log) != 1 || f.log[0] != want {
		t.Errorf("log %q, want %q", f.log, want)
	}
}

func TestCampaign_namesTheSeedOfAPanic(t *testing.T) {
	t.Setenv(gulmtest.SeedVariable, "7")
	f := &fakeTest{TB: t}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		for range gulmtest.Seeds(f, 10) {
			panic("of the test")
		}
	}()
	if len(f.log) != 1 || !strings.HasPrefix(f.log[0], "seed 7 failed") {
		t.Errorf("log %q", f.log)
	}
}

func TestCampaign_refusesABadSeed(t *testing.T) {
	t.Setenv(gulmtest.SeedVariable, "seven")
	f := &fakeTest{TB: t}
	defer func() {
		if recover() != any(f) || !strings.Contains(f.log[0], gulmtest.SeedVariable) {
			t.Errorf("log %q", f.log)
		}
	}()
	gulmtest.Seeds(f, 1)
}

func TestCampaign_sums(t *testing.T) {
	f := &fakeTest{TB: t}
	c := gulmtest.NewCampaign(f)
	for seed := range c.Seeds(3) {
		seed.Campaign.Hours.Add(90 * time.Minute)
		seed.Campaign.Sometimes.Hit("fenced")
	}
	c.Sometimes.Hit("cut")
	c.Sometimes.Require(f, "fenced", "cut")
	if f.failed || c.Sometimes.Count("fenced") != 3 {
		t.Errorf("failed %v, log %q", f.failed, f.log)
	}
	c.Sometimes.Require(f, "fenced", "journal recovered", "took over")
	if !f.failed || !strings.HasSuffix(f.log[0], ": journal recovered, took over") {
		t.Errorf("failed %v, log %q", f.failed, f.log)
	}
	f.cleanups[0]()
	if got, want := f.log[1], "simulated 4.50 cluster-hours; sometimes: cut=1 fenced=3"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

func TestSeed_actorsDoNotDisturbEachOther(t *testing.T) {
	seed, other := &gulmtest.Seed{N: 5}, &gulmtest.Seed{N: 6}
	a, b := seed.Rand("a"), seed.Rand("b")
	first, second := a.Uint64(), b.Uint64()
	if first == second {
		t.Error("two actors draw the same")
	}
	again := seed.Rand("b")
	if got := again.Uint64(); got != second {
		t.Errorf("drew %d, then %d with the same seed", second, got)
	}
	if other.Rand("a").Uint64() == first {
		t.Error("two seeds draw the same")
	}
}
