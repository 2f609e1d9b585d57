package state

import (
	"fmt"
	"slices"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// MountSpectator is the flag of OpMount for a mount without a journal.
const MountSpectator lock.Flags = 1

// Journals returns the mounts and journals, for reading only.
func (s *State) Journals() *journal.Ledger { return &s.journals }

// Note is a step of a mount or a journal with its lockspace's name.
type Note struct {
	journal.Note
	Space string
}

func (s *State) notes() []Note {
	var notes []Note
	for _, n := range s.journals.TakeNotes() {
		notes = append(notes, Note{n, s.locks.SpaceName(n.Lockspace)})
	}
	return notes
}

// journalRequest carries out a request about a mount.
func (s *State) journalRequest(session lock.Session, req *Request) lock.Reply {
	var reply lock.Reply
	switch req.Op {
	case OpMount:
		reply = s.mount(session, req)
	case OpMounted:
		left, why := s.journals.Done(req.Lockspace, uint64(session))
		s.release(req.Lockspace, left)
		if reply = noted(why); why == reason.None {
			s.releaseAll(req.Lockspace)
			s.trimLate(req.Lockspace)
		}
	case OpRecovered:
		left, why := s.journals.Recovered(req.Lockspace, uint64(session), int(req.JID), string(req.Value))
		s.release(req.Lockspace, left)
		s.trimLate(req.Lockspace)
		reply = noted(why)
	case OpUnmount:
		reply = noted(s.journals.Unmount(req.Lockspace, uint64(session)))
	default:
		reply = s.withdraw(session, req.Lockspace)
	}
	if reply.Outcome == lock.Noted && !s.journals.MayPass(req.Lockspace, uint64(session)) {
		s.locks.EndRecovery(session, req.Lockspace, reason.NotRecovering)
	}
	s.pin(req.Lockspace)
	return reply
}

// noted is the answer to what needs no other than that it is done.
func noted(why reason.Reason) lock.Reply {
	if why != reason.None {
		return lock.Reply{Reason: why}
	}
	return lock.Reply{Outcome: lock.Noted}
}

func (s *State) mount(session lock.Session, req *Request) lock.Reply {
	who, _ := s.members.Session(uint64(session))
	switch {
	case req.Flags&^MountSpectator != 0 || req.Journals > journal.MaxJournals:
		return lock.Reply{Reason: reason.Invalid}
	case !s.locks.Joined(req.Lockspace, session):
		return lock.Reply{Reason: reason.NoLockspace}
	case s.locks.PolicyOf(req.Lockspace) == lock.PolicyLease:
		return lock.Reply{Reason: reason.NoProof}
	}
	_, journals := s.journals.Space(req.Lockspace)
	m, why := s.journals.Mount(journal.MountRequest{
		Lockspace: req.Lockspace, Session: uint64(session), Life: journal.Life{Node: who.Node, Incarnation: who.Incarnation},
		Spectator: req.Flags&MountSpectator != 0, Journals: int(req.Journals),
	})
	switch {
	case why != reason.None:
		return lock.Reply{Reason: why}
	case !journals:
		s.endRecoveries(req.Lockspace)
	}
	if m.State == journal.Waiting {
		return lock.Reply{Outcome: lock.Queued}
	}
	reply := lock.Reply{Outcome: lock.Mounted, Number: uint32(max(m.JID, 0))}
	if m.State == journal.First {
		reply.Status = lock.FirstMounter
	}
	return reply
}

// endRecoveries is for a lockspace that has journals from now on: whoever asked to
// pass remains there, as everybody may without journals, may not any more.
func (s *State) endRecoveries(lockspace uint32) {
	for _, session := range s.locks.Members(lockspace) {
		if !s.journals.MayPass(lockspace, uint64(session)) {
			s.locks.EndRecovery(session, lockspace, reason.NotRecovering)
		}
	}
}

// withdraw gives a lockspace up as if the session's node had died there only: it
// has promised to write no more, so no fence is needed. What it holds under a
// journal stays frozen until that is replayed; all else is released.
func (s *State) withdraw(session lock.Session, lockspace uint32) lock.Reply {
	if why := s.abandon(session, lockspace); why != reason.None {
		return lock.Reply{Reason: why}
	}
	s.locks.Leave(session, lockspace, true)
	return lock.Reply{Outcome: lock.Noted}
}

// abandon ends a session's mount, its journal dirty if it has one.
func (s *State) abandon(session lock.Session, lockspace uint32) reason.Reason {
	left := 0
	if s.journals.Holds(lockspace, uint64(session)) {
		left = s.locks.FreezeIn(session, lockspace, nil)
	}
	return s.journals.Abandon(lockspace, uint64(session), left > 0)
}

// abandonAll is for a session that logs out, or whose process has ended: that its
// journals are clean is nowhere said.
func (s *State) abandonAll(session lock.Session) {
	for _, lockspace := range s.journals.MountsOf(uint64(session)) {
		s.abandon(session, lockspace)
		s.pin(lockspace)
	}
}

// release releases what waited for a recovery, in one step.
func (s *State) release(lockspace uint32, left []journal.Remains) {
	var remains []lock.Remains
	for _, r := range left {
		node := s.nodeNumber(r.Life.Node)
		for _, session := range r.Sessions {
			remains = append(remains, lock.Remains{Node: node, From: lock.Session(session)})
		}
	}
	s.locks.ReleaseRemains(lockspace, remains)
	s.pin(lockspace)
}

// releaseAll releases the remains that are left once every journal is replayed:
// they were there before the lockspace had journals. Those in doubt go with the
// fence of their node, and those that wait for a word with that.
func (s *State) releaseAll(lockspace uint32) {
	for _, n := range s.members.Nodes() {
		life := journal.Life{Node: n.Name, Incarnation: n.Incarnation}
		if n.State == member.Expired {
			s.journals.Later(lockspace, life, s.locks.LeftIn(lock.RemainsOf(n.Number), lockspace), false)
		}
		life.Incarnation = n.Fence.Incarnation
		s.journals.Later(lockspace, life, s.locks.LeftIn(lock.AwaitGivenOf(n.Number), lockspace), true)
		if n.State == member.Expired {
			continue
		}
		s.locks.ReleaseIn(lock.RemainsOf(n.Number), lockspace, nil, 0)
	}
}

// trimLate forgets late remains of which there is nothing in the lock table.
func (s *State) trimLate(lockspace uint32) {
	if !s.journals.HasLate(lockspace) {
		return
	}
	left := map[string][]uint64{}
	s.journals.Trim(lockspace, func(node string, session uint64) bool {
		sessions, known := left[node]
		if !known {
			number := s.nodeNumber(node)
			sessions = slices.Concat(s.locks.LeftIn(lock.RemainsOf(number), lockspace), s.locks.LeftIn(lock.AwaitOf(number), lockspace),
				s.locks.LeftIn(lock.AwaitGivenOf(number), lockspace))
			left[node] = sessions
		}
		return slices.Contains(sessions, session)
	})
}

// pin keeps the lockspaces that have journals.
func (s *State) pin(lockspace uint32) {
	_, has := s.journals.Space(lockspace)
	s.locks.Pin(lockspace, has)
}

// settleLocks releases the locks of a life whose fence is proved, but for those
// in lockspaces where it had a journal: these stay until it is recovered. Without
// an operator's word what it has in lockspaces of PolicyManual waits for that, and
// so does what it gave up there before.
func (s *State) settleLocks(life journal.Life, ended []uint64, word bool) {
	number := s.nodeNumber(life.Node)
	var await []uint32
	if !word {
		await = s.locks.SpacesOf(lock.PolicyManual)
	}
	s.locks.TrustRemains(number, await)
	for _, r := range s.journals.Trust(life.Node, await) {
		s.release(r.Lockspace, r.Left)
	}
	held := s.journals.HeldBy(life)
	orphans := lock.OrphansOf(number)
	for _, lockspace := range held {
		// Orphans go with this journal, whatever else those left who made them.
		keeper := s.journals.Keeper(lockspace, life)
		s.locks.Entrust(orphans, lockspace, lock.Session(keeper))
		left := s.leaving(ended, lockspace)
		if s.locks.HasIn(orphans, lockspace) && !slices.Contains(left, keeper) {
			left = append(left, keeper)
		}
		s.journals.Settle(lockspace, life, left, slices.Contains(await, lockspace))
	}
	for _, lockspace := range s.journals.MountedBy(life) { // without a journal
		s.journals.Settle(lockspace, life, nil, false)
		s.pin(lockspace)
	}
	for _, session := range ended {
		s.locks.Part(lock.Session(session), held, await)
	}
	s.locks.Part(orphans, held, await)
	if word {
		s.concede(life.Node)
	}
}

// leaving returns those of some sessions that have anything in a lockspace.
func (s *State) leaving(sessions []uint64, lockspace uint32) []uint64 {
	var out []uint64
	for _, session := range sessions {
		if s.locks.HasIn(lock.Session(session), lockspace) {
			out = append(out, session)
		}
	}
	return out
}

// mayAsk refuses what a mount forbids, or its lack.
func (s *State) mayAsk(session lock.Session, req *Request) reason.Reason {
	switch req.Op {
	case OpLeave:
		if sp, has := s.journals.Space(req.Lockspace); has {
			if _, mounts := sp.Mount(uint64(session)); mounts {
				return reason.InUse
			}
		}
		return reason.None
	case OpJoin, OpPurge:
		return reason.None
	}
	if req.Flags&lock.Recovery == 0 {
		return reason.None
	}
	// Whatever the request names, its lockspace or a lock, must be under recovery.
	named := [2]uint32{req.Lockspace, s.locks.SpaceOf(session, req.Lock)}
	for _, lockspace := range named {
		if lockspace != 0 && !s.journals.MayPass(lockspace, uint64(session)) {
			return reason.NotRecovering
		}
	}
	return reason.None
}

// checkJournals holds the mounts and journals against the members and the lock
// table.
func (s *State) checkJournals() error {
	for _, sp := range s.locks.Spaces() {
		if _, has := s.journals.Space(sp.Number); has != sp.Pinned {
			return fmt.Errorf("lockspace %q has journals: %v, pinned: %v", sp.Name, has, sp.Pinned)
		}
	}
	for _, p := range s.journals.Spaces() {
		if !s.locks.Known(p.Lockspace) {
			return fmt.Errorf("lockspace %d has journals and does not exist", p.Lockspace)
		}
		for i := range p.Mounts {
			m := &p.Mounts[i]
			who, known := s.members.Session(m.Session)
			if !known || who.Node != m.Life.Node || who.Incarnation != m.Life.Incarnation || who.Frozen != m.Dead ||
				!s.locks.Joined(p.Lockspace, lock.Session(m.Session)) {
				return fmt.Errorf("lockspace %d is mounted by session %d, which cannot be: %+v", p.Lockspace, m.Session, *m)
			}
		}
		left := p.Late
		for i := range p.Journals {
			left = slices.Concat(left, p.Journals[i].Left)
			if _, known := s.members.Node(p.Journals[i].Awaits); !known && p.Journals[i].Awaits != "" {
				return fmt.Errorf("lockspace %d waits for a word about node %q, which is unknown", p.Lockspace, p.Journals[i].Awaits)
			}
		}
		for _, r := range left {
			if n, known := s.members.Node(r.Life.Node); !known || r.Doubted != (n.State == member.Expired) || r.Life.Incarnation > n.Incarnation {
				return fmt.Errorf("lockspace %d has remains of %v, which cannot be", p.Lockspace, r.Life)
			}
		}
	}
	return nil
}
