package lock

import (
	"cmp"
	"slices"

	"lock_gulmd/server/reason"
)

// A set is one request for several locks of one lockspace, all or nothing. They
// are taken in the order of the names of their resources, the same for everybody,
// so sets never wait for each other in a circle. A set that cannot have all at
// once takes what it can from the front and waits in the queue of the first that
// it cannot have, with what it has; then it goes on from there. So it has one
// place in one queue at a time, and nobody overtakes it for ever, as he could
// overtake one that waits until all are free at the same moment.
//
// Until the set is whole its session has none of the locks: it is told of no
// grant and not asked to give way, and when the wait ends otherwise (cancelled,
// denied, the session over) all that the set has is let go without a trace.

// MaxSet is how many locks a set has at most.
const MaxSet = 128

const (
	setFlags      = NoQueue | NoQueueBast | NoDlckWt | Timeout
	setEntryFlags = ValBlk | Persistent | NoCallbacks
)

// SetRequest asks for a set of locks.
type SetRequest struct {
	// ID is the session's number for the set, from the same numbers as the locks';
	// it names the set while that waits.
	ID        ID
	Lockspace uint32
	// Flags: NoQueue, NoQueueBast, NoDlckWt, Timeout.
	Flags Flags
	Terms
	// Entries are 1 to MaxSet locks on different resources, in any order.
	Entries []SetEntry
}

// SetEntry is one lock of a set.
type SetEntry struct {
	ID   ID
	Name []byte // 1 to MaxName bytes
	Mode Mode
	// Flags: ValBlk, Persistent, NoCallbacks.
	Flags Flags
}

// lockSet is a set that waits.
type lockSet struct {
	id        ID
	lockspace uint32
	flags     Flags
	terms     Terms
	since     uint64     // log index of the request
	asked     int        // entries whose locks were asked for; the last of them waits
	entries   []SetEntry // by name; never changed
}

// setName names a set in the table.
type setName struct {
	session Session
	id      ID
}

// SetState is a set that waits, as in a snapshot.
type SetState struct {
	ID        ID
	Lockspace uint32
	Flags     Flags
	Terms
	// Since is the log index of the request.
	Since uint64
	// Asked is how many locks exist; all but the last of these are granted.
	Asked int
	// Entries are in the order of their names; not to be changed.
	Entries []SetEntry
}

func (s *lockSet) state() SetState {
	return SetState{s.id, s.lockspace, s.flags, s.terms, s.since, s.asked, s.entries}
}

// wanted is a name for which a set asks that waits.
type wanted struct {
	lockspace uint32
	name      string
}

func (s lockSet) number() ID { return s.id }

// set returns a set of a session, nil if none of that number waits.
func (o *owner) set(id ID) *lockSet {
	if o == nil {
		return nil
	}
	return o.sets.get(id)
}

// inSet reports whether a number is one of a set that waits, or of its locks.
func (o *owner) inSet(id ID) bool { return o.named.has(id) }

// addSet adds a set to those of a session that wait, and reports whether all of
// its numbers are new.
func (t *Table) addSet(o *owner, set lockSet) bool {
	fresh := o.sets.add(set)
	fresh = o.named.add(set.id) && fresh
	if t.wants == nil {
		t.wants = map[wanted]int{}
	}
	for i := range set.entries {
		e := &set.entries[i]
		fresh = o.named.add(e.ID) && fresh
		t.wants[wanted{set.lockspace, string(e.Name)}]++
	}
	return fresh
}

// removeSet takes a set out of those that wait.
func (t *Table) removeSet(o *owner, set *lockSet) {
	delete(o.named, set.id)
	for i := range set.entries {
		e := &set.entries[i]
		delete(o.named, e.ID)
		w := wanted{set.lockspace, string(e.Name)}
		if t.wants[w]--; t.wants[w] == 0 {
			delete(t.wants, w)
		}
	}
	o.sets.remove(set.id)
}

// inSet reports whether a session's lock, which may not exist yet, belongs to a
// set that waits.
func (t *Table) inSet(s Session, slot uint32, id ID) bool {
	if slot != 0 {
		return t.setOf(t.locks.get(slot)) != 0
	}
	o := t.owner(s)
	return o != nil && o.inSet(id) && o.set(id) == nil
}

