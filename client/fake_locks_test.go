package client

import (
	"fmt"
	"slices"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

type fakeLock struct {
	session    *fakeSession
	number     uint64
	key        string
	held       bool
	mode, want Mode
	token      uint64
	changed    uint64
	blocking   Mode
	blocked    bool
	quiet      bool
	denied     error // ended the newest conversion
}

// fakeQueue is one resource.
type fakeQueue struct {
	granted, converting, waiting []*fakeLock
}

// compatible is the table of the six modes.
var compatible = [6][6]bool{
	NL: {true, true, true, true, true, true},
	CR: {true, true, true, true, true, false},
	CW: {true, true, true, false, false, false},
	PR: {true, true, false, true, false, false},
	PW: {true, true, false, false, false, false},
	EX: {true, false, false, false, false, false},
}

func (c *fakeCluster) apply(s *fakeSession, req *gulmv1.Request) *gulmv1.Reply {
	c.applied[req.GetOp().String()]++
	c.last[req.GetOp()] = req
	switch req.GetOp() {
	case gulmv1.Op_OP_JOIN:
		number, ok := c.spaces[string(req.GetName())]
		if !ok {
			number = uint32(len(c.spaces) + 1)
			c.spaces[string(req.GetName())] = number
		}
		s.spaces[number] = true
		return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_JOINED, Number: number}
	case gulmv1.Op_OP_LEAVE:
		prefix := fmt.Sprintf("%d/", req.GetLockspace())
		for _, l := range s.locks {
			here := l.key[:len(prefix)] == prefix
			switch {
			case here && req.GetFlags()&uint32(gulmv1.LeaveFlag_LEAVE_FLAG_FORCE) == 0:
				return refused(ErrInUse)
			case here:
				c.drop(l)
			}
		}
		if !s.spaces[req.GetLockspace()] {
			return refused(ErrNoLockspace)
		}
		delete(s.spaces, req.GetLockspace())
		return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_LEFT}
	case gulmv1.Op_OP_LOCK:
		return c.lock(s, req)
	case gulmv1.Op_OP_LOCK_SET:
		return c.lockSet(s, req)
	case gulmv1.Op_OP_PURGE:
		return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_UNLOCKED, Number: uint32(req.GetLock())}
	}
	if s.ended[req.GetLock()] != nil && req.GetOp() == gulmv1.Op_OP_UNLOCK {
		delete(s.ended, req.GetLock())
		return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_UNLOCKED}
	}
	l := s.locks[req.GetLock()]
	if l == nil && c.dropSet(s, req.GetLock()) {
		return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_CANCELLED}
	}
	if l == nil {
		return refused(ErrNotHeld)
	}
	switch req.GetOp() {
	case gulmv1.Op_OP_CONVERT:
		return c.convert(l, req)
	case gulmv1.Op_OP_CANCEL:
		return c.cancel(l)
	}
	c.drop(l)
	return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_UNLOCKED}
}

func (c *fakeCluster) queue(key string) *fakeQueue {
	if c.queues[key] == nil {
		c.queues[key] = &fakeQueue{}
	}
	return c.queues[key]
}

func (c *fakeCluster) lock(s *fakeSession, req *gulmv1.Request) *gulmv1.Reply {
	if !s.spaces[req.GetLockspace()] {
		return refused(ErrNoLockspace)
	}
	if s.locks[req.GetLock()] != nil {
		c.tb.Errorf("lock number %d was used twice", req.GetLock())
	}
	l := &fakeLock{
		session: s, number: req.GetLock(), key: fmt.Sprintf("%d/%s", req.GetLockspace(), req.GetName()), want: Mode(req.GetMode()),
		quiet: req.GetFlags()&uint32(NoBlocking) != 0,
	}
	q := c.queue(l.key)
	if len(q.converting)+len(q.waiting) == 0 && q.free(l) {
		s.locks[l.number] = l
		return c.grant(q, l)
	}
	if req.GetFlags()&uint32(noQueue) != 0 {
		if req.GetFlags()&uint32(NotifyHolders) != 0 {
			c.ask(q, l)
		}
		return refused(ErrTryFailed)
	}
	s.locks[l.number] = l
	q.waiting = append(q.waiting, l)
	c.ask(q, l)
	return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_QUEUED}
}

