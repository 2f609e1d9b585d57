// Package sim is a power switch for tests: a fence.Fencer without agents,
// processes or devices, whose behaviour is set per node. It tells time by
// package time and waits by contexts only, so it works inside synctest bubbles.
package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"lock_gulmd/fence"
)

// Behaviour is what the switch does when it is asked to fence a node. The parts
// combine: first Delay passes, then Hang, Fail and Lie are looked at in this
// order. The zero value cuts the power at once.
type Behaviour struct {
	// Delay passes before anything else happens.
	Delay time.Duration
	// Hang makes the call wait until its context ends.
	Hang bool
	// Fail is how many calls fail before one succeeds; negative means all.
	Fail int
	// Lie makes the call report success without cutting the power.
	Lie bool
	// Late makes what failed or was stopped count as something that may still be
	// done, as it would with a real agent.
	Late bool
	// Power is what the outlet says of the node's power when it is asked; empty
	// means on until the power is cut.
	Power fence.Power
}

// Call is one call of Fence.
type Call struct {
	// Plan is what the call was asked to run.
	Plan fence.Plan
	// Start is when it came.
	Start time.Time
	// Done is set once it has returned; Dur and Err mean nothing before.
	Done bool
	// Dur is how long it took.
	Dur time.Duration
	// Err is what it returned.
	Err error
	// Cut says that the power was cut.
	Cut bool
}

// Switch is a simulated power switch. The zero value succeeds for every node at
// once. All methods may be called at any time from any goroutine.
type Switch struct {
	// PowerOff, if set, is called when the power of a node is cut, before Fence
	// returns nil, from the goroutine that called Fence and without any lock
	// held. It must not change while the switch is in use.
	PowerOff func(node string)

	mu        sync.Mutex
	behaviour map[string]Behaviour
	calls     []*Call
	asked     map[string]int
}

var (
	_ fence.Fencer    = (*Switch)(nil)
	_ fence.Rehearser = (*Switch)(nil)
)

// Plan returns a valid plan for node with one method, "sim", of one step, for
// tests that do not care what a plan says.
func Plan(node string) fence.Plan {
	return fence.Plan{Node: node, Methods: []fence.Method{{
		Name: "sim",
		Steps: []fence.Step{{
			Device: "sim", Agent: "fence_sim",
			Params: []fence.Param{{Key: "action", Value: "off"}, {Key: "plug", Value: node}},
		}},
	}}}
}

// Set says how the switch treats node from the next call on.
func (s *Switch) Set(node string, b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behaviour == nil {
		s.behaviour = make(map[string]Behaviour)
	}
	s.behaviour[node] = b
}

// Calls returns copies of all calls so far, running ones included, in the order
// in which they came.
func (s *Switch) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]Call, 0, len(s.calls))
	for _, c := range s.calls {
		calls = append(calls, *c)
	}
	return calls
}

// CallsFor returns the calls for one node, as Calls does.
func (s *Switch) CallsFor(node string) []Call {
	return slices.DeleteFunc(s.Calls(), func(c Call) bool { return c.Plan.Node != node })
}

// Fence implements fence.Fencer. Like the real one it refuses unusable plans,
// tries the methods in order and reports one attempt for each that it tried: a
// failing call fails them all, a successful one succeeds with the first.
func (s *Switch) Fence(ctx context.Context, plan fence.Plan, hooks fence.Hooks) error {
	call := &Call{Plan: plan, Start: time.Now()}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	cut, err := s.fence(ctx, call, hooks)
	s.mu.Lock()
	call.Done, call.Dur, call.Err, call.Cut = true, time.Since(call.Start), err, cut
	s.mu.Unlock()
	return err
}

