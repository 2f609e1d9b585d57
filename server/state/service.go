package state

import (
	"fmt"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// EndSession ends a session whose silence does not fail its node: it is not
// important, and has nothing that would need a fence.
type EndSession struct {
	Term    uint64
	Session uint64
	// Seen is the log index of its newest sign of life that the master knew of.
	Seen uint64
	// Silent is for how long it was silent, milliseconds, for display.
	Silent int64
}

// PauseFencing stops automatic expiry and fencing: because too many nodes
// vanished at once, or, with an Operator, because somebody wants it.
type PauseFencing struct {
	Term             uint64
	Reason, Operator string
}

// ResumeFencing ends a pause. Without an Operator the nodes are back, and the
// breaker is ready again; with one it stays out of the way until they are.
type ResumeFencing struct {
	Term             uint64
	Operator, Reason string
}

func (EndSession) command()    {}
func (PauseFencing) command()  {}
func (ResumeFencing) command() {}

// Breaker is whether automatic expiry and fencing are paused.
type Breaker struct {
	Paused bool
	// Overridden: an operator has ended a pause, and the nodes are not back yet.
	Overridden bool
	// Reason and Operator are those of the last pause or resumption.
	Reason, Operator string
	// Since is when that was.
	Since int64
	// Trips and Resumes count since the cluster began.
	Trips, Resumes uint64
}

// Breaker returns whether fencing is paused.
func (s *State) Breaker() Breaker { return s.breaker }

// EndsAlone reports whether a session's silence would end that session only.
func (s *State) EndsAlone(session member.Session) bool {
	return session.Flags.Has(member.Unimportant) && !s.locks.NeedsFence(lock.Session(session.Number))
}

func (s *State) endSession(c EndSession, stamp int64) Result {
	session, known := s.members.Session(c.Session)
	switch {
	case c.Term != s.term:
		return Result{Reason: reason.StaleTerm}
	case !known:
		return Result{Reason: reason.NoSession}
	case session.Frozen:
		return Result{Reason: reason.NodeExpired}
	case s.Seen(c.Session) > c.Seen:
		return Result{Reason: reason.Alive}
	case !s.EndsAlone(session):
		return Result{Reason: reason.InUse}
	}
	return s.logout(Logout{Session: c.Session}, stamp)
}

// reboot settles the life that a login proves to be gone, if it does: expired if
// it is not yet, fenced, released. It returns the node and the sessions that are
// over, for the login's result.
func (s *State) reboot(req member.LoginRequest, index uint64, stamp int64) Result {
	l, gone := s.members.Rebooted(req)
	if !gone {
		return Result{}
	}
	old, _ := s.members.Node(l.Node)
	by := fmt.Sprintf("reboot (boot id %s -> %s)", old.BootID, req.BootID)
	if old.State == member.LoggedIn {
		// Not held up by a pause: the machine itself says so.
		s.expire(Expire{Term: s.term, Life: l, Seen: index, Reason: by, Operator: RebootOperator}, index, stamp)
	}
	return s.settleFence(s.term, l, member.FenceProved, by, stamp)
}

// RebootOperator stands for the machine itself that says that it has booted.
const RebootOperator = "the node itself"

// serverEntered logs a server in like a node, or, without a boot id, out again.
func (s *State) serverEntered(c ServerEntered, index uint64, stamp int64) Result {
	if c.BootID == "" {
		s.enter(c.Server)
		return s.dropServer(c.Server, stamp)
	}
	result := s.login(Login{member.LoginRequest{
		Node: c.Server, BootID: c.BootID, LoginID: member.ServerLogin(), Process: "lock_gulmd", Flags: c.Flags | member.Server, Replaces: c.Replaces,
	}}, index, stamp)
	if result.Reason == reason.None {
		s.enter(c.Server)
	}
	return result
}

// dropServer logs the server's session out, if it is logged in.
func (s *State) dropServer(server string, stamp int64) Result {
	session, ok := s.members.ServerSession(server)
	if !ok || session.Frozen {
		return Result{}
	}
	return s.logout(Logout{Session: session.Number}, stamp)
}

func (s *State) pauseFencing(c PauseFencing, stamp int64) Result {
	switch {
	case c.Term != s.term:
		return Result{Reason: reason.StaleTerm}
	case s.breaker.Paused && c.Operator == "":
		return Result{Reason: reason.Paused}
	case s.breaker.Overridden && c.Operator == "":
		return Result{Reason: reason.WrongState}
	}
	b := &s.breaker
	b.Paused, b.Overridden, b.Reason, b.Operator, b.Since = true, false, member.Clip(c.Reason), member.Clip(c.Operator), stamp
	b.Trips++
	return Result{}
}

func (s *State) resumeFencing(c ResumeFencing, stamp int64) Result {
	b := &s.breaker
	switch {
	case c.Term != s.term:
		return Result{Reason: reason.StaleTerm}
	case !b.Paused && (c.Operator != "" || !b.Overridden):
		return Result{Reason: reason.NotPending}
	case c.Operator == "" && b.Operator != "" && b.Paused:
		return Result{Reason: reason.WrongState} // who paused it by hand resumes it by hand
	}
	if b.Paused {
		b.Resumes++
	}
	// Who paused by hand wants no exception afterwards, who overrules the breaker does.
	b.Overridden = c.Operator != "" && b.Operator == ""
	b.Paused, b.Reason, b.Operator, b.Since = false, member.Clip(c.Reason), member.Clip(c.Operator), stamp
	return Result{}
}
