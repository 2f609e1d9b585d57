package main

import (
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
)

// blockers says what a queued lock waits for: the locks whose held modes
// conflict with the wanted one; or, if there is none, the lock that stands
// before it in the queue, since requests are granted in order. The server lists
// the locks of a resource queue by queue, each in its order.
func blockers(r *gulmv1.Resource, waiter *gulmv1.Lock) (by []*gulmv1.Lock, behind *gulmv1.Lock) {
	if waiter.GetQueue() == gulmv1.Queue_QUEUE_GRANTED {
		return nil, nil
	}
	before := true
	for _, l := range r.GetLocks() {
		if l == waiter {
			before = false
			continue
		}
		if l.GetQueue() != gulmv1.Queue_QUEUE_WAITING && !compatible(l.GetGranted(), waiter.GetRequested()) {
			by = append(by, l)
		}
		if before && l.GetQueue() != gulmv1.Queue_QUEUE_GRANTED {
			behind = l
		}
	}
	if len(by) > 0 {
		return by, nil
	}
	return nil, behind
}

// compatible is the lock engine's table; of a mode that this version does not
// know it says no.
func compatible(a, b gulmv1.Mode) bool {
	if !known(a) || !known(b) {
		return false
	}
	return lock.Compatible(lock.Mode(a), lock.Mode(b))
}

func known(m gulmv1.Mode) bool { return m >= gulmv1.Mode_MODE_NL && m <= gulmv1.Mode_MODE_EX }
