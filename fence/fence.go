package fence

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors that a Fencer returns, wrapped with the node and the reasons.
var (
	// ErrPlan means that the plan, or one method of it, must not be run as it
	// is: nothing was started. Only the configuration can cure it.
	ErrPlan = errors.New("unusable fence plan")
	// ErrNotFenced means that no method succeeded. The node may be on, off or
	// anything between; it is not proved to be off.
	ErrNotFenced = errors.New("not fenced")
)

// Fencer proves that a node can no longer write.
type Fencer interface {
	// Fence makes one round over the plan's methods and returns nil if and
	// only if one of them succeeded, which proves that the node is fenced. The
	// hooks follow what it does.
	//
	// Any error means that nothing is proved: ErrPlan, ErrNotFenced, or, when
	// ctx ended first, an error that wraps both ErrNotFenced and the cause of
	// ctx. A command that was on its way to the device may still take effect
	// later. Fence may be called at the same time for different nodes.
	Fence(ctx context.Context, plan Plan, hooks Hooks) error
}

// Rehearser asks the devices of a plan how things are and touches nothing.
type Rehearser interface {
	// Rehearse asks every outlet that the plan's methods cut off for its status,
	// each once, and calls seen with each answer, from the calling goroutine. A
	// device that has no status action is asked whether it is there. The error is
	// that of ctx: what has not been asked by then is not reported.
	Rehearse(ctx context.Context, plan Plan, seen func(Sighting)) error
}

// Outcome is how an attempt ended. The strings are kept in logs and records:
// they are never changed, only added to.
type Outcome string

// The outcomes. Only OutcomeOK counts for the method.
const (
	// OutcomeOK means exit status 0 (for a status check: the plug is off).
	OutcomeOK Outcome = "ok"
	// OutcomeFailed means that the agent ended with another exit status.
	OutcomeFailed Outcome = "failed"
	// OutcomeSignalled means that a signal that was not ours ended the agent.
	OutcomeSignalled Outcome = "signalled"
	// OutcomeTimedOut means that the agent was killed at its time limit.
	OutcomeTimedOut Outcome = "timed out"
	// OutcomeNotStarted means that the agent could not be found or started.
	OutcomeNotStarted Outcome = "not started"
	// OutcomeOutputLost means that the agent ended with 0 but its output could
	// not be read to the end.
	OutcomeOutputLost Outcome = "output lost"
	// OutcomeStillOn means that the agent reported success for an off, but
	// its status action says that the plug is on.
	OutcomeStillOn Outcome = "still on"
	// OutcomeNotBelieved means that the plug was off before anything was done,
	// and the device has never reported on for this node; or that it reported
	// off while the node lived. It may be another machine's plug.
	OutcomeNotBelieved Outcome = "not believed"
	// OutcomeRefused means that the method must not be run (see ErrPlan).
	OutcomeRefused Outcome = "refused"
	// OutcomeCancelled means that the caller's context ended first.
	OutcomeCancelled Outcome = "cancelled"
)

// OK reports whether the attempt succeeded.
func (o Outcome) OK() bool { return o == OutcomeOK }

// Attempt is one run of one agent, or the refusal to run a method at all. It
// holds no secrets and is bounded in size, so it can be logged, sent and kept.
type Attempt struct {
	// Node is the victim.
	Node string
	// Method, Device and Agent are the names from the plan; Device and Agent
	// are empty when the whole method was refused.
	Method, Device, Agent string
	// Action is what the agent was asked to do: the step's own action, or
	// status or metadata for a check that follows an off.
	Action string
	// Start is the wall clock when the attempt began, for people to read.
	Start time.Time
	// Duration is how long it took, without the wait for the device.
	Duration time.Duration
	// Outcome is how it ended.
	Outcome Outcome
	// ExitCode is the agent's exit status, 0 to 255, or -1 when it has none:
	// not started, killed, or not waited for.
	ExitCode int
	// Reason says in words why the attempt failed; empty when it did not.
	Reason string
	// Late says that what the agent asked the device for may still be done after
	// its end: it was to cut the node off, and failed, or was killed, or left
	// processes behind. A node that came back too early may be cut off by it.
	Late bool
	// Tail holds the last lines of the agent's output, at most 8 of at most
	// 256 bytes, separated by newlines; valid UTF-8 without control characters.
	Tail string
}

// String describes the attempt in one line, without its output.
func (a Attempt) String() string {
	s := "method " + a.Method
	if a.Device != "" || a.Agent != "" {
		s += fmt.Sprintf(": device %s: %s %s", a.Device, a.Agent, a.Action)
	}
	s += ": " + string(a.Outcome)
	if a.Reason != "" {
		s += ": " + a.Reason
	}
	return s
}

// Report is the account of one round over a plan.
type Report struct {
	// Node is the victim.
	Node string
	// Method is the name of the method that succeeded; empty if none did.
	Method string
	// Fenced says that the node is proved to be fenced.
	Fenced bool
	// Attempts are all attempts in the order in which they ended.
	Attempts []Attempt
}
