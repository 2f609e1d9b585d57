package client

import (
	"context"
	"fmt"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// Part is a part of a key, from its first to its last offset, 0 to MaxOffset: bytes
// of the file that the key is for. A holder may have several, and what it is granted
// replaces what it had there, in one step: parts are split and joined.
//
// A key is used as a whole, by State, or in parts, as long as anybody has or waits
// for either. Parts of a key that is used as a whole are refused with
// gulmerr.ErrInUse; State on a key that is used in parts is for 0 to MaxOffset.
type Part struct{ Start, End uint64 }

// StatePart brings a part of a key into a state for a holder, Exclusive (to write) or
// Shared (to read), and waits for it as long as ctx allows. It returns the token of
// the grant. There is no Deferred for parts: with GulmAny it is Shared, without
// ErrInvalid. GulmTry and GulmNoExp are as for State; other flags change nothing, and
// nobody who has a part is asked to give way.
//
// Errors leave the holder as it was: ErrTryFailed; ErrDeadlock; ErrBusy while another
// call of the holder waits for a part of the key; gulmerr.ErrInUse; ErrLimit;
// ErrInvalid; gulmerr.ErrNotRecovering; gulmerr.ErrCanceled if the key was withdrawn;
// and as Lockspace.RangeLock, also for what the end of ctx does.
func (g *Gulm) StatePart(ctx context.Context, key string, sub uint64, p Part, state Mode, flags ...GulmFlag) (token uint64, err error) {
	all := gulmPart
	for _, f := range flags {
		all |= f
	}
	if state == NL {
		return 0, g.wrapPart("lock", key, p, gulmerr.New(ErrInvalid, "%v is no state to be had", state))
	}
	msg, err := p.message(gulmv1.Op_OP_GULM, key, sub, state, all)
	var c *rangeCall
	if err == nil {
		c, err = g.space.startRange(ctx, key, msg)
	}
	if err == nil {
		err = c.await(ctx)
	}
	if err != nil {
		return 0, g.wrapPart("lock", key, p, err)
	}
	return c.token, nil
}

// UnlockPart gives up whatever a holder has of a part, in whatever state; it is no
// error if that is nothing. Errors: gulmerr.ErrInUse if it has the whole key by
// State; and as Lockspace.RangeUnlock.
func (g *Gulm) UnlockPart(ctx context.Context, key string, sub uint64, p Part) error {
	msg, err := p.message(gulmv1.Op_OP_GULM, key, sub, NL, gulmPart)
	if err == nil {
		_, err = g.space.askRange(ctx, msg, gulmv1.Outcome_OUTCOME_UNLOCKED, nil)
	}
	if err != nil {
		return g.wrapPart("unlock", key, p, err)
	}
	return nil
}

// QueryPart is Query for a part: who else has what there that conflicts with a state,
// by start and holder.
func (g *Gulm) QueryPart(ctx context.Context, key string, sub uint64, p Part, state Mode) (found []GulmHolder, more bool, err error) {
	msg, err := p.message(gulmv1.Op_OP_GULM_QUERY, key, sub, state, gulmPart)
	if err != nil {
		return nil, false, g.wrapPart("query", key, p, err)
	}
	return g.query(ctx, msg)
}

// gulmPart says that a request is about a part.
const gulmPart = GulmFlag(gulmv1.GulmFlag_GULM_FLAG_RANGE)

// message is a request about a part, or why there can be none.
func (p Part) message(op gulmv1.Op, key string, sub uint64, state Mode, flags GulmFlag) (*gulmv1.Request, error) {
	kind := RangeWrite
	if state == PR {
		kind = RangeRead
	}
	msg, err := rangeMessage(op, key, Range{Start: p.Start, End: p.End, Kind: kind}, Flag(flags))
	if err != nil {
		return nil, err
	}
	msg.Sub, msg.Mode = sub, gulmv1.Mode(state)
	return msg, nil
}

// wrapPart says which part an error is about.
func (g *Gulm) wrapPart(what, key string, p Part, err error) error {
	return fmt.Errorf("%s %d-%d of %q in lockspace %q: %w", what, p.Start, p.End, key, g.space.name, err)
}
