package state

import (
	"slices"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// Apply carries out the command at a log index, which only grows; stamp is the
// master's clock in unix milliseconds when it proposed, kept for display. The
// caller owns the result; nothing of the command is kept.
func (s *State) Apply(index uint64, stamp int64, c Command) Result {
	s.index = index
	s.locks.Begin(index, stamp)
	s.journals.Begin(index, stamp)
	result := s.apply(index, stamp, c)
	result.Events = s.locks.TakeEvents()
	result.Journals = s.journals.TakeEvents()
	result.Notes = s.notes()
	result.Watched = s.locks.Watched() > 0
	s.digest = s.digest*0x9e3779b97f4a7c15 + result.sum(index) ^ s.totals()
	if invariants {
		s.mustHold(c)
	}
	return result
}

func (s *State) apply(index uint64, stamp int64, c Command) Result {
	switch c := c.(type) {
	case *Batch:
		return s.applyBatch(index, c)
	case BeginTerm:
		return s.beginTerm(c)
	case Login:
		return s.login(c, index, stamp)
	case Logout:
		return s.logout(c, stamp)
	case Expire:
		return s.expire(c, index, stamp)
	case FenceBegin:
		if s.fencePaused(c.Node) {
			return Result{Reason: reason.Paused}
		}
		return s.ledger(c.Term, c.Node, func() reason.Reason { return s.members.BeginFence(c.Life) })
	case FenceAttempted:
		return s.ledger(c.Term, c.Node, func() reason.Reason { return s.members.NoteAttempt(c.Life, c.Attempt) })
	case FenceStarted, FenceSeen, FenceReleased, FenceManual:
		return s.applyLedger(c)
	case FenceProved:
		result := s.settleFence(c.Term, c.Life, member.FenceProved, c.By, stamp)
		if result.Reason == reason.None && c.Power {
			s.members.NotePower(c.Life)
		}
		return result
	case FenceAcknowledged:
		return s.acknowledge(c, stamp)
	case LeaseEnded:
		return s.leaseEnded(c, stamp)
	case ServerLeft:
		if i, ok := slices.BinarySearch(s.left, c.Server); !ok {
			s.left = slices.Insert(s.left, i, c.Server)
		}
		return s.dropServer(c.Server, stamp)
	case Deny:
		return s.deny(c)
	case ServerEntered:
		return s.serverEntered(c, index, stamp)
	case EndSession:
		return s.endSession(c, stamp)
	case PauseFencing:
		return s.pauseFencing(c, stamp)
	case ResumeFencing:
		return s.resumeFencing(c, stamp)
	case ForgetVanished:
		return s.forgetVanished(c)
	case Check:
		return Result{}
	}
	return Result{Reason: reason.Invalid}
}

func (s *State) beginTerm(c BeginTerm) Result {
	// A master that lost its way begins its own term again.
	if c.Term < s.term || c.Term == s.term && c.Server != s.master {
		return Result{Reason: reason.StaleTerm}
	}
	s.term, s.master, s.limits = c.Term, c.Server, c.Limits
	s.locks.SetLimits(lock.Limits{Locks: c.Limits.Locks, Resources: c.Limits.Resources, Lockspaces: c.Limits.Lockspaces})
	s.enter(c.Server)
	return Result{}
}

// enter forgets that a server logged out.
func (s *State) enter(server string) {
	if i, ok := slices.BinarySearch(s.left, server); ok {
		s.left = slices.Delete(s.left, i, i+1)
	}
}

func (s *State) login(c Login, index uint64, stamp int64) Result {
	result := s.reboot(c.LoginRequest, index, stamp)
	limit := s.limits.Sessions
	if c.Flags.Has(member.Server) {
		limit = 0
	}
	session, why := s.members.Login(c.LoginRequest, index, stamp, limit)
	if why != reason.None {
		result.Reason = why
		return result
	}
	node, _ := s.members.Node(session.Node)
	s.locks.Open(lock.Session(session.Number), node.Number)
	s.openNumbers(session.Number)
	s.findNumbers(session.Number).seen = index
	result.Login, result.Node = session, session.Node
	return result
}

func (s *State) logout(c Logout, stamp int64) Result {
	session, _ := s.members.Session(c.Session)
	if why := s.members.Logout(c.Session, stamp); why != reason.None {
		return Result{Reason: why}
	}
	s.abandonAll(lock.Session(c.Session))
	s.locks.Close(lock.Session(c.Session))
	s.closeNumbers(c.Session)
	return Result{Node: session.Node, Ended: []uint64{c.Session}}
}

func (s *State) expire(c Expire, index uint64, stamp int64) Result {
	if c.Term != s.term {
		return Result{Reason: reason.StaleTerm}
	}
	if s.breaker.Paused && c.Operator == "" && !s.Unfenced(c.Node) {
		return Result{Reason: reason.Paused}
	}
	seen := c.Seen
	if c.Session != 0 {
		// Other sessions of the node may be as busy as they like.
		if n := s.findNumbers(c.Session); n == nil || n.seen > seen {
			return Result{Reason: reason.Alive}
		}
		seen = index
	}
	frozen, why := s.members.Expire(c.Life, seen, c.Reason, stamp)
	if why != reason.None {
		return Result{Reason: why}
	}
	s.members.NoteOperator(c.Life, c.Operator)
	if c.Operator == "" {
		s.vanish(c.Life)
	}
	for _, session := range frozen {
		s.locks.Freeze(lock.Session(session))
	}
	s.locks.Freeze(s.orphans(c.Node))
	s.locks.DoubtRemains(s.nodeNumber(c.Node))
	s.journals.Expire(journal.Life(c.Life))
	return Result{Node: c.Node, Ended: frozen}
}

// ledger runs a change of the fence ledger that is valid in its own term only.
func (s *State) ledger(term uint64, node string, change func() reason.Reason) Result {
	if term != s.term {
		return Result{Reason: reason.StaleTerm}
	}
	if why := change(); why != reason.None {
		return Result{Reason: why}
	}
	return Result{Node: node}
}

func (s *State) settleFence(term uint64, l member.Life, as member.FenceState, by string, stamp int64) Result {
	if term != s.term {
		return Result{Reason: reason.StaleTerm}
	}
	ended, why := s.members.SettleFence(l, as, by, stamp)
	if why != reason.None {
		return Result{Reason: why}
	}
	s.settleLocks(journal.Life(l), ended, as == member.FenceAcknowledged)
	for _, session := range ended {
		s.closeNumbers(session)
	}
	return Result{Node: l.Node, Ended: ended}
}

// orphans returns the owner of a node's orphans in the lock table.
func (s *State) orphans(name string) lock.Session { return lock.OrphansOf(s.nodeNumber(name)) }

// nodeNumber returns the number of a known node.
func (s *State) nodeNumber(name string) uint32 {
	n, _ := s.members.Node(name)
	return n.Number
}

// sum condenses what a command brought about, for the running digest.
func (r *Result) sum(index uint64) uint64 {
	h := index*0x9e3779b97f4a7c15 ^ uint64(r.Reason)<<56 ^ r.Login.Number<<24 ^ uint64(len(r.Ended))<<48
	step := func(n uint64) { h = (h ^ n) * 0xff51afd7ed558ccd; h ^= h >> 33 }
	stepBytes := func(b []byte) {
		for _, c := range b {
			step(uint64(c))
		}
	}
	for i := range r.Node {
		step(uint64(r.Node[i]))
	}
	for i := range r.Replies {
		p := &r.Replies[i]
		step(p.Session<<32 ^ p.Seq)
		step(p.Token<<24 ^ uint64(p.Number)<<20 ^ uint64(p.Outcome)<<16 ^ uint64(p.Reason)<<8 ^ uint64(p.Mode) ^ uint64(p.Status)<<56)
		stepBytes(p.Value)
		if p.Conflicts != nil {
			for _, c := range p.Conflicts.List {
				step(uint64(c.Owner.Session) ^ c.Owner.Number<<20 ^ uint64(c.Kind)<<63)
				step(c.Start)
				step(c.End)
			}
		}
		stepHolders(p.Holders, step)
	}
	for i := range r.Events {
		e := &r.Events[i]
		step(uint64(e.Session)<<32 ^ uint64(e.Lock))
		step(e.Token<<16 ^ uint64(e.Kind)<<8 ^ uint64(e.Mode) ^ uint64(e.Status)<<56 ^ uint64(e.Reason)<<48)
		stepBytes(e.Value)
		for at := range e.Detail {
			step(uint64(e.Detail[at]))
		}
	}
	for i := range r.Journals {
		e := &r.Journals[i]
		step(e.Session<<32 ^ uint64(e.Kind)<<24 ^ uint64(e.JID))
		step(uint64(e.Lockspace)<<32 ^ e.Life.Incarnation)
	}
	return h
}
