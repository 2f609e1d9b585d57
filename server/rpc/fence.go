package rpc

import (
	"context"
	"fmt"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// Fences returns the fence ledger.
func (e *Edge) Fences(_ context.Context, req *gulmv1.FencesRequest) (*gulmv1.FencesReply, error) {
	if !e.cfg.Master.Serving() {
		return nil, e.notMaster()
	}
	reply := &gulmv1.FencesReply{}
	e.cfg.Machine.View(func(s *state.State) {
		for _, n := range s.Members().Nodes() {
			if req.GetNode() == "" || req.GetNode() == n.Name {
				reply.Nodes = append(reply.Nodes, e.ledgerToWire(s, &n))
			}
		}
	})
	if req.GetNode() == "" || len(reply.GetNodes()) > 0 {
		return reply, nil
	}
	if _, ok := e.cfg.Cluster.Node(req.GetNode()); !ok {
		return nil, gulmerr.New(gulmerr.ErrUnknownNode, "node %q is not in nodes.ccs of cluster %q", clip(req.GetNode()), e.cfg.Cluster.Name)
	}
	reply.Nodes = []*gulmv1.FenceLedger{{Node: req.GetNode()}}
	return reply, nil
}

func (e *Edge) ledgerToWire(s *state.State, n *member.Node) *gulmv1.FenceLedger {
	l := &n.Ledger
	out := &gulmv1.FenceLedger{Node: n.Name, State: gulmv1.NodeState(n.State), Held: l.Held, HeldForMs: -1}
	if n.Fence.State != member.FenceNone {
		out.Fence = fenceToWire(n)
	}
	for i := range l.Past {
		out.Past = append(out.Past, fenceToWire(&member.Node{Name: n.Name, Fence: l.Past[i]}))
	}
	for i := range l.Outlets {
		out.Outlets = append(out.Outlets, outletToWire(&l.Outlets[i]))
	}
	for _, m := range l.Manual {
		x := &gulmv1.ManualFence{Operator: m.Operator, StampMs: m.Stamp, Incarnation: m.Incarnation, Fenced: m.Fenced, By: m.By}
		for _, a := range m.Attempts {
			x.Attempts = append(x.Attempts, attemptToWire(a))
		}
		out.Manual = append(out.Manual, x)
	}
	held, known := e.cfg.Master.HeldFor(n.Name)
	if l.Held && known {
		out.HeldForMs = held.Milliseconds()
	}
	if n.State == member.Expired {
		out.AgeMs = max(0, time.Now().UnixMilli()-n.Fence.Wanted)
	}
	out.WaitsFor = waitsFor(n, s.Breaker().Paused, e.needed(n.Name), held)
	if s.AwaitsWord(n.Name) && (n.State != member.Expired || !s.NeedsAgents(n.Name)) {
		out.WaitsFor = waitsForWord(n.Name)
	}
	if text := e.waitsForLease(s, n); text != "" {
		out.WaitsFor = text
	}
	return out
}

// waitsFor says what a pending fence, or a held node, waits for.
func waitsFor(n *member.Node, paused, needed bool, held time.Duration) string {
	switch {
	case n.State == member.Fenced && n.Ledger.Held:
		return fmt.Sprintf("settle time: an attempt that was given up may still cut the node off; it may log in after about %v and a check of its devices",
			held.Round(time.Second))
	case n.State != member.Expired:
		return ""
	case paused && n.Fence.Operator == "":
		return "automatic fencing is paused: gulm_tool fence resume"
	case needed:
		return neededText + "; or fence_ack_manual " + n.Name
	case len(n.Fence.Attempts) == 0:
		return "the first attempt"
	}
	a := n.Fence.Attempts[len(n.Fence.Attempts)-1]
	if a.Open {
		return fmt.Sprintf("%s/%s %s, which runs", a.Method, a.Device, a.Agent)
	}
	return fmt.Sprintf("the next attempt, after %s/%s %s: %s; or fence_ack_manual %s", a.Method, a.Device, a.Agent, a.Outcome, n.Name)
}

func attemptToWire(a member.Attempt) *gulmv1.FenceAttempt {
	out := &gulmv1.FenceAttempt{
		Method: a.Method, Device: a.Device, Agent: a.Agent, Outcome: a.Outcome, StartMs: a.Start, DurationMs: a.Duration,
		Output: a.Output, Running: a.Open, Late: a.Late,
	}
	if a.Open {
		out.Outcome, out.DurationMs = "running", max(0, time.Now().UnixMilli()-a.Start)
	}
	return out
}

func outletToWire(o *member.Outlet) *gulmv1.FenceOutlet {
	return &gulmv1.FenceOutlet{
		Device: o.Device, Plug: o.Plug, Power: o.Power, StampMs: o.Stamp, Trusted: o.On, Wrong: o.Wrong, Reason: o.Reason,
	}
}

// RehearseFence asks the fence devices how things are.
func (e *Edge) RehearseFence(ctx context.Context, req *gulmv1.RehearseFenceRequest) (*gulmv1.RehearseFenceReply, error) {
	said, err := e.cfg.Master.Rehearse(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	reply := &gulmv1.RehearseFenceReply{}
	for _, x := range said {
		reply.Outlets = append(reply.Outlets, &gulmv1.FenceRehearsal{
			Node: x.Life.Node, Method: x.Method, Agent: x.Agent, DurationMs: x.Duration.Milliseconds(), Live: x.Live, Alarm: x.Alarm,
			Outlet: &gulmv1.FenceOutlet{
				Device: x.Outlet.Device, Plug: x.Outlet.Plug, Power: string(x.Power), StampMs: x.Start.UnixMilli(), Reason: x.Reason,
			},
		})
	}
	return reply, nil
}

// RecordFence notes a fence by hand.
func (e *Edge) RecordFence(ctx context.Context, req *gulmv1.RecordFenceRequest) (*gulmv1.RecordFenceReply, error) {
	operator := req.GetOperator()
	if name := caller(ctx).Name; name != "" {
		operator = name
	}
	if operator == "" {
		return nil, gulmerr.New(gulmerr.ErrInvalid, "the operator's name is required: it goes into the record")
	}
	f := req.GetFence()
	m := member.ManualFence{Operator: operator, Stamp: time.Now().UnixMilli(), Fenced: f.GetFenced(), By: f.GetBy()}
	for _, a := range f.GetAttempts() {
		m.Attempts = append(m.Attempts, member.Attempt{
			Method: a.GetMethod(), Device: a.GetDevice(), Agent: a.GetAgent(), Outcome: a.GetOutcome(), Output: a.GetOutput(),
			Start: a.GetStartMs(), Duration: a.GetDurationMs(), Late: a.GetLate(),
		})
	}
	if err := e.cfg.Master.NoteManual(ctx, req.GetNode(), m); err != nil {
		return nil, err
	}
	return &gulmv1.RecordFenceReply{}, nil
}
