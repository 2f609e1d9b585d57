package state

import (
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// The operations of the GULM layer. Name is the key, Sub the sub-id, and Flags are
// lock.GulmFlags; with lock.GulmRange, Range has the part.
const (
	// OpGulm brings a holder into a state, Mode; Lock is the number of the lock
	// that this may make.
	OpGulm Op = iota + 16
	OpGulmCancel
	OpGulmQuery
	OpGulmHold
	OpGulmUnhold
	OpGulmSync
	// OpGulmDrop releases the remains of the node Node, or of all that are fenced
	// with none, on keys that match the mask Name.
	OpGulmDrop
	// OpGulmWithdraw makes what the session has on keys that match the mask Name
	// remains; without a mask it leaves the lockspace as well.
	OpGulmWithdraw
)

// gulm carries out a request of the GULM layer.
func (s *State) gulm(session lock.Session, req *Request) lock.Reply {
	part := Range{Start: req.Range.Start, End: req.Range.End}
	if req.Range != part || part != (Range{}) && (req.Op == OpGulmDrop || req.Op == OpGulmWithdraw) {
		return lock.Reply{Reason: reason.Invalid}
	}
	g := lock.GulmRequest{
		ID: req.Lock, Lockspace: req.Lockspace, Key: req.Name, Sub: req.Sub, Mode: req.Mode, Flags: lock.GulmFlags(req.Flags),
		Value: req.Value, Start: part.Start, End: part.End,
	}
	switch req.Op {
	case OpGulm:
		if g.Flags&lock.GulmNoExp != 0 && !s.mayRecover(session, req.Lockspace) {
			return lock.Reply{Reason: reason.NotRecovering}
		}
		return s.locks.Gulm(session, g)
	case OpGulmCancel:
		return s.locks.GulmCancel(session, g)
	case OpGulmQuery:
		return s.locks.GulmQuery(session, g)
	case OpGulmHold:
		return s.locks.GulmHold(session, g)
	case OpGulmUnhold:
		return s.locks.GulmUnhold(session, g)
	case OpGulmSync:
		return s.locks.GulmSync(session, g)
	case OpGulmDrop:
		return s.gulmDrop(session, req)
	case OpGulmWithdraw:
		return s.gulmWithdraw(session, req)
	}
	return lock.Reply{Reason: reason.Invalid}
}

// mayRecover reports whether a session may pass remains in a lockspace: with
// journals, if it replays one there; without, as everybody may.
func (s *State) mayRecover(session lock.Session, lockspace uint32) bool {
	_, journals := s.journals.Space(lockspace)
	return !journals || s.journals.MayPass(lockspace, uint64(session))
}

// stepHolders condenses the answer to a query.
func stepHolders(h *lock.GulmHolders, step func(uint64)) {
	if h == nil {
		return
	}
	for i := range h.List {
		x := &h.List[i]
		step(uint64(x.Session)<<32 ^ uint64(x.Node)<<8 ^ uint64(x.Mode))
		step(x.Sub)
		step(x.Start)
		step(x.End)
	}
}

// gulmDrop releases remains and counts them in Number. Those of a node whose fence
// is not proved stay, as do those in a lockspace with journals, which go with the
// recovery of these.
func (s *State) gulmDrop(session lock.Session, req *Request) lock.Reply {
	switch _, journals := s.journals.Space(req.Lockspace); {
	case !s.locks.Joined(req.Lockspace, session):
		return lock.Reply{Reason: reason.NoLockspace}
	case journals:
		return lock.Reply{Reason: reason.NotRecovering}
	case req.Flags != 0 || len(req.Name) > lock.MaxName:
		return lock.Reply{Reason: reason.Invalid}
	}
	reply := lock.Reply{Outcome: lock.Unlocked}
	if len(req.Node) == 0 {
		for _, n := range s.members.Nodes() {
			reply.Number += uint32(s.locks.ReleaseIn(lock.RemainsOf(n.Number), req.Lockspace, req.Name, 0))
		}
		return reply
	}
	n, known := s.members.Node(string(req.Node))
	switch {
	case !known:
		return lock.Reply{Reason: reason.UnknownNode}
	case n.State == member.Expired:
		return lock.Reply{Reason: reason.NotFenced}
	}
	reply.Number = uint32(s.locks.ReleaseIn(lock.RemainsOf(n.Number), req.Lockspace, req.Name, 0))
	return reply
}

// gulmWithdraw counts in Number what became remains. What is under a journal can
// only be given up as a whole, with the mount.
func (s *State) gulmWithdraw(session lock.Session, req *Request) lock.Reply {
	_, journals := s.journals.Space(req.Lockspace)
	switch {
	case !s.locks.Joined(req.Lockspace, session):
		return lock.Reply{Reason: reason.NoLockspace}
	case req.Flags != 0 || len(req.Name) > lock.MaxName:
		return lock.Reply{Reason: reason.Invalid}
	case journals && len(req.Name) > 0:
		return lock.Reply{Reason: reason.InUse}
	case journals:
		reply := s.withdraw(session, req.Lockspace)
		s.pin(req.Lockspace)
		return reply
	}
	reply := lock.Reply{Outcome: lock.Unlocked}
	reply.Number = uint32(s.locks.FreezeIn(session, req.Lockspace, req.Name))
	if len(req.Name) == 0 {
		s.locks.Leave(session, req.Lockspace, true)
	}
	return reply
}
