package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Defaults of a Runner.
const (
	defaultPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultTimeout   = 60 * time.Second
	defaultKillGrace = 5 * time.Second
	defaultWaitDelay = 2 * time.Second
	defaultMaxOutput = 64 << 10
)

// Runner is the Fencer that runs real agents. The zero value is ready to use;
// the settings must not change once it is in use, and it must not be copied.
// Fence and Run may be called at the same time for different nodes; agents of
// one device wait for each other.
type Runner struct {
	// Log gets every line of the agents' output and the end of every attempt,
	// without secrets; nil discards them. It must not block for long: an agent
	// that writes waits for it.
	Log *slog.Logger
	// Path is the list of absolute folders, separated by colons, in which agents
	// are looked for. It is the agents' own PATH too. Empty means
	// /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin.
	Path string
	// Timeout bounds one run of an agent whose step sets no limit; 0 means 60 s.
	Timeout time.Duration
	// KillGrace is how long a killed agent may take to vanish before it is
	// given up as stuck in the kernel; 0 means 5 s.
	KillGrace time.Duration
	// WaitDelay is how long the output is waited for after the agent's whole
	// group has ended, which matters only if a process that left the group
	// holds it; 0 means 2 s.
	WaitDelay time.Duration
	// MaxOutput bounds what one run of an agent may write to the log, in bytes;
	// 0 means 64 KiB. The rest is read and dropped.
	MaxOutput int

	mu      sync.Mutex
	devices map[string]chan struct{} // one token per device name
}

var _ Fencer = (*Runner)(nil)

// Fence implements Fencer; it is Run without the report.
func (r *Runner) Fence(ctx context.Context, plan Plan, observe func(Attempt)) error {
	_, err := r.Run(ctx, plan, observe)
	return err
}

// Run makes one round over the plan's methods, in order, until one succeeds, as
// Fencer says, and returns the account of it, which is complete with and
// without an error. A method that must not be run (see Method.Validate) is
// reported as a refused attempt, and the next one is tried.
func (r *Runner) Run(ctx context.Context, plan Plan, observe func(Attempt)) (Report, error) {
	report := Report{Node: plan.Node}
	if err := plan.check(); err != nil {
		return report, err
	}
	rd := &round{runner: r, node: plan.Node, report: &report, observe: observe}
	var errs []error
	for _, m := range plan.Methods {
		err := rd.method(ctx, m)
		if err == nil {
			report.Fenced, report.Method = true, m.Name
			r.log().Info("node fenced", "node", plan.Node, "method", m.Name)
			return report, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
	}
	return report, fmt.Errorf("node %s: %w: %w", plan.Node, ErrNotFenced, errors.Join(errs...))
}

// round is one walk over the methods of a plan.
type round struct {
	runner  *Runner
	node    string
	report  *Report
	observe func(Attempt)
}

// method runs the steps of one method in order and stops at the first that
// fails. A run of off steps is checked as a whole, after its last and before
// anything else: only then were all feeds of the node without power at once.
func (rd *round) method(ctx context.Context, m Method) error {
	if err := m.Validate(rd.node); err != nil {
		rd.add(Attempt{
			Node: rd.node, Method: m.Name, Start: time.Now(), ExitCode: -1,
			Outcome: OutcomeRefused, Reason: err.Error(),
		})
		return fmt.Errorf("method %s: %w", m.Name, err)
	}
	var offs []Step
	for _, s := range m.Steps {
		if s.Action() != actionOff {
			if err := rd.verify(ctx, m.Name, offs); err != nil {
				return err
			}
			offs = nil
		}
		a := rd.run(ctx, m.Name, s, s.Action(), nil)
		rd.add(a)
		if !a.Outcome.OK() {
			return errors.New(a.String())
		}
		if s.Action() == actionOff {
			offs = append(offs, s)
		}
	}
	return rd.verify(ctx, m.Name, offs)
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
		a.judgeStatus()
		rd.add(a)
		if !a.Outcome.OK() {
			return errors.New(a.String())
		}
	}
	return nil
}

