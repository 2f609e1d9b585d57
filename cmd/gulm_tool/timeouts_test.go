package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/rpc"
)

// twoMethods is a node with a power switch of two feeds, and people behind it.
func twoMethods() *gulmv1.NodeTimeouts {
	off := func(device string) *gulmv1.StepTimeouts {
		s := &gulmv1.StepTimeouts{Device: device, Agent: "fence_apc", Action: "off", LimitMs: 10_000, Runs: []string{"off", "status"}, Rounds: 5}
		if device == "feed1" {
			s.Runs = []string{"metadata", "status", "off", "status"}
			s.Rounds = 6
		}
		return s
	}
	return &gulmv1.NodeTimeouts{Node: "fs01", Methods: []*gulmv1.MethodTimeouts{
		{Method: "power", Steps: []*gulmv1.StepTimeouts{off("feed1"), off("feed2")}},
		{Method: "ilo", Steps: []*gulmv1.StepTimeouts{{Device: "bmc", Agent: "fence_ipmilan", Action: "reboot", LimitMs: 20_000, Runs: []string{"status", "reboot"}, Rounds: 4}}},
	}}
}

func defaultTimeouts(nodes ...*gulmv1.NodeTimeouts) *gulmv1.TimeoutsReply {
	return &gulmv1.TimeoutsReply{
		Cluster: "farm7", Server: "lk1", Servers: 3, HeartbeatRateMs: 2000, ExpiryMs: 6000, LookMs: 500, LatenessMs: 1000,
		MasterSilenceMs: 1000, ElectionMs: 1000, FencePauseMs: 5000, FencePauseMaxMs: 60_000, Nodes: nodes,
	}
}

// attempts is a node whose fence took these times.
func attempts(device string, took ...int64) *gulmv1.Node {
	n := &gulmv1.Node{Name: "fs07", Fence: &gulmv1.Fence{}}
	for _, d := range took {
		n.Fence.Attempts = append(n.Fence.Attempts, &gulmv1.FenceAttempt{Device: device, Agent: "fence_apc off", Outcome: "ok", DurationMs: d})
	}
	n.Fence.Attempts = append(n.Fence.Attempts, &gulmv1.FenceAttempt{Device: device, Agent: "fence_apc off", Outcome: "timed out", DurationMs: 1})
	return n
}

func TestExplain_Sums(t *testing.T) {
	list, err := explainAll(defaultTimeouts(twoMethods()), []*gulmv1.Node{attempts("feed1", 700, 900), attempts("feed2", 500)}, nil)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d explanations, %v", len(list), err)
	}
	e := list[0]
	const seconds, round = time.Second, roundLimit
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if (got - want).Abs() > time.Millisecond {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	// A beat every 4/3 s; an agent may be quicker than it ever was.
	near("best", e.sum.best, 6*seconds-4*seconds/3)
	// Silence and look; a message on its way at both ends, 2 + 2 + 6 + 5 + 1 rounds;
	// 4 and 2 runs.
	around := 6500*time.Millisecond + 17*round
	near("worst", e.sum.worst, around+6*10*seconds)
	near("as measured", e.sum.usual, around+1400*time.Millisecond)
	// The other method: 2 runs, 4 rounds, and 7 s for the agent before to be killed.
	near("with the other method", e.sumMethods.worst, e.sum.worst+7*seconds+2*20*seconds+4*round)
	// A takeover and the grace, less the silence, of which half a round is no part.
	near("what a takeover adds", e.sumTakeover.worst-e.sum.worst, 5*seconds+4*round-round/2)
	near("a takeover at best", e.sumTakeover.best, 6800*time.Millisecond)
	// At the worst moment all but the proof is done, and the fence comes once more.
	rest := e.sum.worst - 6*seconds - round/2
	near("at the worst moment", e.sumMoment.worst, e.sum.worst+5*seconds+4*round+rest)

	// A slow round was measured: so slow they may all be.
	slow := defaultTimeouts(twoMethods())
	slow.RoundMs = 1000
	if list, err = explainAll(slow, nil, nil); err != nil || list[0].sum.worst != e.sum.worst+17*(seconds-round) {
		t.Errorf("worst with slow rounds: %v, %v", list[0].sum.worst, err)
	}
	quick := defaultTimeouts(twoMethods())
	quick.RoundMs = 4
	list, err = explainAll(quick, []*gulmv1.Node{attempts("feed1", 900), attempts("feed2", 500)}, nil)
	if err != nil || list[0].sum.worst != e.sum.worst {
		t.Fatalf("worst with quick rounds: %v, %v", list[0].sum.worst, err)
	}
	near("as measured, with quick rounds", list[0].sum.usual, 6500*time.Millisecond+17*4*time.Millisecond+1400*time.Millisecond)

	// One of the feeds was never used: nothing is said about both.
	if list, err = explainAll(defaultTimeouts(twoMethods()), []*gulmv1.Node{attempts("feed1", 700)}, nil); err != nil || list[0].sum.usual != unbounded {
		t.Errorf("measured %v, %v", list[0].sum.usual, err)
	}
	// Nobody knows how long a person takes.
	n := twoMethods()
	n.Methods[1].Steps[0].Agent = manualAgent
	if list, err = explainAll(defaultTimeouts(n), nil, nil); err != nil || list[0].sumMethods.worst != unbounded || list[0].sum.worst == unbounded {
		t.Errorf("worst %v with an operator, %v", list[0].sumMethods.worst, err)
	}
	n.Methods = n.Methods[1:]
	if list, err = explainAll(defaultTimeouts(n), nil, nil); err != nil || list[0].sum.worst != unbounded || list[0].sumTakeover.worst != unbounded ||
		list[0].sumMoment.worst != unbounded {
		t.Errorf("worst %v with nobody but an operator, %v", list[0].sum.worst, err)
	}
}

