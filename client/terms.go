package client

import (
	"math"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// Option changes how a lock or a conversion is asked for: a Flag, WithOwner or
// WithTimeout.
type Option interface{ ask(*terms) }

// terms is all that options say.
type terms struct {
	flags   Flag
	owner   uint64
	timeout time.Duration
	timed   bool
}

func (f Flag) ask(t *terms) { t.flags |= f }

type ownerOption uint64

func (o ownerOption) ask(t *terms) { t.owner = uint64(o) }

// WithOwner says who within the process asks: a number of its choice for a thread,
// a task or a transaction, not 0 (the DLM's xid). The locks of one owner are given
// up only after all that it waits for has an answer, so owners that wait for each
// other in a circle never go on: the youngest request of the circle fails with
// ErrDeadlock, whose text spells the circle out, unless it has NoVictim. Without
// owners no such circle is seen. A conversion without it leaves the lock with the
// owner that it has.
func WithOwner(number uint64) Option { return ownerOption(number) }

type timeoutOption time.Duration

func (d timeoutOption) ask(t *terms) { t.timeout, t.timed = time.Duration(d), true }

// WithTimeout ends a request that still waits after so long with ErrTimedOut; a
// conversion then leaves the lock as it is. d is 1 ms to about 49 days. The servers
// measure it, from when the request was queued; after a change of the master it
// begins anew. To give up by this process' own clock use a context.
func WithTimeout(d time.Duration) Option { return timeoutOption(d) }

func gather(options []Option) terms {
	var t terms
	for _, o := range options {
		o.ask(&t)
	}
	return t
}

func (t terms) with(flags Flag) terms {
	t.flags |= flags
	return t
}

// write puts the terms into a request.
func (t terms) write(msg *gulmv1.Request) error {
	if t.flags&Flag(gulmv1.Flag_FLAG_TIMEOUT) != 0 {
		return gulmerr.New(ErrInvalid, "the flag TIMEOUT goes with a time: use WithTimeout")
	}
	msg.Flags, msg.Owner = uint32(t.flags), t.owner
	if t.timed {
		ms := t.timeout.Milliseconds()
		if ms < 1 || ms > math.MaxUint32 {
			return gulmerr.New(ErrInvalid, "a time-out of %v, 1 ms to about 49 days", t.timeout)
		}
		msg.Flags |= uint32(gulmv1.Flag_FLAG_TIMEOUT)
		msg.TimeoutMs = uint32(ms)
	}
	return nil
}

// writeRange puts the terms into a request for a range, whose flags and owner stand
// there already.
func (t terms) writeRange(msg *gulmv1.Request) error {
	if t.flags&^NoVictim != 0 || t.owner != 0 {
		return gulmerr.New(ErrInvalid, "a range is asked for with WithTimeout and NoVictim only; its owner is in the range")
	}
	flags := msg.GetFlags()
	if err := t.write(msg); err != nil {
		return err
	}
	msg.Flags |= flags
	return nil
}

// denial is the error of a DENIED event, with what the servers say about it.
func denial(e *gulmv1.Event) error {
	err := gulmerr.FromReason(e.GetReason())
	if e.GetDetail() == "" {
		return err
	}
	return gulmerr.New(err, "%v: %s", err, e.GetDetail())
}
