package client

import "sync"

// eventBuffer is how many events wait for a reader before the oldest is thrown
// away.
const eventBuffer = 64

// eventQueue hands events to a channel and never blocks.
type eventQueue struct {
	mu     sync.Mutex
	ch     chan Event
	missed int
	closed bool
}

func newEventQueue() *eventQueue { return &eventQueue{ch: make(chan Event, eventBuffer)} }

// put sends e, and throws the oldest event away if there is no room: the newest
// say more.
func (q *eventQueue) put(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	for {
		e.Missed = q.missed
		select {
		case q.ch <- e:
			q.missed = 0
			return
		default:
		}
		select {
		case old := <-q.ch:
			q.missed += 1 + old.Missed
		default: // the reader was faster
		}
	}
}

// close ends the channel; what is in it can still be read.
func (q *eventQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.ch)
	}
}
