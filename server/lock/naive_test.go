package lock

import (
	"bytes"
	"cmp"
	"slices"

	"lock_gulmd/server/reason"
)

// compatible is the DLM's compatibility matrix, written out once. Rows are what
// is held, columns what is asked for, both in the order NL CR CW PR PW EX.
var compatible = [6][6]bool{
	NL: {true, true, true, true, true, true},
	CR: {true, true, true, true, true, false},
	CW: {true, true, true, false, false, false},
	PR: {true, true, false, true, false, false},
	PW: {true, true, false, false, false, false},
	EX: {true, false, false, false, false, false},
}

// covers says whether a holder that was asked to give way to the row need not
// be asked again for the column.
var covers = [6][6]bool{
	NL: {true, false, false, false, false, false},
	CR: {true, true, false, false, false, false},
	CW: {true, true, true, false, false, false},
	PR: {true, true, false, true, false, false},
	PW: {true, true, true, true, true, false},
	EX: {true, true, true, true, true, true},
}

// naive is an engine with the contract of Table: slices and loops, nothing
// remembered that can be found by looking.
type naive struct {
	limits   Limits
	counters Counters
	spaces   []*naiveSpace
	sessions []*naiveSession
	locks    []*naiveLock // in order of creation
	index    uint64
	stamp    int64
	events   []Event
}

type naiveSpace struct {
	SpaceState
	resources []*naiveResource
}

type naiveSession struct {
	number Session
	frozen bool
}

// naiveResource has its locks in three queues, by Queue.
type naiveResource struct {
	space  uint32
	name   string
	queues [3][]*naiveLock
}

type naiveLock struct {
	LockState
	resource *naiveResource
	asked    []Mode // since it was granted
}

func (n *naive) session(s Session) *naiveSession {
	for _, o := range n.sessions {
		if o.number == s {
			return o
		}
	}
	return nil
}

func (n *naive) space(number uint32) *naiveSpace {
	for _, sp := range n.spaces {
		if sp.Number == number {
			return sp
		}
	}
	return nil
}

func (n *naive) lock(s Session, id ID) *naiveLock {
	for _, l := range n.locks {
		if l.ID == id && l.Session == s {
			return l
		}
	}
	return nil
}

func (n *naive) locksOf(s Session) []*naiveLock {
	var own []*naiveLock
	for _, l := range n.locks {
		if l.Session == s {
			own = append(own, l)
		}
	}
	return own
}

func (n *naive) resources() int {
	sum := 0
	for _, sp := range n.spaces {
		sum += len(sp.resources)
	}
	return sum
}

func (n *naive) Begin(index uint64, stamp int64) { n.index, n.stamp = index, stamp }

func (n *naive) SetLimits(l Limits) { n.limits = l }

func (n *naive) TakeEvents() []Event {
	events := n.events
	n.events = nil
	return events
}

func (n *naive) Open(s Session) {
	if n.session(s) == nil {
		n.sessions = append(n.sessions, &naiveSession{number: s})
	}
}

// dead reports whether the session may ask for nothing any more.
func (n *naive) dead(s Session) bool {
	x := n.session(s)
	return x != nil && x.frozen
}

func (n *naive) Join(s Session, name []byte, policy Policy) Reply {
	if len(name) < 1 || len(name) > 64 || policy != PolicyFence {
		return refuse(reason.Invalid)
	}
	if n.session(s) == nil {
		return refuse(reason.NoSession)
	}
	if n.dead(s) {
		return refuse(reason.NodeExpired)
	}
	var sp *naiveSpace
	for _, x := range n.spaces {
		if x.Name == string(name) {
			sp = x
		}
	}
	if sp == nil {
		if n.limits.Lockspaces != 0 && uint64(len(n.spaces)) >= n.limits.Lockspaces {
			return refuse(reason.Limit)
		}
		n.counters.Lockspace++
		sp = &naiveSpace{SpaceState: SpaceState{Number: n.counters.Lockspace, Name: string(name), Policy: policy}}
		n.spaces = append(n.spaces, sp)
	}
	if sp.Policy != policy {
		return refuse(reason.Policy)
	}
	if !slices.Contains(sp.Members, s) {
		sp.Members = append(sp.Members, s)
		slices.Sort(sp.Members)
	}
	return Reply{Outcome: Joined, Number: sp.Number}
}