// TestExplain_OldPromises: a process that was told a longer expiry is waited for,
// and a watchdog is shown.
func TestExplain_OldPromises(t *testing.T) {
	other := twoMethods()
	other.Node = "fs02"
	known := &gulmv1.Node{Name: "fs01", Sessions: []*gulmv1.Session{{ExpiryMs: 45_000, WatchdogMs: 20_000}, {ExpiryMs: 6000}}}
	list, err := explainAll(defaultTimeouts(twoMethods(), other), []*gulmv1.Node{known}, nil)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d explanations, %v", len(list), err)
	}
	if more := list[0].sum.worst - list[1].sum.worst; more != 39*time.Second {
		t.Errorf("an older promise adds %v", more)
	}
	last := list[0].own[len(list[0].own)-1]
	if last.Key != "watchdog" || last.worst != 25*time.Second {
		t.Errorf("the last deadline is %+v", last)
	}
	if list, err = explainAll(defaultTimeouts(twoMethods(), other), nil, nil); err != nil || len(list) != 1 || len(list[0].nodes) != 2 {
		t.Errorf("equal nodes are not put together: %d, %v", len(list), err)
	}
	if _, err = explainAll(defaultTimeouts(), nil, []string{"fs09"}); !errors.Is(err, gulmerr.ErrUnknownNode) {
		t.Errorf("an unknown node: %v", err)
	}
}

func TestTimeouts_golden(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Timeouts = defaultTimeouts(twoMethods()) })
	golden(t, c, "timeouts/live.txt", 0, on(c, "timeouts", "explain"))
	golden(t, c, "timeouts/live.json", 0, on(c, "timeouts", "explain", "fs01", "--json"))
	golden(t, c, "timeouts/offline.txt", 0, on(c, "timeouts", "explain", "fs01", "--offline"))
	golden(t, c, "timeouts/unknown.txt", gulmerr.ExitNotFound, on(c, "timeouts", "explain", "fs09"))
	for _, s := range c.Servers {
		s.Stop()
	}
	if r := on(c, "timeouts", "explain"); r.Code != gulmerr.ExitNoQuorum {
		t.Errorf("without servers: %+v", r)
	}
}

// TestTimeouts_DefaultsKeepThePromise: with the settings that nobody has changed,
// a lock is granted in less than 8 s if its fence takes none, and the node knows
// a second before anybody else can.
func TestTimeouts_DefaultsKeepThePromise(t *testing.T) {
	c, err := ccs.Load("../../deploy/examples/three")
	if err != nil {
		t.Fatal(err)
	}
	settings := rpc.TimeoutsOf(c, 0, 0)
	settings.RoundMs = 50 // what disks that have other things to do need
	list, err := explainAll(settings, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		var without []term // fence agents: their devices decide
		for _, x := range e.grant {
			if !strings.HasPrefix(x.Key, "fence ") {
				without = append(without, x)
			}
		}
		if usual := add(without).usual; usual >= 8*time.Second {
			t.Errorf("%v: %v but for the fence agents", e.nodes, usual)
		}
		if lost := e.own[1]; e.takeover[3].worst-lost.worst != time.Second {
			t.Errorf("lost %v, expiry %v", lost.worst, e.takeover[3].worst)
		}
	}
}

// TestExplain_Watchdog: a wait for the node's watchdog lasts for what the
// configuration adds to the expiry, and what the node was promised and has said.
func TestExplain_Watchdog(t *testing.T) {
	n := &gulmv1.NodeTimeouts{Node: "fs01", Methods: []*gulmv1.MethodTimeouts{{Method: "dog", Steps: []*gulmv1.StepTimeouts{
		{Device: "dog", Agent: "fence_watchdog", Action: "reboot", LimitMs: 21_000},
	}}}}
	known := &gulmv1.Node{Name: "fs01", Sessions: []*gulmv1.Session{{ExpiryMs: 45_000, WatchdogMs: 20_000}}}
	list, err := explainAll(defaultTimeouts(n), []*gulmv1.Node{known}, nil)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d explanations, %v", len(list), err)
	}
	wait := list[0].grant[4]
	if wait.Key != "fence dog/dog" || wait.best != 21*time.Second || wait.worst != (21+39+20)*time.Second {
		t.Errorf("the wait is %+v", wait)
	}
}
