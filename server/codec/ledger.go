package codec

import (
	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// setLedgerBody is setBody for the commands that only keep the record of fences.
func setLedgerBody(m *raftlogv1.Command, c state.Command) {
	switch c := c.(type) {
	case state.FenceStarted:
		m.Body = &raftlogv1.Command_FenceStarted{FenceStarted: &raftlogv1.FenceStarted{
			Term: c.Term, Node: utf8(c.Node), Incarnation: c.Incarnation, Method: utf8(c.Method), Device: utf8(c.Device),
			Agent: utf8(c.Agent), StartMs: c.Start,
		}}
	case state.FenceSeen:
		x := &raftlogv1.FenceSeen{Term: c.Term, Node: utf8(c.Node), Alive: c.Alive}
		for i := range c.Outlets {
			x.Outlets = append(x.Outlets, outletToLog(&c.Outlets[i]))
		}
		m.Body = &raftlogv1.Command_FenceSeen{FenceSeen: x}
	case state.FenceReleased:
		m.Body = &raftlogv1.Command_FenceReleased{FenceReleased: &raftlogv1.FenceReleased{
			Term: c.Term, Node: utf8(c.Node), Incarnation: c.Incarnation,
		}}
	case state.FenceManual:
		x := manualToLog(&c.ManualFence)
		x.Node = utf8(c.Node)
		m.Body = &raftlogv1.Command_FenceManual{FenceManual: x}
	}
}

// ledgerBodyOf is bodyOf for the same commands, nil if it is none of them.
func ledgerBodyOf(m *raftlogv1.Command) state.Command {
	switch b := m.GetBody().(type) {
	case *raftlogv1.Command_FenceStarted:
		x := b.FenceStarted
		return state.FenceStarted{
			Term: x.GetTerm(), Life: lifeOf(x),
			Method: x.GetMethod(), Device: x.GetDevice(), Agent: x.GetAgent(), Start: x.GetStartMs(),
		}
	case *raftlogv1.Command_FenceSeen:
		x := b.FenceSeen
		c := state.FenceSeen{Term: x.GetTerm(), Node: x.GetNode(), Alive: x.GetAlive()}
		for _, o := range x.GetOutlets() {
			c.Outlets = append(c.Outlets, outletFromLog(o))
		}
		return c
	case *raftlogv1.Command_FenceReleased:
		x := b.FenceReleased
		return state.FenceReleased{Term: x.GetTerm(), Life: lifeOf(x)}
	case *raftlogv1.Command_FenceManual:
		return state.FenceManual{Node: b.FenceManual.GetNode(), ManualFence: manualFromLog(b.FenceManual)}
	}
	return nil
}

func attemptToLog(term uint64, l member.Life, a member.Attempt) *raftlogv1.FenceAttempted {
	return &raftlogv1.FenceAttempted{
		Term: term, Node: utf8(l.Node), Incarnation: l.Incarnation, Method: utf8(a.Method), Device: utf8(a.Device),
		Agent: utf8(a.Agent), Outcome: utf8(a.Outcome), StartMs: a.Start, DurationMs: a.Duration, Output: utf8(a.Output),
		Late: a.Late, Open: a.Open,
	}
}

func attemptFromLog(x *raftlogv1.FenceAttempted) member.Attempt {
	return member.Attempt{
		Method: x.GetMethod(), Device: x.GetDevice(), Agent: x.GetAgent(), Outcome: x.GetOutcome(), Output: x.GetOutput(),
		Start: x.GetStartMs(), Duration: x.GetDurationMs(), Late: x.GetLate(), Open: x.GetOpen(),
	}
}

func outletToLog(o *member.Outlet) *raftlogv1.Outlet {
	return &raftlogv1.Outlet{
		Device: utf8(o.Device), Plug: utf8(o.Plug), Print: utf8(o.Print), Power: utf8(o.Power), StampMs: o.Stamp,
		Reason: utf8(o.Reason), On: o.On, Wrong: o.Wrong,
	}
}

func outletFromLog(o *raftlogv1.Outlet) member.Outlet {
	return member.Outlet{
		Device: o.GetDevice(), Plug: o.GetPlug(), Print: o.GetPrint(), Power: o.GetPower(), Stamp: o.GetStampMs(),
		Reason: o.GetReason(), On: o.GetOn(), Wrong: o.GetWrong(),
	}
}

func manualToLog(m *member.ManualFence) *raftlogv1.FenceManual {
	x := &raftlogv1.FenceManual{
		Operator: utf8(m.Operator), StampMs: m.Stamp, Fenced: m.Fenced, By: utf8(m.By), Incarnation: m.Incarnation,
	}
	for _, a := range m.Attempts {
		x.Attempts = append(x.Attempts, attemptToLog(0, member.Life{}, a))
	}
	return x
}

func manualFromLog(x *raftlogv1.FenceManual) member.ManualFence {
	m := member.ManualFence{
		Operator: x.GetOperator(), Stamp: x.GetStampMs(), Fenced: x.GetFenced(), By: x.GetBy(), Incarnation: x.GetIncarnation(),
	}
	for _, a := range x.GetAttempts() {
		m.Attempts = append(m.Attempts, attemptFromLog(a))
	}
	return m
}

// ledgerToLog returns nil if there is nothing in it.
func ledgerToLog(l *member.Ledger) *raftlogv1.Ledger {
	if len(l.Past)+len(l.Outlets)+len(l.Manual) == 0 && !l.Held {
		return nil
	}
	out := &raftlogv1.Ledger{Held: l.Held}
	for i := range l.Past {
		out.Past = append(out.Past, fenceToLog(&member.Node{Fence: l.Past[i]}))
	}
	for i := range l.Outlets {
		out.Outlets = append(out.Outlets, outletToLog(&l.Outlets[i]))
	}
	for i := range l.Manual {
		out.Manual = append(out.Manual, manualToLog(&l.Manual[i]))
	}
	return out
}

func ledgerFromLog(x *raftlogv1.Ledger, ok *bool) member.Ledger {
	l := member.Ledger{Held: x.GetHeld()}
	for _, f := range x.GetPast() {
		var n member.Node
		fenceFromLog(f, &n, ok)
		l.Past = append(l.Past, n.Fence)
	}
	for _, o := range x.GetOutlets() {
		l.Outlets = append(l.Outlets, outletFromLog(o))
	}
	for _, m := range x.GetManual() {
		l.Manual = append(l.Manual, manualFromLog(m))
	}
	return l
}
