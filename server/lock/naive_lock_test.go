package lock

import (
	"slices"

	"lock_gulmd/server/reason"
)

// The flags that each request knows.
const (
	naiveCommon = Timeout | Recovery | NoQueue | NoQueueBast | ValBlk | IvValBlk | Persistent | NoDlckWt | HeadQue | NoOrder |
		AltPR | AltCW
	naiveLockOK = naiveCommon | Expedite | Orphan | NoCallbacks
	naiveConvOK = naiveCommon | QueCvt | ConvDeadlk
	naiveDropOK = ValBlk | IvValBlk | ForceUnlock
)

func (n *naive) Lock(s Session, req LockRequest) Reply { return n.lockAs(s, req, &naiveLock{}) }

// lockAs is Lock, with what is known of the lock beforehand.
func (n *naive) lockAs(s Session, req LockRequest, l *naiveLock) Reply {
	sp, o := n.space(req.Lockspace), n.session(s)
	switch {
	case o == nil:
		return refuse(reason.NoSession)
	case n.dead(s):
		return refuse(reason.NodeExpired)
	case req.ID == 0, req.Mode > EX, len(req.Name) < 1, len(req.Name) > 255, req.Flags&^naiveLockOK != 0,
		req.Flags&Expedite != 0 && req.Mode != NL, req.Flags&Expedite != 0 && req.Flags&NoQueue != 0,
		(req.Timeout != 0) != (req.Flags&Timeout != 0),
		!n.free(o, req.ID):
		return refuse(reason.Invalid)
	case sp == nil || !slices.Contains(sp.Members, s):
		return refuse(reason.NoLockspace)
	}
	var r *naiveResource
	for _, x := range sp.resources {
		if x.name == string(req.Name) {
			r = x
		}
	}
	if req.Flags&Orphan != 0 {
		return n.adopt(o, r, req)
	}
	if n.limits.Locks != 0 && uint64(n.claims()) >= n.limits.Locks {
		return refuse(reason.Limit)
	}
	if r == nil {
		if n.limits.Resources != 0 && uint64(n.resources()+n.unasked()) >= n.limits.Resources {
			return refuse(reason.Limit)
		}
		r = &naiveResource{space: sp, name: string(req.Name)}
		sp.resources = append(sp.resources, r)
	}
	l.resource = r
	l.Flags, l.Requested, l.Queue, l.Owner = l.Flags|req.Flags, req.Mode, QueueWaiting, req.Owner
	mode, status, ok := n.grantable(l, true)
	if !ok && req.Flags&NoQueue != 0 {
		if req.Flags&NoQueueBast != 0 {
			n.askEverybody(l)
		}
		n.sweep()
		return refuse(reason.TryFailed)
	}
	n.give(l, s, req.ID)
	if ok {
		if len(r.queued()) > 0 && req.Flags&Expedite == 0 && !(req.Flags&Recovery != 0 && n.crossable(r)) {
			r.passed++
		}
		return n.hold(l, mode, status, nil, true)
	}
	n.begin(l, req.Terms)
	n.enqueue(l, QueueWaiting)
	n.askHolders(l)
	return Reply{Outcome: Queued, Mode: req.Mode}
}

func (n *naive) adopt(o *naiveSession, r *naiveResource, req LockRequest) Reply {
	heir := Session(1<<63) + Session(o.Node)
	if r == nil || n.dead(heir) {
		return refuse(reason.NotHeld)
	}
	orphans := slices.DeleteFunc(slices.Clone(r.queues[QueueGranted]), func(l *naiveLock) bool { return l.Session != heir })
	if len(orphans) == 0 {
		return refuse(reason.NotHeld)
	}
	i := slices.IndexFunc(orphans, func(l *naiveLock) bool { return l.Granted == req.Mode })
	if i < 0 {
		return refuse(reason.TryFailed)
	}
	l := orphans[i]
	n.give(l, o.Session, req.ID)
	l.Owner = req.Owner
	l.Origin, l.Flags, l.Changed = 0, req.Flags&(Persistent|NoCallbacks), n.index
	n.closeIfEmpty(heir)
	n.askHolder(l)
	return Reply{Outcome: Granted, Mode: l.Granted, Token: l.Token}
}