func (n *naive) Leave(s Session, number uint32) Reply {
	if n.dead(s) {
		return refuse(reason.NodeExpired)
	}
	sp := n.space(number)
	if sp == nil || !slices.Contains(sp.Members, s) {
		return refuse(reason.NoLockspace)
	}
	for _, l := range n.locksOf(s) {
		if l.resource.space == number {
			return refuse(reason.InUse)
		}
	}
	n.leave(s, sp)
	return Reply{Outcome: Left}
}

func (n *naive) leave(s Session, sp *naiveSpace) {
	sp.Members = slices.DeleteFunc(sp.Members, func(m Session) bool { return m == s })
	n.spaces = slices.DeleteFunc(n.spaces, func(x *naiveSpace) bool { return len(x.Members) == 0 && len(x.resources) == 0 })
}

func (n *naive) Lock(s Session, req LockRequest) Reply {
	sp := n.space(req.Lockspace)
	switch {
	case n.session(s) == nil:
		return refuse(reason.NoSession)
	case n.dead(s):
		return refuse(reason.NodeExpired)
	case req.ID == 0, req.Mode > EX, len(req.Name) < 1, len(req.Name) > 255,
		req.Flags&^(NoQueue|NoQueueBast|NoCallbacks) != 0,
		req.Flags&NoQueueBast != 0 && req.Flags&NoQueue == 0,
		n.lock(s, req.ID) != nil:
		return refuse(reason.Invalid)
	case sp == nil || !slices.Contains(sp.Members, s):
		return refuse(reason.NoLockspace)
	case n.limits.Locks != 0 && uint64(len(n.locks)) >= n.limits.Locks:
		return refuse(reason.Limit)
	}
	var r *naiveResource
	for _, x := range sp.resources {
		if x.name == string(req.Name) {
			r = x
		}
	}
	if r == nil {
		if n.limits.Resources != 0 && uint64(n.resources()) >= n.limits.Resources {
			return refuse(reason.Limit)
		}
		r = &naiveResource{space: req.Lockspace, name: string(req.Name)}
		sp.resources = append(sp.resources, r)
	}
	l := &naiveLock{resource: r}
	l.Session, l.ID, l.Flags, l.Requested = s, req.ID, req.Flags&NoCallbacks, req.Mode
	free := len(r.queues[QueueConverting]) == 0 && len(r.queues[QueueWaiting]) == 0 && r.fits(l)
	if !free && req.Flags&NoQueue != 0 {
		if req.Flags&NoQueueBast != 0 {
			n.askHolders(l)
		}
		return refuse(reason.TryFailed)
	}
	n.counters.Order++
	l.Order = n.counters.Order
	n.locks = append(n.locks, l)
	if free {
		return n.hold(l)
	}
	n.put(l, QueueWaiting)
	n.askHolders(l)
	return Reply{Outcome: Queued, Mode: req.Mode}
}

func (n *naive) Convert(s Session, id ID, mode Mode, flags Flags) Reply {
	l := n.lock(s, id)
	switch {
	case n.dead(s):
		return refuse(reason.NodeExpired)
	case l == nil:
		return refuse(reason.NotHeld)
	case mode > EX, flags&^(NoQueue|NoQueueBast) != 0, flags&NoQueueBast != 0 && flags&NoQueue == 0:
		return refuse(reason.Invalid)
	case l.Queue != QueueGranted:
		return refuse(reason.Busy)
	}
	old := l.Requested
	l.Requested = mode
	if l.resource.fits(l) {
		n.take(l)
		reply := n.hold(l)
		n.askHolder(l)
		n.grant(l.resource)
		return reply
	}
	if flags&NoQueue != 0 {
		if flags&NoQueueBast != 0 {
			n.askHolders(l)
		}
		l.Requested = old
		return refuse(reason.TryFailed)
	}
	// Conversions are granted from the head: this one waits for all those that
	// are queued. One that waits for this one to weaken is never granted then.
	for _, ahead := range l.resource.queues[QueueConverting] {
		if !compatible[l.Granted][ahead.Requested] {
			l.Requested = old
			return refuse(reason.Deadlock)
		}
	}
	n.take(l)
	n.put(l, QueueConverting)
	n.askHolders(l)
	return Reply{Outcome: Queued, Mode: mode}
}