// LockSet takes several locks, all or nothing: Granted, with the number of locks
// in Number; Queued, and an EventDenied or the grants follow; or Refused with
// TryFailed, Invalid, NoSession, NodeExpired, NoLockspace, InUse (see Lock) or
// Limit, which leaves nothing behind. Each lock is told of by an EventGranted when
// the set is whole, also if that is at once; the set itself is gone then.
func (t *Table) LockSet(s Session, req SetRequest) Reply {
	if invariants {
		defer t.mustHold()
	}
	o := t.owner(s)
	if r := t.checkSet(o, &req); r != reason.None {
		return refuse(r)
	}
	set := lockSet{id: req.ID, lockspace: req.Lockspace, flags: req.Flags, terms: req.Terms, since: max(t.now.index, 1)}
	for _, e := range req.Entries {
		e.Name = slices.Clone(e.Name)
		set.entries = append(set.entries, e)
	}
	slices.SortFunc(set.entries, func(a, b SetEntry) int { return cmp.Compare(string(a.Name), string(b.Name)) })
	if set.flags&NoQueue != 0 {
		if blocked := t.firstBlocked(&set); blocked != nil {
			if set.flags&NoQueueBast != 0 {
				t.nudge(t.findResource(set.lockspace, blocked.Name), blocked.Mode, 0)
			}
			return refuse(reason.TryFailed)
		}
	}
	t.reserved += len(set.entries)
	t.addSet(o, set)
	if !t.proceed(o, o.set(set.id)) {
		return Reply{Outcome: Queued}
	}
	return Reply{Outcome: Granted, Number: uint32(len(set.entries))}
}

func (t *Table) checkSet(o *owner, req *SetRequest) reason.Reason {
	switch {
	case o == nil:
		return reason.NoSession
	case o.frozen:
		return reason.NodeExpired
	case len(req.Entries) == 0 || len(req.Entries) > MaxSet || req.Flags&^setFlags != 0 || !req.fit(req.Flags):
		return reason.Invalid
	case req.ID == 0 || t.inUse(o, req.ID):
		return reason.Invalid
	}
	ids, names, fresh := map[ID]bool{req.ID: true}, map[string]bool{}, 0
	for i := range req.Entries {
		e := &req.Entries[i]
		if checkName(e.Name, MaxName) != reason.None || e.Mode >= modes || e.Flags&^setEntryFlags != 0 ||
			e.ID == 0 || t.inUse(o, e.ID) || ids[e.ID] || names[string(e.Name)] {
			return reason.Invalid
		}
		if t.gulmRangesOn(req.Lockspace, e.Name) {
			return reason.InUse
		}
		ids[e.ID], names[string(e.Name)] = true, true
		if t.findResource(req.Lockspace, e.Name) == 0 {
			fresh++
		}
	}
	if !t.joined(req.Lockspace, o.session) {
		return reason.NoLockspace
	}
	if overLimit(t.claims()+len(req.Entries)-1, t.limits.Locks) ||
		fresh > 0 && overLimit(t.resources.used+t.reserved+fresh-1, t.limits.Resources) {
		return reason.Limit
	}
	return reason.None
}

// firstBlocked returns the first entry that cannot be granted now, nil if all
// can.
func (t *Table) firstBlocked(set *lockSet) *SetEntry {
	for i := range set.entries {
		e := &set.entries[i]
		resource := t.findResource(set.lockspace, e.Name)
		if resource != 0 && !t.fits(resource, &wish{mode: e.Mode}, true) {
			return e
		}
	}
	return nil
}

// goOn lets the sets proceed of which a lock has been granted.
func (t *Table) goOn() {
	for len(t.due) > 0 {
		name := t.due[0]
		t.due = t.due[1:]
		o := t.owner(name.session)
		t.proceed(o, o.set(name.id))
	}
	t.due = nil
}

// proceed takes locks until one has to wait, and reports whether the set is
// whole; then it is gone.
func (t *Table) proceed(o *owner, set *lockSet) bool {
	for set.asked < len(set.entries) {
		e := &set.entries[set.asked]
		set.asked++
		t.reserved--
		if !t.takeEntry(o, set, e) {
			return false
		}
	}
	t.complete(o, set)
	return true
}

