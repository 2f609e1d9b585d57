package lock

import (
	"slices"

	"lock_gulmd/server/reason"
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
	// Order is the lock's place in the order in which all locks came to their
	// sessions: were made, became orphans or were adopted.
	Order uint64
	// Changed is the log index of the last change that the session must know.
	Changed uint64
	// Stamp is when it entered its queue, the master's unix milliseconds.
	Stamp int64
	// Frozen is true for the lock of an expired node.
	Frozen bool
	// Status are the bits of the newest grant, without ValNotValid.
	Status Status
	// Denied is why the newest conversion is over, None if it was granted.
	Denied reason.Reason
	// Origin is the session that left an orphan, or remains.
	Origin uint32
	// Sub is the sub-id of a lock of the GULM layer, and 0 for all others.
	Sub uint64
	// Owner is the session's number for whoever has the lock, 0 for none.
	Owner uint64
	// Set is the set that waits and that the lock belongs to, 0 for none.
	Set ID
	// Timeout is how long the request may wait, milliseconds, 0 for ever.
	Timeout uint32
	// Since is the log index at which the wait began, for a request with any of
	// these three; 0 for others.
	Since uint64
}

// ResourceState is one resource with its locks: granted, converting and waiting
// ones, each queue in order.
type ResourceState struct {
	Lockspace uint32
	Name      []byte
	Locks     []LockState
	// Value is the value block, empty if there is none.
	Value        []byte
	ValueVersion uint64
	ValueInvalid bool
	// Overtaken is how many requests came before earlier ones, because their
	// flags ask for it, since one of those was granted.
	Overtaken uint32
}

// OwnerState is one session, or a node's orphans or remains.
type OwnerState struct {
	Session Session
	Node    uint32
	Frozen  bool
	// Doubted is true for the remains of a node that was declared dead and whose
	// fence is not proved.
	Doubted bool
	// Ended are waiting requests that were denied, or granted if they were for
	// ranges, which has not been acknowledged yet.
	Ended []EndedState
	// Sets are those that wait, in the order in which they were asked for.
	Sets []SetState
	// Told are the details of conversions that were denied, oldest first.
	Told []ToldState
}

// ToldState is what was said when the newest conversion of a lock was denied.
type ToldState struct {
	ID     ID
	Detail string
}

// EndedState is one request that waits no more.
type EndedState struct {
	ID ID
	// Reason is why it was denied, None if it was granted.
	Reason  reason.Reason
	Changed uint64
	// Mode and Token are the grant's: PR for reading, EX for writing.
	Mode  Mode
	Token uint64
	// Detail is for people.
	Detail string
}

// SpaceState is one lockspace.
type SpaceState struct {
	Number uint32
	Name   string
	Policy Policy
	// Lease is the time-to-live under PolicyLease, milliseconds; else 0.
	Lease      uint32
	Members    []Session
	ValueLen   uint8
	KeepValues bool
	// Generation grows with every change of the members.
	Generation uint64
	// Pinned: it stays although nobody is a member; see Pin.
	Pinned bool
}

// Counters only grow and are part of the state.
type Counters struct {
	Token, Order uint64
	Lockspace    uint32
	// RangeOrder counts the requests for ranges that ever waited.
	RangeOrder uint64
}

// Counters returns the counters.
func (t *Table) Counters() Counters {
	return Counters{t.lastToken, t.lastOrder, t.lastSpace, t.ranges.lastOrder}
}

// Spaces returns the lockspaces by number; the caller owns the result.
func (t *Table) Spaces() []SpaceState {
	states := make([]SpaceState, 0, len(t.spaces))
	for _, sp := range t.spaces {
		states = append(states, SpaceState{
			sp.number, sp.name, sp.policy, sp.lease, slices.Clone(sp.members), sp.valueLen, sp.keepValues, sp.generation, sp.pinned,
		})
	}
	return states
}

// Owners returns all sessions and owners of orphans and remains, by number; the caller owns
// the result.
func (t *Table) Owners() []OwnerState {
	states := make([]OwnerState, 0, len(t.owners))
	for _, o := range t.owners {
		state := OwnerState{Session: o.session, Node: o.node, Frozen: o.frozen, Doubted: o.doubted}
		for e := range o.ended.all {
			state.Ended = append(state.Ended, EndedState{e.id, e.why, e.changed, e.mode, e.token, e.detail})
		}
		for set := range o.sets.all {
			state.Sets = append(state.Sets, set.state())
		}
		for _, d := range o.told {
			state.Told = append(state.Told, ToldState{d.id, d.detail})
		}
		states = append(states, state)
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
	*state = ResourceState{Lockspace: r.lockspace, Name: t.name(r), Locks: state.Locks[:0]}
	heads := [3]uint32{r.head}
	if r.contention != 0 {
		c := t.contentions.get(r.contention)
		heads[converting], heads[waiting], state.Overtaken = c.convertHead, c.waitHead, c.passed
	}
	if r.value != 0 {
		v := t.values.get(r.value)
		state.Value, state.ValueVersion, state.ValueInvalid = v.bytes[:v.length], v.version, v.invalid
	}
	for _, head := range heads {
		for l := head; l != 0; l = t.locks.get(l).next {
			state.Locks = append(state.Locks, t.lockState(t.locks.get(l)))
		}
	}
}

func (t *Table) lockState(l *lockRecord) LockState {
	o := t.owner(l.session)
	state := LockState{
		Session: l.session, ID: l.id, Queue: Queue(l.queue), Granted: l.granted, Requested: l.requested,
		Flags: l.flags, Blocking: uint8(l.blocking), Token: l.token, Order: l.order, Changed: l.changed,
		Stamp: l.stamp, Frozen: o != nil && o.frozen, Status: l.status, Denied: l.denied, Origin: l.left(),
		Sub: t.sub(l),
	}
	if l.note != 0 {
		n := t.notes.get(l.note)
		state.Owner, state.Set, state.Timeout, state.Since = n.owner, n.set, n.timeout, n.since
	}
	return state
}

// Changed appends to events what a session must be told that has seen
// everything up to log index `seen`: grants and outstanding blocking callbacks,
// in the order of the locks.
func (t *Table) Changed(s Session, seen uint64, events []Event) []Event {
	o := t.owner(s)
	if o == nil {
		return events
	}
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		l := t.locks.get(slot)
		if l.changed <= seen || t.setOf(l) != 0 {
			continue
		}
		if l.queue == granted {
			events = append(events, t.grantedAgain(o, l))
		}
		told := modeSet(0)
		for m := EX; m > NL; m-- {
			if l.blocking.has(m) && !covered(told, m) {
				told |= 1 << m
				events = append(events, Event{Session: s, Lock: l.id, Kind: EventBlocking, Mode: m})
			}
		}
	}
	for e := range o.ended.all {
		if e.changed > seen {
			events = append(events, e.event(s))
		}
	}
	return events
}

// grantedAgain is the event that tells a session what became of the newest
// request for a lock that it holds.
func (t *Table) grantedAgain(o *owner, l *lockRecord) Event {
	e := Event{Session: l.session, Lock: l.id, Kind: EventGranted, Mode: l.granted, Status: l.status, Token: l.token}
	if l.denied != reason.None {
		e.Kind, e.Status, e.Reason, e.Detail = EventDenied, 0, l.denied, o.detailOf(l.id)
		return e
	}
	switch {
	case l.marked():
		value, status := t.readGulm(l.resource)
		e.Value, e.Status = value, e.Status|status
	case l.flags&ValBlk != 0:
		value, status := t.readValue(l.resource)
		e.Value, e.Status = value, e.Status|status
	}
	return e
}
