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

// claim is a lock of the list, and where.
type claim struct {
	resource *gulmv1.Resource
	lock     *gulmv1.Lock
}

// lockKey names a lock in the cluster.
type lockKey struct{ session, lock uint64 }

// ownerKey names whoever holds locks and waits for others.
type ownerKey struct{ session, owner, set uint64 }

// chains knows who waits for whom in the list of locks.
type chains struct {
	locks map[lockKey]claim
	// waits are the requests that owners, or sets, wait for.
	waits map[ownerKey][]claim
	w     io.Writer
	lines int
	cut   bool
	err   error
}

func newChains(w io.Writer, resources []*gulmv1.Resource) *chains {
	c := &chains{locks: map[lockKey]claim{}, waits: map[ownerKey][]claim{}, w: w}
	for _, r := range resources {
		for _, l := range r.GetLocks() {
			x := claim{r, l}
			c.locks[lockKey{l.GetSession(), l.GetLock()}] = x
			if l.GetQueue() == gulmv1.Queue_QUEUE_GRANTED {
				continue
			}
			for _, key := range keysOf(l) {
				c.waits[key] = append(c.waits[key], x)
			}
		}
	}
	return c
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

// next returns what keeps a lock from being given up: itself if it is queued, else
// what its owner or its set waits for.
func (c *chains) next(x claim) (next []claim) {
	if x.lock.GetQueue() != gulmv1.Queue_QUEUE_GRANTED {
		return []claim{x}
	}
	for _, key := range keysOf(x.lock) {
		next = append(next, c.waits[key]...)
	}
	return next
}

// print shows, for each request that waits and that nobody else in the list waits
// for, whom it waits for, whom those wait for, and so on to the end.
func (c *chains) print(resources []*gulmv1.Resource) error {
	for _, r := range resources {
		for _, l := range r.GetLocks() {
			if l.GetQueue() == gulmv1.Queue_QUEUE_GRANTED {
				continue
			}
			if c.lines == 0 {
				c.line(0, "WHO WAITS FOR WHOM")
			}
			c.line(1, "%s waits for %s on %s %s for %s%s", lockID(l), tool.Mode(l.GetRequested()),
				tool.Line(r.GetLockspace()), tool.Bytes(r.GetName()), tool.Ago(l.GetAgeMs()), atMost(l))
			c.follow(2, claim{r, l}, map[lockKey]bool{})
		}
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

func atMost(l *gulmv1.Lock) string {
	if l.GetTimeoutMs() == 0 {
		return ""
	}
	return ", at most " + tool.Ago(int64(l.GetTimeoutMs()))
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
func (c *chains) follow(depth int, x claim, above map[lockKey]bool) {
	key := lockKey{x.lock.GetSession(), x.lock.GetLock()}
	if above[key] {
		c.line(depth, "which is a deadlock: %s waits for itself", lockID(x.lock))
		return
	}
	if c.cut {
		return
	}
	above[key] = true
	defer delete(above, key)
	for _, b := range x.lock.GetBlockers() {
		by, known := c.locks[lockKey{b.GetSession(), b.GetLock()}]
		if !known {
			c.line(depth, "%s/%d/%d", tool.Line(b.GetNode()), b.GetSession(), b.GetLock())
			continue
		}
		next := c.next(by)
		c.line(depth, "%s", blockerText(by.lock, b.GetBehind(), len(next) > 0))
		for _, n := range next {
			under := depth + 1
			if n.lock != by.lock {
				under++
				c.line(depth+1, "and waits for %s on %s %s for %s", tool.Mode(n.lock.GetRequested()),
					tool.Line(n.resource.GetLockspace()), tool.Bytes(n.resource.GetName()), tool.Ago(n.lock.GetAgeMs()))
			}
			c.follow(under, n, above)
		}
	}
	if x.lock.GetMoreBlockers() {
		c.line(depth, "and others")
	}
}

// blockerText says who is in the way, and, at the end of a chain, for what.
func blockerText(l *gulmv1.Lock, behind, waits bool) string {
	text := "held in " + tool.Mode(l.GetGranted()) + " by " + lockID(l)
	if behind {
		text = "behind " + lockID(l) + ", which wants " + tool.Mode(l.GetRequested())
	}
	text += " for " + tool.Ago(l.GetAgeMs())
	switch {
	case waits:
		return text
	case l.GetHeldFor() != "":
		return text + ", frozen: waits for " + tool.Line(l.GetHeldFor())
	case l.GetFrozen():
		return text + ", frozen: waits for fence of node " + tool.Line(l.GetNode())
	}
	return text + ", which runs and waits for no lock that it told of"
}
