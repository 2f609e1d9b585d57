package client

import (
	"context"
	"fmt"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// The limits of names, bytes.
const (
	maxSpaceName = 64
	maxName      = 255
)

// spacePhase is where a lockspace is in its life.
type spacePhase uint8

const (
	spaceJoining spacePhase = iota
	spaceJoined
	spaceLeaving
	spaceLeft
)

// Lockspace is a set of resources that the node has joined.
type Lockspace struct {
	node       *Node
	name       string
	onBlocking func(*Lock, Mode)

	// The node's lock protects the rest.
	phase  spacePhase
	number uint32
	err    error // why joining failed, or the node ended
	// givenUp: whoever joined does not wait any more; it is to be left.
	givenUp bool
	// valueLen is the length of value blocks, 0 while it is not known.
	valueLen int
	locks    int // of callers
	loose    int // locks that were given up and are not gone yet
	// settled is closed when joining, or leaving, has an answer.
	settled chan struct{}
	// tidy, if not nil, is closed when loose becomes 0.
	tidy chan struct{}
	// mount is the mount of the file system, nil if there is none.
	mount *Mount
	// gulm is what users of GULM see, nil if there are none.
	gulm *Gulm
}

// Join joins the lockspace of this name, 1 to 64 bytes, and makes it if it does
// not exist. Errors: ErrInvalid; ErrInUse if this Node has joined it already;
// gulmerr.ErrPolicy if it exists with another policy, Lease or ValueLen;
// gulmerr.ErrLease if Lease does not fit the policy or is too short; ErrExists and
// ErrNoLockspace as the options say; ErrLimit; ctx's; what
// ended the session. If ctx ends first, a join that succeeds after all is
// undone.
func (n *Node) Join(ctx context.Context, name string, opts JoinOptions) (*Lockspace, error) {
	if len(name) < 1 || len(name) > maxSpaceName {
		return nil, gulmerr.New(ErrInvalid, "name of lockspace %q has %d bytes, 1 to %d", name, len(name), maxSpaceName)
	}
	if opts.ValueLen < 0 || opts.ValueLen > maxValueLen {
		return nil, gulmerr.New(ErrInvalid, "value blocks of %d bytes for lockspace %q, 1 to %d, or 0", opts.ValueLen, name, maxValueLen)
	}
	if opts.Lease < 0 || opts.Lease > maxLease || opts.Lease > 0 && opts.Policy != PolicyLease {
		return nil, gulmerr.New(gulmerr.ErrLease, "a lease of %v for lockspace %q: PolicyLease has one, of at most %v, and no other policy",
			opts.Lease, name, maxLease)
	}
	for {
		ls, wait, err := n.startJoin(ctx, name, opts)
		if err != nil {
			return nil, fmt.Errorf("join lockspace %q: %w", name, err)
		}
		if wait == nil {
			return ls.awaitJoin(ctx)
		}
		select { // until it is left
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("join lockspace %q: %w", name, context.Cause(ctx))
		}
	}
}

// startJoin asks for the lockspace. If it is just being left, that must end
// first: wait is closed then.
func (n *Node) startJoin(ctx context.Context, name string, opts JoinOptions) (ls *Lockspace, wait <-chan struct{}, err error) {
	slot, err := n.slot(ctx)
	if err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	defer slot.drop()
	if n.err != nil {
		return nil, nil, n.err
	}
	if old := n.spaces[name]; old != nil {
		if old.phase == spaceLeaving || old.givenUp {
			return nil, old.settled, nil
		}
		return nil, nil, gulmerr.New(ErrInUse, "this node has joined it already")
	}
	ls = &Lockspace{node: n, name: name, onBlocking: opts.OnBlocking, valueLen: opts.ValueLen, settled: make(chan struct{})}
	n.spaces[name] = ls
	n.pipe.push(&request{slot: slot.use(), done: ls.joined, msg: &gulmv1.Request{
		Op: gulmv1.Op_OP_JOIN, Name: []byte(name), Policy: gulmv1.Policy(opts.Policy),
		Flags: opts.flags(), ValueLen: uint32(opts.ValueLen),
		LeaseMs: uint32((opts.Lease + time.Millisecond - 1) / time.Millisecond),
	}})
	return ls, nil, nil
}

// flags returns the bits of JoinFlag.
func (o *JoinOptions) flags() uint32 {
	var bits gulmv1.JoinFlag
	if o.Exclusive {
		bits |= gulmv1.JoinFlag_JOIN_FLAG_EXCLUSIVE
	}
	if o.Existing {
		bits |= gulmv1.JoinFlag_JOIN_FLAG_EXISTING
	}
	if o.KeepValues {
		bits |= gulmv1.JoinFlag_JOIN_FLAG_KEEP_VALUES
	}
	return uint32(bits)
}

// awaitJoin waits for the answer.
func (ls *Lockspace) awaitJoin(ctx context.Context) (*Lockspace, error) {
	n := ls.node
	select {
	case <-ls.settled:
	case <-ctx.Done():
		n.mu.Lock()
		ls.givenUp = ls.phase == spaceJoining
		given := ls.givenUp
		n.mu.Unlock()
		if given {
			return nil, fmt.Errorf("join lockspace %q: %w", ls.name, context.Cause(ctx))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if ls.err != nil && ls.number == 0 {
		return nil, fmt.Errorf("join lockspace %q: %w", ls.name, ls.err)
	}
	return ls, nil
}

// joined takes the answer to JOIN.
func (ls *Lockspace) joined(reply *gulmv1.Reply, err error) {
	if err = refusal(reply, err, gulmv1.Outcome_OUTCOME_JOINED); err != nil {
		ls.end(err)
		return
	}
	ls.number = reply.GetNumber()
	if ls.givenUp {
		ls.leave(0) // settled stays open until that is answered
		return
	}
	ls.phase = spaceJoined
	close(ls.settled)
}

// leave asks to leave.
func (ls *Lockspace) leave(flags gulmv1.LeaveFlag) {
	ls.phase = spaceLeaving
	ls.node.pipe.push(&request{done: ls.left, msg: &gulmv1.Request{Op: gulmv1.Op_OP_LEAVE, Lockspace: ls.number, Flags: uint32(flags)}})
}

// left takes the answer to LEAVE.
func (ls *Lockspace) left(reply *gulmv1.Reply, err error) {
	if err = refusal(reply, err, gulmv1.Outcome_OUTCOME_LEFT); err == nil || ls.givenUp {
		ls.end(nil)
		return
	}
	ls.err = err
	ls.phase = spaceJoined
	close(ls.settled)
}

// end forgets the lockspace.
func (ls *Lockspace) end(err error) {
	if ls.phase == spaceLeft {
		return
	}
	ls.phase, ls.err = spaceLeft, err
	ls.leaveRanges()
	if ls.node.spaces[ls.name] == ls {
		delete(ls.node.spaces, ls.name)
	}
	select {
	case <-ls.settled:
	default:
		close(ls.settled)
	}
}

// failed ends the lockspace with the node.
func (ls *Lockspace) failed(err error) {
	if ls.mount != nil {
		ls.mount.end(err)
	}
	ls.end(err)
	if ls.tidy != nil {
		close(ls.tidy)
		ls.tidy = nil
	}
}

// Leave ends the membership. All locks must have been unlocked (ErrInUse).
// Other errors: ErrNoLockspace if it was left already; ctx's, after which
// leaving goes on by itself; what ended the session.
func (ls *Lockspace) Leave(ctx context.Context) error {
	for {
		wait, done, err := ls.startLeave()
		if err != nil {
			return fmt.Errorf("leave lockspace %q: %w", ls.name, err)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return fmt.Errorf("leave lockspace %q: %w", ls.name, context.Cause(ctx))
		}
		if !done {
			continue
		}
		return ls.howLeft()
	}
}

// howLeft returns the answer to LEAVE.
func (ls *Lockspace) howLeft() error {
	ls.node.mu.Lock()
	defer ls.node.mu.Unlock()
	if ls.err != nil {
		return fmt.Errorf("leave lockspace %q: %w", ls.name, ls.err)
	}
	return nil
}

// startLeave asks to leave (asked), or finds that locks which were given up
// must go first. wait is closed when that has an answer.
func (ls *Lockspace) startLeave() (wait <-chan struct{}, asked bool, err error) {
	n := ls.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ls.open(); err != nil {
		return nil, false, err
	}
	switch {
	case ls.mount != nil:
		return nil, false, gulmerr.New(ErrInUse, "it is mounted; unmount it first")
	case ls.locks > 0:
		return nil, false, gulmerr.New(ErrInUse, "%d locks are held or asked for; unlock them first", ls.locks)
	case ls.loose > 0:
		if ls.tidy == nil {
			ls.tidy = make(chan struct{})
		}
		return ls.tidy, false, nil
	}
	ls.settled, ls.err = make(chan struct{}), nil
	ls.leave(0)
	return ls.settled, true, nil
}

// tidied counts a lock that was given up and is gone now.
func (ls *Lockspace) tidied() {
	ls.loose--
	if ls.loose == 0 && ls.tidy != nil {
		close(ls.tidy)
		ls.tidy = nil
	}
}

// open returns why nothing can be asked for in the lockspace, nil if it can.
func (ls *Lockspace) open() error {
	switch {
	case ls.node.err != nil:
		return ls.node.err
	case ls.phase != spaceJoined:
		return ErrNoLockspace
	}
	return nil
}

// begin waits for a place for a request about the lockspace, and takes the node's
// lock; slot.end gives both back. It fails if nothing can be asked for.
func (ls *Lockspace) begin(ctx context.Context) (*slot, error) {
	slot, err := ls.node.slot(ctx)
	if err != nil {
		return nil, err
	}
	ls.node.mu.Lock()
	if err := ls.open(); err != nil {
		slot.end()
		return nil, err
	}
	return slot, nil
}

// Name returns the lockspace's name.
func (ls *Lockspace) Name() string { return ls.name }

// Node returns the node that joined.
func (ls *Lockspace) Node() *Node { return ls.node }

// Lock takes a lock on the resource of this name, 1 to 255 bytes, and waits for
// it as long as ctx allows. The same name may be locked several times; the
// locks then stand in each other's way like those of different nodes. Lock
// never returns a lock while the node's locks are in doubt.
//
// Errors: ErrInvalid; ErrLimit; ErrDeadlock; ErrTimedOut; ErrNoLockspace
// if the lockspace was left; what ended the session; ctx's. If ctx ends first,
// Lock returns at once and the request is withdrawn in the background; a lock
// that is granted nevertheless is unlocked.
func (ls *Lockspace) Lock(ctx context.Context, name string, mode Mode, options ...Option) (*Lock, error) {
	return ls.lock(ctx, name, mode, gather(options))
}

// TryLock is Lock without waiting for others: ErrTryFailed if the lock is not
// free. It still waits for the servers' answer.
func (ls *Lockspace) TryLock(ctx context.Context, name string, mode Mode, options ...Option) (*Lock, error) {
	return ls.lock(ctx, name, mode, gather(options).with(noQueue))
}

func union(flags []Flag) Flag {
	var all Flag
	for _, f := range flags {
		all |= f
	}
	return all
}

// refusal returns err, or what the reply refuses, or nil if it has the outcome
// that is wanted.
func refusal(reply *gulmv1.Reply, err error, want gulmv1.Outcome) error {
	switch {
	case err != nil:
		return err
	case reply.GetOutcome() == want:
		return nil
	case reply.GetOutcome() == gulmv1.Outcome_OUTCOME_REFUSED:
		return gulmerr.FromReason(reply.GetReason())
	}
	return gulmerr.New(gulmerr.ErrInternal, "servers answered %v to a request that wants %v", reply.GetOutcome(), want)
}
