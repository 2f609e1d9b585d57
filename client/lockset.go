package client

import (
	"context"
	"fmt"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// MaxSet is how many locks a set has at most.
const MaxSet = 128

// SetEntry is one lock of a set.
type SetEntry struct {
	// Name of the resource, 1 to 255 bytes; the names of a set are all different.
	Name string
	Mode Mode
	// Flags are Value, Persistent and NoBlocking for this lock.
	Flags Flag
}

const (
	setEntryFlags = Value | Persistent | NoBlocking
	setFlags      = NotifyHolders | NoVictim | noQueue
)

// LockSet takes 1 to MaxSet locks, all or nothing, and waits for them as long as
// ctx allows. The servers take them in the order of their names, the same for
// everybody, so sets never wait for each other in a circle. Until it is whole,
// what the set has got already keeps others waiting, but none of it is this
// process' and nobody is asked to give it up. The locks come back in the order of
// the entries; they are ordinary ones then, unlocked and converted one by one.
//
// Options are NoVictim, NotifyHolders (with TryLockSet), WithOwner and WithTimeout
// for the set, and Value, Persistent and NoBlocking for each of its locks; a set
// in a circle with single locks is told ErrDeadlock also without an owner.
//
// Errors, after which nothing is held: ErrInvalid; ErrLimit; ErrDeadlock;
// ErrTimedOut; ErrNoLockspace if the lockspace was left; what ended the session;
// ctx's. If ctx ends first, LockSet returns at once and the whole set is withdrawn
// in the background; what is granted nevertheless is unlocked.
func (ls *Lockspace) LockSet(ctx context.Context, entries []SetEntry, options ...Option) ([]*Lock, error) {
	return ls.lockSet(ctx, entries, gather(options))
}

// TryLockSet is LockSet without waiting for others: all of the locks at once, or
// ErrTryFailed. It still waits for the servers' answer.
func (ls *Lockspace) TryLockSet(ctx context.Context, entries []SetEntry, options ...Option) ([]*Lock, error) {
	return ls.lockSet(ctx, entries, gather(options).with(noQueue))
}

// setCall is a LOCK_SET from when it is asked for until each of its locks is
// granted, or none is. The locks have calls of their own, which end with it.
type setCall struct {
	space  *Lockspace
	number uint64
	locks  []*Lock
	req    *request
	// open is how many of the locks' calls are not over.
	open int
	// ending: it is being withdrawn, or refused.
	ending bool
	// over is closed at the end; err is set before.
	over chan struct{}
	err  error
}

func (ls *Lockspace) lockSet(ctx context.Context, entries []SetEntry, ask terms) ([]*Lock, error) {
	msg, err := setMessage(entries, ask)
	var s *setCall
	if err == nil {
		s, err = ls.startSet(ctx, msg)
	}
	if err == nil {
		err = s.await(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("lock set of %d in lockspace %q: %w", len(entries), ls.name, err)
	}
	return s.locks, nil
}

// setMessage is the request for a set, but for the numbers, or why there can be
// none.
func setMessage(entries []SetEntry, ask terms) (*gulmv1.Request, error) {
	every := ask.flags & setEntryFlags
	ask.flags &^= setEntryFlags
	switch {
	case len(entries) < 1 || len(entries) > MaxSet:
		return nil, gulmerr.New(ErrInvalid, "%d locks, 1 to %d", len(entries), MaxSet)
	case ask.flags&^setFlags != 0:
		return nil, gulmerr.New(ErrInvalid, "flags %#x do not go with a set", uint32(ask.flags&^setFlags))
	}
	msg := &gulmv1.Request{Op: gulmv1.Op_OP_LOCK_SET}
	if err := ask.write(msg); err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		switch {
		case len(e.Name) < 1 || len(e.Name) > maxName:
			return nil, gulmerr.New(ErrInvalid, "name has %d bytes, 1 to %d", len(e.Name), maxName)
		case names[e.Name]:
			return nil, gulmerr.New(ErrInvalid, "%q is there twice", e.Name)
		case !e.Mode.valid():
			return nil, gulmerr.New(ErrInvalid, "%v of %q is no mode", e.Mode, e.Name)
		case e.Flags&^setEntryFlags != 0:
			return nil, gulmerr.New(ErrInvalid, "flags %#x of %q; give Value, Persistent or NoBlocking", uint32(e.Flags), e.Name)
		}
		names[e.Name] = true
		msg.Entries = append(msg.Entries, &gulmv1.SetEntry{
			Name: []byte(e.Name), Mode: gulmv1.Mode(e.Mode), Flags: uint32(e.Flags | every),
		})
	}
	return msg, nil
}

// startSet numbers the set and its locks, and queues the request.
func (ls *Lockspace) startSet(ctx context.Context, msg *gulmv1.Request) (*setCall, error) {
	slot, err := ls.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.end()
	n := ls.node
	n.lastLock++
	msg.Lock, msg.Lockspace = n.lastLock, ls.number
	s := &setCall{space: ls, number: n.lastLock, open: len(msg.GetEntries()), over: make(chan struct{})}
	s.req = &request{msg: msg, slot: slot.use(), done: s.answered}
	for _, e := range msg.GetEntries() {
		n.lastLock++
		e.Lock = n.lastLock
		l := &Lock{space: ls, name: string(e.GetName()), number: e.GetLock()}
		l.call = &call{op: gulmv1.Op_OP_LOCK, to: Mode(e.GetMode()), flags: Flag(e.GetFlags()), req: s.req, set: s}
		n.locks[l.number] = l
		s.locks = append(s.locks, l)
	}
	ls.locks += len(s.locks)
	n.sets[s.number] = s
	n.pipe.push(s.req)
	return s, nil
}

// await waits for the end of the set, and gives it up if ctx ends first.
func (s *setCall) await(ctx context.Context) error {
	select {
	case <-s.over:
	case <-ctx.Done():
		if s.giveUp() {
			return context.Cause(ctx)
		}
	}
	if s.err != nil {
		return s.err
	}
	// See Lock.await.
	err := s.space.node.live.wait(ctx)
	if err != nil {
		for _, l := range s.locks {
			_ = l.Unlock() // fails only if the node ended, and the lock with it
		}
	}
	return err
}

// giveUp withdraws the set. It returns false if it was over before.
func (s *setCall) giveUp() bool {
	n := s.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sets[s.number] != s {
		return false
	}
	s.withdraw()
	return true
}

// withdraw takes the set back, or asks the servers to.
func (s *setCall) withdraw() {
	n := s.space.node
	if s.ending || n.err != nil {
		return
	}
	s.ending = true
	for _, l := range s.locks {
		switch {
		case s.has(l):
			l.call.givenUp = true
			s.space.locks--
			s.space.loose++
		case l.phase == phaseHeld: // the news of the others' grants are on the way
			l.release(0, nil, nil)
			s.space.locks--
		}
	}
	if n.pipe.withdraw(s.req) {
		s.refused(gulmerr.ErrCanceled)
		return
	}
	n.pipe.push(&request{
		msg:  &gulmv1.Request{Op: gulmv1.Op_OP_CANCEL, Lock: s.number},
		done: s.cancelled,
	})
}

// has says whether a lock still waits for the set.
func (s *setCall) has(l *Lock) bool { return l.call != nil && l.call.set == s }

// answered takes the reply to the LOCK_SET. An event for each lock tells of its
// grant, also when that was at once.
func (s *setCall) answered(reply *gulmv1.Reply, err error) {
	if err == nil && reply.GetOutcome() == gulmv1.Outcome_OUTCOME_QUEUED {
		return
	}
	if err = refusal(reply, err, gulmv1.Outcome_OUTCOME_GRANTED); err != nil {
		s.refused(err)
	}
}

// cancelled takes the reply to the CANCEL. After any but this one the reply or the
// events that tell the set's end have come, or follow.
func (s *setCall) cancelled(reply *gulmv1.Reply, _ error) {
	if reply.GetOutcome() == gulmv1.Outcome_OUTCOME_CANCELLED {
		s.refused(gulmerr.ErrCanceled)
	}
}

// event takes the news that the servers have ended what waits.
func (s *setCall) event(e *gulmv1.Event) {
	if e.GetKind() == gulmv1.EventKind_EVENT_KIND_DENIED {
		s.refused(denial(e))
		s.space.node.acknowledge(s.number)
	}
}

// refused ends the set without success; its locks are gone.
func (s *setCall) refused(err error) {
	s.ending = true
	for _, l := range s.locks {
		if s.has(l) {
			l.refused(l.call, err)
		}
	}
}

// ended notes that the call of one of the locks is over. If one alone has failed,
// since a Gulm has withdrawn what has its name, the others are of no use.
func (s *setCall) ended(err error) {
	s.open--
	if s.err == nil {
		s.err = err
	}
	switch {
	case s.open == 0:
		delete(s.space.node.sets, s.number)
		close(s.over)
	case err != nil:
		s.withdraw()
	}
}
