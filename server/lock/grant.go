package lock

import "cmp"

// hold puts a lock that stands in no queue into the granted one, in the mode
// that it requested; `fresh` is true if it held nothing before. The value block
// is read or written as value.go says. What is queued is asked for separately,
// once the grant has been told.
func (t *Table) hold(slot uint32, fresh bool, status Status, value []byte) Reply {
	l := t.locks.mut(slot)
	r := t.resources.mut(l.resource)
	held := l.granted
	if r.strong&crossed == 0 && (l.flags&Recovery == 0 || r.heldSet(held)&conflicts[l.requested] == 0) {
		r.drop(held)
		r.hold(l.requested)
	} else {
		t.recount(r, slot, l.requested)
	}
	t.lastToken++
	t.undeny(l)
	l.granted, l.token, l.blocking, l.status = l.requested, t.lastToken, 0, status
	read, valid := t.useValue(l, fresh, held, l.granted, value)
	t.enqueue(slot, granted)
	return Reply{Outcome: Granted, Mode: l.granted, Status: status | valid, Token: l.token, Value: read}
}

// grant gives queued requests what they can now have: conversions from the
// head, then waiting requests from the head once nobody converts, and those that
// ignore the order. It stops at the first that cannot be granted, so its work is
// proportional to what it grants. Then those that hold are asked to give way to
// what is still queued.
func (t *Table) grant(resource uint32) {
	t.grantQueued(resource, false)
	defer t.goOn()
	if at := t.resources.get(resource).contention; at != 0 {
		wanted := t.contentions.get(at).wantedSet()
		for m := EX; m > NL; m-- {
			if wanted.has(m) {
				t.askAll(resource, m, 0)
			}
		}
	}
}

// grantQueued is grant, for conversions only if asked so.
func (t *Table) grantQueued(resource uint32, conversions bool) {
	for {
		slot, w := t.next(resource, conversions)
		if slot == 0 {
			return
		}
		l := t.locks.mut(slot)
		fresh := l.queue == waiting
		t.settleOrder(slot, l)
		t.dequeue(slot)
		t.calm(resource)
		l.requested = w.mode
		reply := t.hold(slot, fresh, w.status|l.status&Demoted, nil)
		if set := t.setOf(l); set != 0 {
			t.due = append(t.due, setName{l.session, set})
			continue // asked to give way, and told, once the set is whole
		}
		t.events = append(t.events, Event{
			Session: l.session, Lock: l.id, Kind: EventGranted, Mode: reply.Mode, Status: reply.Status, Token: reply.Token,
			Value: reply.Value,
		})
		t.askNew(slot)
	}
}

// settleOrder counts a queued request that is about to be granted, if it comes
// before earlier ones; a waiting one that asked for no such favour had its turn.
func (t *Table) settleOrder(slot uint32, l *lockRecord) {
	at := t.resources.get(l.resource).contention
	switch {
	case slot != t.contentions.get(at).first() && l.flags&Recovery != 0 && t.hasRemains(l.resource):
	case slot != t.contentions.get(at).first():
		t.pass(at)
	case l.queue == waiting && l.flags&(NoOrder|HeadQue) == 0:
		t.contentions.mut(at).passed = 0
	}
}

// next returns the queued request that is granted next, 0 if none can be;
// waiting ones only if conversions are not asked for.
func (t *Table) next(resource uint32, conversions bool) (uint32, wish) {
	at := t.resources.get(resource).contention
	if at == 0 {
		return 0, wish{}
	}
	c := t.contentions.get(at)
	heads := [2]uint32{c.convertHead, c.waitHead}
	if conversions {
		heads[1] = 0
	}
	if t.recoveryFirst(resource) {
		if slot, w := t.nextRecovery(resource, heads); slot != 0 {
			return slot, w
		}
		if slot, w := t.nextJump(resource, conversions, Recovery); slot != 0 {
			return slot, w
		}
	}
	if head := cmp.Or(heads[0], heads[1]); head == 0 {
		return 0, wish{}
	} else if w := t.wishOf(head); t.fits(resource, &w, false) {
		return head, w
	}
	return t.nextJump(resource, conversions, 0)
}

func (t *Table) wishOf(slot uint32) wish {
	l := t.locks.get(slot)
	return wish{slot: slot, mode: l.requested, flags: l.flags}
}
