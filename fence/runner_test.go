package fence

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFenceSucceedsOnlyWithExitStatusZero(t *testing.T) {
	tests := []struct {
		name, script string
		want         Outcome
		code         int
	}{
		{"ok", "exit 0", OutcomeOK, 0},
		{"exit 1", "exit 1", OutcomeFailed, 1},
		{"exit 2 of an off is no status", "exit 2", OutcomeFailed, 2},
		{"exit 255", "exit 255", OutcomeFailed, 255},
		{"killed", "kill -9 $$", OutcomeSignalled, -1},
		{"terminated", "kill -15 $$", OutcomeSignalled, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.agent("fence_x", noStatus+tt.script)
			err := b.fence(t.Context(), method("power", step("x", "fence_x")))
			if (err == nil) != tt.want.OK() || (err != nil && !errors.Is(err, ErrNotFenced)) {
				t.Errorf("error %v", err)
			}
			b.wantOutcomes("off " + string(tt.want))
			if a := b.attempt[0]; a.ExitCode != tt.code || (a.Reason == "") != tt.want.OK() {
				t.Errorf("code %d reason %q, want code %d", a.ExitCode, a.Reason, tt.code)
			}
		})
	}
}

func TestFenceFailsWhenTheAgentCannotBeStarted(t *testing.T) {
	b := newBench(t)
	b.agent("fence_plain", "exit 0")
	b.agent("fence_broken", "exit 0")
	if err := os.Chmod(filepath.Join(b.dir, "fence_plain"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "fence_broken"), []byte("#!/nonexistent/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.dir, "fence_dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, agent := range []string{"fence_plain", "fence_broken", "fence_dir", "fence_missing", b.dir + "/fence_missing"} {
		if err := b.fence(t.Context(), method("power", step("x", agent))); !errors.Is(err, ErrNotFenced) {
			t.Errorf("%s: %v, want ErrNotFenced", agent, err)
		}
		b.wantOutcomes("off not started")
	}
	b.agent("fence_abs", noStatus)
	if err := b.fence(t.Context(), method("power", step("x", b.dir+"/fence_abs"))); err != nil {
		t.Errorf("absolute path: %v", err)
	}
}

func TestFenceTriesMethodsInOrderUntilOneSucceeds(t *testing.T) {
	b := newBench(t)
	note := noStatus + `echo "$plug" >>$dir/order; `
	b.agent("fence_good", note)
	b.agent("fence_bad", note+"exit 1")
	report, err := b.runner.Run(t.Context(), Plan{Node: "n1", Methods: []Method{
		method("one", step("a", "fence_good", "plug", "1a"), step("b", "fence_bad", "plug", "1b"), step("c", "fence_good", "plug", "1c")),
		method("two", step("a", "fence_bad", "plug", "2a"), step("b", "fence_good", "plug", "2b")),
		method("three", step("a", "fence_good", "plug", "3a"), step("b", "fence_good", "plug", "3b")),
		method("four", step("a", "fence_good", "plug", "4a")),
	}}, Hooks{})
	if err != nil || !report.Fenced || report.Method != "three" {
		t.Errorf("fenced %v by %q, error %v; want by three", report.Fenced, report.Method, err)
	}
	if got, want := b.read("order"), "1a\n1b\n2a\n3a\n3b\n"; got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
	if len(report.Attempts) != 5 {
		t.Errorf("%d attempts, want 5: %v", len(report.Attempts), report.Attempts)
	}
}

func TestFenceReportsEveryMethodThatFailed(t *testing.T) {
	b := newBench(t)
	b.agent("fence_bad", "echo no route to device >&2; exit 1")
	err := b.fence(t.Context(), method("one", step("a", "fence_bad")), method("two", step("b", "fence_missing")))
	for _, want := range []string{"n1", "one", "two", "exit status 1", "fence_missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if got := b.attempt[0].Tail; got != "no route to device" {
		t.Errorf("tail %q", got)
	}
	if !strings.Contains(b.log.String(), "no route to device") {
		t.Error("the agent's output is not in the log")
	}
}

func TestFenceSucceedsAfterFailedRounds(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", noStatus+`echo x >>$dir/tries; [ $(wc -l <$dir/tries) -gt 2 ]`)
	for round := 1; round <= 3; round++ {
		err := b.fence(t.Context(), method("power", step("x", "fence_x")))
		if (err == nil) != (round == 3) {
			t.Errorf("round %d: %v", round, err)
		}
	}
}

func TestFenceRefusesWhatWouldFenceNobody(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", noStatus+"echo ran >>$dir/ran")
	if err := b.fence(t.Context()); !errors.Is(err, ErrPlan) {
		t.Errorf("empty plan: %v, want ErrPlan", err)
	}
	on := Step{Device: "x", Agent: "fence_x", Params: []Param{{Key: "option", Value: "on"}}}
	reboot := Step{Device: "x", Agent: "fence_x"}
	for name, m := range map[string]Method{
		"no steps":    method("m"),
		"only on":     method("m", on, on),
		"two reboots": method("m", reboot, reboot),
		"status":      method("m", Step{Device: "x", Agent: "fence_x", Params: []Param{{Key: "action", Value: "status"}}}),
		"newline":     method("m", step("x", "fence_x", "plug", "1\naction=on")),
		"odd agent":   method("m", step("x", "../fence_x")),
	} {
		err := b.fence(t.Context(), m)
		if !errors.Is(err, ErrPlan) || !errors.Is(err, ErrNotFenced) {
			t.Errorf("%s: %v, want ErrPlan and ErrNotFenced", name, err)
		}
		b.wantOutcomes(" refused")
	}
	if _, err := os.Stat(filepath.Join(b.dir, "ran")); err == nil {
		t.Error("an agent was started")
	}
	if err := b.fence(t.Context(), method("none"), method("power", step("x", "fence_x"))); err != nil {
		t.Errorf("method after a refused one: %v", err)
	}
	b.wantOutcomes(" refused", "off ok")
}

func TestFenceUsesADeviceForOneNodeAtATime(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", noStatus+`mkdir $dir/busy || exit 1; sleep 0.05; rmdir $dir/busy`)
	var wg sync.WaitGroup
	for _, node := range []string{"n1", "n2", "n3", "n4"} {
		wg.Go(func() {
			plan := Plan{Node: node, Methods: []Method{method("power", step("shared", "fence_x"))}}
			if err := b.runner.Fence(t.Context(), plan, Hooks{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestFenceUsesDifferentDevicesInParallel(t *testing.T) {
	b := newBench(t)
	// Each agent waits for the other, so both can only end if both run at once.
	b.agent("fence_x", noStatus+`>$dir/met.$nodename
while [ ! -e $dir/met.n1 ] || [ ! -e $dir/met.n2 ]; do sleep 0.02; done`)
	var wg sync.WaitGroup
	for _, node := range []string{"n1", "n2"} {
		wg.Go(func() {
			plan := Plan{Node: node, Methods: []Method{method("power", step("pdu-"+node, "fence_x"))}}
			if err := b.runner.Fence(t.Context(), plan, Hooks{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestFenceStopsWaitingForADeviceWhenCancelled(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", noStatus)
	release, err := b.runner.acquire(t.Context(), "x", false)
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("no longer master")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := b.fence(ctx, method("power", step("x", "fence_x"))); !errors.Is(err, gone) || !errors.Is(err, ErrNotFenced) {
		t.Errorf("%v, want the cause and ErrNotFenced", err)
	}
	b.wantOutcomes("off cancelled")
	release()
	if err := b.fence(t.Context(), method("power", step("x", "fence_x"))); err != nil {
		t.Errorf("device is not free again: %v", err)
	}
}

// TestFenceWaitsForOneRehearsalAtMost: a device that is asked about many nodes,
// and answers slowly, is free for a fence after the answer at hand.
func TestFenceWaitsForOneRehearsalAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Runner{}
		answered, err := r.acquire(t.Context(), "x", true)
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, 9)
		use := func(what string, rehearsal bool) {
			free, err := r.acquire(t.Context(), "x", rehearsal)
			if err != nil {
				t.Error(err)
				return
			}
			order <- what
			free()
		}
		for range 3 {
			go use("rehearsal", true)
		}
		given, giveUp := context.WithCancel(t.Context())
		go func() {
			if _, err := r.acquire(given, "x", true); err == nil {
				t.Error("acquired although it was given up")
			}
		}()
		synctest.Wait()
		go use("fence", false)
		synctest.Wait()
		giveUp()
		synctest.Wait()
		answered()
		synctest.Wait()
		close(order)
		var got []string
		for what := range order {
			got = append(got, what)
		}
		if want := []string{"fence", "rehearsal", "rehearsal", "rehearsal"}; !slices.Equal(got, want) {
			t.Errorf("the device was used by %v, want %v", got, want)
		}
	})
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	sec := func(n ...int) []time.Duration {
		var d []time.Duration
		for _, n := range n {
			d = append(d, time.Duration(n)*time.Second)
		}
		return d
	}
	for _, tt := range []struct {
		b    Backoff
		want []time.Duration
	}{
		{Backoff{}, sec(0, 0, 5, 10, 20, 40, 60, 60)},
		{Backoff{First: time.Second, Max: 4 * time.Second}, sec(0, 0, 1, 2, 4, 4)},
		{Backoff{First: 90 * time.Second}, sec(0, 0, 60, 60)},
	} {
		for round, want := range tt.want {
			if got := tt.b.Pause(round); got != want {
				t.Errorf("%+v: pause before round %d is %v, want %v", tt.b, round, got, want)
			}
		}
		if got := tt.b.Pause(1 << 40); got != tt.want[len(tt.want)-1] {
			t.Errorf("%+v: pause after many rounds is %v", tt.b, got)
		}
	}
}
