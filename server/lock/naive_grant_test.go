package lock

import (
	"bytes"
	"cmp"
	"slices"
)

// holders are all that hold a mode, NL too.
func (r *naiveResource) holders() []*naiveLock {
	return slices.Concat(r.queues[QueueGranted], r.queues[QueueConverting])
}

// queued are all whose turn is to come, in that order.
func (r *naiveResource) queued() []*naiveLock {
	return slices.Concat(r.queues[QueueConverting], r.queues[QueueWaiting])
}

// grantable says in which mode and with which status l can be granted: now, when
// it is asked for, or else from its queue.
func (n *naive) grantable(l *naiveLock, now bool) (Mode, Status, bool) {
	if n.turn(l, l.Requested, now) {
		return l.Requested, 0, true
	}
	if l.Flags&AltPR != 0 && l.Requested != PR && n.turn(l, PR, now) {
		return PR, AltMode, true
	}
	if l.Flags&AltCW != 0 && l.Requested != CW && n.turn(l, CW, now) {
		return CW, AltMode, true
	}
	return 0, 0, false
}

// turn says whether mode is free for l and it is its turn.
func (n *naive) turn(l *naiveLock, mode Mode, now bool) bool {
	r := l.resource
	for _, h := range r.holders() {
		if h != l && !compatible[h.Granted][mode] && !weaker(l.Granted, mode) && !n.passes(l, h) {
			return false
		}
	}
	if l.Flags&Recovery != 0 && n.crossable(r) {
		only := &naiveResource{passed: r.passed}
		for q := range r.queues {
			only.queues[q] = slices.DeleteFunc(slices.Clone(r.queues[q]), func(x *naiveLock) bool { return x.Flags&Recovery == 0 })
		}
		r = only
	}
	switch {
	case l.Flags&Expedite != 0:
		return true
	case now && l.Queue == QueueGranted && l.Flags&QueCvt == 0: // a conversion in place
		return true
	case l.Flags&NoOrder != 0 && n.mayPass(r):
		return true
	case now && len(r.queues[QueueConverting]) == 0 && (len(r.queues[QueueWaiting]) == 0 || l.Queue == QueueGranted):
		return true
	case now && l.Flags&HeadQue != 0 && n.mayPass(r):
		return l.Queue == QueueGranted || len(r.queues[QueueConverting]) == 0
	case now:
		return false
	default:
		return r.queued()[0] == l
	}
}

// mayPass says whether those who are queued can be passed once more.
func (n *naive) mayPass(r *naiveResource) bool {
	limit := n.limits.Overtakes
	if limit == 0 {
		limit = 100
	}
	return uint64(r.passed) < limit
}

// enqueue queues a request at the end, or at the head if it may go there.
func (n *naive) enqueue(l *naiveLock, q Queue) {
	r := l.resource
	head := l.Flags&HeadQue != 0 && n.mayPass(r)
	if q == QueueConverting {
		// It must not stand before one that it waits for.
		for _, other := range r.queues[q] {
			head = head && compatible[other.Granted][l.Requested]
		}
	}
	if head && len(r.queues[q]) > 0 {
		r.passed++
	}
	n.put(l, q)
	if head {
		r.queues[q] = slices.Concat(r.queues[q][len(r.queues[q])-1:], r.queues[q][:len(r.queues[q])-1])
	}
}

func (n *naive) put(l *naiveLock, q Queue) {
	l.Queue, l.Changed, l.Stamp = q, n.index, n.stamp
	l.resource.queues[q] = append(l.resource.queues[q], l)
}

func (n *naive) take(l *naiveLock) {
	r := l.resource
	r.queues[l.Queue] = slices.DeleteFunc(r.queues[l.Queue], func(x *naiveLock) bool { return x == l })
	if len(r.queued()) == 0 {
		r.passed = 0
	}
}

func (n *naive) remove(l *naiveLock) {
	n.take(l)
	n.locks = slices.DeleteFunc(n.locks, func(x *naiveLock) bool { return x == l })
	n.unhold(l)
}

// withdraw ends a wait: a new request goes, a conversion goes back.
func (n *naive) withdraw(l *naiveLock) {
	if l.Queue == QueueWaiting {
		n.remove(l)
		return
	}
	n.take(l)
	l.Since, l.Timeout = 0, 0
	l.Requested = l.Granted
	n.put(l, QueueGranted)
}

