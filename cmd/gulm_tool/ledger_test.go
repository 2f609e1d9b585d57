package main

import (
	"slices"
	"testing"

	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

const stamp = 1_700_000_000_000

// aLedger has one node of each kind.
func aLedger() *gulmv1.FencesReply {
	off := &gulmv1.FenceAttempt{
		Method: "power", Device: "bmc", Agent: "fence_ipmilan off", Outcome: "timed out", StartMs: stamp + 1000, DurationMs: 60_000,
		Output: "no answer within 1m0s\nUnable to connect", Late: true,
	}
	return &gulmv1.FencesReply{Nodes: []*gulmv1.FenceLedger{
		{
			Node: "fs01", State: gulmv1.NodeState_NODE_STATE_EXPIRED, HeldForMs: -1, AgeMs: 95_000, WaitsFor: "power/pdu fence_apc_snmp off, which runs",
			Fence: &gulmv1.Fence{
				Node: "fs01", Incarnation: 3, State: gulmv1.FenceState_FENCE_STATE_WANTED, Reason: "silent for 6s", WantedMs: stamp, Rounds: 2,
				Attempts: []*gulmv1.FenceAttempt{off, {
					Method: "power", Device: "pdu", Agent: "fence_apc_snmp off", Outcome: "running", StartMs: stamp + 90_000, DurationMs: 5000, Running: true,
				}},
			},
			Past: []*gulmv1.Fence{{
				Node: "fs01", Incarnation: 1, State: gulmv1.FenceState_FENCE_STATE_ACKNOWLEDGED, Reason: "silent for 7s", WantedMs: stamp - 9_000_000,
				SettledMs: stamp - 8_000_000, By: "root@lk1",
			}},
			Outlets: []*gulmv1.FenceOutlet{
				{Device: "bmc", Power: "no answer", StampMs: stamp - 60_000, Trusted: true, Reason: "no route to host"},
				{Device: "pdu", Plug: "7", Power: "off", StampMs: stamp - 60_000, Wrong: true},
			},
			Manual: []*gulmv1.ManualFence{{
				Operator: "eve@lk2", StampMs: stamp + 2000, Incarnation: 3, Fenced: true, By: "power/pdu",
				Attempts: []*gulmv1.FenceAttempt{{Method: "power", Device: "pdu", Agent: "fence_apc_snmp off", Outcome: "ok", StartMs: stamp + 1900, DurationMs: 80}},
			}},
		},
		{
			Node: "fs02", State: gulmv1.NodeState_NODE_STATE_FENCED, Held: true, HeldForMs: 12_000, WaitsFor: "settle time: it may log in after about 12s",
			Fence: &gulmv1.Fence{
				Node: "fs02", Incarnation: 1, State: gulmv1.FenceState_FENCE_STATE_PROVED, Reason: "forced: hangs", WantedMs: stamp, SettledMs: stamp + 500,
				Rounds: 1, By: "power/pdu", Attempts: []*gulmv1.FenceAttempt{off},
			},
		},
		{Node: "fs03", State: gulmv1.NodeState_NODE_STATE_LOGGED_IN},
	}}
}

// TestFenceList: pending and latest fences with round, attempt, age, and what
// they wait for, and what is wrong with devices.
func TestFenceList(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	golden(t, c, "fence/list_never.txt", 0, on(c, "fence", "list"))
	c.Servers[0].Set(func(s *tooltest.Script) { s.Fences = aLedger() })
	golden(t, c, "fence/list.txt", 0, on(c, "fence", "list"))
	golden(t, c, "fence/list.json", 0, on(c, "fence", "list", "--json"))
	if got := c.Servers[0].Requests(); !slices.Equal(got, []string{"Fences", "Fences", "Fences"}) {
		t.Errorf("requests %q", got)
	}
}

// TestFenceShow: the whole ledger of one node, with the agents' last lines.
func TestFenceShow(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Fences = &gulmv1.FencesReply{Nodes: aLedger().GetNodes()[:1]} })
	golden(t, c, "fence/show.txt", 0, on(c, "fence", "show", "fs01"))
	golden(t, c, "fence/show.json", 0, on(c, "fence", "show", "fs01", "--json"))
	c.Servers[0].Set(func(s *tooltest.Script) { s.Fences = &gulmv1.FencesReply{Nodes: aLedger().GetNodes()[2:]} })
	golden(t, c, "fence/show_never.txt", 0, on(c, "fence", "show", "fs03"))
	c.Servers[0].Set(func(s *tooltest.Script) {
		s.Refuse = map[string]error{"Fences": gulmerr.New(gulmerr.ErrUnknownNode, "node \"fs09\" is not in nodes.ccs of cluster \"farm7\"")}
	})
	golden(t, c, "fence/show_unknown.txt", gulmerr.ExitCode(gulmerr.ErrUnknownNode), on(c, "fence", "show", "fs09"))
}

// TestFenceRehearse: the table of what the devices say, and an exit status that
// tells of an alarm.
func TestFenceRehearse(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	golden(t, c, "fence/rehearse_nothing.txt", 0, on(c, "fence", "rehearse"))
	good := &gulmv1.FenceRehearsal{
		Node: "fs01", Method: "power", Agent: "fence_ipmilan", DurationMs: 120, Live: true, Outlet: &gulmv1.FenceOutlet{Device: "bmc", Power: "on", StampMs: stamp},
	}
	c.Servers[0].Set(func(s *tooltest.Script) {
		s.Rehearsal = &gulmv1.RehearseFenceReply{Outlets: []*gulmv1.FenceRehearsal{good}}
	})
	golden(t, c, "fence/rehearse_good.txt", 0, on(c, "fence", "rehearse", "fs01"))
	c.Servers[0].Set(func(s *tooltest.Script) {
		s.Rehearsal = &gulmv1.RehearseFenceReply{Outlets: []*gulmv1.FenceRehearsal{good, {
			Node: "fs01", Method: "feeds", Agent: "fence_apc_snmp", DurationMs: 480, Live: true, Alarm: "outlet pdu/7 says off, and the node lives",
			Outlet: &gulmv1.FenceOutlet{Device: "pdu", Plug: "7", Power: "off", StampMs: stamp},
		}}}
	})
	golden(t, c, "fence/rehearse_alarm.txt", gulmerr.ExitFailed, on(c, "fence", "rehearse"))
	golden(t, c, "fence/rehearse_alarm.json", gulmerr.ExitFailed, on(c, "fence", "rehearse", "--json"))
	want := []string{"RehearseFence", `RehearseFence node:"fs01"`, "RehearseFence", "RehearseFence"}
	if got := c.Servers[0].Requests(); !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
}
