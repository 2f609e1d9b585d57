package state

import (
	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
)

// rangeRequest carries out a request for byte ranges.
func (s *State) rangeRequest(session lock.Session, req *Request) lock.Reply {
	r := lock.RangeRequest{
		ID: req.Lock, Lockspace: req.Lockspace, Name: req.Name, Owner: req.Range.Owner, Start: req.Range.Start, End: req.Range.End,
		Flags: req.Flags, Skip: req.Range.Skip, Timeout: req.Timeout,
	}
	switch {
	case req.Op == OpRangeUnlock && req.Mode == lock.NL:
		return s.locks.RangeUnlock(session, r)
	case req.Op == OpRangeClose && req.Mode == lock.NL:
		return s.locks.RangeClose(session, r)
	case req.Mode == lock.EX:
		r.Kind = lock.RangeWrite
	case req.Mode != lock.PR:
		return lock.Reply{Reason: reason.Invalid}
	}
	switch req.Op {
	case OpRangeLock:
		return s.locks.RangeLock(session, r)
	case OpRangeTest:
		return s.locks.RangeTest(session, r)
	default:
		return lock.Reply{Reason: reason.Invalid}
	}
}
