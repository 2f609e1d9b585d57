package main

import gulmv1 "lock_gulmd/proto/gulm/v1"

// blockers returns whom a queued lock waits for, as the server says: the locks that
// it conflicts with, and the one whose turn is before. Of a list that was cut in
// between, those that are known.
func blockers(r *gulmv1.Resource, waiter *gulmv1.Lock) (by []*gulmv1.Lock, behind *gulmv1.Lock) {
	for _, b := range waiter.GetBlockers() {
		for _, l := range r.GetLocks() {
			switch {
			case l.GetSession() != b.GetSession() || l.GetLock() != b.GetLock():
			case b.GetBehind():
				behind = l
			default:
				by = append(by, l)
			}
		}
	}
	return by, behind
}
