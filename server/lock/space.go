package lock

import (
	"slices"

	"lock_gulmd/server/reason"
)

// space is one lockspace. It exists while it has members, resources or files.
type space struct {
	number   uint32
	name     string
	policy   Policy
	lease    uint32 // time-to-live under PolicyLease, milliseconds; else 0
	valueLen uint8  // of value blocks, 0 for DefaultValueLen
	// keepValues keeps value blocks although nobody has a lock there.
	keepValues bool
	// pinned keeps the lockspace although nobody is a member.
	pinned     bool
	generation uint64    // grows with every change of the members
	members    []Session // ascending
	resources  int
	files      int // with ranges
}

// JoinRequest joins a lockspace.
type JoinRequest struct {
	// Name has 1 to MaxLockspaceName bytes; not kept.
	Name   []byte
	Policy Policy
	// Lease is the time-to-live under PolicyLease, 1 to MaxLease milliseconds; 0 means
	// that of a lockspace that exists. MinLease is the least that the session may
	// have: it is told that its locks are lost before that has passed.
	Lease, MinLease uint32
	// Exclusive refuses a lockspace that exists, Existing one that does not.
	Exclusive, Existing bool
	// ValueLen is the length of value blocks, 1 to MaxValueLen; 0 means that of
	// the lockspace, or DefaultValueLen for a new one.
	ValueLen uint8
	// KeepValues keeps value blocks although nobody has a lock there. It is
	// decided by who makes the lockspace.
	KeepValues bool
}

// Join makes a session a member of the lockspace of that name, which is made if
// it does not exist: Joined with its number. Joining twice gives the same
// answer. Refused with Invalid, NoSession, Policy (another policy, time-to-live or
// length of value blocks), Lease, Exists, NoLockspace or Limit.
func (t *Table) Join(s Session, req JoinRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	switch {
	case checkName(req.Name, MaxLockspaceName) != reason.None || req.Policy >= policies || req.Exclusive && req.Existing:
		return refuse(reason.Invalid)
	case t.owner(s) == nil:
		return refuse(reason.NoSession)
	case t.frozen(s):
		return refuse(reason.NodeExpired)
	}
	i := slices.IndexFunc(t.spaces, func(sp space) bool { return sp.name == string(req.Name) })
	switch {
	case i >= 0 && req.Exclusive:
		return refuse(reason.Exists)
	case i < 0 && req.Existing:
		return refuse(reason.NoLockspace)
	case i < 0 && overLimit(len(t.spaces), t.limits.Lockspaces):
		return refuse(reason.Limit)
	}
	if why := t.checkLease(i, &req); why != reason.None {
		return refuse(why)
	}
	if i < 0 {
		t.lastSpace++
		i = len(t.spaces)
		t.spaces = append(t.spaces, space{
			number: t.lastSpace, name: string(req.Name), policy: req.Policy, lease: req.Lease, valueLen: req.ValueLen,
			keepValues: req.KeepValues,
		})
	}
	sp := &t.spaces[i]
	if sp.policy != req.Policy || req.ValueLen != 0 && int(req.ValueLen) != sp.values() {
		return refuse(reason.Policy)
	}
	if at, ok := slices.BinarySearch(sp.members, s); !ok {
		sp.members = slices.Insert(sp.members, at, s)
		sp.generation++
	}
	return Reply{Outcome: Joined, Number: sp.number}
}

// values returns the length of the value blocks.
func (sp *space) values() int {
	if sp.valueLen == 0 {
		return DefaultValueLen
	}
	return int(sp.valueLen)
}

// Leave ends the membership: Left, or Refused with NoLockspace, or with InUse
// while the session has locks or ranges there, unless force, which releases them.
func (t *Table) Leave(s Session, number uint32, force bool) Reply {
	if invariants {
		defer t.mustHold()
	}
	if t.frozen(s) {
		return refuse(reason.NodeExpired)
	}
	if !t.joined(number, s) {
		return refuse(reason.NoLockspace)
	}
	if !force && t.ranges.Has(s, t.filesOf(number)) {
		return refuse(reason.InUse)
	}
	o := t.owner(s)
	var touched []uint32
	if force {
		touched = t.dropSets(o, func(set *lockSet) bool { return set.lockspace == number })
	}
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		here := t.resources.get(resource).lockspace == number
		if here && !force {
			return refuse(reason.InUse)
		}
		if here {
			t.lose(l)
			t.discard(o, slot)
			touched = append(touched, resource)
		}
		slot = next
	}
	t.settle(touched)
	t.closeRanges(s, number)
	t.leave(t.space(number), s)
	return Reply{Outcome: Left}
}

// leave ends one membership.
func (t *Table) leave(sp *space, s Session) {
	if at, ok := slices.BinarySearch(sp.members, s); ok {
		sp.members = slices.Delete(sp.members, at, at+1)
		sp.generation++
		t.sweepSpace(sp.number)
	}
}

// leaveAll ends all memberships of a session that has no locks.
func (t *Table) leaveAll(s Session) {
	for i := len(t.spaces) - 1; i >= 0; i-- {
		t.leave(&t.spaces[i], s)
	}
}

func (t *Table) joined(number uint32, s Session) bool {
	sp := t.space(number)
	return sp != nil && sp.joined(s)
}

func (sp *space) joined(s Session) bool {
	_, ok := slices.BinarySearch(sp.members, s)
	return ok
}

func (t *Table) findSpace(number uint32) (int, bool) {
	low, high := 0, len(t.spaces)
	for low < high { // by hand for the reason given in findOwner
		if mid := (low + high) / 2; t.spaces[mid].number < number {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(t.spaces) && t.spaces[low].number == number
}

// space returns a lockspace by number, nil if there is none.
func (t *Table) space(number uint32) *space {
	if i, ok := t.findSpace(number); ok {
		return &t.spaces[i]
	}
	return nil
}

// empty reports whether nobody and nothing is in the lockspace.
func (sp *space) empty() bool {
	return len(sp.members) == 0 && sp.resources == 0 && sp.files == 0 && !sp.pinned
}

// sweepSpace forgets an empty lockspace.
func (t *Table) sweepSpace(number uint32) {
	i, ok := t.findSpace(number)
	if ok && t.spaces[i].empty() {
		t.spaces = slices.Delete(t.spaces, i, i+1)
	}
}