// hold makes l a holder in a mode.
func (n *naive) hold(l *naiveLock, mode Mode, status Status, value []byte, fresh bool) Reply {
	held := l.Granted
	n.counters.Token++
	l.Granted, l.Requested, l.Token, l.asked, l.Status, l.Denied = mode, mode, n.counters.Token, nil, status, 0
	l.Since, l.Timeout = 0, 0
	n.put(l, QueueGranted)
	reply := Reply{Outcome: Granted, Mode: mode, Status: status, Token: l.Token}
	use := valueRow[held][mode]
	if fresh {
		use = read
	}
	switch {
	case isGulm(l):
		bytes, stale := n.gulmValue(l, held, mode, value)
		reply.Value, reply.Status = bytes, reply.Status|stale
	case use == write:
		l.resource.write(l.Flags, value)
	case l.Flags&ValBlk != 0:
		bytes, stale := l.resource.read()
		reply.Status |= stale
		if use == read {
			reply.Value = bytes
		}
	}
	return reply
}

func (r *naiveResource) read() ([]byte, Status) {
	switch {
	case r.value == nil:
		return make([]byte, r.space.length()), 0
	case r.stale:
		return slices.Clone(r.value), ValNotValid
	}
	return slices.Clone(r.value), 0
}

func (r *naiveResource) write(flags Flags, value []byte) {
	switch {
	case flags&IvValBlk != 0:
		r.stale = r.value != nil
	case flags&ValBlk != 0:
		r.value = make([]byte, r.space.length())
		copy(r.value, value)
		r.writes, r.stale = r.writes+1, false
	}
}

// askHolder asks a new holder to give way to what it blocks.
func (n *naive) askHolder(l *naiveLock) {
	for m := EX; m > NL; m-- {
		wanted := slices.ContainsFunc(l.resource.queued(), func(q *naiveLock) bool { return q.Requested == m })
		if wanted && !compatible[l.Granted][m] {
			n.ask(l, m)
		}
	}
}

// askHolders asks those who hold and do not convert.
func (n *naive) askHolders(l *naiveLock) { n.askThose(l.resource.queues[QueueGranted], l, l.Requested) }

func (n *naive) askEverybody(l *naiveLock) { n.askThose(l.resource.holders(), l, l.Requested) }

func (n *naive) askThose(those []*naiveLock, l *naiveLock, mode Mode) {
	for _, h := range those {
		if h != l && !compatible[h.Granted][mode] {
			n.ask(h, mode)
		}
	}
}

