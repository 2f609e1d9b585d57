package lock

import "slices"

// Remains are the frozen locks for which no session stands any more: what a
// session gave up by withdrawing from a lockspace (FreezeIn), and what was left
// when the fence of a node was proved and a journal still has to be replayed
// (Bury). They belong to an owner of their own for each node, so that the
// sessions of a living or reborn node go on beside them.
//
// Remains end by ReleaseIn only. Until then they block everybody but Recovery
// requests (recovery.go). A node that fails after it has withdrawn casts doubt on
// its remains: until its fence is proved, nobody passes them either.

// remainsBit tells the owner of a node's remains from that of its orphans.
const remainsBit = 1 << 62

// RemainsOf returns the owner that stands for a node's remains in walks and
// ReleaseIn. It is sent no events and asks for nothing.
func RemainsOf(node uint32) Session { return 1<<63 | remainsBit | Session(node) }

// ofNode reports whether an owner's number stands for a node and for no session.
func (s Session) ofNode() bool { return s>>63 != 0 }

// remains reports whether an owner's number stands for a node's remains.
func (s Session) remains() bool { return s.ofNode() && s&remainsBit != 0 }

// FreezeIn makes a living session's locks and ranges in one lockspace, those
// whose names match the mask, remains of its node, as if it had died there only;
// its requests that are queued there, and sets that want one of them, are
// withdrawn. It returns how many locks became remains,
// 0 for a session that is unknown or frozen. The session stays a member of the
// lockspace.
func (t *Table) FreezeIn(s Session, lockspace uint32, mask []byte) int {
	if invariants {
		defer t.mustHold()
	}
	if o := t.owner(s); o == nil || o.frozen || s.ofNode() {
		return 0
	}
	touched := t.dropSets(t.owner(s), func(set *lockSet) bool {
		return set.lockspace == lockspace &&
			slices.ContainsFunc(set.entries, func(e SetEntry) bool { return Matches(mask, e.Name) })
	})
	n := t.bury(s, touched, func(l *lockRecord) bool { return t.within(l, lockspace, mask) })
	return n + t.buryRanges(s, t.filesWithin(lockspace, mask))
}

// Bury is Release for a session or for orphans whose locks must stay until a
// journal is replayed: the owner is gone, and what it still holds becomes remains
// of its node. It is for owners that are frozen and whose node's fence is proved,
// and returns how many locks there are.
func (t *Table) Bury(s Session) int {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(s)
	if o == nil || !o.frozen || s.remains() {
		return 0
	}
	n := t.bury(s, nil, func(*lockRecord) bool { return true })
	n += t.buryRanges(s, everyFile)
	t.releaseRanges(s)
	i, _ := t.findOwner(s)
	t.forget(i)
	return n
}

// bury moves some locks of an owner to the remains of its node, and grants what
// that and what was touched before allow.
func (t *Table) bury(s Session, touched []uint32, which func(*lockRecord) bool) int {
	heir := RemainsOf(t.owner(s).node)
	n := 0
	for slot := t.owner(s).head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		if !which(l) {
			slot = next
			continue
		}
		if l.queue == waiting {
			t.discard(t.owner(s), slot)
		} else {
			t.lose(l) // now: who passes the remains may write it anew
			if l.queue == converting {
				t.unconvert(slot)
			}
			t.bequeath(s, heir, slot)
			n++
		}
		touched = append(touched, resource)
		slot = next
	}
	t.settle(touched)
	return n
}

// bequeath hands one lock that is held to an owner that stands for a node.
func (t *Table) bequeath(from, heir Session, slot uint32) {
	t.open(heir, t.owner(from).node)
	o := t.owner(heir)
	o.frozen, o.doubted = o.frozen || heir.remains(), o.doubted || heir.awaits()
	t.take(t.owner(from), slot)
	t.dropNote(slot)
	l := t.locks.mut(slot)
	if !from.ofNode() {
		l.origin = uint32(from)
	}
	l.blocking, l.status = 0, 0
	t.give(o, ID(t.lastOrder+1), slot, l)
}

// ReleaseIn releases the frozen locks of one owner in one lockspace, those whose
// names match the mask, in one step; of remains, only those that the session
// `from` left, or all with 0. It returns how many there were: none if the owner is
// not frozen, or in doubt. Value blocks that the owner could have written are
// marked as not valid. The owner of a session stays until Release or Bury.
func (t *Table) ReleaseIn(s Session, lockspace uint32, mask []byte, from Session) int {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(s)
	if o == nil || !o.frozen || o.doubted {
		return 0
	}
	var touched []uint32
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next := l.after
		if t.within(l, lockspace, mask) && (from == 0 || l.left() == uint32(from)) {
			touched = append(touched, l.resource)
			t.lose(l)
			t.discard(o, slot)
		}
		slot = next
	}
	t.settle(touched)
	n := len(touched) + t.releaseRangesIn(s, from, t.filesWithin(lockspace, mask))
	if s.ofNode() {
		t.closeIfEmpty(s)
	}
	return n
}

// DoubtRemains is for a node that was declared dead: its remains can neither be
// passed nor released until TrustRemains.
func (t *Table) DoubtRemains(node uint32) {
	if invariants {
		defer t.mustHold()
	}
	if o := t.owner(RemainsOf(node)); o != nil {
		o.doubted = true
		t.doubtRanges(o.session, true)
	}
}

// TrustRemains is for a node whose fence is proved; it grants what that allows. In
// the lockspaces of await its remains wait for an operator's word instead, until
// Concede.
func (t *Table) TrustRemains(node uint32, await []uint32) {
	if invariants {
		defer t.mustHold()
	}
	if o := t.owner(RemainsOf(node)); o == nil || !o.doubted {
		return
	}
	if len(await) > 0 {
		t.moveAll(RemainsOf(node), AwaitGivenOf(node), await)
	}
	o := t.owner(RemainsOf(node))
	if o == nil {
		return
	}
	o.doubted = false
	var touched []uint32
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		touched = append(touched, t.locks.get(slot).resource)
	}
	t.settle(touched)
	t.doubtRanges(RemainsOf(node), false)
}

// within reports whether a lock is in a lockspace, on a name that a mask matches.
func (t *Table) within(l *lockRecord, lockspace uint32, mask []byte) bool {
	r := t.resources.get(l.resource)
	return r.lockspace == lockspace && Matches(mask, t.name(r))
}

// anyByte in a mask matches every byte of a name.
const anyByte = 0xff

// Matches reports whether a mask matches a name: byte by byte, 0xff matching any
// byte; a name may be longer than the mask, so that an empty one matches all.
func Matches(mask, name []byte) bool {
	if len(mask) > len(name) {
		return false
	}
	for i, b := range mask {
		if b != anyByte && b != name[i] {
			return false
		}
	}
	return true
}
