package fence

import (
	"context"
	"fmt"
	"time"
)

// Rehearse implements Rehearser.
func (r *Runner) Rehearse(ctx context.Context, plan Plan, seen func(Sighting)) error {
	rd := &round{runner: r, plan: plan, report: &Report{}, hooks: Hooks{Seen: seen}, rehearsal: true}
	asked := map[Outlet]bool{}
	for _, m := range plan.Methods {
		for _, s := range m.Steps {
			if !s.cuts() || asked[s.Outlet()] || baseName(s.Agent) == "fence_manual" {
				continue
			}
			asked[s.Outlet()] = true
			rd.rehearse(ctx, m.Name, s)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// rehearse asks one outlet.
func (rd *round) rehearse(ctx context.Context, method string, s Step) {
	mode, err := s.verifyMode()
	x := Sighting{Node: rd.plan.Node, Method: method, Agent: s.Agent, Outlet: s.Outlet(), Power: PowerNone, Start: time.Now()}
	switch {
	case err != nil:
		x.Reason = err.Error()
	case mode == verifyYes:
		rd.saw(rd.run(ctx, method, s, actionStatus, nil), s)
		return
	default:
		can, a := rd.abilities(ctx, method, s)
		switch {
		case ctx.Err() != nil:
			return
		case !a.Outcome.OK() && a.Outcome != OutcomeFailed:
			x.Reason = fmt.Sprintf("%s: %s", a.Outcome, a.Reason)
		case can.status && mode == verifyAuto && !s.needsWatchdog():
			if a := rd.run(ctx, method, s, actionStatus, nil); ctx.Err() == nil {
				rd.saw(a, s)
			}
			return
		case can.monitor:
			a = rd.run(ctx, method, s, actionMonitor, nil)
			x.Power = PowerAnswers
			if !a.Outcome.OK() {
				x.Power, x.Reason = PowerNone, fmt.Sprintf("%s: %s", a.Outcome, a.Reason)
			}
		default:
			x.Power = PowerAnswers
			x.Reason = "it has neither a status nor a monitor action: it cannot be asked"
		}
	}
	x.Duration = time.Since(x.Start)
	if ctx.Err() == nil {
		rd.hooks.seen(x)
	}
}
