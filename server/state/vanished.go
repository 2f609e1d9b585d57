package state

import (
	"cmp"
	"slices"

	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// ForgetVanished takes lives off the list of those that have vanished lately: the
// master's clock says that they vanished longer ago than counts.
type ForgetVanished struct {
	Term  uint64
	Lives []member.Life
}

func (ForgetVanished) command() {}

// Vanished returns the lives that were expired for their silence and that no
// master has forgotten since, by node, the newest of each, for reading only. There
// is no time in it: a master counts each from when it learned of it.
func (s *State) Vanished() []member.Life { return s.vanished }

func byNode(l member.Life, node string) int { return cmp.Compare(l.Node, node) }

// vanish notes that a life was expired for its silence.
func (s *State) vanish(l member.Life) {
	i, known := slices.BinarySearchFunc(s.vanished, l.Node, byNode)
	if known {
		s.vanished[i] = l
		return
	}
	s.vanished = slices.Insert(s.vanished, i, l)
}

func (s *State) forgetVanished(c ForgetVanished) Result {
	if c.Term != s.term {
		return Result{Reason: reason.StaleTerm}
	}
	for _, l := range c.Lives {
		// A newer life of the node may have vanished meanwhile: that one counts.
		if i, known := slices.BinarySearchFunc(s.vanished, l.Node, byNode); known && s.vanished[i] == l {
			s.vanished = slices.Delete(s.vanished, i, i+1)
		}
	}
	if len(s.vanished) == 0 {
		s.vanished = nil // as in a state from a snapshot
	}
	return Result{}
}

// restoreVanished reports false for what cannot have vanished.
func (s *State) restoreVanished(lives []member.Life) bool {
	s.vanished = lives
	for i, l := range lives {
		n, known := s.members.Node(l.Node)
		if !known || l.Incarnation == 0 || l.Incarnation > n.Incarnation || i > 0 && lives[i-1].Node >= l.Node {
			return false
		}
	}
	return true
}
