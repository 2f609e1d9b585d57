package fence

// StepRuns is a step with what its agent is run for.
type StepRuns struct {
	Step
	// Actions are what the agent is asked, in order, at most, if all of it works:
	// metadata and status before what the step is for, and status after it.
	Actions []string
	// Cuts tells whether the step takes the node's access away.
	Cuts bool
}

// Runs returns the runs of agents that a round over the plan makes at most while
// each does what it is asked for, by method and step; of the later methods,
// the ones that are made if all before have failed. trust says what is known of an
// outlet, nil that nothing is.
func (p Plan) Runs(trust func(Outlet) Trust) [][]StepRuns {
	if trust == nil {
		trust = func(Outlet) Trust { return TrustUnknown }
	}
	known := map[string]bool{} // agents that were asked for their metadata
	ask := func(s Step, actions []string) []string {
		mode, _ := s.verifyMode()
		if mode == verifyNo {
			return actions
		}
		if mode == verifyAuto && !known[s.Agent] {
			known[s.Agent] = true
			actions = append(actions, actionMetadata)
		}
		return append(actions, actionStatus)
	}
	var methods [][]StepRuns
	for _, m := range p.Methods {
		var steps []StepRuns
		for _, s := range m.Expand() {
			r := StepRuns{Step: s, Cuts: s.cuts()}
			if r.Cuts && !s.needsWatchdog() && trust(s.Outlet()) == TrustUnknown {
				r.Actions = ask(s, r.Actions)
			}
			r.Actions = append(r.Actions, s.Action())
			if s.Action() == actionOff {
				r.Actions = ask(s, r.Actions)
			}
			steps = append(steps, r)
		}
		methods = append(methods, steps)
	}
	return methods
}
