package lock

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lock_gulmd/server/reason"
)

// naiveOf returns what can be seen of a table as a naive engine.
func naiveOf(t *Table) *naive {
	n := &naive{limits: t.limits}
	for _, o := range t.Owners() {
		n.sessions = append(n.sessions, &naiveSession{OwnerState: o})
	}
	for _, state := range resourcesOf(t) {
		r := &naiveResource{name: string(state.Name), passed: state.Overtaken}
		for _, l := range state.Locks {
			x := &naiveLock{LockState: l, resource: r}
			r.queues[l.Queue] = append(r.queues[l.Queue], x)
			n.locks = append(n.locks, x)
		}
	}
	return n
}

// waiterKey names a request that waits.
type waiterKey struct {
	session Session
	id      ID
}

// mixedGraph is who waits for whom among requests for locks and for ranges, found
// by looking at everything.
type mixedGraph struct {
	to    map[waiterKey][]waiterKey
	named map[waiterKey]bool // has an owner or is of a set
}

func graphOf(t *Table) mixedGraph {
	g := mixedGraph{map[waiterKey][]waiterKey{}, map[waiterKey]bool{}}
	n, files := naiveOf(t), rangeFilesOf(t)
	key := func(l *naiveLock) waiterKey { return waiterKey{l.Session, l.ID} }
	for l, all := range n.waitGraph() {
		for _, to := range all {
			g.to[key(l)] = append(g.to[key(l)], key(to))
		}
		g.named[key(l)] = l.Owner != 0 || l.Set != 0
		held, _ := n.obstacles(l)
		for _, by := range held {
			if by.Owner != 0 {
				g.to[key(l)] = append(g.to[key(l)], requestsOf(files, by.Session, by.Owner)...)
			}
		}
	}
	for i := range files {
		for k := range files[i].Waits {
			w := &files[i].Waits[k]
			from := waiterKey{w.Owner.Session, w.ID}
			g.named[from] = true
			g.to[from] = append(g.to[from], obstaclesOf(n, files, &files[i], w)...)
		}
	}
	return g
}

// requestsOf returns the requests for ranges of one owner.
func requestsOf(files []RangeFileState, s Session, number uint64) (all []waiterKey) {
	for _, f := range files {
		for _, w := range f.Waits {
			if w.Owner == (RangeOwner{Session: s, Number: number}) {
				all = append(all, waiterKey{s, w.ID})
			}
		}
	}
	return all
}

// obstaclesOf returns the requests that have to have an answer before w, one of a
// file, is granted.
func obstaclesOf(n *naive, files []RangeFileState, f *RangeFileState, w *RangeWaitState) (all []waiterKey) {
	conflicts := func(start, end uint64, kind RangeKind) bool {
		return start <= w.End && w.Start <= end && (kind == RangeWrite || w.Kind == RangeWrite)
	}
	for _, r := range f.Ranges {
		if r.Owner == w.Owner || r.Frozen || !conflicts(r.Start, r.End, r.Kind) {
			continue
		}
		all = append(all, requestsOf(files, r.Owner.Session, r.Owner.Number)...)
		for _, l := range n.locks {
			if l.Session == r.Owner.Session && l.Owner != 0 && l.Owner == r.Owner.Number && l.Queue != QueueGranted {
				all = append(all, waiterKey{l.Session, l.ID})
			}
		}
	}
	for _, other := range f.Waits {
		if other.rank() < w.rank() && other.Owner != w.Owner && conflicts(other.Start, other.End, other.Kind) {
			all = append(all, waiterKey{other.Owner.Session, other.ID})
		}
	}
	return all
}

// inCircle reports whether a request waits for itself over any number of others.
func (g mixedGraph) inCircle(from waiterKey) bool {
	seen := map[waiterKey]bool{}
	todo := slices.Clone(g.to[from])
	for len(todo) > 0 {
		v := todo[0]
		todo = todo[1:]
		if v == from {
			return true
		}
		if !seen[v] {
			seen[v] = true
			todo = append(todo, g.to[v]...)
		}
	}
	return false
}

// mixedRun is a table with requests for locks and for ranges.
type mixedRun struct {
	t     *testing.T
	rng   *rand.Rand
	table *Table
	index uint64
	id    ID
	seen  map[string]int
}

