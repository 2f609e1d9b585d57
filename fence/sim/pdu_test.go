package sim_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lock_gulmd/fence"
	"lock_gulmd/fence/sim"
)

// TestMain is the agent itself when the binary is called by the agent's name.
func TestMain(m *testing.M) {
	fence.Supervise()
	if filepath.Base(os.Args[0]) == "fence_sim_pdu" {
		os.Exit(sim.PDUMain(os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// rack is two strips that both feed n1, and a step for each.
func rack(t *testing.T) (sim.Rack, []fence.Step, *fence.Runner) {
	t.Helper()
	r := sim.Rack{Dir: t.TempDir()}
	var steps []fence.Step
	for _, name := range []string{"a", "b"} {
		p, err := r.PDU(name)
		if err == nil {
			err = p.Set("n1", true)
		}
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, fence.Step{
			Device: "pdu-" + name, Agent: "fence_sim_pdu", Params: []fence.Param{{Key: "ip", Value: p.Dir}, {Key: "plug", Value: "n1"}},
		})
	}
	bin := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(bin, "fence_sim_pdu"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, steps, &fence.Runner{Path: bin, Supervisor: fence.SelfSupervisor}
}

// TestDoubleFeed: both agents are content with a reboot of one feed after the
// other, and the machine never loses its power; a method with both feeds darkens it
// once, and gives it its power back.
func TestDoubleFeed(t *testing.T) {
	r, steps, runner := rack(t)
	for _, s := range steps {
		in := "action=reboot\nplug=n1\nip=" + s.Params[0].Value + "\n"
		if code := sim.PDUMain(strings.NewReader(in), io.Discard, io.Discard); code != 0 {
			t.Fatalf("exit %d", code)
		}
	}
	if n := r.Dark("n1"); n != 0 {
		t.Fatalf("reboots in turn darkened the machine %d times: the test proves nothing", n)
	}
	trust := fence.Hooks{Trust: func(fence.Outlet) fence.Trust { return fence.TrustUnknown }}
	plan := fence.Plan{Node: "n1", Methods: []fence.Method{{Name: "feeds", Steps: steps}}}
	if err := runner.Fence(t.Context(), plan, trust); err != nil {
		t.Fatal(err)
	}
	if n := r.Dark("n1"); n != 1 {
		t.Errorf("the machine was dark %d times, want once", n)
	}
	for _, s := range steps {
		if !(sim.PDU{Dir: s.Params[0].Value}).On("n1") {
			t.Errorf("%s is off afterwards", s.Device)
		}
	}
}

// TestDoubleFeed_wrongOutlet: one of the feeds is named wrongly, and that outlet is
// off: nothing is proved, and nothing switched on or off behind it.
func TestDoubleFeed_wrongOutlet(t *testing.T) {
	r, steps, runner := rack(t)
	steps[1].Params[1].Value = "n2"
	trust := fence.Hooks{Trust: func(fence.Outlet) fence.Trust { return fence.TrustUnknown }}
	plan := fence.Plan{Node: "n1", Methods: []fence.Method{{Name: "feeds", Steps: steps}}}
	if err := runner.Fence(t.Context(), plan, trust); err == nil {
		t.Error("fenced by another machine's outlet")
	}
	if n := r.Dark("n1"); n != 0 {
		t.Errorf("dark %d times", n)
	}
}
