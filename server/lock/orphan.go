package lock

import "lock_gulmd/server/reason"

// orphansOf is the owner of a node's orphans: no session has such a number.
func orphansOf(node uint32) Session { return 1<<63 | Session(node) }

// orphans reports whether a session number stands for a node's orphans.
func (s Session) orphans() bool { return s.ofNode() && !s.remains() }

// abandon makes the Persistent locks of a session whose process ended orphans of
// its node, in the modes that they hold, and adds to touched the resources on
// which a conversion was withdrawn for that.
func (t *Table) abandon(s Session, touched []uint32) []uint32 {
	for slot := t.owner(s).head; slot != 0; {
		l := t.locks.get(slot)
		next := l.after
		if l.flags&Persistent != 0 && l.queue != waiting {
			if l.queue == converting {
				touched = append(touched, l.resource)
				t.unconvert(slot)
			}
			t.orphan(s, slot)
		}
		slot = next
	}
	return touched
}

// orphan hands one lock to its node.
func (t *Table) orphan(from Session, slot uint32) {
	t.bequeath(from, orphansOf(t.owner(from).node), slot)
}

// adopt gives an orphan of the session's node to the session, which is asked to
// give way to those who wait for it.
func (t *Table) adopt(s Session, req *LockRequest) Reply {
	heir := orphansOf(t.owner(s).node)
	resource := t.findResource(req.Lockspace, req.Name)
	if resource == 0 || t.frozen(heir) {
		return refuse(reason.NotHeld)
	}
	why := reason.NotHeld
	for slot := t.resources.get(resource).head; slot != 0; slot = t.locks.get(slot).next {
		l := t.locks.get(slot)
		if l.session != heir {
			continue
		}
		if l.granted != req.Mode {
			why = reason.TryFailed
			continue
		}
		t.take(t.owner(heir), slot)
		l = t.locks.mut(slot)
		l.origin, l.flags, l.changed = 0, req.Flags&(Persistent|NoCallbacks), t.now.index
		t.give(t.owner(s), req.ID, slot, l)
		t.note(slot, Terms{Owner: req.Owner})
		t.closeIfEmpty(heir)
		t.askNew(slot)
		return Reply{Outcome: Granted, Mode: l.granted, Token: l.token}
	}
	return refuse(why)
}

// Purge releases the orphans that a session left to its node, or all orphans of
// the node with session 0, and returns how many there were.
func (t *Table) Purge(node uint32, from Session) int {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(orphansOf(node))
	if o == nil || o.frozen {
		return 0
	}
	var touched []uint32
	n := 0
	for slot := o.head; slot != 0; {
		l := t.locks.get(slot)
		next, resource := l.after, l.resource
		if from == 0 || l.origin == uint32(from) {
			t.lose(l)
			t.discard(o, slot)
			touched = append(touched, resource)
			n++
		}
		slot = next
	}
	t.settle(touched)
	t.closeIfEmpty(orphansOf(node))
	return n
}

// closeIfEmpty forgets an owner of orphans or remains that has none.
func (t *Table) closeIfEmpty(heir Session) {
	if i, ok := t.findOwner(heir); ok && t.owners[i].locks == 0 && t.ranges.findSession(heir) == 0 {
		t.owners = append(t.owners[:i], t.owners[i+1:]...)
	}
}

// OrphansOf returns the owner that stands for a node's orphans in walks, Freeze and
// Release. It is sent no events.
func OrphansOf(node uint32) Session { return orphansOf(node) }
