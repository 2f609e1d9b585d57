package lock

import (
	"slices"

	"lock_gulmd/server/reason"
)

// space is one lockspace. It exists while it has members or resources.
type space struct {
	number    uint32
	name      string
	policy    Policy
	members   []Session // ascending
	resources int
}

// Join makes a session a member of the lockspace of that name, which is made if
// it does not exist: Joined with its number. Joining twice gives the same
// answer. Refused with Invalid, NoSession, Policy or Limit.
func (t *Table) Join(s Session, name []byte, policy Policy) Reply {
	switch {
	case checkName(name, MaxLockspaceName) != reason.None || policy > PolicyFence:
		return refuse(reason.Invalid)
	case t.owner(s) == nil:
		return refuse(reason.NoSession)
	case t.frozen(s):
		return refuse(reason.NodeExpired)
	}
	i := slices.IndexFunc(t.spaces, func(sp space) bool { return sp.name == string(name) })
	if i < 0 {
		if overLimit(len(t.spaces), t.limits.Lockspaces) {
			return refuse(reason.Limit)
		}
		t.lastSpace++
		i = len(t.spaces)
		t.spaces = append(t.spaces, space{number: t.lastSpace, name: string(name), policy: policy})
	}
	sp := &t.spaces[i]
	if sp.policy != policy {
		return refuse(reason.Policy)
	}
	if at, ok := slices.BinarySearch(sp.members, s); !ok {
		sp.members = slices.Insert(sp.members, at, s)
	}
	return Reply{Outcome: Joined, Number: sp.number}
}

// Leave ends the membership: Left, or Refused with NoLockspace, or with InUse
// while the session has locks there.
func (t *Table) Leave(s Session, number uint32) Reply {
	if t.frozen(s) {
		return refuse(reason.NodeExpired)
	}
	if !t.joined(number, s) {
		return refuse(reason.NoLockspace)
	}
	for slot := t.owner(s).head; slot != 0; slot = t.locks.get(slot).after {
		if t.resources.get(t.locks.get(slot).resource).lockspace == number {
			return refuse(reason.InUse)
		}
	}
	sp := t.space(number)
	at, _ := slices.BinarySearch(sp.members, s)
	sp.members = slices.Delete(sp.members, at, at+1)
	t.sweepSpace(number)
	return Reply{Outcome: Left}
}

// leaveAll ends all memberships of a session that has no locks.
func (t *Table) leaveAll(s Session) {
	for i := len(t.spaces) - 1; i >= 0; i-- {
		sp := &t.spaces[i]
		if at, ok := slices.BinarySearch(sp.members, s); ok {
			sp.members = slices.Delete(sp.members, at, at+1)
			t.sweepSpace(sp.number)
		}
	}
}

func (t *Table) joined(number uint32, s Session) bool {
	sp := t.space(number)
	if sp == nil {
		return false
	}
	_, ok := slices.BinarySearch(sp.members, s)
	return ok
}

func (t *Table) findSpace(number uint32) (int, bool) {
	return slices.BinarySearchFunc(t.spaces, number, func(sp space, n uint32) int { return int(sp.number) - int(n) })
}

// space returns a lockspace by number, nil if there is none.
func (t *Table) space(number uint32) *space {
	if i, ok := t.findSpace(number); ok {
		return &t.spaces[i]
	}
	return nil
}

// sweepSpace forgets a lockspace without members and resources.
func (t *Table) sweepSpace(number uint32) {
	i, ok := t.findSpace(number)
	if ok && len(t.spaces[i].members) == 0 && t.spaces[i].resources == 0 {
		t.spaces = slices.Delete(t.spaces, i, i+1)
	}
}
