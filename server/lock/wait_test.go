package lock

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"lock_gulmd/server/reason"
)

// TestTerms: the flag and the time go together, on locks, conversions and sets.
func TestTerms(t *testing.T) {
	for _, c := range []struct {
		flags   Flags
		timeout uint32
		want    reason.Reason
	}{{0, 0, 0}, {Timeout, 5, 0}, {Timeout, 0, reason.Invalid}, {0, 5, reason.Invalid}} {
		table := opened(t, 1)
		terms := Terms{Timeout: c.timeout}
		name := []byte("r")
		if r := table.Lock(1, LockRequest{ID: 1, Lockspace: 1, Name: name, Mode: PR, Flags: c.flags, Terms: terms}); r.Reason != c.want {
			t.Errorf("lock %+v: %v", c, r.Reason)
		}
		table.Lock(1, LockRequest{ID: 2, Lockspace: 1, Name: name, Mode: NL})
		if r := table.Convert(1, ConvertRequest{ID: 2, Mode: PR, Flags: c.flags, Terms: terms}); r.Reason != c.want {
			t.Errorf("convert %+v: %v", c, r.Reason)
		}
		entries := []SetEntry{{ID: 3, Name: name, Mode: PR}}
		if r := table.LockSet(1, SetRequest{ID: 4, Lockspace: 1, Flags: c.flags, Terms: terms, Entries: entries}); r.Reason != c.want {
			t.Errorf("set %+v: %v", c, r.Reason)
		}
		if table.notes.used != 0 {
			t.Errorf("%+v: %d locks have a note, and none waits or has an owner", c, table.notes.used)
		}
	}
}

// TestRecord_size: what only few locks need is not in every record.
func TestRecord_size(t *testing.T) {
	if size := unsafe.Sizeof(lockRecord{}); size > 88 {
		t.Errorf("a lock takes %d bytes", size)
	}
}

// waitGraph is who waits for whom in the naive engine: nothing is granted to a
// request before all those that it waits for are gone.
func (n *naive) waitGraph() map[*naiveLock][]*naiveLock {
	graph := map[*naiveLock][]*naiveLock{}
	for _, l := range n.locks {
		if l.Queue == QueueGranted {
			continue
		}
		held, ahead := n.obstacles(l)
		graph[l] = append(graph[l], ahead...)
		for _, by := range held {
			if by.Queue != QueueGranted {
				graph[l] = append(graph[l], by)
			}
			for _, other := range n.locks {
				same := by.Owner != 0 && other.Owner == by.Owner || by.Set != 0 && other.Set == by.Set
				if other.Session == by.Session && other.Queue != QueueGranted && same {
					graph[l] = append(graph[l], other)
				}
			}
		}
	}
	return graph
}

// obstacles are those whose mode, and those whose turn, a queued lock has to
// outwait.
func (n *naive) obstacles(l *naiveLock) (held, ahead []*naiveLock) {
	for _, h := range l.resource.holders() {
		free := func(m Mode) bool { return compatible[h.Granted][m] || weaker(l.Granted, m) || n.passes(l, h) }
		if h != l && !free(l.Requested) && !(l.Flags&AltPR != 0 && free(PR)) && !(l.Flags&AltCW != 0 && free(CW)) {
			held = append(held, h)
		}
	}
	own := l.Flags&Recovery != 0 && n.crossable(l.resource)
	first := true
	for _, other := range l.resource.queued() {
		if other == l {
			break
		}
		if own && other.Flags&Recovery == 0 {
			continue
		}
		if l.Flags&NoOrder == 0 || first && !n.mayPass(l.resource) {
			ahead = append(ahead, other)
		}
		first = false
	}
	return held, ahead
}

// reaches says whether a request waits for itself over any number of others.
func reaches(graph map[*naiveLock][]*naiveLock, from *naiveLock) bool {
	seen := map[*naiveLock]bool{}
	todo := append([]*naiveLock(nil), graph[from]...)
	for len(todo) > 0 {
		l := todo[0]
		todo = todo[1:]
		if l == from {
			return true
		}
		if !seen[l] {
			seen[l] = true
			todo = append(todo, graph[l]...)
		}
	}
	return false
}

