//go:build invariants

package state

import "fmt"

// invariants is true with the build tag of that name: every command ends with a
// check of everything around the lock table, which checks itself.
const invariants = true

// mustHold panics if the state is not consistent after a command. With many
// sessions it looks at every command that comes after one for each few of them.
func (s *State) mustHold(c Command) {
	const always, each = 64, 16
	s.sampled.commands++
	if n := len(s.numbers); n > always && s.sampled.commands < n/each {
		return
	}
	s.sampled.commands = 0
	if err := s.checkAround(); err != nil {
		panic(fmt.Sprintf("state: after %T at log index %d: %v", c, s.index, err))
	}
}

// sampled is when a state with many sessions is checked the next time.
type sampled struct{ commands int }