// takeEntry asks for one lock, and reports whether it was granted at once.
func (t *Table) takeEntry(o *owner, set *lockSet, e *SetEntry) bool {
	resource := t.findResource(set.lockspace, e.Name)
	free := resource == 0 || t.fits(resource, &wish{mode: e.Mode}, true)
	if resource == 0 {
		resource = t.addResource(set.lockspace, e.Name)
	}
	slot, l := t.addLock(o, e.ID, resource)
	l.flags, l.requested = e.Flags|set.flags&NoDlckWt, e.Mode
	n := t.ownNote(slot)
	n.owner, n.set = set.terms.Owner, set.id
	if free {
		t.hold(slot, true, 0, nil)
		return true
	}
	n.timeout, n.since = set.terms.Timeout, set.since
	t.enqueue(slot, waiting)
	t.askAll(resource, e.Mode, slot)
	return false
}

// complete hands the locks of a set that is whole to the session: it is told of
// them, and asked to give way where somebody waits.
func (t *Table) complete(o *owner, set *lockSet) {
	slots := make([]uint32, 0, len(set.entries))
	for i := range set.entries {
		slot := t.findLock(o.session, set.entries[i].ID)
		slots = append(slots, slot)
		t.notes.mut(t.locks.get(slot).note).set = 0
		if t.notes.get(t.locks.get(slot).note).owner == 0 {
			t.dropNote(slot)
		}
		l := t.locks.mut(slot)
		l.changed = t.now.index
		t.events = append(t.events, t.grantedAgain(o, l))
	}
	t.removeSet(o, set)
	for _, slot := range slots {
		t.askNew(slot)
	}
}

// dropSet withdraws a set that waits, and reports false if there is none of that
// number.
func (t *Table) dropSet(s Session, id ID) bool {
	o := t.owner(s)
	set := o.set(id)
	if set == nil {
		return false
	}
	t.settle(t.discardSet(nil, o, set))
	return true
}

// dropSets withdraws some sets of a session without granting what that allows: on
// the resources that it returns.
func (t *Table) dropSets(o *owner, which func(*lockSet) bool) []uint32 {
	var touched []uint32
	var going []ID
	for set := range o.sets.all {
		if which(set) {
			going = append(going, set.id)
		}
	}
	for _, id := range going {
		touched = t.discardSet(touched, o, o.set(id))
	}
	return touched
}

func everySet(*lockSet) bool { return true }

// discardSet removes a set and its locks, and appends where they were.
func (t *Table) discardSet(touched []uint32, o *owner, set *lockSet) []uint32 {
	for i := range set.entries[:set.asked] {
		slot := t.findLock(o.session, set.entries[i].ID)
		touched = append(touched, t.locks.get(slot).resource)
		t.discard(o, slot)
	}
	t.reserved -= len(set.entries) - set.asked
	t.removeSet(o, set)
	return touched
}

// sets restores the sets of a session.
func (r *Restore) sets(s OwnerState, o *owner) {
	for i := range s.Sets {
		x := &s.Sets[i]
		if x.ID == 0 || o.inSet(x.ID) || o.hasEnded(x.ID) || s.Frozen || s.Session.orphans() || x.Since == 0 ||
			x.Flags&^setFlags != 0 || !x.fit(x.Flags) || x.Asked < 1 || x.Asked > len(x.Entries) || len(x.Entries) > MaxSet ||
			r.table.space(x.Lockspace) == nil {
			r.broken = true
			return
		}
		set := lockSet{x.ID, x.Lockspace, x.Flags, x.Terms, x.Since, x.Asked, nil}
		for j, e := range x.Entries {
			if e.ID == 0 || e.ID == x.ID || o.inSet(e.ID) || o.hasEnded(e.ID) || e.Mode >= modes || e.Flags&^setEntryFlags != 0 ||
				checkName(e.Name, MaxName) != reason.None || j > 0 && string(x.Entries[j-1].Name) >= string(e.Name) {
				r.broken = true
				return
			}
			e.Name = slices.Clone(e.Name)
			set.entries = append(set.entries, e)
		}
		r.broken = !r.table.addSet(o, set) || r.broken
		r.table.reserved += len(set.entries) - set.asked
	}
}

// hashed adds a set to a hash.
func (s *lockSet) hashed(h hash) hash {
	h = h.num(uint64(s.id)).num(uint64(s.lockspace)).num(uint64(s.flags)).num(s.terms.Owner).num(uint64(s.terms.Timeout)).
		num(s.since).num(uint64(s.asked)).num(uint64(len(s.entries)))
	for _, e := range s.entries {
		h = h.num(uint64(e.ID)).bytes(e.Name).num(uint64(e.Mode)).num(uint64(e.Flags))
	}
	return h
}
