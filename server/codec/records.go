package codec

import (
	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

func headerToLog(img *state.Image) *raftlogv1.Header {
	return &raftlogv1.Header{
		Format: snapshotFormat, Index: img.Index, Term: img.Term, Master: utf8(img.Master), Limits: limitsToLog(img.Limits),
		Digest: img.Digest, Sessions: img.LastSession, Tokens: img.Counters.Token, Locks: img.Counters.Order,
		Lockspaces: img.Counters.Lockspace, ServersLeft: img.Left, Breaker: breakerToLog(img.Breaker),
		RangeOrders: img.Counters.RangeOrder, Vanished: livesToLog(img.Vanished),
	}
}

func headerFromLog(h *raftlogv1.Header, img *state.Image) {
	img.Index, img.Term, img.Master, img.Limits = h.GetIndex(), h.GetTerm(), h.GetMaster(), limitsFromLog(h.GetLimits())
	img.Digest, img.LastSession, img.Left = h.GetDigest(), h.GetSessions(), h.GetServersLeft()
	img.Breaker, img.Vanished = breakerFromLog(h.GetBreaker()), livesFromLog(h.GetVanished())
	img.Counters = lock.Counters{
		Token: h.GetTokens(), Order: h.GetLocks(), Lockspace: h.GetLockspaces(), RangeOrder: h.GetRangeOrders(),
	}
}

func nodeToLog(n *member.Node) *raftlogv1.Node {
	return &raftlogv1.Node{
		Name: n.Name, State: uint32(n.State), Incarnation: n.Incarnation, BootId: n.BootID, SinceMs: n.Since, SeenIndex: n.Seen,
		Number: n.Number, Ledger: ledgerToLog(&n.Ledger),
	}
}

func nodeFromLog(n *raftlogv1.Node, ok *bool) member.Node {
	return member.Node{
		Name: n.GetName(), State: narrow[member.State](n.GetState(), ok), Incarnation: n.GetIncarnation(), BootID: n.GetBootId(),
		Since: n.GetSinceMs(), Seen: n.GetSeenIndex(), Number: n.GetNumber(),
		Ledger: ledgerFromLog(n.GetLedger(), ok),
	}
}

func fenceToLog(n *member.Node) *raftlogv1.Fence {
	f := &n.Fence
	if f.State == member.FenceNone {
		return nil
	}
	out := &raftlogv1.Fence{
		Node: n.Name, Incarnation: f.Incarnation, State: uint32(f.State), Reason: f.Reason, WantedMs: f.Wanted,
		SettledMs: f.Settled, Rounds: f.Rounds, By: f.By, Power: f.Power, Operator: f.Operator, Word: utf8(f.Word),
		Late: f.Late, Cut: f.Cut,
	}
	for _, a := range f.Attempts {
		out.Attempts = append(out.Attempts, attemptToLog(0, member.Life{}, a))
	}
	return out
}

func fenceFromLog(f *raftlogv1.Fence, n *member.Node, ok *bool) {
	n.Fence = member.Fence{
		Incarnation: f.GetIncarnation(), State: narrow[member.FenceState](f.GetState(), ok), Reason: f.GetReason(), Wanted: f.GetWantedMs(),
		Settled: f.GetSettledMs(), Rounds: f.GetRounds(), By: f.GetBy(),
		Power: f.GetPower(), Operator: f.GetOperator(), Word: f.GetWord(),
		Late: f.GetLate(), Cut: f.GetCut(),
	}
	for _, a := range f.GetAttempts() {
		n.Fence.Attempts = append(n.Fence.Attempts, attemptFromLog(a))
	}
}

func sessionToLog(s *state.SessionImage) *raftlogv1.Session {
	out := &raftlogv1.Session{
		Session: s.Number, Node: s.Node, Incarnation: s.Incarnation, LoginId: s.LoginID[:], Process: s.Process,
		Applied: s.Applied, Confirmed: s.Confirmed, Frozen: s.Frozen,
		ExpiryMs: s.Expiry, SeenIndex: s.Seen, Flags: uint32(s.Flags), WatchdogMs: s.Watchdog,
	}
	for _, k := range s.Kept {
		out.Replies = append(out.Replies, &raftlogv1.KeptReply{
			Seq: k.Seq, Outcome: uint32(k.Outcome), Reason: uint32(k.Reason), Mode: uint32(k.Mode), Token: k.Token, Number: k.Number,
			Status: uint32(k.Status), Value: k.Value, Conflicts: conflictsToLog(k.Conflicts), Holders: holdersToLog(k.Holders),
		})
	}
	return out
}

func sessionFromLog(s *raftlogv1.Session, ok *bool) state.SessionImage {
	out := state.SessionImage{
		Session: member.Session{
			Number: s.GetSession(), Node: s.GetNode(), Incarnation: s.GetIncarnation(), Process: s.GetProcess(), Frozen: s.GetFrozen(),
			Expiry: s.GetExpiryMs(), Flags: narrow[member.SessionFlags](s.GetFlags(), ok), Watchdog: s.GetWatchdogMs(),
		},
		Applied: s.GetApplied(), Confirmed: s.GetConfirmed(), Seen: s.GetSeenIndex(),
	}
	copy(out.LoginID[:], s.GetLoginId())
	*ok = *ok && len(s.GetLoginId()) == len(out.LoginID)
	for _, k := range s.GetReplies() {
		out.Kept = append(out.Kept, state.Reply{Session: s.GetSession(), Seq: k.GetSeq(), Reply: lock.Reply{
			Outcome: narrow[lock.Outcome](k.GetOutcome(), ok), Reason: narrow[reason.Reason](k.GetReason(), ok),
			Mode:  narrow[lock.Mode](k.GetMode(), ok),
			Token: k.GetToken(), Number: k.GetNumber(), Status: narrow[lock.Status](k.GetStatus(), ok), Value: k.GetValue(),
			Conflicts: conflictsFromLog(k.GetConflicts(), ok),
			Holders:   holdersFromLog(k.GetHolders(), ok),
		}})
	}
	return out
}

func spaceToLog(s *lock.SpaceState) *raftlogv1.Lockspace {
	out := &raftlogv1.Lockspace{
		Number: s.Number, Name: []byte(s.Name), Policy: uint32(s.Policy), ValueLen: uint32(s.ValueLen), KeepValues: s.KeepValues,
		Generation: s.Generation, Pinned: s.Pinned,
		LeaseMs: s.Lease,
	}
	for _, m := range s.Members {
		out.Members = append(out.Members, uint64(m))
	}
	return out
}

func spaceFromLog(s *raftlogv1.Lockspace, ok *bool) lock.SpaceState {
	out := lock.SpaceState{
		Number: s.GetNumber(), Name: string(s.GetName()), Policy: narrow[lock.Policy](s.GetPolicy(), ok),
		ValueLen: narrow[uint8](s.GetValueLen(), ok), KeepValues: s.GetKeepValues(), Generation: s.GetGeneration(), Pinned: s.GetPinned(),
		Lease: s.GetLeaseMs(),
	}
	for _, m := range s.GetMembers() {
		out.Members = append(out.Members, lock.Session(m))
	}
	return out
}

func ownerToLog(o *lock.OwnerState) *raftlogv1.Owner {
	out := &raftlogv1.Owner{Session: uint64(o.Session), Node: o.Node, Frozen: o.Frozen, Doubted: o.Doubted}
	for _, e := range o.Ended {
		out.Ended = append(out.Ended, endedToLog(e))
	}
	for i := range o.Sets {
		out.Sets = append(out.Sets, setToLog(&o.Sets[i]))
	}
	for _, d := range o.Told {
		out.Told = append(out.Told, &raftlogv1.Told{Lock: uint64(d.ID), Detail: utf8(d.Detail)})
	}
	return out
}

func ownerFromLog(o *raftlogv1.Owner, ok *bool) lock.OwnerState {
	out := lock.OwnerState{Session: lock.Session(o.GetSession()), Node: o.GetNode(), Frozen: o.GetFrozen(), Doubted: o.GetDoubted()}
	for _, e := range o.GetEnded() {
		out.Ended = append(out.Ended, endedFromLog(e, ok))
	}
	for _, s := range o.GetSets() {
		out.Sets = append(out.Sets, setFromLog(s, ok))
	}
	for _, d := range o.GetTold() {
		out.Told = append(out.Told, lock.ToldState{ID: lock.ID(d.GetLock()), Detail: d.GetDetail()})
	}
	return out
}

// narrow returns a number as one of the small types, and clears ok if it is
// beyond their range.
func narrow[T ~uint8](n uint32, ok *bool) T {
	*ok = *ok && n <= 0xff
	return T(n)
}

// breakerToLog returns nil for a breaker that was never used.
func breakerToLog(b state.Breaker) *raftlogv1.Breaker {
	if b == (state.Breaker{}) {
		return nil
	}
	return &raftlogv1.Breaker{
		Paused: b.Paused, Overridden: b.Overridden, Reason: utf8(b.Reason), Operator: utf8(b.Operator), SinceMs: b.Since, Trips: b.Trips,
		Resumes: b.Resumes,
	}
}

func breakerFromLog(b *raftlogv1.Breaker) state.Breaker {
	return state.Breaker{
		Paused: b.GetPaused(), Overridden: b.GetOverridden(), Reason: b.GetReason(), Operator: b.GetOperator(), Since: b.GetSinceMs(),
		Trips: b.GetTrips(), Resumes: b.GetResumes(),
	}
}

func livesToLog(lives []member.Life) []*raftlogv1.Life {
	var out []*raftlogv1.Life
	for _, l := range lives {
		out = append(out, &raftlogv1.Life{Node: utf8(l.Node), Incarnation: l.Incarnation})
	}
	return out
}

func livesFromLog(lives []*raftlogv1.Life) []member.Life {
	var out []member.Life
	for _, l := range lives {
		out = append(out, member.Life{Node: l.GetNode(), Incarnation: l.GetIncarnation()})
	}
	return out
}
