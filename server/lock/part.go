package lock

import (
	"slices"

	"lock_gulmd/server/reason"
)

// Part ends an owner whose node's fence is proved, as Release does, but for its
// locks in some lockspaces: these become remains of its node in those of keep, and
// wait for an operator's word in those of await. It does nothing for an owner that
// is not frozen.
func (t *Table) Part(s Session, keep, await []uint32) {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(s)
	if o == nil || !o.frozen || s.remains() {
		return
	}
	heir := RemainsOf(o.node)
	var touched []uint32
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		t.lose(l) // of remains: now, since who passes them may write it anew
		switch number := t.resources.get(resource).lockspace; {
		case slices.Contains(await, number):
			t.bequeath(s, AwaitOf(t.owner(s).node), slot)
		case slices.Contains(keep, number):
			t.bequeath(s, heir, slot)
		default:
			t.discard(t.owner(s), slot)
		}
		touched = append(touched, resource)
		slot = next
	}
	t.settle(touched)
	if !s.ofNode() {
		t.moveRanges(s, AwaitOf(t.owner(s).node), t.filesIn(await))
	}
	t.buryRanges(s, t.filesIn(keep))
	t.releaseRanges(s)
	if i, ok := t.findOwner(s); ok {
		t.forget(i)
	}
}

// Remains names what one session left to its node.
type Remains struct {
	Node uint32
	From Session
}

// ReleaseRemains releases remains in one lockspace, all in one step: nobody is
// granted anything before all of them are gone. Those in doubt stay. It returns
// how many locks there were.
func (t *Table) ReleaseRemains(lockspace uint32, remains []Remains) int {
	if invariants {
		defer t.mustHold()
	}
	var touched []uint32
	for i, r := range remains {
		if i > 0 && remains[i-1].Node == r.Node {
			continue // the owner's list is walked once for a node
		}
		touched = t.discardRemains(r.Node, lockspace, remains[i:], touched)
	}
	t.settle(touched)
	n := len(touched)
	for _, r := range remains {
		n += t.releaseRangesIn(RemainsOf(r.Node), r.From, t.filesOf(lockspace))
	}
	for _, r := range remains {
		t.closeIfEmpty(RemainsOf(r.Node))
	}
	return n
}

// discardRemains removes what is named of one node, without granting what that
// allows; it appends where to look.
func (t *Table) discardRemains(node, lockspace uint32, remains []Remains, touched []uint32) []uint32 {
	o := t.owner(RemainsOf(node))
	if o == nil || o.doubted {
		return touched
	}
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		named := slices.ContainsFunc(remains, func(r Remains) bool { return r.Node == node && uint32(r.From) == l.origin })
		if named && t.resources.get(resource).lockspace == lockspace {
			t.discard(o, slot)
			touched = append(touched, resource)
		}
		slot = next
	}
	return touched
}

// filesIn matches the files of some lockspaces.
func (t *Table) filesIn(lockspaces []uint32) func(file uint32) bool {
	return func(file uint32) bool { return slices.Contains(lockspaces, t.rangeNames.get(file).lockspace) }
}

// EndRecovery is for a session that may not pass remains in a lockspace any more:
// its Recovery requests that are queued there are denied for why, all of them before
// anybody is granted what that allows. Else one of them could pass remains, now or
// when somebody leaves some later.
func (t *Table) EndRecovery(s Session, lockspace uint32, why reason.Reason) {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(s)
	if o == nil || o.frozen {
		return
	}
	var touched, stay []uint32
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		if l.queue == granted || l.flags&Recovery == 0 || t.resources.get(resource).lockspace != lockspace {
			slot = next
			continue
		}
		d := Denial{Session: s, ID: l.id, Reason: why}
		t.tellDenied(&d, l)
		if l.queue == waiting {
			t.end(d.ended(t.now.index), s)
			t.discard(o, slot)
		} else {
			t.locks.mut(slot).denied = why
			t.unconvert(slot)
			stay = append(stay, slot)
		}
		touched = append(touched, resource)
		slot = next
	}
	t.settle(touched)
	for _, slot := range stay {
		t.askNew(slot)
	}
	t.denyRanges(s, t.ranges.recoveries(s, t.filesOf(lockspace)), why)
}

// recoveries returns the waiting Recovery requests of a session in the files that
// match.
func (t *rangeTable) recoveries(s Session, match func(file uint32) bool) []ID {
	var ids []ID
	seat := t.findSession(s)
	if seat == 0 {
		return nil
	}
	for party := t.sessions.get(seat).parties; party != 0; party = t.parties.get(party).next {
		for slot := t.parties.get(party).waitHead; slot != 0; slot = t.waits.get(slot).next {
			w := t.waits.get(slot)
			if w.recovery && match(t.files.get(t.holders.get(w.holder).file).key) {
				ids = append(ids, w.id)
			}
		}
	}
	return ids
}
