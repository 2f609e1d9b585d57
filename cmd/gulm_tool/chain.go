package main

import (
	"fmt"
	"io"
	"strings"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// maxChains bounds how many lines of chains are printed.
const maxChains = 200

// asked is a request that waits, for a lock or for a byte range.
type asked struct {
	key  lockKey
	id   string // of the request
	what string // the mode or range, and of which name
	age  int64
	// atMost is how long it may wait, milliseconds; 0 for ever.
	atMost uint32
	by     []obstacle
	more   bool // obstacles that are not listed
}

// obstacle is what one request waits for.
type obstacle struct {
	text string
	// end is said of one behind which nobody is known to wait.
	end string
	// next are the requests that have to be answered before it goes: itself, or
	// what its owner or its set waits for.
	next []lockKey
	self bool // next is the obstacle itself, which the text has named
}

// lockKey names a lock, or a request for a range, in the cluster.
type lockKey struct{ session, lock uint64 }

// ownerKey names whoever holds something and waits for something else: an owner of
// a session, by the number that locks and ranges have in common, or a set. Ranges
// without a number belong together, locks do not.
type ownerKey struct {
	session, owner, set uint64
	ranges              bool
}

// runs is said of who holds something and is not known to wait.
const runs = ", which runs and waits for no lock that it told of"

// chains knows who waits for whom in the list of locks and ranges.
type chains struct {
	requests []*asked
	byKey    map[lockKey]*asked
	// waits are the requests that owners, or sets, wait for.
	waits map[ownerKey][]lockKey
	w     io.Writer
	lines int
	cut   bool
	err   error
}

func newChains(w io.Writer, resources []*gulmv1.Resource, files []*gulmv1.RangeFile) *chains {
	c := &chains{byKey: map[lockKey]*asked{}, waits: map[ownerKey][]lockKey{}, w: w}
	for _, r := range resources {
		for _, l := range r.GetLocks() {
			if l.GetQueue() != gulmv1.Queue_QUEUE_GRANTED {
				c.add(askedLock(r, l), keysOf(l))
			}
		}
	}
	for _, f := range files {
		for _, r := range f.GetRanges() {
			if r.GetWaiting() {
				c.add(askedRange(f, r), []ownerKey{keyOfRange(r.GetSession(), r.GetOwner())})
			}
		}
	}
	for _, r := range resources {
		c.obstruct(r)
	}
	for _, f := range files {
		c.obstructRanges(f)
	}
	return c
}

func (c *chains) add(x *asked, keys []ownerKey) {
	c.requests = append(c.requests, x)
	c.byKey[x.key] = x
	for _, key := range keys {
		c.waits[key] = append(c.waits[key], x.key)
	}
}

func askedLock(r *gulmv1.Resource, l *gulmv1.Lock) *asked {
	return &asked{
		key: lockKey{l.GetSession(), l.GetLock()}, id: lockID(l),
		what: tool.Mode(l.GetRequested()) + " on " + tool.Line(r.GetLockspace()) + " " + tool.Bytes(r.GetName()),
		age:  l.GetAgeMs(), atMost: l.GetTimeoutMs(), more: l.GetMoreBlockers(),
	}
}

// keysOf returns who has a lock: what they hold is given up after all that they
// wait for.
func keysOf(l *gulmv1.Lock) (keys []ownerKey) {
	if l.GetOwner() != 0 {
		keys = append(keys, ownerKey{session: l.GetSession(), owner: l.GetOwner()})
	}
	if l.GetSet() != 0 {
		keys = append(keys, ownerKey{session: l.GetSession(), set: l.GetSet()})
	}
	return keys
}

// obstruct notes what the requests for a resource wait for.
func (c *chains) obstruct(r *gulmv1.Resource) {
	locks := map[lockKey]*gulmv1.Lock{}
	for _, l := range r.GetLocks() {
		locks[lockKey{l.GetSession(), l.GetLock()}] = l
	}
	for _, l := range r.GetLocks() {
		x := c.byKey[lockKey{l.GetSession(), l.GetLock()}]
		if l.GetQueue() == gulmv1.Queue_QUEUE_GRANTED || x == nil {
			continue
		}
		for _, b := range l.GetBlockers() {
			x.by = append(x.by, c.lockObstacle(locks[lockKey{b.GetSession(), b.GetLock()}], b))
		}
	}
}

// lockObstacle says who is in the way and, at the end of a chain, for what; the lock
// is nil if the list does not have it.
func (c *chains) lockObstacle(l *gulmv1.Lock, b *gulmv1.LockBlocker) obstacle {
	if l == nil {
		return obstacle{text: fmt.Sprintf("%s/%d/%d", tool.Line(b.GetNode()), b.GetSession(), b.GetLock())}
	}
	o := obstacle{text: "held in " + tool.Mode(l.GetGranted()) + " by " + lockID(l), end: runs}
	if b.GetBehind() {
		o.text = "behind " + lockID(l) + ", which wants " + tool.Mode(l.GetRequested())
	}
	o.text += " for " + tool.Ago(l.GetAgeMs())
	if l.GetFrozen() {
		o.end = frozenEnd(l.GetHeldFor(), l.GetNode())
	}
	if o.self = l.GetQueue() != gulmv1.Queue_QUEUE_GRANTED; o.self {
		o.next = []lockKey{{l.GetSession(), l.GetLock()}}
		return o
	}
	for _, key := range keysOf(l) {
		o.next = append(o.next, c.waits[key]...)
	}
	return o
}

// frozenEnd says for what the lock, or range, of a dead node waits.
func frozenEnd(heldFor, node string) string {
	if heldFor == "" {
		heldFor = "fence of node " + node
	}
	return ", frozen: waits for " + tool.Line(heldFor)
}

// print shows, for each request that waits, whom it waits for, whom those wait for,
// and so on to the end.
func (c *chains) print() error {
	for _, x := range c.requests {
		if c.lines == 0 {
			c.line(0, "WHO WAITS FOR WHOM")
		}
		c.line(1, "%s waits for %s for %s%s", x.id, x.what, tool.Ago(x.age), atMost(x))
		c.follow(2, x, map[lockKey]bool{})
	}
	if c.cut {
		c.lines = 0
		c.line(1, "... and others: narrow the list with --lockspace, --prefix or --node")
	}
	if c.lines > 0 {
		fmt.Fprintln(c.w)
	}
	return c.err
}

func atMost(x *asked) string {
	if x.atMost == 0 {
		return ""
	}
	return ", at most " + tool.Ago(int64(x.atMost))
}

func (c *chains) line(depth int, format string, args ...any) {
	if c.lines >= maxChains {
		c.cut = true
		return
	}
	c.lines++
	if _, err := fmt.Fprintf(c.w, strings.Repeat("  ", depth)+format+"\n", args...); err != nil {
		c.err = err
	}
}

// follow prints those in the way of a request, and what they wait for. above are
// the requests on the way here.
func (c *chains) follow(depth int, x *asked, above map[lockKey]bool) {
	if above[x.key] {
		c.line(depth, "which is a deadlock: %s waits for itself", x.id)
		return
	}
	if c.cut {
		return
	}
	above[x.key] = true
	defer delete(above, x.key)
	for _, o := range x.by {
		if len(o.next) == 0 {
			c.line(depth, "%s%s", o.text, o.end)
			continue
		}
		c.line(depth, "%s", o.text)
		for _, key := range o.next {
			n, under := c.byKey[key], depth+1
			if !o.self {
				under++
				c.line(depth+1, "and waits for %s for %s", n.what, tool.Ago(n.age))
			}
			c.follow(under, n, above)
		}
	}
	if x.more {
		c.line(depth, "and others")
	}
}
