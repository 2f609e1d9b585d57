package lock

import "slices"

// heirOf is who has a node's remains.
func heirOf(node uint32) Session { return Session(3<<62) + Session(node) }

// buried says whether a lock is remains.
func buried(l *naiveLock) bool { return l.Session >= heirOf(0) }

// weaker says whether a mode excludes no more than another does.
func weaker(held, mode Mode) bool {
	for m := range EX + 1 {
		if compatible[held][m] && !compatible[mode][m] {
			return false
		}
	}
	return true
}

// passes says whether l may be granted in spite of h.
func (n *naive) passes(l, h *naiveLock) bool {
	return l.Flags&Recovery != 0 && buried(h) && !n.session(h.Session).Doubted
}

// crossable says whether there is anything that Recovery requests pass.
func (n *naive) crossable(r *naiveResource) bool {
	return slices.ContainsFunc(r.holders(), func(h *naiveLock) bool { return buried(h) && !n.session(h.Session).Doubted })
}

func (n *naive) within(l *naiveLock, space uint32, mask []byte) bool {
	if l.resource.space.Number != space || len(mask) > len(l.resource.name) {
		return false
	}
	for i := range mask {
		if mask[i] != 255 && mask[i] != l.resource.name[i] {
			return false
		}
	}
	return true
}

func (n *naive) FreezeIn(s Session, space uint32, mask []byte) int {
	o := n.session(s)
	if o == nil || o.Frozen || s >= 1<<63 {
		return 0
	}
	gone := n.dropSets(o, func(set *naiveSet) bool {
		return slices.ContainsFunc(set.Entries, func(e SetEntry) bool {
			there := &naiveLock{resource: &naiveResource{space: n.space(set.Lockspace), name: string(e.Name)}}
			return n.within(there, space, mask)
		})
	})
	return n.bury(o, slices.DeleteFunc(n.locksOf(s), func(l *naiveLock) bool { return !n.within(l, space, mask) }), gone...)
}

func (n *naive) Bury(s Session) int {
	o := n.session(s)
	if o == nil || !o.Frozen || s >= heirOf(0) {
		return 0
	}
	count := n.bury(o, n.locksOf(s))
	n.end(s)
	return count
}

func (n *naive) bury(o *naiveSession, locks []*naiveLock, gone ...*naiveLock) int {
	count := 0
	for _, l := range locks {
		switch l.Queue {
		case QueueWaiting:
			n.remove(l)
			continue
		case QueueConverting:
			n.withdraw(l)
		default:
		}
		count++
		if l.Granted >= PW && l.resource.value != nil {
			l.resource.stale = true
		}
		if l.Origin == 0 {
			l.Origin = uint32(o.Session)
		}
		n.Open(heirOf(o.Node), o.Node)
		n.session(heirOf(o.Node)).Frozen = true
		n.give(l, heirOf(o.Node), ID(n.counters.Order+1))
		l.asked, l.Status, l.Denied, l.Sub, l.Owner = nil, 0, 0, 0, 0
	}
	for _, l := range slices.Concat(gone, locks) {
		n.grant(l.resource)
	}
	n.sweep()
	return count
}

func (n *naive) ReleaseIn(s Session, space uint32, mask []byte, from Session) int {
	o := n.session(s)
	if o == nil || !o.Frozen || o.Doubted {
		return 0
	}
	locks := slices.DeleteFunc(n.locksOf(s), func(l *naiveLock) bool {
		return !n.within(l, space, mask) || from != 0 && l.Origin != uint32(from)
	})
	n.lose(locks)
	if s >= 1<<63 {
		n.closeIfEmpty(s)
	}
	return len(locks)
}

func (n *naive) DoubtRemains(node uint32) {
	if o := n.session(heirOf(node)); o != nil {
		o.Doubted = true
	}
}

func (n *naive) TrustRemains(node uint32, _ []uint32) {
	o := n.session(heirOf(node))
	if o == nil || !o.Doubted {
		return
	}
	o.Doubted = false
	for _, l := range n.locksOf(o.Session) {
		n.grant(l.resource)
	}
}
