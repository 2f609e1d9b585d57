// Package session fans the results of the log out to the sessions that are
// connected: one bounded outbox for each, filled in log order, drained by the
// session's stream.
//
// A receiver that does not keep up is cut off, not buffered for ever: the
// session attaches again and is told what changed meanwhile, from the state.
package session

import (
	"sync"

	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/machine"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// DefaultMaxQueued is how many undelivered replies and events an outbox holds
// before its stream is cut off.
const DefaultMaxQueued = 1 << 16

// Hub knows the outboxes and watchers. Use NewHub.
type Hub struct {
	maxQueued int

	mu       sync.Mutex
	boxes    map[uint64]*Outbox
	watchers map[*Watcher]struct{}
	touched  []*Outbox // by the command at hand
}

// NewHub returns a hub whose outboxes hold maxQueued undelivered replies and
// events each, DefaultMaxQueued if 0.
func NewHub(maxQueued int) *Hub {
	if maxQueued == 0 {
		maxQueued = DefaultMaxQueued
	}
	return &Hub{maxQueued: maxQueued, boxes: map[uint64]*Outbox{}, watchers: map[*Watcher]struct{}{}}
}

// Attach gives a session an outbox that begins with the given events; what is
// applied from now on is added. An older outbox of the session is closed with
// ErrSessionTaken. Call it inside machine.View, so that nothing is missed or
// told twice.
func (h *Hub) Attach(session, index uint64, events []lock.Event, journals ...journal.Event) *Outbox {
	o := &Outbox{
		session: session, max: h.maxQueued, index: index, events: events, journals: journals, wake: make(chan struct{}, 1),
	}
	o.signal()
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.boxes[session]; old != nil {
		old.Close(gulmerr.ErrSessionTaken)
	}
	h.boxes[session] = o
	return o
}

// Detach forgets an outbox, if it still is the session's.
func (h *Hub) Detach(o *Outbox) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.boxes[o.session] == o {
		delete(h.boxes, o.session)
	}
}

// Attached reports whether a session has a stream at the moment.
func (h *Hub) Attached(session uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.boxes[session] != nil
}

// CloseAll closes every outbox and watcher with err: this server serves no more.
func (h *Hub) CloseAll(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.boxes {
		o.Close(err)
	}
	clear(h.boxes)
	for w := range h.watchers {
		w.close(err)
	}
	clear(h.watchers)
}

// Acknowledge tells a session that its beats up to number are good.
func (h *Hub) Acknowledge(session, number uint64) {
	h.mu.Lock()
	o := h.boxes[session]
	h.mu.Unlock()
	if o != nil {
		o.acknowledge(number)
	}
}

// Deliver hands the results of one command to whom they concern. It is the
// machine's observer: called in log order, it does not block.
func (h *Hub) Deliver(a *machine.Applied) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.boxes) > 0 {
		h.deliver(a)
	}
	if a.Result.Node != "" {
		for w := range h.watchers {
			w.changed(a.Result.Node)
		}
	}
}

func (h *Hub) deliver(a *machine.Applied) {
	r := &a.Result
	for i := 0; i < len(r.Replies); {
		session, from := r.Replies[i].Session, i
		for i < len(r.Replies) && r.Replies[i].Session == session {
			i++
		}
		if o := h.boxes[session]; o != nil {
			o.add(r.Replies[from:i], nil)
			h.touched = append(h.touched, o)
		}
	}
	for i := range r.Events {
		if o := h.boxes[uint64(r.Events[i].Session)]; o != nil {
			o.add(nil, r.Events[i:i+1])
			h.touched = append(h.touched, o)
		}
	}
	for i := range r.Journals {
		if o := h.boxes[r.Journals[i].Session]; o != nil {
			o.addJournal(r.Journals[i])
			h.touched = append(h.touched, o)
		}
	}
	// Only now has everything been added that the index promises.
	for _, o := range h.touched {
		o.reach(a.Index)
	}
	clear(h.touched)
	h.touched = h.touched[:0]
	for _, session := range r.Ended {
		if o := h.boxes[session]; o != nil {
			o.Close(endOf(a.Command))
			delete(h.boxes, session)
		}
	}
}

// endOf says why sessions are over.
func endOf(c state.Command) error {
	switch c.(type) {
	case state.Logout, state.EndSession:
		return gulmerr.ErrNoSession
	}
	return gulmerr.ErrNodeExpired
}

// Outbox holds what one session has not been sent yet.
type Outbox struct {
	session uint64
	max     int
	wake    chan struct{}

	mu       sync.Mutex
	replies  []state.Reply
	events   []lock.Event
	journals []journal.Event
	index    uint64
	beat     uint64
	shed     bool // it is to give back what it only caches
	err      error
}

// Message is what an outbox held.
type Message struct {
	Replies  []state.Reply
	Events   []lock.Event
	Journals []journal.Event
	// Index is the log index up to which everything has been told.
	Index uint64
	// Beat is the highest beat acknowledged, 0 for none.
	Beat uint64
	// Shed asks the session to give back locks that it only caches.
	Shed bool
}

// Wake returns the channel that has a value when Take is worth calling.
func (o *Outbox) Wake() <-chan struct{} { return o.wake }

// Take empties the outbox. Once it is closed and empty it returns the reason.
func (o *Outbox) Take() (Message, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := Message{o.replies, o.events, o.journals, o.index, o.beat, o.shed}
	o.replies, o.events, o.journals, o.beat, o.shed = nil, nil, nil, 0, false
	if len(m.Replies) == 0 && len(m.Events) == 0 && len(m.Journals) == 0 && o.err != nil {
		return m, o.err
	}
	if o.err != nil {
		o.signal()
	}
	return m, nil
}

// Close ends the outbox with err; what it holds can still be taken, what comes
// later is dropped. The first reason stays.
func (o *Outbox) Close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail(err)
}

func (o *Outbox) fail(err error) {
	if o.err == nil {
		o.err = err
	}
	o.signal()
}

func (o *Outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *Outbox) acknowledge(beat uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beat = max(o.beat, beat)
	o.signal()
}

// reach says that everything up to a log index has been added. A closed outbox
// dropped what came, and stays where it was: the session resumes behind the
// last index that it was told.
func (o *Outbox) reach(index uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.index = index
	o.signal()
}

func (o *Outbox) add(replies []state.Reply, events []lock.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	for i := range replies {
		if replies[i].Reason == reason.OutOfOrder {
			// What came before the gap counts; nothing after it was applied, and the
			// session sends that again.
			o.replies = append(o.replies, replies[:i]...)
			o.fail(gulmerr.ErrOutOfOrder)
			return
		}
	}
	o.replies = append(o.replies, replies...)
	o.events = append(o.events, events...)
	if len(o.replies)+len(o.events) > o.max {
		// Nothing at all: with a part it would be told an index, and resume behind it.
		o.replies, o.events, o.journals = nil, nil, nil
		o.fail(gulmerr.New(gulmerr.ErrLimit, "session %d does not take its replies: more than %d are waiting", o.session, o.max))
	}
}

// addJournal adds news about a mount. They are few: a mount has at most one for
// each journal.
func (o *Outbox) addJournal(e journal.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.journals = append(o.journals, e)
	}
}
