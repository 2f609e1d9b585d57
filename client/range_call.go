package client

import (
	"context"
	"errors"
	"fmt"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// rangeCall is a request for a range from when it is asked for until it is
// granted, refused or withdrawn.
type rangeCall struct {
	space  *Lockspace
	number uint64
	name   string
	owner  RangeOwner
	flags  Flag
	gulm   bool // for a part of a key of a Gulm
	req    *request
	// over is closed at the end; token and err are set before.
	over  chan struct{}
	token uint64
	err   error
}

func (ls *Lockspace) rangeLock(ctx context.Context, name string, r Range, flags Flag, options ...Option) (uint64, error) {
	msg, err := rangeMessage(gulmv1.Op_OP_RANGE_LOCK, name, r, flags)
	if err == nil {
		err = gather(options).writeRange(msg)
	}
	var c *rangeCall
	if err == nil {
		c, err = ls.startRange(ctx, name, msg)
	}
	if err == nil {
		err = c.await(ctx)
	}
	if err != nil {
		return 0, ls.wrapRange("lock", name, r, err)
	}
	return c.token, nil
}

// startRange queues a request for a range.
func (ls *Lockspace) startRange(ctx context.Context, name string, msg *gulmv1.Request) (*rangeCall, error) {
	slot, err := ls.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.end()
	n := ls.node
	n.lastLock++
	msg.Lock, msg.Lockspace = n.lastLock, ls.number
	c := &rangeCall{
		space: ls, number: n.lastLock, name: name, owner: RangeOwner(msg.GetRangeOwner()), flags: Flag(msg.GetFlags()),
		over: make(chan struct{}),
	}
	if c.gulm = msg.GetOp() == gulmv1.Op_OP_GULM; c.gulm {
		c.flags = GulmFlag(msg.GetFlags()).engine(Mode(msg.GetMode()), false)
	}
	c.req = &request{msg: msg, slot: slot.use(), done: c.answered}
	n.ranges[c.number] = c
	n.pipe.push(c.req)
	return c, nil
}

// await waits for the end of the call. When ctx ends it is withdrawn, but its
// answer counts: a range that was granted has changed what its owner holds.
func (c *rangeCall) await(ctx context.Context) error {
	select {
	case <-c.over:
	case <-ctx.Done():
		c.withdraw()
		<-c.over // the node's end is an answer, too
		if errors.Is(c.err, gulmerr.ErrCanceled) {
			return context.Cause(ctx)
		}
	}
	if c.err != nil {
		return c.err
	}
	// A grant that was on its way while this process was stopped is worth nothing
	// until a master says that the incarnation still lives.
	return c.space.node.live.wait(context.WithoutCancel(ctx))
}

// withdraw takes the request back, or asks the servers to.
func (c *rangeCall) withdraw() {
	n := c.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.ranges[c.number] != c:
	case n.pipe.withdraw(c.req):
		c.finish(0, gulmerr.ErrCanceled)
	case c.flags&noQueue == 0:
		n.pipe.push(&request{
			msg:  &gulmv1.Request{Op: gulmv1.Op_OP_CANCEL, Lock: c.number},
			done: func(reply *gulmv1.Reply, _ error) { c.cancelled(reply) },
		})
	}
}

// answered takes the reply to the request.
func (c *rangeCall) answered(reply *gulmv1.Reply, err error) {
	if err == nil && reply.GetOutcome() == gulmv1.Outcome_OUTCOME_QUEUED {
		return // an event follows, if it has not come already
	}
	c.finish(reply.GetToken(), refusal(reply, err, gulmv1.Outcome_OUTCOME_GRANTED))
}

// cancelled takes the reply to the CANCEL: after any other than these two, the
// reply or event that tells the call's end has come, or follows.
func (c *rangeCall) cancelled(reply *gulmv1.Reply) {
	switch reply.GetOutcome() {
	case gulmv1.Outcome_OUTCOME_CANCELLED:
		c.finish(0, gulmerr.ErrCanceled)
	case gulmv1.Outcome_OUTCOME_GRANTED:
		c.told(reply.GetToken(), nil)
	}
}

// event takes the news that a request that waited is over.
func (c *rangeCall) event(e *gulmv1.Event) {
	switch e.GetKind() {
	case gulmv1.EventKind_EVENT_KIND_GRANTED:
		c.told(e.GetToken(), nil)
	case gulmv1.EventKind_EVENT_KIND_DENIED:
		c.told(0, denial(e))
	}
}

// told ends the call with what the servers remember until they know that it was
// heard.
func (c *rangeCall) told(token uint64, err error) {
	if c.finish(token, err) {
		c.space.node.acknowledge(c.number)
	}
}

// finish ends the call. It returns false if it was over before.
func (c *rangeCall) finish(token uint64, err error) bool {
	n := c.space.node
	if n.ranges[c.number] != c {
		return false
	}
	delete(n.ranges, c.number)
	c.token, c.err = token, err
	close(c.over)
	return true
}

// leaveRanges ends the calls of a lockspace that was left by force: their requests
// were withdrawn then, or granted before and lost.
func (ls *Lockspace) leaveRanges() {
	for _, c := range ls.node.ranges {
		if c.space == ls {
			c.told(0, ErrNoLockspace)
		}
	}
}

// askRange sends a request about ranges and returns the reply, with an error
// unless it has the outcome that is wanted; taken, unless nil, is called with the
// reply, the node's lock held.
func (ls *Lockspace) askRange(ctx context.Context, msg *gulmv1.Request, want gulmv1.Outcome, taken func(*request)) (*gulmv1.Reply, error) {
	slot, err := ls.begin(ctx)
	if err != nil {
		return nil, err
	}
	msg.Lockspace = ls.number
	r := &request{slot: slot.use(), msg: msg}
	told := ls.node.push(r, want, func(err error) {
		if err == nil && taken != nil {
			taken(r)
		}
	})
	slot.end()
	return await(ctx, told)
}

// rangeClose gives up all of an owner, in one file or in all.
func (ls *Lockspace) rangeClose(ctx context.Context, name string, owner RangeOwner) error {
	msg, err := rangeMessage(gulmv1.Op_OP_RANGE_CLOSE, name, Range{Owner: owner}, 0)
	if err == nil {
		msg.RangeEnd = 0
		_, err = ls.askRange(ctx, msg, gulmv1.Outcome_OUTCOME_UNLOCKED, func(r *request) {
			ls.closed(r, func(c *rangeCall) bool {
				return !c.gulm && c.owner == owner && (name == "" || name == c.name && c.flags&rangeFlock == 0)
			})
		})
	}
	if err != nil {
		return fmt.Errorf("close ranges of owner %d of %q in lockspace %q: %w", owner, name, ls.name, err)
	}
	return nil
}

// closed ends the calls that were asked for before a request that ended them:
// nobody tells them.
func (ls *Lockspace) closed(r *request, ended func(*rangeCall) bool) {
	for _, c := range ls.node.ranges {
		if c.space == ls && ended(c) && c.req.sent && c.req.msg.GetSeq() < r.msg.GetSeq() {
			c.told(0, gulmerr.ErrCanceled)
		}
	}
}
