package rpc

import (
	"slices"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
)

// lockBlockers is how many of those that a request waits for are listed.
const lockBlockers = 8

// room takes a place in the list, and counts what has none.
func (w *lockLister) room() bool {
	if w.left == 0 {
		w.reply.Truncated = true
		w.reply.LeftOut++
		return false
	}
	w.left--
	return true
}

// concernsLocks says whether the node that was asked for has one of the locks.
func (w *lockLister) concernsLocks(locks []lock.LockState) bool {
	node := w.req.GetNode()
	return node == "" || slices.ContainsFunc(locks, func(l lock.LockState) bool { return w.nodes[l.Session] == node })
}

// concernsRanges is concernsLocks for the ranges of a file.
func (w *lockLister) concernsRanges(f *lock.RangeFile) bool {
	node := w.req.GetNode()
	return node == "" || slices.ContainsFunc(f.Ranges, func(r lock.RangeState) bool { return w.nodes[r.Owner.Session] == node }) ||
		slices.ContainsFunc(f.Waits, func(r lock.RangeWaitState) bool { return w.nodes[r.Owner.Session] == node })
}

// addBlockers adds to a resource who waits for whom. The waits are in the order of
// the queued locks.
func (w *lockLister) addBlockers(out *gulmv1.Resource, r *lock.View) {
	at := 0
	for i := range r.Waits {
		x := &r.Waits[i]
		for at < len(r.Locks) && (r.Locks[at].Session != x.Waiter.Session || r.Locks[at].ID != x.Waiter.ID) {
			at++
		}
		if at == len(r.Locks) {
			return
		}
		l := out.GetLocks()[at]
		if len(l.GetBlockers()) == lockBlockers {
			l.MoreBlockers = true
			continue
		}
		l.Blockers = append(l.Blockers, &gulmv1.LockBlocker{
			Node: w.nodes[x.By.Session], Session: uint64(x.By.Session), Lock: uint64(x.By.ID), Behind: x.Behind,
		})
	}
}
