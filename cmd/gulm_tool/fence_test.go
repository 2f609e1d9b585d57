package main

import (
	"fmt"
	"slices"
	"testing"

	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// TestFencePauseAndResume: both go to the master with the operator's name; a
// pause needs a reason; resuming what is not paused says so.
func TestFencePauseAndResume(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	golden(t, c, "fence/pause.txt", 0, on(c, "fence", "pause", "--reason", "switch upgrade"))
	golden(t, c, "fence/resume.json", 0, on(c, "fence", "resume", "--json"))
	golden(t, c, "fence/no_reason.txt", gulmerr.ExitUsage, on(c, "fence", "pause"))
	golden(t, c, "fence/no_verb.txt", gulmerr.ExitUsage, on(c, "fence"))
	want := []string{
		fmt.Sprintf("PauseFencing reason:\"switch upgrade\" operator:%q", tool.Operator()),
		fmt.Sprintf("ResumeFencing operator:%q", tool.Operator()),
	}
	if got := c.Servers[0].Requests(); !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
	c.Servers[0].Set(func(s *tooltest.Script) {
		s.Refuse = map[string]error{"ResumeFencing": gulmerr.New(gulmerr.ErrNotPending, "automatic fencing is not paused")}
	})
	golden(t, c, "fence/not_paused.txt", gulmerr.ExitCode(gulmerr.ErrNotPending), on(c, "fence", "resume"))
}

// TestStatus_Paused: a pause is the first thing that status says.
func TestStatus_Paused(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) {
		s.Status.Breaker = &gulmv1.Breaker{
			Paused: true, Reason: "4 of 6 nodes vanished within 30s", SinceMs: 1_700_000_000_000, Trips: 1, Missing: 4, LoggedIn: 6,
		}
	})
	golden(t, c, "fence/status.txt", 0, on(c, "status"))
	golden(t, c, "fence/status.json", 0, on(c, "status", "--json"))
}
