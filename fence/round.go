package fence

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// round is one walk over the methods of a plan.
type round struct {
	runner *Runner
	plan   Plan
	report *Report
	hooks  Hooks
	known  map[string]abilities // by agent
	// rehearsal: nothing depends on it, so it comes after fences.
	rehearsal bool
}

// method runs the steps of one method in order and stops at the first that
// fails. A run of off steps is checked as a whole, after its last and before
// anything else: only then were all feeds of the node without power at once. Once
// the node is cut off and that is checked, it is fenced: that it cannot be
// switched on again takes nothing away from it.
func (rd *round) method(ctx context.Context, m Method) error {
	if err := m.Validate(rd.plan.Node); err != nil {
		rd.add(rd.refusal(m.Name, Step{}, OutcomeRefused, err.Error()))
		return fmt.Errorf("method %s: %w", m.Name, err)
	}
	steps := m.Expand()
	last := 0
	for i, s := range steps {
		if s.cuts() {
			last = i
		}
		if a, unfit := rd.unfit(m.Name, s); unfit {
			rd.add(a)
			return errors.New(a.String())
		}
	}
	var offs []Step
	for i, s := range steps {
		if s.Action() != actionOff {
			if err := rd.verify(ctx, m.Name, offs); err != nil {
				return err
			}
			offs = nil
		}
		if i > last && s.Action() == actionOn {
			rd.on(ctx, m.Name, s)
			continue
		}
		if err := rd.step(ctx, m.Name, s); err != nil {
			return err
		}
		if s.Action() == actionOff {
			offs = append(offs, s)
		}
	}
	return rd.verify(ctx, m.Name, offs)
}

// unfit says why a step can prove nothing about this node, so that its method is
// not even begun.
func (rd *round) unfit(method string, s Step) (Attempt, bool) {
	switch {
	case !s.cuts():
		return Attempt{}, false
	case s.needsWatchdog() && rd.plan.Watchdog <= 0:
		return rd.refusal(method, s, OutcomeRefused, fmt.Sprintf(
			"node %s did not say at login that its watchdog is armed, so waiting for it proves nothing", rd.plan.Node)), true
	case rd.hooks.trust(s.Outlet()) == TrustWrong:
		return rd.refusal(method, s, OutcomeNotBelieved, fmt.Sprintf(
			"outlet %v reported off while node %s lived, so it is another machine's, or not the node's only feed: correct fence.ccs or the cabling, then rehearse",
			s.Outlet(), rd.plan.Node)), true
	}
	return Attempt{}, false
}

// refusal is an attempt that did not start.
func (rd *round) refusal(method string, s Step, o Outcome, reason string) Attempt {
	a := Attempt{Node: rd.plan.Node, Method: method, Device: s.Device, Agent: s.Agent, Start: time.Now(), ExitCode: -1, Outcome: o, Reason: reason}
	if s.Agent != "" {
		a.Action = s.Action()
	}
	return a
}

// step runs one step. Of an outlet that has never reported on for the node, it
// is asked first: that it goes from on to off is what makes its success one.
func (rd *round) step(ctx context.Context, method string, s Step) error {
	doubtful := s.cuts() && !s.needsWatchdog() && rd.hooks.trust(s.Outlet()) == TrustUnknown
	if doubtful {
		switch rd.power(ctx, method, s) {
		case PowerOff:
			a := rd.refusal(method, s, OutcomeNotBelieved, neverOn(rd.plan.Node, s))
			rd.add(a)
			return errors.New(a.String())
		case PowerOn:
			doubtful = false
		}
	}
	a := rd.run(ctx, method, s, s.Action(), nil)
	if doubtful && a.Outcome.OK() && alreadyOff.MatchString(a.Tail) {
		a.fail(OutcomeNotBelieved, neverOn(rd.plan.Node, s))
	}
	rd.add(a)
	if !a.Outcome.OK() {
		return errors.New(a.String())
	}
	return nil
}

// alreadyOff is what agents write when they had nothing to do.
var alreadyOff = regexp.MustCompile(`(?i)already\s+(powered\s+)?off`)

func neverOn(node string, s Step) string {
	return fmt.Sprintf("outlet %v was off already and has never reported on for node %s, so it may be another machine's", s.Outlet(), node)
}

// on switches one feed of a fenced node on again.
func (rd *round) on(ctx context.Context, method string, s Step) {
	a := rd.run(ctx, method, s, s.Action(), nil)
	rd.add(a)
	if !a.Outcome.OK() {
		rd.runner.log().Warn("node is fenced but stays off, switch it on by hand",
			"node", rd.plan.Node, "method", method, "device", s.Device, "agent", s.Agent, "err", a.Reason)
	}
}

// verify asks the agents of the given off steps whether the plugs are off.
func (rd *round) verify(ctx context.Context, method string, offs []Step) error {
	for _, s := range offs {
		check, err := rd.canVerify(ctx, method, s)
		if err != nil {
			return err
		}
		if !check {
			continue
		}
		a := rd.run(ctx, method, s, actionStatus, nil)
		rd.saw(a, s)
		a.judgeStatus()
		rd.add(a)
		if !a.Outcome.OK() {
			return errors.New(a.String())
		}
	}
	return nil
}

// exitOff is the exit status of a status action that found the plug off.
const exitOff = 2

// judgeStatus reads the exit status of a status action: 2 is off, 0 is on.
func (a *Attempt) judgeStatus() {
	switch {
	case a.Outcome == OutcomeOK:
		a.fail(OutcomeStillOn, "the agent reported success but its status action says that the plug is on")
		a.Late = true
	case a.Outcome == OutcomeFailed && a.ExitCode == exitOff:
		a.Outcome, a.Reason = OutcomeOK, ""
	}
}

