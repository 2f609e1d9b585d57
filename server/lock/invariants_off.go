//go:build !invariants

package lock

// invariants is false without the build tag of that name, and what it guards
// costs nothing.
const invariants = false

type sampled struct{}

func (t *Table) mustHold() { _ = t.sampled }
