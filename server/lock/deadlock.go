package lock

import (
	"cmp"
	"slices"

	"lock_gulmd/server/reason"
)

// Deadlocks over several resources.
//
// The nodes of the graph are requests that wait. A request waits for each lock
// that obstructs it and for the request ahead of it in the queue (blocked.go).
// Such a lock, or request, goes away when
//
//   - it is queued itself: after its own wait. A conversion holds what it holds
//     until it is granted, so a converting lock waits for itself;
//   - it is held by an owner (Terms.Owner) of a session: after everything that
//     this owner waits for. One owner is one thread of control;
//   - it belongs to a set that waits: after that has gone on;
//   - it is a byte range: ranges always have an owner, whose number is the same
//     one (deadlock_range.go);
//   - it is held and says nothing of an owner: when its session likes to. Nobody
//     is known to wait behind it, and no circle goes through it. So a frozen lock,
//     whose session waits for nothing any more, ends every chain.
//
// A request that waits in a circle can never be granted: each one in it has to
// wait for the next, whatever else happens. Hence nobody is denied by mistake: a
// request that would take other modes (AltPR, AltCW) waits only for what is in
// the way of all of them, so that some circles through such requests are not
// seen, and one that passes others (NoOrder) waits for its turn only once it may
// pass nobody any more.
//
// The search walks the strongly connected parts of the graph once (Tarjan), with
// a stack of its own, and looks at no more than a given number of things. The
// victim is the youngest request in such a part that has an owner, or is a set,
// and did not ask to be spared (NoDlckWt); the shortest circle through it is the
// answer.

// Step is one wait of a cycle as it stands in the log.
type Step struct {
	// Session and ID are the lock that is queued, or the request for a range.
	Session Session
	ID      ID
	// BySession and ByID are the lock, or request, that it waits for. With ByID 0
	// it is a byte range, which ByOwner of that session holds.
	BySession Session
	ByID      ID
	ByOwner   uint64
}

// Cycle is a circle of requests that wait for each other: each for the By of its
// wait, which does not go before the next one of the circle has an answer; the
// last one waits for the first.
type Cycle struct {
	Waits []Wait
	// Victim says which of them should be denied, -1 if all asked to be spared.
	Victim int
}

// Steps returns the cycle as it stands in the log.
func (c *Cycle) Steps() []Step {
	steps := make([]Step, 0, len(c.Waits))
	for i := range c.Waits {
		w := &c.Waits[i]
		step := Step{Session: w.Waiter.Session, ID: w.Waiter.ID, BySession: w.By.Session, ByID: w.By.ID}
		if w.By.ID == 0 {
			step.ByOwner = w.By.Owner
		}
		steps = append(steps, step)
	}
	return steps
}

// Denial returns what ends the deadlock, and false if all asked to be spared.
func (c *Cycle) Denial() (Denial, bool) {
	if c.Victim < 0 {
		return Denial{}, false
	}
	v := &c.Waits[c.Victim].Waiter
	d := Denial{Session: v.Session, ID: v.ID, Since: v.Since, Reason: reason.Deadlock, Cycle: c.Steps()}
	if v.Set != 0 {
		d.ID = v.Set
	}
	return d, true
}

// Deadlocks returns a cycle for each group of requests that wait for each other,
// of which one is for a lock and has an owner or is a set: there are no circles of
// requests for byte ranges only. It looks at no more than so many locks, ranges
// and requests; complete is false if that was not enough. It also works on a
// clone.
func (t *Table) Deadlocks(budget int) (cycles []Cycle, complete bool) {
	f := newFinder(t, budget)
	for at := t.watched.head; at != 0 && f.budget > 0; at = t.notes.get(at).next {
		if n := t.notes.get(at); n.owner != 0 || n.set != 0 {
			f.visit(lockThing(n.lock))
		}
	}
	return f.cycles(func(group []int) bool { return slices.ContainsFunc(group, f.named) }), f.budget > 0
}

// AllDeadlocks is Deadlocks, with those of conversions that nobody gave an owner:
// they are queued only if they asked to be spared.
func (t *Table) AllDeadlocks(budget int) (cycles []Cycle, complete bool) {
	f := newFinder(t, budget)
	for at := uint32(1); at < t.contentions.next && f.budget > 0; at++ {
		c := t.contentions.get(at)
		for _, head := range [2]uint32{c.convertHead, c.waitHead} {
			for slot := head; slot != 0 && f.budget > 0; slot = t.locks.get(slot).next {
				f.visit(lockThing(slot))
			}
		}
	}
	return f.cycles(func([]int) bool { return true }), f.budget > 0
}

func (f *finder) cycles(wanted func(group []int) bool) []Cycle {
	var cycles []Cycle
	for _, group := range f.groups {
		if wanted(group) {
			cycles = append(cycles, f.cycle(group))
		}
	}
	return cycles
}

// actor is whoever gives up what it holds only after it got what it waits for.
type actor struct {
	session Session
	owner   uint64
	set     ID // instead of an owner
}

