package lock

import (
	"slices"

	"lock_gulmd/server/reason"
)

// Restore rebuilds a table: SetCounters, then Space for all lockspaces and
// Owner for all sessions, then Resource for all resources and RangeFile for all
// files, then Finish, which also says whether all of that was possible.
type Restore struct {
	table  *Table
	seat   int // where the owner of the last lock was found
	ranges *rangeRestore
	broken bool
}

// NewRestore begins with an empty table.
func NewRestore(limits Limits) *Restore {
	t := New(limits)
	return &Restore{table: t, ranges: &rangeRestore{table: &t.ranges}}
}

// SetCounters sets the counters.
func (r *Restore) SetCounters(c Counters) {
	r.table.lastToken, r.table.lastOrder, r.table.lastSpace = c.Token, c.Order, c.Lockspace
	r.ranges.SetCounters(c.RangeOrder, c.Token)
}

// Space adds a lockspace.
func (r *Restore) Space(s SpaceState) {
	at, taken := r.table.findSpace(s.Number)
	if taken || s.Number == 0 || s.Number > r.table.lastSpace || !slices.IsSorted(s.Members) {
		r.broken = true
		return
	}
	sp := space{
		number: s.Number, name: s.Name, policy: s.Policy, lease: s.Lease, members: slices.Clone(s.Members), valueLen: s.ValueLen,
		keepValues: s.KeepValues, generation: s.Generation, pinned: s.Pinned,
	}
	r.table.spaces = slices.Insert(r.table.spaces, at, sp)
}

// Owner adds a session, or the owner of a node's orphans or remains.
func (r *Restore) Owner(s OwnerState) {
	ofNode := s.Session == orphansOf(s.Node) || s.Session == RemainsOf(s.Node) || s.Session == AwaitOf(s.Node) ||
		s.Session == AwaitGivenOf(s.Node)
	if s.Session == 0 || r.table.owner(s.Session) != nil || s.Session.ofNode() && (!ofNode || len(s.Ended) > 0) {
		r.broken = true
		return
	}
	r.table.open(s.Session, s.Node)
	o := r.table.owner(s.Session)
	o.frozen, o.doubted = s.Frozen, s.Doubted
	if s.Frozen && !s.Session.ofNode() {
		r.ranges.Session(rangeSessionState{Session: s.Session, Frozen: true})
	}
	for _, e := range s.Ended {
		if !r.mayEnd(&e) || !o.ended.add(endedLock{e.ID, e.Reason, e.Mode, e.Token, e.Changed, e.Detail}) {
			r.broken = true
		}
	}
	r.table.ended += o.ended.count()
	for _, d := range s.Told {
		r.broken = r.broken || d.Detail == "" || o.detailOf(d.ID) != ""
		o.told = append(o.told, told{d.ID, d.Detail})
	}
	r.sets(s, o)
}

// mayEnd reports whether a request can have ended so.
func (r *Restore) mayEnd(e *EndedState) bool {
	if e.Reason == reason.None {
		return e.ID != 0 && (e.Mode == PR || e.Mode == EX) && e.Token != 0 && e.Token <= r.table.lastToken
	}
	return e.ID != 0 && int(e.Reason) < reason.Count && e.Mode == NL && e.Token == 0
}

// Resource adds a resource with its locks.
func (r *Restore) Resource(state *ResourceState) {
	t := r.table
	sp := t.space(state.Lockspace)
	if sp == nil || len(state.Name) == 0 || len(state.Name) > MaxName ||
		len(state.Locks) == 0 && (len(state.Value) == 0 || !sp.keepValues) {
		r.broken = true
		return
	}
	resource := t.newResource(sp, state.Name)
	switch {
	case len(state.Value) > 0:
		r.value(resource, state)
	case state.ValueVersion != 0 || state.ValueInvalid:
		r.broken = true
	}
	for i := range state.Locks {
		if i > 0 && state.Locks[i].Queue < state.Locks[i-1].Queue {
			r.broken = true
		}
		r.lock(sp, resource, &state.Locks[i])
	}
	switch slot := t.resources.get(resource).contention; {
	case slot != 0:
		t.contentions.mut(slot).passed = state.Overtaken
	case state.Overtaken != 0:
		r.broken = true
	}
	// Now, while all of it is in the processor's cache.
	if _, err := t.checkResource(resource); err != nil {
		r.broken = true
	}
}

