package client

import "context"

// hintQueue holds the locks whose lockspace has an OnBlocking that is to be
// called. A lock is in it at most once. The node's lock protects it.
type hintQueue struct {
	locks []*Lock
	wake  chan struct{}
}

func newHintQueue() hintQueue { return hintQueue{wake: make(chan struct{}, 1)} }

// push adds a lock.
func (q *hintQueue) push(l *Lock) {
	q.locks = append(q.locks, l)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// pop removes the lock that waits longest, nil if there is none.
func (q *hintQueue) pop() *Lock {
	if len(q.locks) == 0 {
		return nil
	}
	l := q.locks[0]
	q.locks[0] = nil
	q.locks = q.locks[1:]
	return l
}

// deliver calls OnBlocking for the locks in the queue until ctx ends.
func (n *Node) deliver(ctx context.Context) {
	for {
		n.mu.Lock()
		l := n.hints.pop()
		var wanted Mode
		call := false
		if l != nil {
			l.queued = false
			wanted, call = l.takeHint()
		}
		n.mu.Unlock()
		if call && ctx.Err() == nil {
			l.space.onBlocking(l, wanted)
		}
		if l != nil {
			continue
		}
		select {
		case <-n.hints.wake:
		case <-ctx.Done():
			return
		}
	}
}

// takeHint returns what the lock is to give way to, false if nothing.
func (l *Lock) takeHint() (Mode, bool) {
	if !l.hinted || l.phase != phaseHeld {
		return NL, false
	}
	wanted := l.hint
	l.hint, l.hinted = NL, false
	return wanted, true
}

// hintAt notes that somebody waits for the lock to give way to mode. The
// servers may say so before they say that the lock is granted.
func (l *Lock) hintAt(mode Mode) {
	l.hint, l.hinted = join(l.hint, mode), true
	l.passHint()
}

// passHint hands the hint of a held lock to whoever wants it; until somebody
// does, the lock keeps it.
func (l *Lock) passHint() {
	switch {
	case !l.hinted || l.phase != phaseHeld:
	case l.space.onBlocking != nil:
		if !l.queued {
			l.queued = true
			l.space.node.hints.push(l)
		}
	case l.blocking != nil:
		wanted, _ := l.takeHint()
		select {
		case unread := <-l.blocking:
			wanted = join(wanted, unread)
		default:
		}
		l.blocking <- wanted // the only sender, so there is room
	}
}

// Blocking returns a channel that tells when somebody waits for the lock to
// give way, and to which mode; several waiters make one message with a mode
// that covers them all. The messages are hints: one may come late or twice.
// The channel is never closed; use Context to learn of the lock's end. It stays
// empty if the lockspace has an OnBlocking or the lock was asked for with
// NoBlocking.
func (l *Lock) Blocking() <-chan Mode {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.blocking == nil {
		l.blocking = make(chan Mode, 1)
		l.passHint()
	}
	return l.blocking
}
