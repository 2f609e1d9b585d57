package lock

import "slices"

// What a dead node leaves in a lockspace of PolicyManual waits for an operator's
// word even after its fence is proved. Until then it belongs to an owner of its
// own for each node, beside that of the node's remains: it is frozen, and in doubt
// as long as it exists, so that nobody passes or releases it. Concede makes
// ordinary remains of it. What the node had given up before it died waits in the
// same way, under another owner: the word makes remains of it again, which are
// released by what remains are always released by.

// awaitBit tells what waits for an operator's word from other remains.
const awaitBit = 1 << 61

// givenBit tells what a node had given up before it died from what it died with.
const givenBit = 1 << 60

// AwaitOf returns the owner that stands in walks for what a node left and an
// operator must acknowledge. It is sent no events and asks for nothing.
func AwaitOf(node uint32) Session { return RemainsOf(node) | awaitBit }

// AwaitGivenOf is AwaitOf for what were remains when the node died.
func AwaitGivenOf(node uint32) Session { return AwaitOf(node) | givenBit }

// NodeOf returns the number of the node for which an owner stands that is no session:
// of its orphans, its remains, or what waits for an operator's word; else 0.
func (s Session) NodeOf() uint32 {
	if !s.ofNode() {
		return 0
	}
	return uint32(s)
}

// awaits reports whether an owner's number stands for what waits for a word.
func (s Session) awaits() bool { return s.remains() && s&awaitBit != 0 }

// Leftover is where a session left something.
type Leftover struct {
	Lockspace uint32
	From      Session
}

// Awaits reports whether anything that a node left waits for an operator's word.
func (t *Table) Awaits(node uint32) bool {
	return t.owner(AwaitOf(node)) != nil || t.owner(AwaitGivenOf(node)) != nil
}

// Concede is for a node that an operator acknowledged: what it died with, and waited
// for that, becomes remains of the node. It returns what there is, each once, by
// lockspace and session. ConcedeGiven follows when that is released.
func (t *Table) Concede(node uint32) []Leftover {
	if invariants {
		defer t.mustHold()
	}
	var left []Leftover
	if t.owner(AwaitOf(node)) != nil {
		left = t.leftBy(AwaitOf(node))
	}
	t.moveAll(AwaitOf(node), RemainsOf(node), nil)
	return left
}

// ConcedeGiven is Concede for what were remains when the node died. They come after
// the others, since the session that left them may be the same.
func (t *Table) ConcedeGiven(node uint32) {
	if invariants {
		defer t.mustHold()
	}
	t.moveAll(AwaitGivenOf(node), RemainsOf(node), nil)
}

// moveAll moves what an owner that stands for a node has, in some lockspaces or, with
// nil, in all, to another such owner, and grants what that allows.
func (t *Table) moveAll(from, heir Session, lockspaces []uint32) {
	o := t.owner(from)
	if o == nil {
		return
	}
	var touched []uint32
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		if lockspaces == nil || slices.Contains(lockspaces, t.resources.get(resource).lockspace) {
			t.bequeath(from, heir, slot)
			touched = append(touched, resource)
		}
		slot = next
	}
	t.settle(touched)
	match := everyFile
	if lockspaces != nil {
		match = t.filesIn(lockspaces)
	}
	t.moveRanges(from, heir, match)
	t.closeIfEmpty(from)
}

// leftBy returns what an owner that stands for a node has of whom, each once.
func (t *Table) leftBy(owner Session) []Leftover {
	var left []Leftover
	for slot := t.owner(owner).head; slot != 0; slot = t.locks.get(slot).after {
		l := t.locks.get(slot)
		left = append(left, Leftover{t.resources.get(l.resource).lockspace, Session(l.origin)})
	}
	t.ranges.eachHolder(t.ranges.findSession(owner), func(h *rangeHolder) bool {
		file, origin := t.ranges.files.get(h.file).key, t.ranges.parties.get(h.party).owner.Origin
		left = append(left, Leftover{t.rangeNames.get(file).lockspace, origin})
		return true
	})
	slices.SortFunc(left, func(a, b Leftover) int {
		switch {
		case a == b:
			return 0
		case a.Lockspace < b.Lockspace || a.Lockspace == b.Lockspace && a.From < b.From:
			return -1
		}
		return 1
	})
	return slices.Compact(left)
}

// SpacesOf returns the lockspaces, ascending, that have a policy.
func (t *Table) SpacesOf(p Policy) []uint32 {
	var numbers []uint32
	for i := range t.spaces {
		if t.spaces[i].policy == p {
			numbers = append(numbers, t.spaces[i].number)
		}
	}
	return numbers
}

// PolicyOf returns the policy of a lockspace, PolicyFence if there is none of that
// number.
func (t *Table) PolicyOf(number uint32) Policy {
	if sp := t.space(number); sp != nil {
		return sp.policy
	}
	return PolicyFence
}

// Policies says for each policy whether an owner is a member of such a lockspace,
// or has something in one.
func (t *Table) Policies(s Session) [policies]bool {
	var under [policies]bool
	for i := range t.spaces {
		if t.spaces[i].joined(s) {
			under[t.spaces[i].policy] = true
		}
	}
	if !s.ofNode() || t.owner(s) == nil {
		return under // a session has nothing where it is no member
	}
	for slot := t.owner(s).head; slot != 0; slot = t.locks.get(slot).after {
		under[t.PolicyOf(t.resources.get(t.locks.get(slot).resource).lockspace)] = true
	}
	t.ranges.eachHolder(t.ranges.findSession(s), func(h *rangeHolder) bool {
		under[t.PolicyOf(t.rangeNames.get(t.ranges.files.get(h.file).key).lockspace)] = true
		return true
	})
	return under
}
