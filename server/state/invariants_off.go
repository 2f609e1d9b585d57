//go:build !invariants

package state

// invariants is false without the build tag of that name, and what it guards
// costs nothing.
const invariants = false

func (s *State) mustHold(Command) { _ = s.sampled }

type sampled struct{}
