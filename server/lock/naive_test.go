package lock

import (
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

// claimsMore says whether a conversion from the row to the column may be queued
// with QueCvt.
var claimsMore = [6][6]bool{
	NL: {false, true, true, true, true, true},
	CR: {false, false, true, true, true, true},
	CW: {false, false, false, true, true, true},
	PR: {false, false, true, false, true, true},
	PW: {false, false, false, false, false, true},
	EX: {},
}

// What a grant does with the value block.
const (
	leave = ' '
	read  = 'r'
	write = 'w'
)

// valueRow is what a change of mode does with the value block: one row for each
// held mode, one letter for each granted one.
var valueRow = [6]string{
	NL: "rrrrrr",
	CR: " rrrrr",
	CW: "  rrrr",
	PR: "   rrr",
	PW: "wwwwwr",
	EX: "wwwwww",
}

// naive is an engine with the contract of Table: slices and loops, nothing
// remembered that can be found by looking.
type naive struct {
	limits   Limits
	counters Counters
	spaces   []*naiveSpace
	sessions []*naiveSession
	locks    []*naiveLock // in the order in which they came to their owners
	index    uint64
	stamp    int64
	events   []Event
	due      []*naiveLock // of sets, granted just now
}

type naiveSpace struct {
	SpaceState
	resources []*naiveResource
}

type naiveSession struct {
	OwnerState
	sets []*naiveSet
}

// naiveResource has its locks in three queues, by Queue.
type naiveResource struct {
	space  *naiveSpace
	name   string
	queues [3][]*naiveLock
	value  []byte // nil if nobody wrote it
	writes uint64
	stale  bool
	passed uint32
}

type naiveLock struct {
	LockState
	resource *naiveResource
	asked    []Mode // since it was granted
}

func (n *naive) session(s Session) *naiveSession {
	for _, o := range n.sessions {
		if o.Session == s {
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

// claims is how many locks and denied requests there are.
func (n *naive) claims() int {
	sum := len(n.locks)
	for _, o := range n.sessions {
		sum += len(o.Ended)
	}
	return sum + n.unasked()
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

func (n *naive) Open(s Session, node uint32) {
	if n.session(s) == nil {
		n.sessions = append(n.sessions, &naiveSession{OwnerState: OwnerState{Session: s, Node: node}})
		slices.SortFunc(n.sessions, func(a, b *naiveSession) int {
			if a.Session < b.Session {
				return -1
			}
			return 1
		})
	}
}

// dead reports whether the session may ask for nothing any more.
func (n *naive) dead(s Session) bool {
	x := n.session(s)
	return x != nil && x.Frozen
}

func (sp *naiveSpace) length() int {
	if sp.ValueLen == 0 {
		return 32
	}
	return int(sp.ValueLen)
}

func (n *naive) Join(s Session, req JoinRequest) Reply {
	if len(req.Name) < 1 || len(req.Name) > 64 || req.Policy > PolicyLease || req.Exclusive && req.Existing {
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
		if x.Name == string(req.Name) {
			sp = x
		}
	}
	if sp != nil && req.Exclusive {
		return refuse(reason.Exists)
	}
	tooLong := req.Lease > MaxLease || req.Lease != 0 && req.Policy != PolicyLease
	if sp == nil {
		if req.Existing {
			return refuse(reason.NoLockspace)
		}
		if n.limits.Lockspaces != 0 && uint64(len(n.spaces)) >= n.limits.Lockspaces {
			return refuse(reason.Limit)
		}
		if tooLong || req.Policy == PolicyLease && (req.Lease == 0 || req.Lease < req.MinLease) {
			return refuse(reason.Lease)
		}
		n.counters.Lockspace++
		sp = &naiveSpace{SpaceState: SpaceState{
			Number: n.counters.Lockspace, Name: string(req.Name), Policy: req.Policy, Lease: req.Lease, ValueLen: req.ValueLen, KeepValues: req.KeepValues,
		}}
		n.spaces = append(n.spaces, sp)
	}
	if tooLong {
		return refuse(reason.Lease)
	}
	if sp.Policy == req.Policy && (req.Lease == 0 || req.Lease == sp.Lease) && sp.Lease != 0 && sp.Lease < req.MinLease {
		return refuse(reason.Lease)
	}
	if sp.Policy != req.Policy || req.Lease != 0 && req.Lease != sp.Lease || req.ValueLen != 0 && int(req.ValueLen) != sp.length() {
		return refuse(reason.Policy)
	}
	if !slices.Contains(sp.Members, s) {
		sp.Members = append(sp.Members, s)
		slices.Sort(sp.Members)
		sp.Generation++
	}
	return Reply{Outcome: Joined, Number: sp.Number}
}

func (n *naive) Leave(s Session, number uint32, force bool) Reply {
	if n.dead(s) {
		return refuse(reason.NodeExpired)
	}
	sp := n.space(number)
	if sp == nil || !slices.Contains(sp.Members, s) {
		return refuse(reason.NoLockspace)
	}
	var dropped []*naiveLock
	if force {
		dropped = n.dropSets(n.session(s), func(set *naiveSet) bool { return set.Lockspace == number })
	}
	here := slices.DeleteFunc(n.locksOf(s), func(l *naiveLock) bool { return l.resource.space != sp })
	if len(here) > 0 && !force {
		return refuse(reason.InUse)
	}
	n.lose(here, dropped...)
	n.leave(s, sp)
	return Reply{Outcome: Left}
}

func (n *naive) leave(s Session, sp *naiveSpace) {
	members := len(sp.Members)
	sp.Members = slices.DeleteFunc(sp.Members, func(m Session) bool { return m == s })
	if len(sp.Members) < members {
		sp.Generation++
	}
	n.spaces = slices.DeleteFunc(n.spaces, func(x *naiveSpace) bool { return len(x.Members) == 0 && len(x.resources) == 0 })
}

// lose removes locks without their holder's doing, and grants what that and the
// locks that are gone already allow.
func (n *naive) lose(locks []*naiveLock, gone ...*naiveLock) {
	for _, l := range locks {
		if l.Queue != QueueWaiting && l.Granted >= PW && l.resource.value != nil && !buried(l) {
			l.resource.stale = true
		}
		n.remove(l)
	}
	for _, l := range slices.Concat(gone, locks) {
		n.grant(l.resource)
	}
	n.sweep()
}

func (n *naive) Freeze(s Session) {
	o := n.session(s)
	if o == nil || o.Frozen {
		return
	}
	o.Frozen = true
	dropped := n.dropSets(o, nil)
	queued := slices.DeleteFunc(n.locksOf(s), func(l *naiveLock) bool { return l.Queue == QueueGranted })
	for _, l := range queued {
		n.withdraw(l)
	}
	for _, l := range slices.Concat(dropped, queued) {
		n.grant(l.resource)
	}
	n.sweep()
}

func (n *naive) Release(s Session) {
	if n.session(s) == nil {
		return
	}
	dropped := n.dropSets(n.session(s), nil)
	n.lose(n.locksOf(s), dropped...)
	n.end(s)
}

// end forgets an owner.
func (n *naive) end(s Session) {
	n.sessions = slices.DeleteFunc(n.sessions, func(o *naiveSession) bool { return o.Session == s })
	for _, sp := range slices.Clone(n.spaces) {
		n.leave(s, sp)
	}
}

func (n *naive) Close(s Session) {
	o := n.session(s)
	if o == nil || o.Frozen {
		return
	}
	heir := Session(1<<63) + Session(o.Node)
	withdrawn := n.dropSets(o, nil)
	for _, l := range n.locksOf(s) {
		if l.Flags&Persistent == 0 || l.Queue == QueueWaiting {
			continue
		}
		if l.Queue == QueueConverting {
			n.withdraw(l)
			withdrawn = append(withdrawn, l)
		}
		n.Open(heir, o.Node)
		n.give(l, heir, ID(n.counters.Order+1))
		l.Origin, l.asked, l.Status, l.Denied, l.Owner = uint32(s), nil, 0, 0, 0
	}
	own := n.locksOf(s)
	spoiled := slices.DeleteFunc(slices.Clone(own), func(l *naiveLock) bool { return l.Queue == QueueWaiting || l.Granted < PW })
	for _, l := range spoiled {
		l.resource.stale = l.resource.value != nil
	}
	for _, l := range own {
		n.remove(l)
	}
	for _, l := range withdrawn {
		n.grant(l.resource)
	}
	for _, l := range own {
		n.grant(l.resource)
	}
	n.sweep()
	n.Release(s)
}

// give makes l the newest lock of an owner.
func (n *naive) give(l *naiveLock, s Session, id ID) {
	n.counters.Order++
	l.Session, l.ID, l.Order = s, id, n.counters.Order
	n.locks = slices.DeleteFunc(n.locks, func(x *naiveLock) bool { return x == l })
	n.locks = append(n.locks, l)
}

func (n *naive) Purge(node uint32, from Session) int {
	heir := Session(1<<63) + Session(node)
	if n.dead(heir) {
		return 0
	}
	orphans := slices.DeleteFunc(n.locksOf(heir), func(l *naiveLock) bool { return from != 0 && l.Origin != uint32(from) })
	n.lose(orphans)
	n.closeIfEmpty(heir)
	return len(orphans)
}

func (n *naive) closeIfEmpty(heir Session) {
	if len(n.locksOf(heir)) == 0 {
		n.sessions = slices.DeleteFunc(n.sessions, func(o *naiveSession) bool { return o.Session == heir })
	}
}

func (n *naive) sweep() {
	for _, sp := range n.spaces {
		sp.resources = slices.DeleteFunc(sp.resources, func(r *naiveResource) bool {
			return len(r.queues[0])+len(r.queues[1])+len(r.queues[2]) == 0 && !(sp.KeepValues && r.value != nil)
		})
	}
	n.spaces = slices.DeleteFunc(n.spaces, func(x *naiveSpace) bool { return len(x.Members) == 0 && len(x.resources) == 0 })
}