// thing is what waits, or what is waited for.
type thing struct {
	slot uint32
	kind thingKind
}

type thingKind uint8

const (
	aLock    thingKind = iota // or a request for one
	aWait                     // for a byte range
	aHolding                  // an owner's ranges of a file
)

func lockThing(slot uint32) thing { return thing{slot, aLock} }
func waitThing(slot uint32) thing { return thing{slot, aWait} }

// edge leads to a request on which a wait depends, over what blocks.
type edge struct {
	to, by thing
	behind bool
}

// wanting is one request of the search.
type wanting struct {
	thing
	low      int // lowest node known to be reachable, as Tarjan has it
	edges    []edge
	next     int // edge to follow
	onPath   bool
	group    int // of requests that reach each other, -1 while not known
	selfLoop bool
}

// finder searches once.
type finder struct {
	t       *Table
	budget  int
	actors  map[actor][]uint32 // their requests that wait
	leading map[uint32][]uint32
	at      map[thing]int // its node
	ranges  rangeFinder
	nodes   []wanting
	calls   []int // nodes that are being visited
	path    []int // Tarjan's stack
	groups  [][]int
	closed  int
}

func newFinder(t *Table, budget int) *finder {
	f := &finder{t: t, budget: budget, actors: map[actor][]uint32{}, leading: map[uint32][]uint32{}, at: map[thing]int{}}
	for at := t.watched.head; at != 0; {
		n := t.notes.get(at)
		session := t.locks.get(n.lock).session
		if n.owner != 0 {
			f.add(actor{session: session, owner: n.owner}, n.lock)
		}
		if n.set != 0 {
			f.add(actor{session: session, set: n.set}, n.lock)
		}
		at = n.next
		f.budget--
	}
	return f
}

func (f *finder) add(a actor, slot uint32) { f.actors[a] = append(f.actors[a], slot) }

// behindLock calls yield for the requests that must have an answer before a lock
// that is held goes.
func (f *finder) behindLock(slot uint32, yield func(thing)) {
	l := f.t.locks.get(slot)
	if l.queue != granted {
		yield(lockThing(slot))
	}
	if l.note == 0 {
		return
	}
	n := f.t.notes.get(l.note)
	if n.owner != 0 {
		for _, s := range f.actors[actor{session: l.session, owner: n.owner}] {
			if s != slot || l.queue == granted {
				yield(lockThing(s))
			}
		}
		f.eachWaitOf(f.party(RangeOwner{Session: l.session, Number: n.owner}), yield)
	}
	if n.set != 0 {
		for _, s := range f.actors[actor{session: l.session, set: n.set}] {
			yield(lockThing(s))
		}
	}
}

// leadingOn returns the holders on a resource behind whom somebody waits.
func (f *finder) leadingOn(resource uint32) []uint32 {
	if list, ok := f.leading[resource]; ok {
		return list
	}
	var list []uint32
	f.t.eachHolder(f.t.resources.get(resource), func(slot uint32, _ *lockRecord) bool {
		f.budget--
		leads := false
		f.behindLock(slot, func(thing) { leads = true })
		if leads {
			list = append(list, slot)
		}
		return f.budget > 0
	})
	f.leading[resource] = list
	return list
}

// edges returns what a request waits for.
func (f *finder) edges(v thing) []edge {
	if v.kind == aWait {
		return f.rangeEdges(v.slot)
	}
	var edges []edge
	slot := v.slot
	t, l := f.t, f.t.locks.get(slot)
	for _, by := range f.leadingOn(l.resource) {
		f.budget--
		if by != slot && t.hinders(t.locks.get(by), l, true) {
			f.behindLock(by, func(to thing) { edges = append(edges, edge{to, lockThing(by), false}) })
		}
	}
	t.eachAhead(slot, func(by uint32) bool {
		edges = append(edges, edge{lockThing(by), lockThing(by), true})
		return true
	})
	f.budget -= len(edges)
	return edges
}

// enter makes a request a node.
func (f *finder) enter(v thing) {
	n := len(f.nodes)
	f.at[v] = n
	f.nodes = append(f.nodes, wanting{thing: v, low: n, edges: f.edges(v), onPath: true, group: -1})
	f.calls, f.path = append(f.calls, n), append(f.path, n)
}

// visit walks all that a request waits for, over any number of steps.
func (f *finder) visit(v thing) {
	if _, seen := f.at[v]; seen {
		return
	}
	for f.enter(v); len(f.calls) > 0 && f.budget > 0; {
		n := f.calls[len(f.calls)-1]
		node := &f.nodes[n]
		if node.next < len(node.edges) {
			f.follow(n, node.edges[node.next].to)
			continue
		}
		f.calls = f.calls[:len(f.calls)-1]
		if len(f.calls) > 0 {
			up := &f.nodes[f.calls[len(f.calls)-1]]
			up.low = min(up.low, node.low)
		}
		if node.low == n {
			f.close(n)
		}
	}
}

