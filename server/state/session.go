package state

import (
	"cmp"
	"fmt"
	"slices"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
)

// numbers is what makes the requests of one session apply exactly once.
type numbers struct {
	session   uint64
	applied   uint64 // highest request applied
	confirmed uint64 // every reply up to here has arrived
	seen      uint64 // log index of the last command in which it took part
	kept      []kept // replies after confirmed, in order, without gaps
}

type kept struct {
	seq uint64
	lock.Reply
}

func (s *State) searchNumbers(session uint64) (int, bool) {
	return slices.BinarySearchFunc(s.numbers, session, func(n numbers, session uint64) int { return cmp.Compare(n.session, session) })
}

func (s *State) findNumbers(session uint64) *numbers {
	if i, ok := s.searchNumbers(session); ok {
		return &s.numbers[i]
	}
	return nil
}

func (s *State) openNumbers(session uint64) {
	if i, ok := s.searchNumbers(session); !ok {
		s.numbers = slices.Insert(s.numbers, i, numbers{session: session})
	}
}

func (s *State) closeNumbers(session uint64) {
	if i, ok := s.searchNumbers(session); ok {
		s.numbers = slices.Delete(s.numbers, i, i+1)
	}
}

// checkNumbers returns what is inconsistent among the request numbers.
func (s *State) checkNumbers() error {
	sessions := s.members.Sessions()
	if len(sessions) != len(s.numbers) {
		return fmt.Errorf("%d sessions have %d request numbers", len(sessions), len(s.numbers))
	}
	for i := range s.numbers {
		n := &s.numbers[i]
		if n.session != sessions[i].Number || n.seen > s.index || n.confirmed+uint64(len(n.kept)) != n.applied {
			return fmt.Errorf("session %d: %d applied, %d confirmed, %d kept, seen at %d of %d",
				n.session, n.applied, n.confirmed, len(n.kept), n.seen, s.index)
		}
		for j := range n.kept {
			if n.kept[j].seq != n.confirmed+uint64(j)+1 {
				return fmt.Errorf("session %d keeps reply %d at place %d after %d", n.session, n.kept[j].seq, j, n.confirmed)
			}
		}
	}
	return nil
}

// confirm forgets the replies up to seq.
func (n *numbers) confirm(seq uint64) {
	if seq <= n.confirmed || seq > n.applied {
		return
	}
	n.kept = n.kept[:copy(n.kept, n.kept[seq-n.confirmed:])]
	n.confirmed = seq
}

// again returns the reply that a request got when it was applied, and false if
// the session has confirmed it since and needs it no more.
func (n *numbers) again(seq uint64) (lock.Reply, bool) {
	if seq <= n.confirmed {
		return lock.Reply{}, false
	}
	return n.kept[seq-n.confirmed-1].Reply, true
}

func (s *State) applyBatch(index uint64, b *Batch) Result {
	count := 0
	for i := range b.Groups {
		count += len(b.Groups[i].Requests)
	}
	r := Result{Replies: make([]Reply, 0, count)}
	for i := range b.Groups {
		s.applyGroup(index, &b.Groups[i], &r)
	}
	return r
}

func (s *State) applyGroup(index uint64, g *Group, r *Result) {
	session, known := s.members.Session(g.Session)
	if !known || session.Frozen {
		why := reason.NoSession
		if known {
			why = reason.NodeExpired
		}
		for i := range g.Requests {
			r.add(g.Session, g.Requests[i].Seq, lock.Reply{Reason: why})
		}
		return
	}
	s.members.SawNode(session.Node, index)
	n := s.findNumbers(g.Session)
	n.seen = index
	n.confirm(g.Confirmed)
	for i := range g.Requests {
		s.applyRequest(n, &g.Requests[i], r)
	}
}