func (n *naive) Convert(s Session, req ConvertRequest) Reply {
	l := n.lock(s, req.ID)
	switch {
	case n.dead(s):
		return refuse(reason.NodeExpired)
	case n.isMember(s, req.ID):
		return refuse(reason.Busy)
	case l == nil:
		return refuse(reason.NotHeld)
	case (req.Timeout != 0) != (req.Flags&Timeout != 0), req.Mode > EX, req.Flags&^naiveConvOK != 0, req.Flags&ConvDeadlk != 0 && req.Flags&NoQueue != 0,
		len(req.Value) > l.resource.space.length(),
		req.Flags&QueCvt != 0 && !claimsMore[l.Granted][req.Mode]:
		return refuse(reason.Invalid)
	case isGulm(l):
		return refuse(reason.Invalid)
	case l.Queue != QueueGranted:
		return refuse(reason.Busy)
	}
	return n.convert(l, req)
}

func (n *naive) convert(l *naiveLock, req ConvertRequest) Reply {
	before := *l
	l.Requested, l.Flags = req.Mode, req.Flags|l.Flags&(NoCallbacks|gulmLock)
	if req.Owner != 0 {
		l.Owner = req.Owner
	}
	if mode, status, ok := n.grantable(l, true); ok {
		return n.convertNow(l, mode, status, req.Value)
	}
	if req.Flags&NoQueue != 0 {
		if req.Flags&NoQueueBast != 0 {
			n.askEverybody(l)
		}
		l.Requested, l.Flags, l.Owner = before.Requested, before.Flags, before.Owner
		return refuse(reason.TryFailed)
	}
	l.Status = 0
	if n.waitedFor(l) && req.Flags&ConvDeadlk != 0 {
		l.Granted, l.Status, l.Changed = NL, Demoted, n.index
		for n.grantOne(l.resource, true) {
		}
		if mode, status, ok := n.grantable(l, true); ok {
			return n.convertNow(l, mode, Demoted|status, req.Value)
		}
	}
	hopeless := n.waitedFor(l)
	if hopeless && req.Flags&NoDlckWt == 0 {
		l.LockState = before.LockState
		return refuse(reason.Deadlock)
	}
	n.take(l)
	l.Denied = reason.None
	n.begin(l, req.Terms)
	n.enqueue(l, QueueConverting)
	for l.Status == Demoted && n.grantOne(l.resource, false) {
	}
	n.askHolders(l)
	if hopeless {
		n.ask(l, req.Mode)
	}
	n.goOn()
	return Reply{Outcome: Queued, Mode: req.Mode}
}

// waitedFor says whether a queued conversion cannot be granted while l holds
// what it holds. Conversions are granted from the head: l would wait for it too.
func (n *naive) waitedFor(l *naiveLock) bool {
	for _, ahead := range l.resource.queues[QueueConverting] {
		if !compatible[l.Granted][ahead.Requested] {
			return true
		}
	}
	return false
}

func (n *naive) convertNow(l *naiveLock, mode Mode, status Status, value []byte) Reply {
	n.take(l)
	reply := n.hold(l, mode, status, value, false)
	n.askHolder(l)
	n.grant(l.resource)
	return reply
}

