package fence

import (
	"strings"
	"testing"
	"time"
)

func TestOffIsCheckedWithTheStatusAction(t *testing.T) {
	status := func(exit string) string {
		return withStatus + `[ "$action" = status ] && exit ` + exit + "\nexit 0"
	}
	tests := []struct {
		name, script, verify string
		ok                   bool
		want                 []string
	}{
		{"off", status("2"), "", true, []string{"off ok", "status ok"}},
		{"lie", status("0"), "", false, []string{"off ok", "status still on"}},
		{"status fails", status("1"), "", false, []string{"off ok", "status failed"}},
		{"status is killed", withStatus + `[ "$action" = status ] && kill -9 $$; exit 0`, "", false, []string{"off ok", "status signalled"}},
		{"lie unchecked", status("0"), "no", true, []string{"off ok"}},
		{"lie, no metadata, checked", readAction + `[ "$action" != metadata ]`, "yes", false, []string{"off ok", "status still on"}},
		{"no status action", noStatus, "", true, []string{"off ok"}},
		{"metadata fails", readAction + `[ "$action" = off ]`, "", true, []string{"off ok"}},
		{"metadata is noise", readAction + `echo Success; exit 0`, "", true, []string{"off ok"}},
		{"metadata killed", readAction + `[ "$action" = metadata ] && kill -9 $$; exit 0`, "", false, []string{"off ok", "metadata signalled"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.agent("fence_x", tt.script)
			s := step("x", "fence_x")
			if tt.verify != "" {
				s = step("x", "fence_x", "verify", tt.verify)
			}
			if err := b.fence(t.Context(), method("power", s)); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
			b.wantOutcomes(tt.want...)
		})
	}
}

func TestHangingMetadataFailsTheMethodAndSaysWhatToDo(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", readAction+`[ "$action" = off ] || exec sleep 1000`)
	s := step("x", "fence_x")
	s.Timeout = 8 * time.Second // off must come through on a busy machine, too
	err := b.fence(t.Context(), method("power", s))
	if err == nil || !strings.Contains(err.Error(), `set verify = "no" for device x`) {
		t.Errorf("error %v", err)
	}
	b.wantOutcomes("off ok", "metadata timed out")
}

func TestAllFeedsAreCheckedOffBeforeAnyIsSwitchedOn(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", withStatus+`echo "$plug $action" >>$dir/order; [ "$action" != status ] || exit 2`)
	var steps []Step
	for _, action := range []string{"off", "on"} {
		for _, feed := range []string{"a", "b"} {
			steps = append(steps, Step{Device: "pdu-" + feed, Agent: "fence_x", Params: []Param{{Key: "option", Value: action}, {Key: "port", Value: feed}}})
		}
	}
	if err := b.fence(t.Context(), method("power", steps...)); err != nil {
		t.Fatal(err)
	}
	if got, want := b.read("order"), "a off\nb off\na status\nb status\na on\nb on\n"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
}

func TestRebootIsSentExplicitlyAndNotChecked(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", withStatus+`echo "$action" >>$dir/order; exit 0`)
	if err := b.fence(t.Context(), method("power", Step{Device: "x", Agent: "fence_x"})); err != nil {
		t.Fatal(err)
	}
	if got := b.read("order"); got != "reboot\n" {
		t.Errorf("actions %q, want reboot only", got)
	}
}

func TestMetadataIsAskedWithoutAnythingToActUpon(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", `in=$(cat); case $in in *metadata*) echo "$in" >$dir/metadata.in ;; esac; exit 0`)
	if err := b.fence(t.Context(), method("power", step("x", "fence_x", "ip", "192.0.2.1"))); err != nil {
		t.Fatal(err)
	}
	if got, want := b.read("metadata.in"), "action=metadata\noption=metadata\n"; got != want {
		t.Errorf("input %q, want %q", got, want)
	}
}