func (n *naive) ask(l *naiveLock, mode Mode) {
	if l.Flags&NoCallbacks != 0 || l.Origin != 0 || l.Set != 0 || n.dead(l.Session) {
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

// grant grants what can be granted, and asks those who hold to give way to what
// is left.
func (n *naive) grant(r *naiveResource) {
	for n.grantOne(r, false) {
	}
	for m := EX; m > NL; m-- {
		for _, q := range r.queued() {
			if q.Requested == m {
				n.askThose(r.queues[QueueGranted], nil, m)
			}
		}
	}
	for _, l := range r.queues[QueueGranted] {
		n.askHolder(l)
	}
	n.goOn()
}

// grantOne grants the next that can be granted, if there is one.
func (n *naive) grantOne(r *naiveResource, conversions bool) bool {
	queued := r.queued()
	first := slices.Clone(queued)
	if n.crossable(r) {
		slices.SortStableFunc(first, func(a, b *naiveLock) int { return int(b.Flags&Recovery) - int(a.Flags&Recovery) })
	}
	for _, l := range first {
		if conversions && l.Queue == QueueWaiting {
			continue
		}
		uncounted := l.Flags&Recovery != 0 && n.crossable(r) && l != queued[0]
		mode, status, ok := n.grantable(l, false)
		if !ok {
			continue
		}
		fresh := l.Queue == QueueWaiting
		switch {
		case uncounted:
		case l != queued[0]:
			r.passed++
		case fresh && l.Flags&(NoOrder|HeadQue) == 0:
			r.passed = 0
		}
		n.take(l)
		reply := n.hold(l, mode, status|l.Status&Demoted, nil, fresh)
		if l.Set != 0 {
			n.due = append(n.due, l)
			return true
		}
		n.events = append(n.events, Event{
			Session: l.Session, Lock: l.ID, Kind: EventGranted, Mode: mode, Status: reply.Status, Token: reply.Token, Value: reply.Value,
		})
		n.askHolder(l)
		return true
	}
	return false
}

// image is all that can be seen of a table, in one order.
type image struct {
	Counters  Counters
	Counts    Counts
	Spaces    []SpaceState
	Owners    []OwnerState
	Resources []ResourceState
}

func sortResources(rs []ResourceState) {
	slices.SortFunc(rs, func(a, b ResourceState) int {
		return cmp.Or(cmp.Compare(a.Lockspace, b.Lockspace), bytes.Compare(a.Name, b.Name))
	})
}

func (n *naive) image() image {
	im := image{Counters: n.counters, Spaces: []SpaceState{}, Owners: []OwnerState{}}
	im.Counts = Counts{Locks: len(n.locks), Resources: n.resources(), Lockspaces: len(n.spaces)}
	for _, o := range n.sessions {
		o := o.OwnerState
		o.Ended = append([]EndedState(nil), o.Ended...)
		for _, set := range n.session(o.Session).sets {
			o.Sets = append(o.Sets, set.SetState)
		}
		im.Owners = append(im.Owners, o)
	}
	for _, sp := range n.spaces {
		state := sp.SpaceState
		state.Members = append([]Session(nil), sp.Members...)
		im.Spaces = append(im.Spaces, state)
		for _, r := range sp.resources {
			im.Counts.Converting += len(r.queues[QueueConverting])
			im.Counts.Waiting += len(r.queues[QueueWaiting])
			im.Resources = append(im.Resources, n.resourceState(r))
		}
	}
	sortResources(im.Resources)
	return im
}

func (n *naive) resourceState(r *naiveResource) ResourceState {
	state := ResourceState{
		Lockspace: r.space.Number, Name: []byte(r.name), Value: slices.Clone(r.value), ValueVersion: r.writes,
		ValueInvalid: r.stale, Overtaken: r.passed,
	}
	for _, q := range r.queues {
		for _, l := range q {
			l.Blocking = 0
			for _, m := range l.asked {
				l.Blocking |= 1 << m
			}
			l.Frozen = n.dead(l.Session)
			state.Locks = append(state.Locks, l.LockState)
		}
	}
	return state
}

// imageOf is the same of the real table.
func imageOf(t *Table) image {
	im := image{Counters: t.Counters(), Counts: t.Counts(), Spaces: t.Spaces(), Owners: t.Owners(), Resources: resourcesOf(t)}
	for i, sp := range im.Spaces {
		im.Spaces[i].Members = append([]Session(nil), sp.Members...) // none is nil
	}
	sortResources(im.Resources)
	return im
}

// resourcesOf copies all resources, in the order of the walk.
func resourcesOf(t *Table) []ResourceState {
	var all []ResourceState
	t.Walk(func(r *ResourceState) bool {
		state := *r
		state.Name, state.Value = slices.Clone(r.Name), append([]byte(nil), r.Value...)
		state.Locks = append([]LockState(nil), r.Locks...)
		all = append(all, state)
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
	for _, o := range t.Owners() {
		r.Owner(o)
	}
	all := resourcesOf(t)
	shuffle(all)
	for i := range all {
		r.Resource(&all[i])
	}
	files := rangeFilesOf(t)
	slices.Reverse(files)
	for i := range files {
		r.RangeFile(&files[i])
	}
	return r.Finish()
}

// rangeFilesOf copies all files with ranges, in the order of the walk.
func rangeFilesOf(t *Table) []RangeFileState {
	var all []RangeFileState
	t.WalkRanges(func(f *RangeFile) bool {
		all = append(all, RangeFileState{
			Lockspace: f.Lockspace, Name: slices.Clone(f.Name), Flock: f.Flock, Gulm: f.Gulm,
			Ranges: append([]RangeState(nil), f.Ranges...), Waits: append([]RangeWaitState(nil), f.Waits...),
		})
		return true
	})
	return all
}
