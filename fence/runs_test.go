package fence

import (
	"slices"
	"strings"
	"testing"
)

// TestRuns: what a plan is said to run is what a round runs, agent by agent, in
// order: all of it if nothing is known and everything can be asked.
func TestRuns(t *testing.T) {
	feeds := func(action string, more ...string) []Step {
		return []Step{
			step("x", "fence_x", append([]string{"plug", "7"}, more...)...).withAction(action),
			step("y", "fence_x", append([]string{"plug", "8"}, more...)...).withAction(action),
		}
	}
	for _, tt := range []struct {
		name  string
		trust Trust
		steps []Step
		want  string
	}{
		{"off, known", TrustSeen, feeds("off")[:1], "off metadata status"},
		{"off, new", TrustUnknown, feeds("off")[:1], "metadata status off status"},
		{"reboot, known", TrustSeen, feeds("reboot")[:1], "reboot"},
		{"reboot, new", TrustUnknown, feeds("reboot")[:1], "metadata status reboot"},
		{"off, new, never asked", TrustUnknown, feeds("off", "verify", "no")[:1], "off"},
		{"off, known, always asked", TrustSeen, feeds("off", "verify", "yes")[:1], "off status"},
		{"two feeds, known", TrustSeen, feeds("reboot"), "off metadata status, off status, on, on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := method("power", tt.steps...)
			p := Plan{Node: "n1", Methods: []Method{m}}
			var said []string
			for _, s := range p.Runs(func(Outlet) Trust { return tt.trust })[0] {
				said = append(said, strings.Join(s.Actions, " "))
			}
			if got := strings.Join(said, ", "); got != tt.want {
				t.Errorf("said to run %q, want %q", got, tt.want)
			}

			b := newBench(t)
			b.agent("fence_x", outlet)
			b.write("asked", "")
			b.write("on", "")
			b.hooks.Trust = func(Outlet) Trust { return tt.trust }
			_ = b.fence(t.Context(), m) // one outlet plays both feeds: whether it is believed is another test
			ran := strings.Fields(b.read("asked"))
			words := strings.Fields(strings.ReplaceAll(strings.Join(said, " "), ",", ""))
			words = slices.DeleteFunc(words, func(w string) bool { return w == "metadata" }) // answered before it is written down
			slices.Sort(ran)
			slices.Sort(words)
			if !slices.Equal(ran, words) {
				t.Errorf("ran %v, said %v", ran, words)
			}
		})
	}
	if steps := (Plan{Methods: []Method{method("power", feeds("off")[0])}}).Runs(nil)[0]; len(steps[0].Actions) != 4 || !steps[0].Cuts {
		t.Errorf("nothing known: %+v", steps)
	}
}