func (s *Switch) fence(ctx context.Context, call *Call, hooks fence.Hooks) (cut bool, err error) {
	plan := call.Plan
	if err := plan.Validate(); err != nil {
		return false, err
	}
	not := func(why error) error { return fmt.Errorf("node %s: %w: %w", plan.Node, fence.ErrNotFenced, why) }
	if a, ok := s.begin(ctx, call, hooks); !ok {
		observe(hooks, a)
		return false, not(errors.New(a.Reason))
	}
	b := s.next(plan.Node)
	if err := wait(ctx, b); err != nil {
		observe(hooks, attempt(call, 0, fence.OutcomeCancelled, err.Error(), b.Late))
		return false, not(err)
	}
	if b.Fail != 0 {
		for i := range plan.Methods {
			observe(hooks, attempt(call, i, fence.OutcomeFailed, "told to fail", b.Late))
		}
		return false, not(errors.New("told to fail"))
	}
	if !b.Lie && s.PowerOff != nil {
		s.PowerOff(plan.Node)
	}
	observe(hooks, attempt(call, 0, fence.OutcomeOK, "", false))
	return !b.Lie, nil
}

// begin asks whether the first step of the plan may be begun and believed.
func (s *Switch) begin(ctx context.Context, call *Call, hooks fence.Hooks) (fence.Attempt, bool) {
	step := call.Plan.Methods[0].Steps[0]
	s.mu.Lock()
	power := s.behaviour[call.Plan.Node].Power
	s.mu.Unlock()
	if hooks.Trust != nil {
		trust := hooks.Trust(step.Outlet())
		if trust == fence.TrustWrong || trust == fence.TrustUnknown && power == fence.PowerOff {
			return attempt(call, 0, fence.OutcomeNotBelieved, "it may be another machine's", false), false
		}
	}
	if hooks.Begin == nil {
		return fence.Attempt{}, true
	}
	a := attempt(call, 0, "", "", false)
	if _, err := hooks.Begin(ctx, a); err != nil {
		return attempt(call, 0, fence.OutcomeNotStarted, err.Error(), false), false
	}
	return a, true
}

func observe(hooks fence.Hooks, a fence.Attempt) {
	if hooks.End != nil {
		hooks.End(a)
	}
}

// Rehearse implements fence.Rehearser: each step of the plan is an outlet that
// says what the node's behaviour has.
func (s *Switch) Rehearse(ctx context.Context, plan fence.Plan, seen func(fence.Sighting)) error {
	s.mu.Lock()
	power := cmp.Or(s.behaviour[plan.Node].Power, fence.PowerOn)
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[plan.Node]++
	s.mu.Unlock()
	for _, m := range plan.Methods {
		for _, step := range m.Steps {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			x := fence.Sighting{
				Node: plan.Node, Method: m.Name, Agent: step.Agent, Outlet: step.Outlet(), Power: power, Start: time.Now(),
			}
			if power == fence.PowerNone {
				x.Reason = "told not to answer"
			}
			seen(x)
		}
	}
	return nil
}

// Asked returns how often Rehearse was called for a node.
func (s *Switch) Asked(node string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[node]
}

// next returns the behaviour for a call that begins now and counts it.
func (s *Switch) next(node string) Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.behaviour[node]
	if b.Fail > 0 && !b.Hang {
		counted := b
		counted.Fail--
		s.behaviour[node] = counted
	}
	return b
}

// wait lets the delay pass, or the rest of ctx's life if the call is to hang.
func wait(ctx context.Context, b Behaviour) error {
	if b.Delay > 0 {
		timer := time.NewTimer(b.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if b.Hang {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func attempt(call *Call, method int, o fence.Outcome, reason string, late bool) fence.Attempt {
	m := call.Plan.Methods[method]
	a := fence.Attempt{
		Node: call.Plan.Node, Method: m.Name, Device: m.Steps[0].Device, Agent: m.Steps[0].Agent,
		Action: m.Steps[0].Action(), Start: call.Start, Duration: time.Since(call.Start),
		Outcome: o, ExitCode: -1, Reason: reason, Late: late,
	}
	switch o {
	case fence.OutcomeOK:
		a.ExitCode = 0
	case fence.OutcomeFailed:
		a.ExitCode = 1
	}
	return a
}