// saw turns the end of a status action into a sighting and reports it.
func (rd *round) saw(a Attempt, s Step) Power {
	x := Sighting{
		Node: rd.plan.Node, Method: a.Method, Agent: a.Agent, Outlet: s.Outlet(), Power: PowerNone, Start: a.Start, Duration: a.Duration,
	}
	switch {
	case a.Outcome == OutcomeOK:
		x.Power = PowerOn
	case a.Outcome == OutcomeFailed && a.ExitCode == exitOff:
		x.Power = PowerOff
	default:
		x.Reason = fmt.Sprintf("%s: %s", a.Outcome, a.Reason)
		if a.Tail != "" {
			x.Reason += ": " + a.Tail
		}
	}
	rd.runner.log().Info("outlet asked", "node", x.Node, "method", x.Method, "device", x.Outlet.Device, "agent", x.Agent,
		"outlet", x.Outlet.String(), "outcome", string(x.Power), "dur", x.Duration, "err", x.Reason)
	rd.hooks.seen(x)
	return x.Power
}

// power asks for the power of a step's outlet, if it can be asked.
func (rd *round) power(ctx context.Context, method string, s Step) Power {
	mode, _ := s.verifyMode()
	if mode == verifyNo {
		return PowerNone
	}
	if mode == verifyAuto {
		if can, a := rd.abilities(ctx, method, s); !a.Outcome.OK() || !can.status {
			return PowerNone
		}
	}
	return rd.saw(rd.run(ctx, method, s, actionStatus, nil), s)
}

// canVerify says whether the step's agent has a status action to check with. An
// agent that could not be asked is an error, since it may have one.
func (rd *round) canVerify(ctx context.Context, method string, s Step) (bool, error) {
	mode, err := s.verifyMode()
	if mode != verifyAuto || err != nil {
		return mode == verifyYes, err
	}
	can, a := rd.abilities(ctx, method, s)
	if a.Outcome != OutcomeOK && a.Outcome != OutcomeFailed {
		a.Reason += "; an off is checked by default: if the agent has no metadata, set verify = \"no\" for device " + s.Device
		rd.add(a)
		return false, errors.New(a.String())
	}
	switch {
	case !can.listed:
		rd.runner.log().Warn("off not checked: agent has no metadata", "node", rd.plan.Node, "method", method, "device", s.Device, "agent", s.Agent)
	case !can.status:
		rd.runner.log().Info("off not checked: agent has no status action", "node", rd.plan.Node, "method", method, "device", s.Device, "agent", s.Agent)
	}
	return can.status, nil
}

// abilities are what an agent's metadata says that it can be asked.
type abilities struct{ listed, status, monitor bool }

// abilities asks an agent for its metadata, once in a round.
func (rd *round) abilities(ctx context.Context, method string, s Step) (abilities, Attempt) {
	if can, ok := rd.known[s.Agent]; ok {
		return can, Attempt{Outcome: OutcomeOK}
	}
	text := &capped{limit: maxMetadata}
	a := rd.run(ctx, method, s, actionMetadata, text)
	if a.Outcome != OutcomeOK && a.Outcome != OutcomeFailed {
		return abilities{}, a
	}
	var can abilities
	if a.Outcome == OutcomeOK {
		can.status, can.listed = listsAction(text.Bytes(), actionStatus)
		can.monitor, _ = listsAction(text.Bytes(), actionMonitor)
	}
	if rd.known == nil {
		rd.known = map[string]abilities{}
	}
	rd.known[s.Agent] = can
	return can, a
}

// run runs the step's agent with the given action as soon as its device is free.
func (rd *round) run(ctx context.Context, method string, s Step, action string, stdout *capped) Attempt {
	cuts := action == s.Action() && s.cuts()
	if cuts && s.needsWatchdog() {
		s = s.armed(rd.plan, rd.runner.timeout())
	}
	a := Attempt{
		Node: rd.plan.Node, Method: method, Device: s.Device, Agent: s.Agent, Action: action, Start: time.Now(), ExitCode: -1,
	}
	j := job{method: method, step: s, action: action, stdout: stdout}
	if action == actionMetadata {
		// No address, no plug, no node: an old agent that knows no metadata and
		// falls back to its default action then has nothing to act upon.
		j.input = []Param{{Key: keyAction, Value: action}, {Key: keyOption, Value: action}}
	} else {
		lines, err := input(rd.plan.Node, s.Params, action)
		if err != nil {
			// Validate has refused every plan for which this happens.
			a.fail(OutcomeNotStarted, err.Error())
			return a
		}
		j.input = lines
	}
	release, err := rd.runner.acquire(ctx, s.Device, rd.rehearsal)
	if err != nil {
		a.fail(OutcomeCancelled, fmt.Sprintf("stopped while waiting for the device: %v", err))
		return a
	}
	defer release()
	if cuts && rd.hooks.Begin != nil {
		a.Start = time.Now()
		if j.permit, err = rd.hooks.Begin(ctx, a); err != nil {
			a.fail(OutcomeNotStarted, fmt.Sprintf("it may not be started: %v", err))
			return a
		}
	}
	a, started := rd.runner.runAgent(ctx, rd.plan.Node, j)
	a.Late = a.Late || cuts && started && !a.Outcome.OK()
	return a
}

// add reports an attempt to everybody who wants to know.
func (rd *round) add(a Attempt) {
	rd.report.Attempts = append(rd.report.Attempts, a)
	a.logTo(rd.runner.log(), len(rd.report.Attempts))
	rd.hooks.end(a)
}