// applyRequest applies a request once. One that is not the next in line, or for
// whose reply there is no room, is refused with OutOfOrder and leaves no trace:
// the session sends it again.
func (s *State) applyRequest(n *numbers, req *Request, r *Result) {
	if req.Seq <= n.applied {
		if reply, ok := n.again(req.Seq); ok {
			r.add(n.session, req.Seq, reply)
		}
		return
	}
	if req.Seq != n.applied+1 || s.limits.InFlight > 0 && uint64(len(n.kept)) >= s.limits.InFlight {
		r.add(n.session, req.Seq, lock.Reply{Reason: reason.OutOfOrder})
		return
	}
	reply := s.request(lock.Session(n.session), req)
	n.applied = req.Seq
	n.kept = append(n.kept, kept{req.Seq, reply})
	r.add(n.session, req.Seq, reply)
}

func (s *State) request(session lock.Session, req *Request) lock.Reply {
	if why := s.mayAsk(session, req); why != reason.None {
		return lock.Reply{Reason: why}
	}
	switch req.Op {
	case OpLock:
		return s.locks.Lock(session, lock.LockRequest{
			ID: req.Lock, Lockspace: req.Lockspace, Name: req.Name, Mode: req.Mode, Flags: req.Flags,
			Terms: req.Terms,
		})
	case OpLockSet:
		return s.locks.LockSet(session, lock.SetRequest{
			ID: req.Lock, Lockspace: req.Lockspace, Flags: req.Flags, Terms: req.Terms, Entries: req.Entries,
		})
	case OpConvert:
		return s.locks.Convert(session, lock.ConvertRequest{
			ID: req.Lock, Mode: req.Mode, Flags: req.Flags, Value: req.Value, Terms: req.Terms,
		})
	case OpUnlock:
		return s.locks.Unlock(session, lock.UnlockRequest{ID: req.Lock, Flags: req.Flags, Value: req.Value})
	case OpCancel:
		return s.locks.Cancel(session, req.Lock)
	case OpJoin:
		return s.join(session, req)
	case OpLeave:
		if req.Flags&^LeaveForce != 0 {
			return lock.Reply{Reason: reason.Invalid}
		}
		return s.locks.Leave(session, req.Lockspace, req.Flags&LeaveForce != 0)
	case OpPurge:
		return s.purge(session, req)
	case OpMount, OpMounted, OpRecovered, OpUnmount, OpWithdraw:
		return s.journalRequest(session, req)
	case OpRangeLock, OpRangeUnlock, OpRangeTest, OpRangeClose:
		return s.rangeRequest(session, req)
	case OpGulm, OpGulmCancel, OpGulmQuery, OpGulmHold, OpGulmUnhold, OpGulmSync, OpGulmDrop, OpGulmWithdraw:
		return s.gulm(session, req)
	}
	return lock.Reply{Reason: reason.Invalid}
}

func (s *State) join(session lock.Session, req *Request) lock.Reply {
	if req.Flags&^(JoinExclusive|JoinExisting|JoinKeepValues) != 0 {
		return lock.Reply{Reason: reason.Invalid}
	}
	return s.locks.Join(session, lock.JoinRequest{
		Name: req.Name, Policy: req.Policy, ValueLen: req.ValueLen, Exclusive: req.Flags&JoinExclusive != 0,
		Lease: req.Lease, MinLease: s.leastLease(session),
		Existing: req.Flags&JoinExisting != 0, KeepValues: req.Flags&JoinKeepValues != 0,
	})
}

// purge releases orphans of the session's own node: those that the session with
// the number in req.Lock left, or all with 0. The reply counts them in Number.
func (s *State) purge(session lock.Session, req *Request) lock.Reply {
	from, _ := s.members.Session(uint64(session))
	node, _ := s.members.Node(from.Node)
	return lock.Reply{Outcome: lock.Unlocked, Number: uint32(s.locks.Purge(node.Number, lock.Session(req.Lock)))}
}

func (r *Result) add(session, seq uint64, reply lock.Reply) {
	r.Replies = append(r.Replies, Reply{session, seq, reply})
}