func (n *naive) Unlock(s Session, req UnlockRequest) Reply {
	if n.dead(s) {
		return refuse(reason.NodeExpired)
	}
	if req.Flags&^naiveDropOK != 0 {
		return refuse(reason.Invalid)
	}
	l := n.lock(s, req.ID)
	if n.isMember(s, req.ID) {
		return refuse(reason.Busy)
	}
	if l == nil && n.dropSet(s, req.ID) {
		return Reply{Outcome: Unlocked}
	}
	if l == nil {
		return n.acknowledge(s, req.ID)
	}
	if len(req.Value) > l.resource.space.length() || isGulm(l) {
		return refuse(reason.Invalid)
	}
	if l.Queue != QueueWaiting && (l.Granted == PW || l.Granted == EX) {
		l.resource.write(req.Flags, req.Value)
	}
	n.remove(l)
	n.grant(l.resource)
	n.sweep()
	return Reply{Outcome: Unlocked}
}

// acknowledge forgets a denied request.
func (n *naive) acknowledge(s Session, id ID) Reply {
	if o := n.session(s); o != nil {
		for i, e := range o.Ended {
			if e.ID == id {
				o.Ended = slices.Delete(o.Ended, i, i+1)
				return Reply{Outcome: Unlocked}
			}
		}
	}
	return refuse(reason.NotHeld)
}

func (n *naive) Cancel(s Session, id ID) Reply {
	l := n.lock(s, id)
	switch {
	case n.dead(s):
		return refuse(reason.NodeExpired)
	case n.isMember(s, id):
		return refuse(reason.Busy)
	case l == nil && n.dropSet(s, id):
		return Reply{Outcome: Cancelled}
	case l == nil:
		return refuse(reason.NotHeld)
	case l.Queue == QueueGranted:
		return Reply{Outcome: Granted, Mode: l.Granted, Token: l.Token}
	}
	n.withdraw(l)
	n.grant(l.resource)
	n.sweep()
	return Reply{Outcome: Cancelled, Mode: l.Granted, Token: l.Token}
}

func (n *naive) Deny(d Denial) bool {
	s, id, why := d.Session, d.ID, d.Reason
	if !n.dead(s) && n.lock(s, id) == nil {
		return n.denySet(d)
	}
	l := n.lock(s, id)
	if n.dead(s) || l.Queue == QueueGranted || l.Set != 0 || d.Since != 0 && d.Since != l.Since {
		return false
	}
	n.events = append(n.events, Event{Session: s, Lock: id, Kind: EventDenied, Mode: l.Granted, Reason: why, Token: l.Token})
	if l.Queue == QueueWaiting {
		o := n.session(s)
		o.Ended = append(o.Ended, EndedState{ID: id, Reason: why, Changed: n.index})
	} else {
		l.Denied = why
	}
	n.withdraw(l)
	n.grant(l.resource)
	n.sweep()
	return true
}

func (n *naive) Changed(s Session, seen uint64) []Event {
	var events []Event
	for _, l := range n.locksOf(s) {
		if l.Changed <= seen || l.Set != 0 {
			continue
		}
		e := Event{Session: s, Lock: l.ID, Kind: EventGranted, Mode: l.Granted, Token: l.Token}
		switch {
		case l.Queue != QueueGranted:
			e.Kind = 0
		case l.Denied != 0:
			e.Kind, e.Reason = EventDenied, l.Denied
		default:
			e.Status = l.Status
			if isGulm(l) {
				value, status := l.resource.readGulm()
				e.Value, e.Status = value, e.Status|status
			} else if l.Flags&ValBlk != 0 {
				value, status := l.resource.read()
				e.Value, e.Status = value, e.Status|status
			}
		}
		if e.Kind != 0 {
			events = append(events, e)
		}
		for m := EX; m > NL; m-- {
			stronger := slices.ContainsFunc(l.asked, func(x Mode) bool { return x > m && covers[x][m] })
			if slices.Contains(l.asked, m) && !stronger {
				events = append(events, Event{Session: s, Lock: l.ID, Kind: EventBlocking, Mode: m})
			}
		}
	}
	if o := n.session(s); o != nil {
		for _, e := range o.Ended {
			if e.Changed > seen {
				events = append(events, Event{Session: s, Lock: e.ID, Kind: EventDenied, Reason: e.Reason, Detail: e.Detail})
			}
		}
	}
	return events
}