// follow takes the next edge of a node.
func (f *finder) follow(n int, to thing) {
	f.nodes[n].next++
	m, seen := f.at[to]
	switch {
	case !seen:
		f.enter(to)
	case m == n:
		f.nodes[n].selfLoop = true
	case f.nodes[m].onPath:
		f.nodes[n].low = min(f.nodes[n].low, m)
	}
}

// close takes a group of requests that reach each other off the path.
func (f *finder) close(n int) {
	from := len(f.path) - 1
	for f.path[from] != n {
		from--
	}
	group := append([]int(nil), f.path[from:]...)
	f.path = f.path[:from]
	for _, m := range group {
		f.nodes[m].onPath, f.nodes[m].group = false, f.closed
	}
	f.closed++
	if len(group) > 1 || f.nodes[n].selfLoop {
		f.groups = append(f.groups, group)
	}
}

// cycle returns the shortest cycle through the victim of a group.
func (f *finder) cycle(group []int) Cycle {
	victim, first := -1, group[0]
	for _, n := range group {
		if f.mayDeny(n) && (victim < 0 || f.younger(n, victim)) {
			victim = n
		}
		if f.younger(n, first) {
			first = n
		}
	}
	c := Cycle{Victim: -1}
	if victim >= 0 {
		c.Victim, first = 0, victim
	}
	way := f.toward(first)
	for n := first; ; {
		e := way[n]
		c.Waits = append(c.Waits, f.t.wait(f.nodes[n].thing, e.by, e.behind))
		if n = f.at[e.to]; n == first {
			return c
		}
	}
}

// toward returns, for each node of a group, the first edge of a shortest way to
// one of them.
func (f *finder) toward(target int) map[int]edge {
	group := f.nodes[target].group
	into := map[int][]int{} // who waits for a node
	for n := range f.nodes {
		if f.nodes[n].group != group {
			continue
		}
		for _, e := range f.nodes[n].edges {
			if m, ok := f.at[e.to]; ok && f.nodes[m].group == group {
				into[m] = append(into[m], n)
			}
		}
	}
	way := map[int]edge{}
	for todo := []int{target}; len(todo) > 0; todo = todo[1:] {
		for _, n := range into[todo[0]] {
			if _, ok := way[n]; ok {
				continue
			}
			way[n] = f.edgeTo(n, todo[0])
			todo = append(todo, n)
		}
	}
	return way
}

// edgeTo returns the edge between two nodes, of several the one over a lock that
// is held.
func (f *finder) edgeTo(n, to int) edge {
	var found edge
	for _, e := range f.nodes[n].edges {
		if m, ok := f.at[e.to]; ok && m == to && (found.to.slot == 0 || found.behind && !e.behind) {
			found = e
		}
	}
	return found
}

// mayDeny reports whether a request may be the victim.
func (f *finder) mayDeny(n int) bool {
	return f.named(n) && !f.t.spared(f.nodes[n].thing)
}

// spared reports whether a request asked never to be the victim.
func (t *Table) spared(v thing) bool {
	if v.kind == aWait {
		return t.ranges.waits.get(v.slot).spared
	}
	return t.locks.get(v.slot).flags&NoDlckWt != 0
}

// named reports whether a request has an owner or belongs to a set.
func (f *finder) named(n int) bool {
	if f.nodes[n].kind == aWait {
		return true
	}
	l := f.t.locks.get(f.nodes[n].slot)
	if l.note == 0 {
		return false
	}
	note := f.t.notes.get(l.note)
	return note.owner != 0 || note.set != 0
}

// younger reports whether a began to wait after b.
func (f *finder) younger(a, b int) bool {
	x, y := f.nodes[a].thing, f.nodes[b].thing
	sinceX, orderX := f.t.arrival(x)
	sinceY, orderY := f.t.arrival(y)
	return cmp.Or(cmp.Compare(sinceX, sinceY), cmp.Compare(x.kind, y.kind), cmp.Compare(orderX, orderY)) > 0
}

// arrival says when a request came: the log index, and its place among those of
// its kind.
func (t *Table) arrival(v thing) (since, order uint64) {
	if v.kind == aWait {
		w := t.ranges.waits.get(v.slot)
		return w.since, w.rank &^ rankLate
	}
	l := t.locks.get(v.slot)
	return t.waitsSince(l), l.order
}

// Shorten leaves out those who only stand between two others in a queue: whoever
// waits for the turn of one that waits for the turn of another, waits for that.
func Shorten(waits []Wait) []Wait {
	var short []Wait
	for _, w := range waits {
		if n := len(short); n > 0 && w.Behind && short[n-1].Behind && w.goesOn(&short[n-1]) {
			short[n-1].By = w.By
			continue
		}
		short = append(short, w)
	}
	return short
}

// goesOn reports whether w is about the resource of the wait before it, or of a
// file about what that wants.
func (w *Wait) goesOn(before *Wait) bool {
	if w.Lockspace != before.Lockspace || string(w.Name) != string(before.Name) {
		return false
	}
	a, b := before.Waiter.Range, w.By.Range
	if a == nil || b == nil {
		return a == b
	}
	return a.Flock == b.Flock && a.span().conflicts(b.span())
}
