package lock

import (
	"bytes"
	"slices"

	"lock_gulmd/server/reason"
)

// naiveSet is a set that waits, with the locks that it has asked for.
type naiveSet struct {
	SetState
	owner Session
	locks []*naiveLock
}

// begin notes the terms of a request that is about to wait.
func (n *naive) begin(l *naiveLock, terms Terms) {
	l.Timeout = terms.Timeout
	if l.Owner != 0 || l.Timeout != 0 {
		l.Since = n.index
	}
}

// unasked is how many locks waiting sets have not asked for.
func (n *naive) unasked() int {
	sum := 0
	for _, o := range n.sessions {
		for _, set := range o.sets {
			sum += len(set.Entries) - len(set.locks)
		}
	}
	return sum
}

// free says whether a session may use a number for a lock or a set.
func (n *naive) free(o *naiveSession, id ID) bool {
	used := n.lock(o.Session, id) != nil || n.isMember(o.Session, id)
	for _, e := range o.Ended {
		used = used || e.ID == id
	}
	for _, set := range o.sets {
		used = used || set.ID == id
	}
	return id != 0 && !used
}

// isMember says whether a number is that of a lock of a waiting set, be it asked
// for or not.
func (n *naive) isMember(s Session, id ID) bool {
	o := n.session(s)
	if o == nil {
		return false
	}
	for _, set := range o.sets {
		for _, e := range set.Entries {
			if e.ID == id {
				return true
			}
		}
	}
	return false
}

func (n *naive) LockSet(s Session, req SetRequest) Reply {
	sp, o := n.space(req.Lockspace), n.session(s)
	switch {
	case o == nil:
		return refuse(reason.NoSession)
	case n.dead(s):
		return refuse(reason.NodeExpired)
	case !n.soundSet(o, req):
		return refuse(reason.Invalid)
	case sp == nil || !slices.Contains(sp.Members, s):
		return refuse(reason.NoLockspace)
	case n.limits.Locks != 0 && uint64(n.claims()+len(req.Entries)) > n.limits.Locks:
		return refuse(reason.Limit)
	}
	set := &naiveSet{owner: s, SetState: SetState{
		ID: req.ID, Lockspace: req.Lockspace, Flags: req.Flags, Terms: req.Terms, Since: n.index, Entries: slices.Clone(req.Entries),
	}}
	slices.SortFunc(set.Entries, func(a, b SetEntry) int { return bytes.Compare(a.Name, b.Name) })
	missing := 0
	var blocked *naiveLock
	for _, e := range set.Entries {
		r := sp.resource(e.Name)
		if r == nil {
			missing++
			continue
		}
		l := &naiveLock{resource: r, LockState: LockState{Requested: e.Mode, Queue: QueueWaiting}}
		if _, _, ok := n.grantable(l, true); !ok && blocked == nil {
			blocked = l
		}
	}
	if missing > 0 && n.limits.Resources != 0 && uint64(n.resources()+n.unasked()+missing) > n.limits.Resources {
		return refuse(reason.Limit)
	}
	if blocked != nil && req.Flags&NoQueue != 0 {
		if req.Flags&NoQueueBast != 0 {
			n.askEverybody(blocked)
		}
		return refuse(reason.TryFailed)
	}
	o.sets = append(o.sets, set)
	if n.proceed(set) {
		return Reply{Outcome: Granted, Number: uint32(len(req.Entries))}
	}
	return Reply{Outcome: Queued}
}

func (n *naive) soundSet(o *naiveSession, req SetRequest) bool {
	if len(req.Entries) < 1 || len(req.Entries) > 128 || req.Flags&^(NoQueue|NoQueueBast|NoDlckWt|Timeout) != 0 ||
		(req.Timeout != 0) != (req.Flags&Timeout != 0) || !n.free(o, req.ID) {
		return false
	}
	for i, e := range req.Entries {
		if !n.free(o, e.ID) || e.ID == req.ID || len(e.Name) < 1 || len(e.Name) > 255 || e.Mode > EX ||
			e.Flags&^(ValBlk|Persistent|NoCallbacks) != 0 {
			return false
		}
		for _, other := range req.Entries[:i] {
			if other.ID == e.ID || bytes.Equal(other.Name, e.Name) {
				return false
			}
		}
	}
	return true
}

