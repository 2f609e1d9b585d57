package lock

import (
	"cmp"
	"slices"
)

// Queue is where a lock stands on its resource.
type Queue uint8

// The queues, as in gulm.v1.Queue.
const (
	QueueGranted    = Queue(granted)
	QueueConverting = Queue(converting)
	QueueWaiting    = Queue(waiting)
)

// LockState is everything about one lock.
type LockState struct {
	Session   Session
	ID        ID
	Queue     Queue
	Granted   Mode
	Requested Mode
	Flags     Flags
	// Blocking has bit 1<<m for each mode m that a blocking callback of this
	// grant spoke of.
	Blocking uint8
	Token    uint64
	// Order is the lock's place in the order of creation of all locks.
	Order uint64
	// Changed is the log index of the last change that the session must know.
	Changed uint64
	// Stamp is when it entered its queue, the master's unix milliseconds.
	Stamp int64
	// Frozen is true for the lock of an expired node.
	Frozen bool
}

// ResourceState is one resource with its locks: granted, converting and waiting
// ones, each queue in order.
type ResourceState struct {
	Lockspace uint32
	Name      []byte
	Locks     []LockState
}

// SpaceState is one lockspace.
type SpaceState struct {
	Number  uint32
	Name    string
	Policy  Policy
	Members []Session
}

// Counters only grow and are part of the state.
type Counters struct {
	Token, Order uint64
	Lockspace    uint32
}

// Counters returns the counters.
func (t *Table) Counters() Counters { return Counters{t.lastToken, t.lastOrder, t.lastSpace} }

// Spaces returns the lockspaces by number; the caller owns the result.
func (t *Table) Spaces() []SpaceState {
	states := make([]SpaceState, 0, len(t.spaces))
	for _, sp := range t.spaces {
		states = append(states, SpaceState{sp.number, sp.name, sp.policy, slices.Clone(sp.members)})
	}
	return states
}

// Walk calls yield for every resource until it returns false. The order is
// unspecified and differs between servers. The state and its slices are valid
// only during the call.
func (t *Table) Walk(yield func(*ResourceState) bool) {
	var state ResourceState
	for slot := uint32(1); slot < t.resources.next; slot++ {
		if t.resources.get(slot).lockspace == 0 {
			continue
		}
		t.resourceState(slot, &state)
		if !yield(&state) {
			return
		}
	}
}

// Resource returns the state of one resource, and false if it does not exist.
// Not for clones, which have no index.
func (t *Table) Resource(lockspace uint32, name []byte) (ResourceState, bool) {
	slot := t.findResource(lockspace, name)
	if slot == 0 {
		return ResourceState{}, false
	}
	var state ResourceState
	t.resourceState(slot, &state)
	return state, true
}

func (t *Table) resourceState(slot uint32, state *ResourceState) {
	r := t.resources.get(slot)
	state.Lockspace, state.Name, state.Locks = r.lockspace, t.name(r), state.Locks[:0]
	heads := [3]uint32{r.head}
	if r.contention != 0 {
		c := t.contentions.get(r.contention)
		heads[converting], heads[waiting] = c.convertHead, c.waitHead
	}
	for _, head := range heads {
		for l := head; l != 0; l = t.locks.get(l).next {
			state.Locks = append(state.Locks, t.lockState(t.locks.get(l)))
		}
	}
}

func (t *Table) lockState(l *lockRecord) LockState {
	o := t.owner(l.session)
	return LockState{
		Session: l.session, ID: l.id, Queue: Queue(l.queue), Granted: l.granted, Requested: l.requested,
		Flags: l.flags, Blocking: uint8(l.blocking), Token: l.token, Order: l.order, Changed: l.changed,
		Stamp: l.stamp, Frozen: o != nil && o.frozen,
	}
}

// Changed appends to events what a session must be told that has seen
// everything up to log index `seen`: grants and outstanding blocking callbacks,
// in order of creation of the locks.
func (t *Table) Changed(s Session, seen uint64, events []Event) []Event {
	o := t.owner(s)
	if o == nil {
		return events
	}
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		l := t.locks.get(slot)
		if l.changed <= seen {
			continue
		}
		if l.queue == granted {
			events = append(events, Event{s, l.id, EventGranted, l.granted, l.token})
		}
		if l.blocking != 0 {
			events = append(events, Event{Session: s, Lock: l.id, Kind: EventBlocking, Mode: l.blocking.highest()})
		}
	}
	return events
}