func (r *Restore) value(resource uint32, state *ResourceState) {
	v := r.table.ownValue(resource)
	if len(state.Value) != int(v.length) {
		r.broken = true
		return
	}
	copy(v.bytes[:], state.Value)
	v.version, v.invalid = state.ValueVersion, state.ValueInvalid
}

// owner is owner of the table; one lock after the other belongs to the same one.
func (r *Restore) owner(s Session) *owner {
	owners := r.table.owners
	if r.seat < len(owners) && owners[r.seat].session == s {
		return &owners[r.seat]
	}
	if i, ok := r.table.findOwner(s); ok {
		r.seat = i
		return &owners[i]
	}
	return nil
}

func (r *Restore) lock(sp *space, resource uint32, state *LockState) {
	t := r.table
	o := r.owner(state.Session)
	if o == nil || !t.possible(state) || o.hasEnded(state.ID) || !state.Session.ofNode() && !sp.joined(state.Session) {
		r.broken = true
		return
	}
	slot, l := t.locks.alloc()
	*l = lockRecord{
		id: state.ID, session: state.Session, token: state.Token, order: state.Order, resource: resource,
		flags: state.Flags, granted: state.Granted, requested: state.Requested, blocking: modeSet(state.Blocking),
		status: state.Status, denied: state.Denied, origin: state.Origin,
	}
	if l.marked() {
		r.broken = r.broken || t.findGulm(l.session, resource, state.Sub, l.flags&gulmMarks) != 0
		t.mark(slot, l, state.Sub)
	}
	t.pushTail(slot, l, queue(state.Queue))
	l.changed, l.stamp = state.Changed, state.Stamp
	r.note(slot, state)
	if state.Queue != QueueWaiting {
		t.resources.mut(resource).add(state.Granted)
	}
}

// possible reports whether a lock can be like that, whatever else there is.
func (t *Table) possible(l *LockState) bool {
	switch {
	case l.ID == 0 || l.Granted >= modes || l.Requested >= modes || l.Order == 0 || l.Order > t.lastOrder || l.Token > t.lastToken:
		return false
	case l.Blocking >= 1<<modes || l.Status&^(Demoted|AltMode) != 0 || int(l.Denied) >= reason.Count:
		return false
	case l.Flags&^(lockFlags|convertFlags|gulmMarks) != 0 || l.Flags&gulmMarks == gulmMarks:
		return false
	case l.Sub != 0 && (l.Flags&gulmLock == 0 || l.Session.ofNode()):
		return false
	case l.Flags&gulmHold != 0 && (l.Queue != QueueGranted || l.Granted != NL):
		return false
	case l.Session.ofNode() != (l.Origin != 0) || l.Origin != 0 && (l.Queue != QueueGranted || l.Blocking != 0):
		return false
	case l.Queue == QueueGranted:
		return l.Requested == l.Granted && l.Token != 0
	case l.Queue == QueueWaiting:
		return l.Granted == NL && l.Token == 0 && l.Blocking == 0 && l.Status == 0 && l.Denied == reason.None
	default:
		return l.Queue == QueueConverting && l.Token != 0
	}
}

// Finish returns the table, and false if what was given is not a possible state.
func (r *Restore) Finish() (*Table, bool) {
	t := r.table
	if r.broken {
		return t, false
	}
	keys := sorter{make([]keyed, 0, max(t.locks.used, t.resources.used)), make([]keyed, max(t.locks.used, t.resources.used))}
	sound := build(&t.resourceIndex, &t.resources, &keys, func(a, b *resourceRecord) bool {
		return a.lockspace == b.lockspace && string(t.name(a)) == string(t.name(b))
	})
	sound = build(&t.lockIndex, &t.locks, &keys, func(a, b *lockRecord) bool {
		return a.session == b.session && a.id == b.id
	}) && sound
	sound = r.own(&keys) && sound
	t.listWatched()
	return t, sound && t.checkOwners() == nil && t.checkSets() == nil && r.finishRanges() && t.checkSpaces() == nil
}

// own gives the locks to their sessions, which list them in the order in which
// they came to them: the order of events depends on it, and resources came in
// any order. It reports false if two locks came at once.
func (r *Restore) own(keys *sorter) bool {
	t := r.table
	keys.clear()
	for slot := uint32(1); slot < t.locks.next; slot++ {
		keys.add(t.locks.get(slot).order, slot)
	}
	last := uint64(0)
	for _, k := range keys.sort(0) {
		if k.key == last {
			return false
		}
		last = k.key
		l := t.locks.mut(k.slot)
		t.ownLock(r.owner(l.session), k.slot, l)
	}
	return true
}
