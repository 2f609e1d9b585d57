package client

import (
	"context"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// unlockFlags are those that Unlock takes.
const unlockFlags = Value | SpoilValue

// Unlock gives the lock up. It does not wait for the servers: whatever is asked
// for later reaches them after it. With Value, a lock in PW or EX writes the
// value block (see SetValue), with SpoilValue it marks it as not valid; other
// flags are ErrInvalid.
//
// Other errors: ErrNotHeld if it was unlocked before; ErrBusy while another call
// converts it; ErrInvalid for a value that is too long; what ended the session.
// After ErrBusy and ErrInvalid the lock is still held.
func (l *Lock) Unlock(flags ...Flag) error {
	if err := l.unlock(union(flags), nil); err != nil {
		return l.wrap("unlock", err)
	}
	return nil
}

// UnlockWait is Unlock that returns when the servers have done it, or with
// ctx's error, after which it goes on by itself.
func (l *Lock) UnlockWait(ctx context.Context, flags ...Flag) error {
	answer := make(chan error, 1)
	err := l.unlock(union(flags), func(reply *gulmv1.Reply, err error) {
		answer <- refusal(reply, err, gulmv1.Outcome_OUTCOME_UNLOCKED)
	})
	if err == nil {
		select {
		case err = <-answer:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return l.wrap("unlock", err)
	}
	return nil
}

func (l *Lock) unlock(flags Flag, done func(*gulmv1.Reply, error)) error {
	cancel, err := l.letGo(flags, done)
	if cancel != nil {
		cancel(ErrUnlocked)
	}
	return err
}

// letGo unlocks, but for the lock's context, whose end it returns.
func (l *Lock) letGo(flags Flag, done func(*gulmv1.Reply, error)) (context.CancelCauseFunc, error) {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.err != nil:
		return nil, n.err
	case l.phase != phaseHeld:
		return nil, ErrNotHeld
	case l.call != nil && !l.call.givenUp:
		return nil, ErrBusy
	case flags&^unlockFlags != 0:
		return nil, gulmerr.New(ErrInvalid, "flags %#x do not go with unlock; give Value or SpoilValue", uint32(flags&^unlockFlags))
	}
	value, err := l.outgoing(flags)
	if err != nil {
		return nil, err
	}
	if l.call != nil { // its CANCEL is on the way, before the UNLOCK
		l.finish(l.call, gulmerr.ErrCanceled)
	}
	l.release(flags, value, done)
	l.space.locks--
	return l.cancel, nil
}

// release asks the servers to unlock, and forgets the lock. A value that turns
// out to be too long for the lockspace must not keep the lock held: it goes
// without, and the next reader is told.
func (l *Lock) release(flags Flag, value []byte, done func(*gulmv1.Reply, error)) {
	l.forget()
	n := l.space.node
	push := func(flags Flag, value []byte, done func(*gulmv1.Reply, error)) {
		msg := &gulmv1.Request{Op: gulmv1.Op_OP_UNLOCK, Lock: l.number, Flags: uint32(flags), Value: value}
		l.dress(msg, flags)
		n.pipe.push(&request{done: done, msg: msg})
	}
	if len(value) == 0 {
		push(flags, nil, done)
		return
	}
	push(flags, value, func(reply *gulmv1.Reply, err error) {
		if err == nil && reply.GetOutcome() == gulmv1.Outcome_OUTCOME_REFUSED && reply.GetReason() == reasonInvalid {
			push(SpoilValue, nil, nil)
		}
		if done != nil {
			done(reply, err)
		}
	})
}

// reasonInvalid refuses an UNLOCK for its value only.
const reasonInvalid = "INVALID"