// Restore rebuilds a table: SetCounters, then Space for all lockspaces and
// Session for all sessions, then Resource for all resources, then Finish, which
// also says whether all of that was possible.
type Restore struct {
	table  *Table
	broken bool
}

// NewRestore begins with an empty table.
func NewRestore(limits Limits) *Restore { return &Restore{table: New(limits)} }

// SetCounters sets the counters.
func (r *Restore) SetCounters(c Counters) {
	r.table.lastToken, r.table.lastOrder, r.table.lastSpace = c.Token, c.Order, c.Lockspace
}

// Space adds a lockspace.
func (r *Restore) Space(s SpaceState) {
	at, taken := r.table.findSpace(s.Number)
	if taken || s.Number == 0 || len(s.Members) == 0 || !slices.IsSorted(s.Members) {
		r.broken = true
		return
	}
	sp := space{number: s.Number, name: s.Name, policy: s.Policy, members: slices.Clone(s.Members)}
	r.table.spaces = slices.Insert(r.table.spaces, at, sp)
}

// Session adds a session and says whether it is frozen.
func (r *Restore) Session(s Session, frozen bool) {
	r.table.Open(s)
	r.table.owner(s).frozen = frozen
}

// Resource adds a resource with its locks.
func (r *Restore) Resource(state *ResourceState) {
	t := r.table
	if t.space(state.Lockspace) == nil || len(state.Name) == 0 || len(state.Name) > MaxName || len(state.Locks) == 0 ||
		t.findResource(state.Lockspace, state.Name) != 0 {
		r.broken = true
		return
	}
	resource := t.addResource(state.Lockspace, state.Name)
	for i := range state.Locks {
		if i > 0 && state.Locks[i].Queue < state.Locks[i-1].Queue {
			r.broken = true
		}
		r.lock(resource, &state.Locks[i])
	}
}

func (r *Restore) lock(resource uint32, state *LockState) {
	t := r.table
	o := t.owner(state.Session)
	if o == nil || !possible(state) || !t.joined(t.resources.get(resource).lockspace, state.Session) ||
		t.findLock(state.Session, state.ID) != 0 {
		r.broken = true
		return
	}
	slot, l := t.locks.alloc()
	*l = lockRecord{
		id: state.ID, session: state.Session, token: state.Token, order: state.Order, resource: resource,
		flags: state.Flags, granted: state.Granted, requested: state.Requested, blocking: modeSet(state.Blocking),
	}
	insert(&t.lockIndex, &t.locks, slot)
	t.enqueue(slot, queue(state.Queue))
	l.changed, l.stamp = state.Changed, state.Stamp
	if state.Queue != QueueWaiting {
		t.resources.mut(resource).hold(state.Granted)
	}
}

// possible reports whether a lock can be like that, whatever else there is.
func possible(l *LockState) bool {
	switch {
	case l.ID == 0 || l.Granted >= modes || l.Requested >= modes:
		return false
	case l.Queue == QueueGranted:
		return l.Requested == l.Granted
	case l.Queue == QueueWaiting:
		return l.Granted == NL
	default:
		return l.Queue == QueueConverting
	}
}

// Finish returns the table, and false if what was given is not a possible state.
func (r *Restore) Finish() (*Table, bool) {
	t := r.table
	// Sessions list their locks in order of creation, on which the order of
	// events depends; resources came in any order.
	slots := make([]uint32, 0, t.locks.used)
	for slot := uint32(1); slot < t.locks.next; slot++ {
		slots = append(slots, slot)
	}
	slices.SortFunc(slots, func(a, b uint32) int { return cmp.Compare(t.locks.get(a).order, t.locks.get(b).order) })
	for _, slot := range slots {
		l := t.locks.mut(slot)
		t.ownLock(t.owner(l.session), slot, l)
	}
	return t, !r.broken && t.Check() == nil
}