const firstRangeID = 1 << 20

// settle lets sessions say that they know how their requests for ranges ended.
func (m *mixedRun) settle() {
	for _, e := range m.table.TakeEvents() {
		if e.Lock >= firstRangeID {
			m.table.Unlock(e.Session, UnlockRequest{ID: e.Lock})
		}
	}
}

// rangeStep asks for a range, or gives one up.
func (m *mixedRun) rangeStep() {
	start := uint64(m.rng.IntN(8))
	m.id++
	r := RangeRequest{
		ID: firstRangeID + m.id, Lockspace: 1, Name: []byte{'f', byte('0' + m.rng.IntN(2))}, Owner: uint64(m.rng.IntN(3)),
		Start: start, End: start + uint64(m.rng.IntN(3)), Kind: RangeKind(m.rng.IntN(2)),
	}
	s := Session(1 + m.rng.IntN(ordinary.sessions))
	switch n := m.rng.IntN(12); {
	case n < 7:
		if n == 0 {
			r.Flags |= NoDlckWt
		}
		if n == 1 {
			r.Flags |= Recovery
		}
		if n == 2 {
			r.Flags |= RangeFlock
		}
		m.seen[fmt.Sprint("lock ", m.table.RangeLock(s, r).Reason)]++
	case n < 10:
		m.table.RangeUnlock(s, r)
	default:
		m.table.RangeClose(s, r)
	}
}

// lockStep asks for a lock with an owner, or gives one up.
func (m *mixedRun) lockStep() {
	s, id := Session(1+m.rng.IntN(ordinary.sessions)), ID(100+m.rng.IntN(6))
	if m.table.findLock(s, id) != 0 {
		if m.rng.IntN(2) == 0 {
			m.table.Unlock(s, UnlockRequest{ID: id})
		}
		return
	}
	flags := [...]Flags{0, 0, NoDlckWt}[m.rng.IntN(3)]
	m.table.Lock(s, LockRequest{
		ID: id, Lockspace: 1, Name: []byte{'r', byte('0' + m.rng.IntN(4))}, Mode: [...]Mode{PR, EX}[m.rng.IntN(2)], Flags: flags,
		Terms: Terms{Owner: uint64(1 + m.rng.IntN(2))},
	})
}

// gulmStep brings a holder of GULM's into a state, on a key that is used as a whole
// or in parts, by whatever comes first.
func (m *mixedRun) gulmStep() {
	m.id++
	s, start := Session(1+m.rng.IntN(ordinary.sessions)), uint64(m.rng.IntN(8))
	r := GulmRequest{
		ID: firstRangeID + m.id, Lockspace: 1, Key: []byte{'k', byte('0' + m.rng.IntN(4))}, Sub: uint64(m.rng.IntN(3)),
		Mode: [...]Mode{PR, EX, NL, NL}[m.rng.IntN(4)], Flags: [...]GulmFlags{0, 0, 0, GulmTry, GulmNoExp, GulmPriority}[m.rng.IntN(6)],
	}
	if part := m.rng.IntN(3) != 0; part {
		r.Flags |= GulmRange
		r.Start, r.End = start, start+uint64(m.rng.IntN(3))
		if m.rng.IntN(8) != 0 {
			r.Key[0] = 'p' // mostly keys of their own
		}
	}
	m.table.Gulm(s, r)
}

// check compares the search with the look at everything and ends the deadlocks.
func (m *mixedRun) check() {
	m.t.Helper()
	g := graphOf(m.table)
	want, circles := 0, 0
	for v := range g.to {
		if g.inCircle(v) {
			circles++
			if g.named[v] {
				want++
			}
		}
	}
	cycles, complete := m.table.Deadlocks(1 << 20)
	all, _ := m.table.AllDeadlocks(1 << 20)
	cloned, _ := m.table.Clone().Deadlocks(1 << 20)
	if !complete || (len(cycles) > 0) != (want > 0) || (len(all) > 0) != (circles > 0) || len(cloned) != len(cycles) {
		m.t.Fatalf("step %d: %d cycles, %d of all, %d in a clone; %d requests wait for themselves, %d of them named",
			m.index, len(cycles), len(all), len(cloned), circles, want)
	}
	for i := range cycles {
		m.end(g, &cycles[i])
	}
}

