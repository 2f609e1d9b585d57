package client

import (
	"context"
	"fmt"
	"sync/atomic"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// phase is where a lock is in its life.
type phase uint8

const (
	phaseAsked phase = iota // the first request is under way
	phaseHeld
	phaseGone
)

// Lock is one claim on a resource.
type Lock struct {
	space  *Lockspace
	name   string
	number uint64
	gulm   *gulmUse // nil unless it is a lock of a Gulm
	// held is true from the grant until the lock is unlocked or the node ends.
	held atomic.Bool

	// The node's lock protects the rest.
	phase phase
	mode  Mode
	token uint64
	call  *call // the request under way
	// status and value are what grants told; toWrite is from SetValue, nil if
	// that was not called since the last write.
	status         Status
	value, toWrite []byte

	hint     Mode // somebody waits for this, if hinted
	hinted   bool
	queued   bool // in the node's hintQueue
	blocking chan Mode

	ctx    context.Context
	cancel context.CancelCauseFunc
}

// call is a LOCK or CONVERT from when it is asked for until it is granted,
// refused or withdrawn.
type call struct {
	op    gulmv1.Op
	to    Mode
	flags Flag
	req   *request
	// queued: the servers have said that it waits.
	queued bool
	// givenUp: nobody waits for it any more, and it is being withdrawn.
	givenUp bool
	// over is closed at the end; err is set before.
	over chan struct{}
	err  error
	// set, if not nil, is the one that the lock is taken with; it waits in the
	// place of over.
	set *setCall
}

// slot is a request's place among those that are not answered.
type slot struct {
	node *Node
	used bool
}

// slot waits for a place for a request.
func (n *Node) slot(ctx context.Context) (*slot, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := n.pipe.take(ctx, n.dead); err != nil {
		if dead := n.Err(); dead != nil {
			err = dead
		}
		return nil, err
	}
	return &slot{node: n}, nil
}

// use gives the place to a request, which gives it back when it is answered.
func (s *slot) use() bool {
	s.used = true
	return true
}

// drop gives the place back if no request has it.
func (s *slot) drop() {
	if !s.used {
		<-s.node.pipe.slots
	}
}

// end is drop, and the end of what is done under the node's lock; see
// Lockspace.begin.
func (s *slot) end() {
	s.drop()
	s.node.mu.Unlock()
}

// lock makes a lock.
func (ls *Lockspace) lock(ctx context.Context, name string, mode Mode, ask terms) (*Lock, error) {
	return ls.lockAs(ctx, name, mode, ask, nil)
}

// lockAs is lock for a lock of a Gulm, if it is to be one.
func (ls *Lockspace) lockAs(ctx context.Context, name string, mode Mode, ask terms, use *gulmUse) (*Lock, error) {
	l := &Lock{space: ls, name: name, gulm: use}
	if len(name) < 1 || len(name) > maxName {
		return nil, l.wrap("lock", gulmerr.New(ErrInvalid, "name has %d bytes, 1 to %d", len(name), maxName))
	}
	c, err := l.start(ctx, gulmv1.Op_OP_LOCK, mode, ask)
	if err == nil {
		err = l.await(ctx, c)
	}
	if err != nil {
		return nil, l.wrap("lock", err)
	}
	return l, nil
}

// Convert changes the mode of the lock and waits for it as long as ctx allows.
// A conversion to a weaker mode waits for nobody.
//
// Errors leave the lock held: ErrTryFailed, ErrDeadlock, ErrTimedOut, ErrBusy
// while another call converts it, ErrInvalid, ctx's; ErrNotHeld if it was
// unlocked; what ended the session. With DemoteOnDeadlock an error may leave it
// in NL. If ctx ends first, Convert returns at
// once and the conversion is withdrawn in the background. Until that has an
// answer, Mode tells what both modes cover, and Convert waits for it; the
// conversion may win the race, and the lock then keeps the new mode.
func (l *Lock) Convert(ctx context.Context, mode Mode, options ...Option) error {
	return l.convert(ctx, mode, gather(options))
}

// TryConvert is Convert without waiting for others: ErrTryFailed if the mode is
// not free.
func (l *Lock) TryConvert(ctx context.Context, mode Mode, options ...Option) error {
	return l.convert(ctx, mode, gather(options).with(noQueue))
}

func (l *Lock) convert(ctx context.Context, mode Mode, ask terms) error {
	c, err := l.start(ctx, gulmv1.Op_OP_CONVERT, mode, ask)
	if err == nil {
		err = l.await(ctx, c)
	}
	if err != nil {
		return l.wrap("convert", err)
	}
	return nil
}

// wrap says which lock an error is about.
func (l *Lock) wrap(what string, err error) error {
	return fmt.Errorf("%s %q in lockspace %q: %w", what, l.name, l.space.name, err)
}

// start queues a LOCK or CONVERT.
func (l *Lock) start(ctx context.Context, op gulmv1.Op, mode Mode, ask terms) (*call, error) {
	if !mode.valid() {
		return nil, gulmerr.New(ErrInvalid, "%v is no mode", mode)
	}
	for {
		c, wait, err := l.tryStart(ctx, op, mode, ask)
		if err != nil || c != nil {
			return c, err
		}
		select { // until an earlier conversion is withdrawn
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// tryStart is start, but if a conversion that was given up is still being
// withdrawn, it returns its end to wait for.
func (l *Lock) tryStart(ctx context.Context, op gulmv1.Op, mode Mode, ask terms) (c *call, wait <-chan struct{}, err error) {
	n := l.space.node
	slot, err := n.slot(ctx)
	if err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	defer slot.drop()
	if wait, err := l.ready(op); wait != nil || err != nil {
		return nil, wait, err
	}
	msg := &gulmv1.Request{Op: op, Mode: gulmv1.Mode(mode)}
	if err := ask.write(msg); err != nil {
		return nil, nil, err
	}
	if op == gulmv1.Op_OP_CONVERT {
		if msg.Value, err = l.outgoing(ask.flags); err != nil {
			return nil, nil, err
		}
	}
	if op == gulmv1.Op_OP_LOCK {
		n.lastLock++
		if l.gulm != nil && l.gulm.taken(l) {
			return nil, nil, ErrBusy
		}
		l.number = n.lastLock
		n.locks[l.number] = l
		l.space.locks++
		msg.Lockspace, msg.Name = l.space.number, []byte(l.name)
	}
	msg.Lock = l.number
	l.dress(msg, ask.flags)
	c = &call{op: op, to: mode, flags: ask.flags, over: make(chan struct{})}
	c.req = &request{msg: msg, slot: slot.use(), done: func(reply *gulmv1.Reply, err error) { l.answered(c, reply, err) }}
	l.call = c
	n.pipe.push(c.req)
	return c, nil, nil
}

// ready says whether a request of this kind may start now; if not, what to wait
// for, or why it never may.
func (l *Lock) ready(op gulmv1.Op) (wait <-chan struct{}, err error) {
	switch {
	case l.space.node.err != nil:
		return nil, l.space.node.err
	case op == gulmv1.Op_OP_LOCK && l.space.phase != spaceJoined:
		return nil, ErrNoLockspace
	case op == gulmv1.Op_OP_LOCK:
		return nil, nil
	case l.phase != phaseHeld:
		return nil, ErrNotHeld
	case l.call != nil && l.call.givenUp:
		return l.call.over, nil
	case l.call != nil:
		return nil, ErrBusy
	}
	return nil, nil
}

// await waits for the end of a call, and gives it up if ctx ends first.
func (l *Lock) await(ctx context.Context, c *call) error {
	select {
	case <-c.over:
	case <-ctx.Done():
		if l.giveUp(c) {
			return context.Cause(ctx)
		}
	}
	if c.err != nil {
		return c.err
	}
	// A grant that was on its way while this process was stopped is worth
	// nothing until a master says that the incarnation still lives.
	err := l.space.node.live.wait(ctx)
	if err != nil && c.op == gulmv1.Op_OP_LOCK {
		_ = l.Unlock() // fails only if the node ended, and the lock with it
	}
	return err
}

// giveUp withdraws a call that nobody waits for any more. It returns false if
// the call was over before.
func (l *Lock) giveUp(c *call) bool {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.call != c {
		return false
	}
	c.givenUp = true
	if c.op == gulmv1.Op_OP_LOCK {
		l.space.locks--
		l.space.loose++
	}
	if n.pipe.withdraw(c.req) {
		l.refused(c, gulmerr.ErrCanceled)
		return true
	}
	n.pipe.push(&request{
		msg:  &gulmv1.Request{Op: gulmv1.Op_OP_CANCEL, Lock: l.number},
		done: func(reply *gulmv1.Reply, _ error) { l.cancelled(c, reply) },
	})
	return true
}

// answered takes the reply to a LOCK or CONVERT.
func (l *Lock) answered(c *call, reply *gulmv1.Reply, err error) {
	if l.call != c {
		return // an event was faster, or the lock is gone
	}
	if err == nil && reply.GetOutcome() == gulmv1.Outcome_OUTCOME_QUEUED {
		c.queued = true
		return // an event follows
	}
	if err = refusal(reply, err, gulmv1.Outcome_OUTCOME_GRANTED); err != nil {
		l.refused(c, err)
		return
	}
	l.granted(c, Mode(reply.GetMode()), reply.GetToken())
	l.learn(reply.GetStatus(), reply.GetValue())
}

// cancelled takes the reply to the CANCEL of a call. Only two answers say
// something: the request is withdrawn, or it had been granted. After any other
// the reply or event that tells the call's end has come, or follows.
func (l *Lock) cancelled(c *call, reply *gulmv1.Reply) {
	if l.call != c {
		return
	}
	switch reply.GetOutcome() {
	case gulmv1.Outcome_OUTCOME_CANCELLED:
		if c.op == gulmv1.Op_OP_CONVERT {
			l.keeps(Mode(reply.GetMode()))
		}
		l.refused(c, gulmerr.ErrCanceled)
	case gulmv1.Outcome_OUTCOME_GRANTED:
		l.granted(c, Mode(reply.GetMode()), reply.GetToken())
	}
}

// event takes an event of the lock. One that grants anything but what is asked
// for now, or an older grant, is a repetition.
func (l *Lock) event(e *gulmv1.Event) {
	mode := Mode(e.GetMode())
	switch e.GetKind() {
	case gulmv1.EventKind_EVENT_KIND_GRANTED:
		if l.call != nil && l.call.accepts(mode) && e.GetToken() > l.token {
			l.granted(l.call, mode, e.GetToken())
		}
		if l.phase == phaseHeld && e.GetToken() == l.token {
			l.learn(e.GetStatus(), e.GetValue())
		}
	case gulmv1.EventKind_EVENT_KIND_DENIED:
		l.denied(e)
	case gulmv1.EventKind_EVENT_KIND_BLOCKING:
		l.hintAt(mode)
	}
}

// granted ends a call with success. A lock that nobody waits for any more is
// unlocked again.
func (l *Lock) granted(c *call, mode Mode, token uint64) {
	if token > l.token { // else the CANCEL of a conversion that was denied found the earlier grant
		l.wrote(c, mode)
		l.status = 0
	}
	l.mode, l.token, l.phase = mode, token, phaseHeld
	l.held.Store(true) // before finish: the caller goes on right then, without a lock
	l.finish(c, nil)
	if c.givenUp && c.op == gulmv1.Op_OP_LOCK {
		l.release(0, nil, nil)
		l.space.tidied()
		return
	}
	l.passHint()
}

// refused ends a call without success: a new lock is gone, a conversion leaves
// the lock as it was.
func (l *Lock) refused(c *call, err error) {
	l.finish(c, err)
	if c.op != gulmv1.Op_OP_LOCK {
		return
	}
	l.forget()
	if c.givenUp {
		l.space.tidied()
	} else {
		l.space.locks--
	}
}

// finish ends a call.
func (l *Lock) finish(c *call, err error) {
	l.call = nil
	c.err = err
	if c.set != nil {
		c.set.ended(err)
		return
	}
	close(c.over)
}

// forget removes the lock from the node's books.
func (l *Lock) forget() {
	l.phase, l.mode = phaseGone, NL
	l.held.Store(false)
	delete(l.space.node.locks, l.number)
	if l.gulm != nil {
		l.gulm.left(l)
	}
}

// failed ends the lock with the node.
func (l *Lock) failed(err error) {
	if l.call != nil {
		l.finish(l.call, err)
	}
	l.phase, l.mode = phaseGone, NL
	l.held.Store(false)
}

// Name returns the resource's name.
func (l *Lock) Name() string { return l.name }

// Lockspace returns the lockspace of the resource.
func (l *Lock) Lockspace() *Lockspace { return l.space }

// Mode returns the mode that the holder can rely on: NL after Unlock and after
// the end of the session, and during a conversion what both modes cover. It
// does not look at the time; see Valid.
func (l *Lock) Mode() Mode {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.call != nil && l.phase == phaseHeld {
		return l.surely(l.call)
	}
	return l.mode
}

// Token returns the number of the newest grant. It grows with every grant of
// the cluster, so storage can refuse a writer that comes with a smaller one
// than it has seen for the resource.
func (l *Lock) Token() uint64 {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	return l.token
}

// Valid returns nil if the lock is held at this moment, ErrLost if that is in
// doubt, ErrNotHeld after Unlock, or what ended the session. It costs no
// message; call it right before every write to what the lock protects.
func (l *Lock) Valid() error {
	if err := l.space.node.live.good(); err != nil {
		return err
	}
	if !l.held.Load() {
		return ErrNotHeld
	}
	return nil
}

// Context returns a context that ends when the node's locks are in doubt
// (cause ErrLost), when the lock is unlocked (ErrUnlocked), or with the session
// (its error). After EventSafe there is a fresh one.
func (l *Lock) Context() context.Context {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	_, alive := n.live.current()
	if l.ctx == nil || l.phase == phaseHeld && l.ctx.Err() != nil {
		l.ctx, l.cancel = context.WithCancelCause(alive)
		if l.phase == phaseGone {
			l.cancel(ErrUnlocked)
		}
	}
	return l.ctx
}
