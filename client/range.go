package client

import (
	"context"
	"fmt"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// MaxOffset is the last offset of a file. A range that ends there goes on to
// infinity.
const MaxOffset = 1<<63 - 1

// RangeOwner tells apart the holders of ranges of one Node: a process by its
// number (POSIX locks), or an open file by a number of NewRangeOwner (locks of open
// file descriptions, flock). Owners of different Nodes are always different.
type RangeOwner uint64

// ofNode marks the owners that NewRangeOwner has given out.
const ofNode RangeOwner = 1 << 63

// RangeKind is how much a range claims.
type RangeKind uint8

// The kinds. Ranges of several owners to read may overlap, one to write overlaps
// no other owner's.
const (
	RangeRead RangeKind = iota
	RangeWrite
)

// String returns "read" or "write".
func (k RangeKind) String() string {
	switch k {
	case RangeRead:
		return "read"
	case RangeWrite:
		return "write"
	}
	return fmt.Sprintf("RangeKind(%d)", uint8(k))
}

// mode returns the mode that stands for the kind in requests.
func (k RangeKind) mode() gulmv1.Mode {
	if k == RangeRead {
		return gulmv1.Mode_MODE_PR
	}
	return gulmv1.Mode_MODE_EX
}

// Range is a range of bytes of one owner.
type Range struct {
	Owner RangeOwner
	// Start and End are the first and the last offset, 0 to MaxOffset.
	Start, End uint64
	Kind       RangeKind
}

// String returns the range as in "10-19 write".
func (r Range) String() string {
	if r.End == MaxOffset {
		return fmt.Sprintf("%d- %v", r.Start, r.Kind)
	}
	return fmt.Sprintf("%d-%d %v", r.Start, r.End, r.Kind)
}

// RangeConflict is a range that keeps another from being granted.
type RangeConflict struct {
	Range
	// Node and Session are the owner's; Node is empty if it is not known any more.
	Node    string
	Session uint64
	// Frozen: the range is kept until its node's fence or its recovery is done.
	Frozen bool
	// Waiting: the range is not held, but waited for by somebody whose turn is
	// before.
	Waiting bool
}

// NewRangeOwner returns an owner that nobody else has, for an open file. Owners
// that a caller chooses itself have to be below 1<<63.
func (n *Node) NewRangeOwner() RangeOwner {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastOwner++
	return ofNode | RangeOwner(n.lastOwner)
}

// RangeLock takes a byte range of the file of this name, 1 to 255 bytes, and
// waits for it as fcntl(F_SETLKW) does: what is granted replaces what the owner
// had there, ranges are split and joined, and who waits longest for what overlaps
// goes first. Names of files have nothing to do with names of resources. It
// returns the token of the grant.
//
// Errors: ErrDeadlock at once, if its owner would wait for itself over others
// (EDEADLK); ErrTimedOut; ErrLimit; ErrInvalid; ErrNoLockspace if the lockspace
// was left; what ended the session; ctx's. WithTimeout bounds the wait (ErrTimedOut).
// The number of r.Owner is also that of WithOwner: an owner that takes locks as
// well as ranges, and gets into a circle with others over both, is told ErrDeadlock
// if its request is the youngest of the circle and has not NoVictim; the text spells
// the circle out. Other options are refused with ErrInvalid. If ctx ends first, the
// request is withdrawn, and RangeLock returns when the servers have said so: with
// ctx's error if nothing is left of it, without an error if it was granted before.
// That cannot be undone without losing what the owner had there.
func (ls *Lockspace) RangeLock(ctx context.Context, name string, r Range, options ...Option) (token uint64, err error) {
	return ls.rangeLock(ctx, name, r, 0, options...)
}

// TryRangeLock is RangeLock without waiting for others: ErrTryFailed if the range
// is not free.
func (ls *Lockspace) TryRangeLock(ctx context.Context, name string, r Range) (token uint64, err error) {
	return ls.rangeLock(ctx, name, r, noQueue)
}

// RangeUnlock gives up whatever the owner holds of the range, whatever its kind;
// r.Kind is ignored. It is no error if that is nothing. Errors: ErrLimit if a range
// would have to be split and there may be no more; ErrInvalid; ErrNoLockspace;
// ctx's, after which it goes on by itself; what ended the session.
func (ls *Lockspace) RangeUnlock(ctx context.Context, name string, r Range) error {
	return ls.rangeUnlock(ctx, name, r, 0)
}

// RangeTest returns all that keeps a range from being granted at once: what other
// owners hold that conflicts, by start and owner, then the requests that conflict
// and whose turn is before. It is empty if RangeLock would not wait. If there are
// more than some hundred, they are fetched in several steps, between which they may
// change. Errors: ErrInvalid; ErrNoLockspace; ctx's; what ended the session.
func (ls *Lockspace) RangeTest(ctx context.Context, name string, r Range) ([]RangeConflict, error) {
	return ls.rangeTest(ctx, name, r, 0)
}

// RangeClose gives up all ranges that an owner holds of a file and waits for
// there, as the kernel does when a process closes it; calls that wait fail with
// gulmerr.ErrCanceled. Errors as of RangeUnlock, but for ErrLimit.
func (ls *Lockspace) RangeClose(ctx context.Context, name string, owner RangeOwner) error {
	if name == "" {
		return gulmerr.New(ErrInvalid, "close ranges in lockspace %q: a name has 1 to %d bytes", ls.name, maxName)
	}
	return ls.rangeClose(ctx, name, owner)
}

// RangeCloseAll gives up all ranges and flock locks of an owner in the lockspace:
// the process or the open file is gone. See RangeClose.
func (ls *Lockspace) RangeCloseAll(ctx context.Context, owner RangeOwner) error {
	return ls.rangeClose(ctx, "", owner)
}

// Flock takes a whole file in the way of flock(2), and waits for it: with
// RangeRead it is shared. It does not meet the ranges of the file. The owner is an
// open file. Changing the kind is not atomic, as on Linux: the old lock goes first,
// and if the new one is not granted, because of ctx or ErrDeadlock, the owner has
// none. Options and errors as of RangeLock.
func (ls *Lockspace) Flock(
	ctx context.Context, name string, owner RangeOwner, kind RangeKind, options ...Option,
) (token uint64, err error) {
	return ls.rangeLock(ctx, name, Range{Owner: owner, End: MaxOffset, Kind: kind}, rangeFlock, options...)
}

// TryFlock is Flock without waiting for others (LOCK_NB): ErrTryFailed if the file
// is not free, and the owner has no lock of it then if it had one of the other
// kind.
func (ls *Lockspace) TryFlock(ctx context.Context, name string, owner RangeOwner, kind RangeKind) (token uint64, err error) {
	return ls.rangeLock(ctx, name, Range{Owner: owner, End: MaxOffset, Kind: kind}, rangeFlock|noQueue)
}

// Funlock gives up what Flock has taken (LOCK_UN). Errors as of RangeUnlock.
func (ls *Lockspace) Funlock(ctx context.Context, name string, owner RangeOwner) error {
	return ls.rangeUnlock(ctx, name, Range{Owner: owner, End: MaxOffset}, rangeFlock)
}

// FlockTest is RangeTest for Flock.
func (ls *Lockspace) FlockTest(ctx context.Context, name string, owner RangeOwner, kind RangeKind) ([]RangeConflict, error) {
	return ls.rangeTest(ctx, name, Range{Owner: owner, End: MaxOffset, Kind: kind}, rangeFlock)
}

// rangeFlock makes a request one of flock's.
const rangeFlock = Flag(gulmv1.RangeFlag_RANGE_FLAG_FLOCK)

// wrapRange says which range an error is about.
func (ls *Lockspace) wrapRange(what, name string, r Range, err error) error {
	return fmt.Errorf("%s range %v of %q in lockspace %q: %w", what, r, name, ls.name, err)
}

// rangeMessage is a request about a range, or why there can be none.
func rangeMessage(op gulmv1.Op, name string, r Range, flags Flag) (*gulmv1.Request, error) {
	switch {
	case len(name) > maxName || name == "" && op != gulmv1.Op_OP_RANGE_CLOSE:
		return nil, gulmerr.New(ErrInvalid, "name has %d bytes, 1 to %d", len(name), maxName)
	case r.Start > r.End || r.End > MaxOffset:
		return nil, gulmerr.New(ErrInvalid, "a range has two offsets from 0 to %d, the first one first", uint64(MaxOffset))
	case r.Kind > RangeWrite:
		return nil, gulmerr.New(ErrInvalid, "%v is neither RangeRead nor RangeWrite", r.Kind)
	}
	m := &gulmv1.Request{
		Op: op, Name: []byte(name), Flags: uint32(flags), RangeOwner: uint64(r.Owner), RangeStart: r.Start, RangeEnd: r.End,
	}
	if op == gulmv1.Op_OP_RANGE_LOCK || op == gulmv1.Op_OP_RANGE_TEST {
		m.Mode = r.Kind.mode()
	}
	return m, nil
}

func (ls *Lockspace) rangeUnlock(ctx context.Context, name string, r Range, flags Flag) error {
	msg, err := rangeMessage(gulmv1.Op_OP_RANGE_UNLOCK, name, Range{Owner: r.Owner, Start: r.Start, End: r.End}, flags)
	if err == nil {
		_, err = ls.askRange(ctx, msg, gulmv1.Outcome_OUTCOME_UNLOCKED, nil)
	}
	if err != nil {
		return ls.wrapRange("unlock", name, r, err)
	}
	return nil
}

func (ls *Lockspace) rangeTest(ctx context.Context, name string, r Range, flags Flag) ([]RangeConflict, error) {
	var found []RangeConflict
	for {
		msg, err := rangeMessage(gulmv1.Op_OP_RANGE_TEST, name, r, flags)
		if err != nil {
			return nil, ls.wrapRange("test", name, r, err)
		}
		msg.RangeSkip = uint64(len(found))
		reply, err := ls.askRange(ctx, msg, gulmv1.Outcome_OUTCOME_GRANTED, nil)
		switch {
		case err == nil:
			return found, nil
		case reply.GetReason() != reasonTryFailed:
			return nil, ls.wrapRange("test", name, r, err)
		}
		for _, c := range reply.GetConflicts() {
			found = append(found, conflictFromWire(c))
		}
		if !reply.GetMore() {
			return found, nil
		}
	}
}

// reasonTryFailed answers a test of a range that is not free.
const reasonTryFailed = "TRY_FAILED"

func conflictFromWire(c *gulmv1.RangeConflict) RangeConflict {
	kind := RangeWrite
	if c.GetMode() == gulmv1.Mode_MODE_PR {
		kind = RangeRead
	}
	return RangeConflict{
		Range: Range{RangeOwner(c.GetOwner()), c.GetStart(), c.GetEnd(), kind}, Node: c.GetNode(), Session: c.GetSession(),
		Frozen: c.GetFrozen(), Waiting: c.GetWaiting(),
	}
}