func (m *mixedRun) end(g mixedGraph, c *Cycle) {
	m.t.Helper()
	ranges := 0
	for i := range c.Waits {
		w := &c.Waits[i]
		from := waiterKey{w.Waiter.Session, w.Waiter.ID}
		next := c.Waits[(i+1)%len(c.Waits)].Waiter
		if !slices.Contains(g.to[from], waiterKey{next.Session, next.ID}) {
			m.t.Fatalf("step %d: %s is not behind what %d/%d waits for", m.index, showParty(&next), from.session, from.id)
		}
		if w.Waiter.Range != nil {
			ranges++
			m.seen[fmt.Sprint("behind ", w.Behind)]++
		}
		mayBe := !w.Waiter.Exempt && g.named[from]
		if mayBe && (c.Victim < 0 || w.Waiter.Since > c.Waits[c.Victim].Waiter.Since) {
			m.t.Fatalf("step %d: %s should be the victim", m.index, showParty(&w.Waiter))
		}
	}
	if ranges > 0 {
		m.seen["with ranges"]++
	}
	m.noteGulm(c)
	if ranges == len(c.Waits) {
		m.t.Fatalf("step %d: a circle of ranges only was not refused", m.index)
	}
	d, ok := c.Denial()
	if !ok {
		m.seen["spared"]++
		m.giveUp(&c.Waits[0].Waiter)
		return
	}
	for i := range d.Cycle {
		wrong := d
		wrong.Cycle = slices.Clone(d.Cycle)
		wrong.Cycle[i].ByID, wrong.Cycle[i].ByOwner = wrong.Cycle[i].ByID+1<<30, wrong.Cycle[i].ByOwner+100
		if m.table.Deny(wrong) {
			m.t.Fatalf("step %d: a wait that is not there was confirmed", m.index)
		}
	}
	if waits, ok := m.table.Explain(d.Cycle); !ok || len(waits) != len(c.Waits) {
		m.t.Fatalf("step %d: the cycle is not confirmed", m.index)
	}
	if wrong := d; d.Since > 0 {
		if wrong.Since++; m.table.Deny(wrong) {
			m.t.Fatalf("step %d: another wait was denied", m.index)
		}
	}
	if !m.table.Deny(d) || m.table.Deny(d) {
		m.t.Fatalf("step %d: the cycle is not denied, or twice", m.index)
	}
	if d.ID >= firstRangeID {
		m.seen["range denied"]++
	}
	m.settle()
}

// giveUp takes one request back, as somebody has to where nobody is denied.
func (m *mixedRun) giveUp(p *Party) {
	if p.Set != 0 {
		m.table.Cancel(p.Session, p.Set)
	} else {
		m.table.Cancel(p.Session, p.ID)
	}
	m.settle()
}

// noteGulm notes which kinds of requests a circle with GULM's parts of keys goes
// through.
func (m *mixedRun) noteGulm(c *Cycle) {
	parts, posix, wholes, locks := false, false, false, false
	for i := range c.Waits {
		w := &c.Waits[i].Waiter
		slot := m.table.ranges.findWait(w.Session, w.ID)
		switch {
		case w.Range == nil:
			gulm := m.table.sub(m.table.locks.get(m.table.findLock(w.Session, w.ID))) != 0
			wholes, locks = wholes || gulm, locks || !gulm
		case m.table.rangeNames.get(m.table.ranges.files.get(m.table.ranges.holders.get(m.table.ranges.waits.get(slot).holder).file).key).class == gulmRanges:
			parts = true
		default:
			posix = true
		}
	}
	for what, is := range map[string]bool{"part, whole": parts && wholes, "part, lock": parts && locks, "part, range": parts && posix} {
		if is {
			m.seen[what]++
		}
	}
}