func (sp *naiveSpace) resource(name []byte) *naiveResource {
	for _, r := range sp.resources {
		if r.name == string(name) {
			return r
		}
	}
	return nil
}

// proceed takes one lock after the other until one must wait.
func (n *naive) proceed(set *naiveSet) bool {
	sp := n.space(set.Lockspace)
	for len(set.locks) < len(set.Entries) {
		e := set.Entries[len(set.locks)]
		r := sp.resource(e.Name)
		if r == nil {
			r = &naiveResource{space: sp, name: string(e.Name)}
			sp.resources = append(sp.resources, r)
		}
		l := &naiveLock{resource: r}
		l.Requested, l.Queue = e.Mode, QueueWaiting
		l.Set, l.Owner = set.ID, set.Owner
		set.locks = append(set.locks, l)
		set.Asked = len(set.locks)
		_, _, ok := n.grantable(l, true)
		l.Flags = e.Flags | set.Flags&NoDlckWt
		n.give(l, set.owner, e.ID)
		if !ok {
			l.Since, l.Timeout = set.Since, set.Timeout
			n.enqueue(l, QueueWaiting)
			n.askHolders(l)
			return false
		}
		n.hold(l, e.Mode, 0, nil, true)
	}
	o := n.session(set.owner)
	o.sets = slices.DeleteFunc(o.sets, func(s *naiveSet) bool { return s == set })
	for _, l := range set.locks {
		l.Set, l.Changed = 0, n.index
		e := Event{Session: l.Session, Lock: l.ID, Kind: EventGranted, Mode: l.Granted, Token: l.Token}
		if l.Flags&ValBlk != 0 {
			e.Value, e.Status = l.resource.read()
		}
		n.events = append(n.events, e)
	}
	for _, l := range set.locks {
		n.askHolder(l)
	}
	return true
}

// goOn lets sets proceed of which a lock was granted.
func (n *naive) goOn() {
	due := n.due
	n.due = nil
	for _, l := range due {
		for _, set := range n.session(l.Session).sets {
			if set.ID == l.Set {
				n.proceed(set)
				break
			}
		}
	}
}

// dropSets withdraws some sets of a session, nil for all, and returns the locks
// that they had.
func (n *naive) dropSets(o *naiveSession, which func(*naiveSet) bool) []*naiveLock {
	var gone []*naiveLock
	o.sets = slices.DeleteFunc(o.sets, func(set *naiveSet) bool {
		if which != nil && !which(set) {
			return false
		}
		for _, l := range set.locks {
			n.remove(l)
		}
		gone = append(gone, set.locks...)
		return true
	})
	return gone
}

// dropSet withdraws one set.
func (n *naive) dropSet(s Session, id ID) bool {
	o := n.session(s)
	if o == nil {
		return false
	}
	for _, set := range o.sets {
		if set.ID != id {
			continue
		}
		for _, l := range set.locks {
			n.remove(l)
		}
		o.sets = slices.DeleteFunc(o.sets, func(s *naiveSet) bool { return s == set })
		for _, l := range set.locks {
			n.grant(l.resource)
		}
		n.sweep()
		return true
	}
	return false
}

func (n *naive) denySet(d Denial) bool {
	o := n.session(d.Session)
	if o == nil {
		return false
	}
	for _, set := range o.sets {
		if set.ID == d.ID && (d.Since == 0 || d.Since == set.Since) {
			o.Ended = append(o.Ended, EndedState{ID: d.ID, Reason: d.Reason, Changed: n.index})
			n.events = append(n.events, Event{Session: d.Session, Lock: d.ID, Kind: EventDenied, Reason: d.Reason})
			return n.dropSet(d.Session, d.ID)
		}
	}
	return false
}