func (c *fakeCluster) convert(l *fakeLock, req *gulmv1.Request) *gulmv1.Reply {
	q := c.queue(l.key)
	if !l.held || l.want != l.mode {
		return refused(ErrBusy)
	}
	l.want = Mode(req.GetMode())
	if q.free(l) {
		q.granted = without(q.granted, l)
		reply := c.grant(q, l)
		c.serve(q)
		return reply
	}
	if req.GetFlags()&uint32(noQueue) != 0 {
		l.want = l.mode
		return refused(ErrTryFailed)
	}
	l.denied = nil
	q.converting = append(q.converting, l)
	c.ask(q, l)
	return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_QUEUED}
}

func (c *fakeCluster) cancel(l *fakeLock) *gulmv1.Reply {
	q := c.queue(l.key)
	switch {
	case !l.held:
		c.drop(l)
		return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_CANCELLED}
	case l.want == l.mode:
		return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_GRANTED, Mode: gulmv1.Mode(l.mode), Token: l.token}
	}
	l.want = l.mode
	q.converting = without(q.converting, l)
	c.serve(q)
	return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_CANCELLED, Mode: gulmv1.Mode(l.mode)}
}

// drop removes a lock and grants what that allows.
func (c *fakeCluster) drop(l *fakeLock) {
	q := c.queue(l.key)
	q.granted, q.converting, q.waiting = without(q.granted, l), without(q.converting, l), without(q.waiting, l)
	delete(l.session.locks, l.number)
	c.serve(q)
	c.serveSets()
}

func without(list []*fakeLock, l *fakeLock) []*fakeLock {
	return slices.DeleteFunc(list, func(o *fakeLock) bool { return o == l })
}

// free says whether no other holder is in the way of l.
func (q *fakeQueue) free(l *fakeLock) bool {
	for _, o := range q.granted {
		if o != l && !compatible[o.mode][l.want] {
			return false
		}
	}
	return true
}

// grant puts l among the holders; a converting lock stays there all the time.
func (c *fakeCluster) grant(q *fakeQueue, l *fakeLock) *gulmv1.Reply {
	c.token++
	l.denied = nil
	l.mode, l.held, l.token, l.changed, l.blocked, l.blocking = l.want, true, c.token, c.index, false, NL
	if !slices.Contains(q.granted, l) {
		q.granted = append(q.granted, l)
	}
	return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_GRANTED, Mode: gulmv1.Mode(l.mode), Token: l.token}
}

// serve grants from the heads of the queues.
func (c *fakeCluster) serve(q *fakeQueue) {
	for {
		list := &q.converting
		if len(*list) == 0 {
			list = &q.waiting
		}
		if len(*list) == 0 || !q.free((*list)[0]) {
			return
		}
		l := (*list)[0]
		*list = (*list)[1:]
		c.index++
		c.grant(q, l)
		c.send(l.session, l.event(gulmv1.EventKind_EVENT_KIND_GRANTED, l.mode))
	}
}

// ask asks all that are in the way of l.
func (c *fakeCluster) ask(q *fakeQueue, l *fakeLock) {
	for _, o := range q.granted {
		if o != l && !o.quiet && !compatible[o.mode][l.want] {
			o.blocked, o.blocking, o.changed = true, l.want, c.index
			c.send(o.session, o.event(gulmv1.EventKind_EVENT_KIND_BLOCKING, l.want))
		}
	}
}

func (l *fakeLock) event(kind gulmv1.EventKind, mode Mode) *gulmv1.Event {
	return &gulmv1.Event{Lock: l.number, Kind: kind, Mode: gulmv1.Mode(mode), Token: l.token}
}

func (c *fakeCluster) send(s *fakeSession, e *gulmv1.Event) {
	if s.stream != nil {
		s.stream.out.Events = append(s.stream.out.Events, e)
		s.stream.full = true
		s.stream.signal()
	}
}