// TestTwin_deadlocksWithRanges: requests for locks and for ranges that wait for
// each other in circles, by an index-free look at everything: none is missed, none
// is false, and the youngest that may be is denied.
func TestTwin_deadlocksWithRanges(t *testing.T) {
	m := &mixedRun{t: t, rng: rand.New(rand.NewPCG(31, 7)), table: New(Limits{}), seen: map[string]int{}}
	m.table.Begin(1, 1)
	for s := range Session(ordinary.sessions) {
		m.table.Open(s+1, nodeOf(s+1))
		m.table.Join(s+1, JoinRequest{Name: []byte("gfs")})
	}
	steps := 16_000
	if testing.Short() {
		steps /= 4
	}
	for m.index = 2; m.index < uint64(steps); m.index++ {
		m.table.Begin(m.index, int64(m.index))
		if n := m.rng.IntN(7); n < 2 {
			m.rangeStep()
		} else if n < 4 {
			m.lockStep()
		} else if n < 6 {
			m.gulmStep()
		} else if o := chooseOp(m.rng.IntN, ordinary, m.table); o.kind != opLimits && (!rare(o.kind) || m.rng.IntN(40) == 0) {
			_, events := o.apply(m.table, m.index)
			m.table.events = events
		}
		m.settle()
		m.check()
		if m.index%500 == 0 {
			again, ok := restored(m.table, slices.Reverse[[]ResourceState])
			if !ok || again.Digest() != m.table.Digest() {
				t.Fatalf("step %d: a snapshot is refused or has another digest", m.index)
			}
			m.table = again
		}
	}
	t.Log(m.seen)
	for _, must := range []string{"part, whole", "part, lock", "part, range", "with ranges", "range denied", "behind true", "spared", "behind false", "lock " + reason.None.String()} {
		if m.seen[must] < 3 && !testing.Short() {
			t.Errorf("%q happened %d times", must, m.seen[must])
		}
	}
}

// TestDeadlocks_rangeQueue: a queue of thousands for one range is walked with a
// budget of a few looks at each.
func TestDeadlocks_rangeQueue(t *testing.T) {
	const n = 4000
	table := New(Limits{})
	table.Begin(1, 0)
	table.Open(1, 1)
	table.Open(2, 1)
	table.Join(1, JoinRequest{Name: []byte("gfs")})
	table.Join(2, JoinRequest{Name: []byte("gfs")})
	want := func(s Session, id ID, owner uint64) Outcome {
		return table.RangeLock(s, RangeRequest{
			ID: id, Lockspace: 1, Name: []byte("f"), Owner: owner, End: 9, Kind: RangeWrite,
		}).Outcome
	}
	lock := func(s Session, id ID, owner uint64) {
		table.Lock(s, LockRequest{ID: id, Lockspace: 1, Name: []byte("r"), Mode: EX, Terms: Terms{Owner: owner}})
	}
	want(1, 1, 1)
	for i := range ID(n) {
		if want(2, i+2, uint64(i)+2) != Queued {
			t.Fatal("a request does not wait")
		}
	}
	lock(2, n+10, n+1) // of the last in the queue
	if cycles, complete := table.Deadlocks(20 * n); len(cycles) != 0 || !complete {
		t.Fatalf("%d cycles, complete %v", len(cycles), complete)
	}
	lock(1, n+11, 1)
	cycles, complete := table.Deadlocks(20 * n)
	if len(cycles) != 1 || !complete {
		t.Fatalf("%d cycles, complete %v", len(cycles), complete)
	}
	if short := Shorten(cycles[0].Waits); len(short) > 3 {
		t.Errorf("told in %d steps", len(short))
	}
	if d, ok := cycles[0].Denial(); !ok || !table.Deny(d) {
		t.Error("is not denied")
	}
}

// TestRange_timeoutArguments: the flag and the time go together.
func TestRange_timeoutArguments(t *testing.T) {
	for _, c := range []struct {
		flags   Flags
		timeout uint32
		want    reason.Reason
	}{{0, 0, 0}, {Timeout, 5, 0}, {Timeout | NoDlckWt | RangeFlock, 5, 0}, {Timeout, 0, reason.Invalid}, {0, 5, reason.Invalid}} {
		table := opened(t, 1)
		r := table.RangeLock(1, RangeRequest{ID: 1, Lockspace: 1, Name: []byte("f"), Flags: c.flags, Timeout: c.timeout})
		if r.Reason != c.want {
			t.Errorf("%+v: %v", c, r.Reason)
		}
	}
}