// judgeStatus reads the exit status of a status action: 2 is off, 0 is on.
func (a *Attempt) judgeStatus() {
	const exitOff = 2
	switch {
	case a.Outcome == OutcomeOK:
		a.fail(OutcomeStillOn, "the agent reported success but its status action says that the plug is on")
	case a.Outcome == OutcomeFailed && a.ExitCode == exitOff:
		a.Outcome, a.Reason = OutcomeOK, ""
	}
}

// canVerify says whether the step's agent has a status action to check with. An
// agent that could not be asked is an error, since it may have one.
func (rd *round) canVerify(ctx context.Context, method string, s Step) (bool, error) {
	mode, err := s.verifyMode()
	if mode != verifyAuto || err != nil {
		return mode == verifyYes, err
	}
	text := &capped{limit: maxMetadata}
	a := rd.run(ctx, method, s, actionMetadata, text)
	if a.Outcome != OutcomeOK && a.Outcome != OutcomeFailed {
		a.Reason += "; an off is checked by default: if the agent has no metadata, set verify = \"no\" for device " + s.Device
		rd.add(a)
		return false, errors.New(a.String())
	}
	listed, ok := listsAction(text.Bytes(), actionStatus)
	if a.Outcome != OutcomeOK || !ok {
		listed = false
		rd.runner.log().Warn("off not checked: agent has no metadata", "node", rd.node, "method", method, "device", s.Device, "agent", s.Agent)
	} else if !listed {
		rd.runner.log().Info("off not checked: agent has no status action", "node", rd.node, "method", method, "device", s.Device, "agent", s.Agent)
	}
	return listed, nil
}

// run runs the step's agent with the given action as soon as its device is free.
func (rd *round) run(ctx context.Context, method string, s Step, action string, stdout *capped) Attempt {
	j := job{method: method, step: s, action: action, stdout: stdout}
	if action == actionMetadata {
		// No address, no plug, no node: an old agent that knows no metadata and
		// falls back to its default action then has nothing to act upon.
		j.input = []Param{{Key: keyAction, Value: action}, {Key: keyOption, Value: action}}
	} else {
		lines, err := input(rd.node, s.Params, action)
		if err != nil {
			// Validate has refused every plan for which this happens.
			return Attempt{
				Node: rd.node, Method: method, Device: s.Device, Agent: s.Agent, Action: action,
				Start: time.Now(), ExitCode: -1, Outcome: OutcomeNotStarted, Reason: err.Error(),
			}
		}
		j.input = lines
	}
	release, err := rd.runner.acquire(ctx, s.Device)
	if err != nil {
		return Attempt{
			Node: rd.node, Method: method, Device: s.Device, Agent: s.Agent, Action: action,
			Start: time.Now(), ExitCode: -1, Outcome: OutcomeCancelled,
			Reason: fmt.Sprintf("stopped while waiting for the device: %v", err),
		}
	}
	defer release()
	return rd.runner.runAgent(ctx, rd.node, j)
}

// add reports an attempt to everybody who wants to know.
func (rd *round) add(a Attempt) {
	rd.report.Attempts = append(rd.report.Attempts, a)
	a.logTo(rd.runner.log(), len(rd.report.Attempts))
	if rd.observe != nil {
		rd.observe(a)
	}
}

// acquire waits until no other agent uses the device. Many devices take one
// connection at a time, and none is the better for two.
func (r *Runner) acquire(ctx context.Context, device string) (release func(), err error) {
	r.mu.Lock()
	if r.devices == nil {
		r.devices = make(map[string]chan struct{})
	}
	token, ok := r.devices[device]
	if !ok {
		token = make(chan struct{}, 1)
		r.devices[device] = token
	}
	r.mu.Unlock()
	select {
	case token <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return func() { <-token }, nil
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

func (r *Runner) path() string { return cmp.Or(r.Path, defaultPath) }

func (r *Runner) timeout() time.Duration { return cmp.Or(max(r.Timeout, 0), defaultTimeout) }

func (r *Runner) killGrace() time.Duration { return cmp.Or(max(r.KillGrace, 0), defaultKillGrace) }

func (r *Runner) waitDelay() time.Duration { return cmp.Or(max(r.WaitDelay, 0), defaultWaitDelay) }

func (r *Runner) maxOutput() int { return cmp.Or(max(r.MaxOutput, 0), defaultMaxOutput) }
