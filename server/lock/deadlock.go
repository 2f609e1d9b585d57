package lock

import (
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
	// Session and ID are the lock that is queued.
	Session Session
	ID      ID
	// BySession and ByID are the lock that it waits for.
	BySession Session
	ByID      ID
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
		steps = append(steps, Step{w.Waiter.Session, w.Waiter.ID, w.By.Session, w.By.ID})
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
// of which one has an owner or is a set. It looks at no more than so many locks
// and requests; complete is false if that was not enough. It also works on a
// clone.
func (t *Table) Deadlocks(budget int) (cycles []Cycle, complete bool) {
	f := newFinder(t, budget)
	for at := t.watched.head; at != 0 && f.budget > 0; at = t.notes.get(at).next {
		if n := t.notes.get(at); n.owner != 0 || n.set != 0 {
			f.visit(n.lock)
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
				f.visit(slot)
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

// edge leads to a request on which a wait depends, over what blocks.
type edge struct {
	to, by uint32 // slots
	behind bool
}

// wanting is one request of the search.
type wanting struct {
	slot     uint32
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
	at      map[uint32]int // node of a slot
	nodes   []wanting
	calls   []int // nodes that are being visited
	path    []int // Tarjan's stack
	groups  [][]int
	closed  int
}

func newFinder(t *Table, budget int) *finder {
	f := &finder{t: t, budget: budget, actors: map[actor][]uint32{}, leading: map[uint32][]uint32{}, at: map[uint32]int{}}
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
func (f *finder) behindLock(slot uint32, yield func(uint32)) {
	l := f.t.locks.get(slot)
	if l.queue != granted {
		yield(slot)
	}
	if l.note == 0 {
		return
	}
	n := f.t.notes.get(l.note)
	if n.owner != 0 {
		for _, s := range f.actors[actor{session: l.session, owner: n.owner}] {
			if s != slot || l.queue == granted {
				yield(s)
			}
		}
	}
	if n.set != 0 {
		for _, s := range f.actors[actor{session: l.session, set: n.set}] {
			yield(s)
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
		f.behindLock(slot, func(uint32) { leads = true })
		if leads {
			list = append(list, slot)
		}
		return f.budget > 0
	})
	f.leading[resource] = list
	return list
}

// edges returns what a request waits for.
func (f *finder) edges(slot uint32) []edge {
	var edges []edge
	t, l := f.t, f.t.locks.get(slot)
	for _, by := range f.leadingOn(l.resource) {
		f.budget--
		if by != slot && t.hinders(t.locks.get(by), l, true) {
			f.behindLock(by, func(to uint32) { edges = append(edges, edge{to, by, false}) })
		}
	}
	t.eachAhead(slot, func(by uint32) bool {
		edges = append(edges, edge{by, by, true})
		return true
	})
	f.budget -= len(edges)
	return edges
}

// enter makes a request a node.
func (f *finder) enter(slot uint32) {
	n := len(f.nodes)
	f.at[slot] = n
	f.nodes = append(f.nodes, wanting{slot: slot, low: n, edges: f.edges(slot), onPath: true, group: -1})
	f.calls, f.path = append(f.calls, n), append(f.path, n)
}

// visit walks all that a request waits for, over any number of steps.
func (f *finder) visit(slot uint32) {
	if _, seen := f.at[slot]; seen {
		return
	}
	for f.enter(slot); len(f.calls) > 0 && f.budget > 0; {
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
func (f *finder) follow(n int, to uint32) {
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
		slot := f.nodes[n].slot
		c.Waits = append(c.Waits, f.t.wait(slot, e.by, e.behind))
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
		if m, ok := f.at[e.to]; ok && m == to && (found.to == 0 || found.behind && !e.behind) {
			found = e
		}
	}
	return found
}

// mayDeny reports whether a request may be the victim.
func (f *finder) mayDeny(n int) bool {
	return f.named(n) && f.t.locks.get(f.nodes[n].slot).flags&NoDlckWt == 0
}

// named reports whether a request has an owner or belongs to a set.
func (f *finder) named(n int) bool {
	l := f.t.locks.get(f.nodes[n].slot)
	if l.note == 0 {
		return false
	}
	note := f.t.notes.get(l.note)
	return note.owner != 0 || note.set != 0
}

// younger reports whether a began to wait after b.
func (f *finder) younger(a, b int) bool {
	la, lb := f.t.locks.get(f.nodes[a].slot), f.t.locks.get(f.nodes[b].slot)
	if sa, sb := f.t.waitsSince(la), f.t.waitsSince(lb); sa != sb {
		return sa > sb
	}
	return la.order > lb.order
}

// confirms reports whether the cycle of a denial is there, with the denied
// request in it.
func (t *Table) confirms(d *Denial) bool {
	found := false
	for i := range d.Cycle {
		step := &d.Cycle[i]
		slot, _, ok := t.confirmsStep(step, &d.Cycle[(i+1)%len(d.Cycle)])
		if !ok {
			return false
		}
		l := t.locks.get(slot)
		mine := step.ID == d.ID || t.setOf(l) == d.ID
		found = found || step.Session == d.Session && mine && l.flags&NoDlckWt == 0
	}
	return found
}

// confirmsStep returns the locks of one wait of a cycle, and false if it is not
// there.
func (t *Table) confirmsStep(step, next *Step) (slot, by uint32, ok bool) {
	slot, by = t.findLock(step.Session, step.ID), t.findLock(step.BySession, step.ByID)
	return slot, by, slot != 0 && by != 0 && slot != by && t.waitsFor(slot, by, t.findLock(next.Session, next.ID))
}

// waitsFor reports whether a queued request waits for a lock that does not go
// before the request `next` has an answer.
func (t *Table) waitsFor(slot, by, next uint32) bool {
	l, b := t.locks.get(slot), t.locks.get(by)
	if next == 0 || l.queue == granted || l.resource != b.resource || t.locks.get(next).queue == granted {
		return false
	}
	if t.isAhead(by, slot) && next == by {
		return true
	}
	return b.queue != waiting && t.hinders(b, l, true) && t.leads(by, next)
}

// leads reports whether a lock that is held goes only after a request that is
// queued has an answer.
func (t *Table) leads(by, next uint32) bool {
	b, l := t.locks.get(by), t.locks.get(next)
	switch {
	case by == next:
		return true
	case b.session != l.session || b.note == 0 || l.note == 0:
		return false
	}
	bn, ln := t.notes.get(b.note), t.notes.get(l.note)
	return bn.owner != 0 && bn.owner == ln.owner || bn.set != 0 && bn.set == ln.set
}

// Explain returns the waits of a cycle, and false if it is not there.
func (t *Table) Explain(cycle []Step) ([]Wait, bool) {
	waits := make([]Wait, 0, len(cycle))
	for i := range cycle {
		slot, by, ok := t.confirmsStep(&cycle[i], &cycle[(i+1)%len(cycle)])
		if !ok {
			return nil, false
		}
		l, b := t.locks.get(slot), t.locks.get(by)
		waits = append(waits, t.wait(slot, by, b.queue == waiting || !t.hinders(b, l, true)))
	}
	return waits, len(waits) > 0
}

// Shorten leaves out those who only stand between two others in a queue: whoever
// waits for the turn of one that waits for the turn of another, waits for that.
func Shorten(waits []Wait) []Wait {
	var short []Wait
	for _, w := range waits {
		if n := len(short); n > 0 && w.Behind && short[n-1].Behind && w.sameResource(&short[n-1]) {
			short[n-1].By = w.By
			continue
		}
		short = append(short, w)
	}
	return short
}

func (w *Wait) sameResource(o *Wait) bool {
	return w.Lockspace == o.Lockspace && string(w.Name) == string(o.Name)
}
