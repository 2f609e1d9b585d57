package ccs

import (
	"strconv"
	"time"

	"lock_gulmd/fence"
)

// FencePlan returns everything that may be tried to fence the node, in order.
// The parameters of a step are those of the node's method followed by those of
// the device; where both set the same one, under its old or new name, that of
// the node wins. It returns false if nodes.ccs knows no such node, or no method for it.
func (c *Config) FencePlan(node string) (fence.Plan, bool) {
	n, ok := c.Node(node)
	if !ok || len(n.Methods) == 0 {
		return fence.Plan{}, false
	}
	plan := fence.Plan{Node: n.Name, Methods: make([]fence.Method, 0, len(n.Methods))}
	for _, m := range n.Methods {
		method := fence.Method{Name: m.Name, Steps: make([]fence.Step, 0, len(m.Uses))}
		for _, use := range m.Uses {
			method.Steps = append(method.Steps, c.step(use))
			d, _ := c.Device(use.Device)
			method.Power = method.Power || d.Power && !onActions[actionOf(mergeParams(use, d))]
		}
		plan.Methods = append(plan.Methods, method)
	}
	return plan, true
}

// step merges one use of a device with the device.
func (c *Config) step(use Use) fence.Step {
	d, ok := c.Device(use.Device)
	if !ok {
		panic("ccs: a checked configuration uses an unknown fence device")
	}
	step := fence.Step{Device: d.Name, Agent: d.Agent, Timeout: stepTimeout(use, d)}
	for _, p := range mergeParams(use, d) {
		step.Params = append(step.Params, fence.Param{Key: p.Key, Value: p.text(), Secret: p.Hidden})
	}
	if agentName(d.Agent) == watchdogAgent {
		// A longer one that the operator sets counts, a shorter one does not.
		step.Params = append(step.Params, fence.Param{Key: "expiry_ms", Value: strconv.FormatInt(c.Expiry().Milliseconds(), 10)})
	}
	return step
}

func stepTimeout(use Use, d *Device) time.Duration {
	if use.Timeout != 0 {
		return use.Timeout
	}
	return d.Timeout
}

// mergeParams returns the use's parameters, then those of the device that the
// use does not set itself.
func mergeParams(use Use, d *Device) []Param {
	merged := make([]Param, 0, len(use.Params)+len(d.Params))
	set := make(map[string]bool, len(use.Params))
	for _, p := range use.Params {
		set[sameKey(p.Key)] = true
		merged = append(merged, p)
	}
	for _, p := range d.Params {
		if !set[sameKey(p.Key)] {
			merged = append(merged, p)
		}
	}
	return merged
}
