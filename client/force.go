package client

import (
	"context"
	"fmt"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// LeaveForce ends the membership with all locks of this node in the lockspace:
// their contexts end (ErrUnlocked), calls that wait for one fail with
// ErrNoLockspace, and value blocks that one of them could have written are not
// valid any more. The caller has stopped using what they protect. Errors as
// Leave, but for ErrInUse.
func (ls *Lockspace) LeaveForce(ctx context.Context) error {
	wait, ends, err := ls.startForce()
	for _, end := range ends {
		end(ErrUnlocked)
	}
	if err != nil {
		return fmt.Errorf("leave lockspace %q: %w", ls.name, err)
	}
	select {
	case <-wait:
	case <-ctx.Done():
		return fmt.Errorf("leave lockspace %q: %w", ls.name, context.Cause(ctx))
	}
	return ls.howLeft()
}

// startForce forgets all locks of the lockspace and asks to leave. It returns
// the ends of their contexts, and what is closed with the answer.
func (ls *Lockspace) startForce() (wait <-chan struct{}, ends []context.CancelCauseFunc, err error) {
	n := ls.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ls.open(); err != nil {
		return nil, nil, err
	}
	if ls.mount != nil {
		return nil, nil, gulmerr.New(ErrInUse, "it is mounted; unmount it first, or withdraw")
	}
	ends = ls.forgetLocks()
	ls.settled, ls.err = make(chan struct{}), nil
	ls.leave(gulmv1.LeaveFlag_LEAVE_FLAG_FORCE)
	return ls.settled, ends, nil
}

// forgetLocks forgets all locks of the lockspace and returns the ends of their
// contexts.
func (ls *Lockspace) forgetLocks() (ends []context.CancelCauseFunc) {
	for _, l := range ls.node.locks {
		if l.space != ls {
			continue
		}
		if l.call != nil { // the servers get its request before the LEAVE
			l.finish(l.call, ErrNoLockspace)
		}
		l.forget()
		if l.cancel != nil {
			ends = append(ends, l.cancel)
		}
	}
	ls.locks, ls.loose = 0, 0
	if ls.tidy != nil {
		close(ls.tidy)
		ls.tidy = nil
	}
	return ends
}

// Purge releases the orphans that an earlier session has left to this node (see
// Persistent), in all lockspaces, or those of every session with 0. It returns
// how many there were. Value blocks that one of them could have written are not
// valid any more. Errors: ctx's, after which it goes on by itself; what ended
// the session.
func (n *Node) Purge(ctx context.Context, session uint64) (int, error) {
	slot, err := n.slot(ctx)
	if err != nil {
		return 0, fmt.Errorf("purge orphans: %w", err)
	}
	n.mu.Lock()
	if n.err != nil {
		defer n.mu.Unlock()
		slot.drop()
		return 0, fmt.Errorf("purge orphans: %w", n.err)
	}
	r := &request{slot: slot.use(), msg: &gulmv1.Request{Op: gulmv1.Op_OP_PURGE, Lock: session}}
	answer := n.push(r, gulmv1.Outcome_OUTCOME_UNLOCKED, nil)
	n.mu.Unlock()
	reply, err := await(ctx, answer)
	if err != nil {
		return 0, fmt.Errorf("purge orphans: %w", err)
	}
	return int(reply.GetNumber()), nil
}