func (n *naive) Unlock(s Session, id ID) Reply {
	if n.dead(s) {
		return refuse(reason.NodeExpired)
	}
	l := n.lock(s, id)
	if l == nil {
		return refuse(reason.NotHeld)
	}
	n.remove(l)
	n.grant(l.resource)
	n.sweep()
	return Reply{Outcome: Unlocked}
}

func (n *naive) Cancel(s Session, id ID) Reply {
	if n.dead(s) {
		return refuse(reason.NodeExpired)
	}
	l := n.lock(s, id)
	switch {
	case n.dead(s):
		return refuse(reason.NodeExpired)
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

func (n *naive) Freeze(s Session) {
	o := n.session(s)
	if o == nil || o.frozen {
		return
	}
	o.frozen = true
	own := n.locksOf(s)
	queued := slices.DeleteFunc(own, func(l *naiveLock) bool { return l.Queue == QueueGranted })
	for _, l := range queued {
		n.withdraw(l)
	}
	for _, l := range queued {
		n.grant(l.resource)
	}
	n.sweep()
}

func (n *naive) Release(s Session) {
	if n.session(s) == nil {
		return
	}
	own := n.locksOf(s)
	for _, l := range own {
		n.remove(l)
	}
	for _, l := range own {
		n.grant(l.resource)
	}
	n.sweep()
	n.sessions = slices.DeleteFunc(n.sessions, func(o *naiveSession) bool { return o.number == s })
	for _, sp := range slices.Clone(n.spaces) {
		n.leave(s, sp)
	}
}

func (n *naive) Changed(s Session, seen uint64) []Event {
	var events []Event
	for _, l := range n.locksOf(s) {
		if l.Changed <= seen {
			continue
		}
		if l.Queue == QueueGranted {
			events = append(events, Event{s, l.ID, EventGranted, l.Granted, l.Token})
		}
		if len(l.asked) > 0 {
			events = append(events, Event{Session: s, Lock: l.ID, Kind: EventBlocking, Mode: slices.Max(l.asked)})
		}
	}
	return events
}

// holders are all that hold a mode, NL too.
func (r *naiveResource) holders() []*naiveLock {
	return slices.Concat(r.queues[QueueGranted], r.queues[QueueConverting])
}

// fits says whether what l asks for is compatible with what all others hold.
func (r *naiveResource) fits(l *naiveLock) bool {
	for _, h := range r.holders() {
		if h != l && !compatible[h.Granted][l.Requested] {
			return false
		}
	}
	return true
}

func (n *naive) put(l *naiveLock, q Queue) {
	l.Queue, l.Changed, l.Stamp = q, n.index, n.stamp
	l.resource.queues[q] = append(l.resource.queues[q], l)
}

func (n *naive) take(l *naiveLock) {
	l.resource.queues[l.Queue] = slices.DeleteFunc(l.resource.queues[l.Queue], func(x *naiveLock) bool { return x == l })
}

func (n *naive) remove(l *naiveLock) {
	n.take(l)
	n.locks = slices.DeleteFunc(n.locks, func(x *naiveLock) bool { return x == l })
}

// withdraw ends a wait: a new request goes, a conversion goes back.
func (n *naive) withdraw(l *naiveLock) {
	if l.Queue == QueueWaiting {
		n.remove(l)
		return
	}
	n.take(l)
	l.Requested = l.Granted
	n.put(l, QueueGranted)
}

// hold makes l a holder in the mode that it asked for.
func (n *naive) hold(l *naiveLock) Reply {
	n.counters.Token++
	l.Granted, l.Token, l.asked = l.Requested, n.counters.Token, nil
	n.put(l, QueueGranted)
	return Reply{Outcome: Granted, Mode: l.Granted, Token: l.Token}
}

// askHolder asks a new holder to give way to what it blocks.
func (n *naive) askHolder(l *naiveLock) {
	strongest := NL
	for _, q := range slices.Concat(l.resource.queues[QueueConverting], l.resource.queues[QueueWaiting]) {
		if !compatible[l.Granted][q.Requested] {
			strongest = max(strongest, q.Requested)
		}
	}
	if strongest > NL {
		n.ask(l, strongest)
	}
}

func (n *naive) askHolders(l *naiveLock) {
	for _, h := range l.resource.holders() {
		if h != l && !compatible[h.Granted][l.Requested] {
			n.ask(h, l.Requested)
		}
	}
}

func (n *naive) ask(l *naiveLock, mode Mode) {
	if l.Flags&NoCallbacks != 0 || n.session(l.Session).frozen {
		return
	}
	for _, m := range l.asked {
		if covers[m][mode] {
			return
		}
	}
	l.asked = append(l.asked, mode)
	l.Changed = n.index
	n.events = append(n.events, Event{Session: l.Session, Lock: l.ID, Kind: EventBlocking, Mode: mode})
}

func (n *naive) grant(r *naiveResource) {
	for {
		queued := slices.Concat(r.queues[QueueConverting], r.queues[QueueWaiting])
		if len(queued) == 0 || !r.fits(queued[0]) {
			return
		}
		l := queued[0]
		n.take(l)
		reply := n.hold(l)
		n.events = append(n.events, Event{l.Session, l.ID, EventGranted, reply.Mode, reply.Token})
		n.askHolder(l)
	}
}

func (n *naive) sweep() {
	for _, sp := range n.spaces {
		sp.resources = slices.DeleteFunc(sp.resources, func(r *naiveResource) bool {
			return len(r.queues[0])+len(r.queues[1])+len(r.queues[2]) == 0
		})
	}
}

// image is all that can be seen of a table, in one order.
type image struct {
	Counters  Counters
	Counts    Counts
	Spaces    []SpaceState
	Resources []ResourceState
}

func sortResources(rs []ResourceState) {
	slices.SortFunc(rs, func(a, b ResourceState) int {
		return cmp.Or(cmp.Compare(a.Lockspace, b.Lockspace), bytes.Compare(a.Name, b.Name))
	})
}

func (n *naive) image() image {
	im := image{Counters: n.counters, Spaces: []SpaceState{}}
	im.Counts = Counts{Locks: len(n.locks), Resources: n.resources(), Lockspaces: len(n.spaces)}
	for _, sp := range n.spaces {
		im.Spaces = append(im.Spaces, SpaceState{sp.Number, sp.Name, sp.Policy, slices.Clone(sp.Members)})
		for _, r := range sp.resources {
			state := ResourceState{Lockspace: r.space, Name: []byte(r.name)}
			im.Counts.Converting += len(r.queues[QueueConverting])
			im.Counts.Waiting += len(r.queues[QueueWaiting])
			for _, q := range r.queues {
				for _, l := range q {
					l.Blocking = 0
					for _, m := range l.asked {
						l.Blocking |= 1 << m
					}
					l.Frozen = n.session(l.Session).frozen
					state.Locks = append(state.Locks, l.LockState)
				}
			}
			im.Resources = append(im.Resources, state)
		}
	}
	sortResources(im.Resources)
	return im
}

// imageOf is the same of the real table.
func imageOf(t *Table) image {
	im := image{Counters: t.Counters(), Counts: t.Counts(), Spaces: t.Spaces(), Resources: resourcesOf(t)}
	sortResources(im.Resources)
	return im
}

// resourcesOf copies all resources, in the order of the walk.
func resourcesOf(t *Table) []ResourceState {
	var all []ResourceState
	t.Walk(func(r *ResourceState) bool {
		all = append(all, ResourceState{r.Lockspace, slices.Clone(r.Name), slices.Clone(r.Locks)})
		return true
	})
	return all
}

// restored makes a new table of a snapshot of t, the resources in an order that
// shuffle chooses.
func restored(t *Table, shuffle func([]ResourceState)) (*Table, bool) {
	r := NewRestore(t.limits)
	r.SetCounters(t.Counters())
	for _, sp := range t.Spaces() {
		r.Space(sp)
	}
	for _, o := range t.owners {
		r.Session(o.session, o.frozen)
	}
	all := resourcesOf(t)
	shuffle(all)
	for i := range all {
		r.Resource(&all[i])
	}
	return r.Finish()
}