// TestTwin_deadlocks compares the search with a look at everything: whoever waits
// in a circle with an owner or a set in it is in one that is found, or it is
// gone after those found were resolved; each cycle is confirmed, its victim is the
// youngest; and no other is confirmed after that.
func TestTwin_deadlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	w := newTwins()
	prepare(w, ordinary)
	found, spared := 0, 0
	for i := range 20_000 {
		o := chooseOp(rng.IntN, ordinary, w.real)
		if rare(o.kind) && rng.IntN(6) != 0 {
			continue
		}
		if err := w.do(o); err != nil {
			t.Fatal(err)
		}
		cycles, complete := w.real.Deadlocks(1 << 20)
		graph := w.naive.waitGraph()
		want := 0
		for l := range graph {
			if (l.Owner != 0 || l.Set != 0) && reaches(graph, l) {
				want++
			}
		}
		if !complete || (len(cycles) > 0) != (want > 0) {
			t.Fatalf("step %d: %d cycles are found, %d requests wait for themselves", i, len(cycles), want)
		}
		all, _ := w.real.AllDeadlocks(1 << 20)
		circles := slices.ContainsFunc(w.naive.locks, func(l *naiveLock) bool { return reaches(graph, l) })
		if len(all) < len(cycles) || circles != (len(all) > 0) {
			t.Fatalf("step %d: %d of %d cycles, though there are: %v", i, len(cycles), len(all), circles)
		}
		for c := range cycles {
			if !checkCycle(t, w, graph, &cycles[c]) {
				spared++
				continue
			}
			found++
		}
		if t.Failed() {
			t.Fatalf("step %d", i)
		}
	}
	if found < 10 || spared < 2 {
		t.Errorf("%d deadlocks were resolved, %d had no victim", found, spared)
	}
}

// checkCycle checks one cycle and denies its victim; it returns false if there is
// none.
func checkCycle(t *testing.T, w *twins, graph map[*naiveLock][]*naiveLock, c *Cycle) bool {
	t.Helper()
	for i := range c.Waits {
		waiter := c.Waits[i].Waiter
		l := w.naive.lock(waiter.Session, waiter.ID)
		if l == nil || !reaches(graph, l) {
			t.Errorf("%s waits for nobody who waits for it: %s", showParty(&waiter), showCycle(c))
		}
		if c.Victim >= 0 && !waiter.Exempt && (waiter.Owner != 0 || waiter.Set != 0) && waiter.Since > c.Waits[c.Victim].Waiter.Since {
			t.Errorf("%s is younger than the victim: %s", showParty(&waiter), showCycle(c))
		}
		if c.Victim < 0 && !waiter.Exempt && (waiter.Owner != 0 || waiter.Set != 0) {
			t.Errorf("%s would be a victim: %s", showParty(&waiter), showCycle(c))
		}
	}
	d, ok := c.Denial()
	if !ok {
		return false
	}
	for i := range d.Cycle { // a wait that is not there is noticed, wherever it is
		wrong := d
		wrong.Cycle = append([]Step(nil), d.Cycle...)
		wrong.Cycle[i].ByID += 100
		if w.real.Deny(wrong) {
			t.Errorf("a cycle with a wait that is not there was confirmed")
		}
	}
	o := op{kind: opDeny, session: d.Session, id: d.ID, why: d.Reason, since: d.Since}
	before := w.real.Digest()
	if !w.real.confirms(&d) || w.real.Digest() != before {
		t.Errorf("the cycle is not confirmed: %s", showCycle(c))
	}
	if err := w.do(o); err != nil {
		t.Error(err)
	}
	if w.real.confirms(&d) {
		t.Errorf("the cycle is confirmed after its end: %s", showCycle(c))
	}
	return true
}

// TestDeadlocks_deep: a chain of a hundred thousand waits is walked without a
// deep stack, and a budget cuts the search short.
func TestDeadlocks_deep(t *testing.T) {
	const n = 100_000
	table := New(Limits{})
	table.Begin(1, 0)
	table.Open(1, 1)
	table.Join(1, JoinRequest{Name: []byte("gfs")})
	name := func(i int) []byte { return []byte{byte(i), byte(i >> 8), byte(i >> 16)} }
	lock := func(id, i int, owner uint64) {
		table.Lock(1, LockRequest{ID: ID(id), Lockspace: 1, Name: name(i), Mode: EX, Terms: Terms{Owner: owner}})
	}
	for i := range n {
		lock(i+1, i, uint64(i+1))
	}
	for i := range n - 1 {
		lock(n+i+1, i+1, uint64(i+1))
	}
	if cycles, complete := table.Deadlocks(1 << 20); len(cycles) != 0 || !complete {
		t.Fatalf("%d cycles in a chain, complete %v", len(cycles), complete)
	}
	lock(2*n, 0, n)
	cycles, complete := table.Deadlocks(1 << 20)
	if len(cycles) != 1 || !complete || len(cycles[0].Waits) != n {
		t.Fatalf("%d cycles, complete %v", len(cycles), complete)
	}
	if _, complete := table.Deadlocks(n); complete {
		t.Error("the budget was not kept")
	}
	if cycles, _ := table.Clone().Deadlocks(1 << 20); len(cycles) != 1 {
		t.Error("a clone does not find it")
	}
	if d, ok := cycles[0].Denial(); !ok || !table.Deny(d) || table.Deny(d) {
		t.Error("the cycle is not denied, or twice")
	}
}
