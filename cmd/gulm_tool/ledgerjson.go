package main

import (
	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// ledgerJSON is all that is known of the fencing of a node.
type ledgerJSON struct {
	Node  string `json:"node"`
	State string `json:"state"`
	// Fence is the pending or latest fence, null if there was none; Past are
	// those before it, oldest first.
	Fence *fenceJSON  `json:"fence"`
	Past  []fenceJSON `json:"past"`
	// Held is true while the node is fenced but may not log in.
	Held      bool         `json:"held"`
	HeldForMs int64        `json:"held_for_ms"`
	WaitsFor  string       `json:"waits_for"`
	AgeMs     int64        `json:"age_ms"`
	Outlets   []outletJSON `json:"outlets"`
	Manual    []manualJSON `json:"manual"`
}

// outletJSON is what a fence device said of the node when it was asked last.
type outletJSON struct {
	Device  string `json:"device"`
	Plug    string `json:"plug"`
	Power   string `json:"power"`
	StampMs int64  `json:"stamp_ms"`
	Trusted bool   `json:"trusted"`
	Wrong   bool   `json:"wrong"`
	Reason  string `json:"reason"`
}

// manualJSON is a fence that an operator ran by hand.
type manualJSON struct {
	Operator    string        `json:"operator"`
	StampMs     int64         `json:"stamp_ms"`
	Incarnation uint64        `json:"incarnation"`
	Fenced      bool          `json:"fenced"`
	By          string        `json:"by"`
	Attempts    []attemptJSON `json:"attempts"`
}

// rehearsedJSON is what one outlet said in a rehearsal.
type rehearsedJSON struct {
	Node       string     `json:"node"`
	Method     string     `json:"method"`
	Agent      string     `json:"agent"`
	Outlet     outletJSON `json:"outlet"`
	DurationMs int64      `json:"duration_ms"`
	Live       bool       `json:"live"`
	Alarm      string     `json:"alarm"`
}

func ledgersToJSON(nodes []*gulmv1.FenceLedger) []ledgerJSON {
	out := []ledgerJSON{}
	for _, n := range nodes {
		x := ledgerJSON{
			Node: n.GetNode(), State: tool.Key(tool.NodeState(n.GetState())), Past: []fenceJSON{}, Held: n.GetHeld(), HeldForMs: n.GetHeldForMs(),
			WaitsFor: n.GetWaitsFor(), AgeMs: n.GetAgeMs(), Outlets: []outletJSON{}, Manual: []manualJSON{},
		}
		x.Fence = fenceToJSON(n.GetFence())
		for _, f := range n.GetPast() {
			x.Past = append(x.Past, *fenceToJSON(f))
		}
		for _, o := range n.GetOutlets() {
			x.Outlets = append(x.Outlets, outletToJSON(o))
		}
		for _, m := range n.GetManual() {
			x.Manual = append(x.Manual, manualJSON{
				m.GetOperator(), m.GetStampMs(), m.GetIncarnation(), m.GetFenced(), m.GetBy(), fenceToJSON(&gulmv1.Fence{Attempts: m.GetAttempts()}).Attempts,
			})
		}
		out = append(out, x)
	}
	return out
}

func outletToJSON(o *gulmv1.FenceOutlet) outletJSON {
	return outletJSON{o.GetDevice(), o.GetPlug(), o.GetPower(), o.GetStampMs(), o.GetTrusted(), o.GetWrong(), o.GetReason()}
}

func rehearsalToJSON(said []*gulmv1.FenceRehearsal) []rehearsedJSON {
	out := []rehearsedJSON{}
	for _, x := range said {
		out = append(out, rehearsedJSON{
			x.GetNode(), x.GetMethod(), x.GetAgent(), outletToJSON(x.GetOutlet()), x.GetDurationMs(), x.GetLive(), x.GetAlarm(),
		})
	}
	return out
}
