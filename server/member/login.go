package member

import (
	"slices"

	"lock_gulmd/server/reason"
)

// LoginRequest starts a session.
type LoginRequest struct {
	Node    string
	BootID  string
	LoginID LoginID
	Process string
	// Expiry is what the session is told of the expiry time, milliseconds.
	Expiry int64
	// Watchdog is as in Session.
	Watchdog int64
	Flags    SessionFlags
	// Replaces is the incarnation that was said to be in the way; see Rebooted.
	Replaces uint64
}

// Login starts a session and, for the first one of its life, the node's next
// incarnation. A repeated LoginID of the same boot gets the session it has, with
// the longer one of both watchdogs: a process arms its own after it has logged in.
// max bounds the sessions, 0 for no limit. Refused with Invalid, Limit,
// NotFenced (the node is expired and its fence not proved), Unsettled (it is
// fenced, but may still be cut off by an attempt that was given up), FenceLied
// (its power was cut, as was said, and its boot id is the same) or StaleIncarnation
// (another boot of the node is logged in and must expire first).
func (r *Registry) Login(req LoginRequest, index uint64, stamp int64, maxSessions uint64) (Session, reason.Reason) {
	if !req.valid() {
		return Session{}, reason.Invalid
	}
	if n := r.node(req.Node); n != nil && n.State == LoggedIn && n.BootID == req.BootID {
		if i := r.findLogin(n.Name, req.LoginID); i >= 0 {
			n.Seen = index
			s := &r.sessions[i]
			s.Watchdog = max(s.Watchdog, req.Watchdog)
			return *s, reason.None
		}
	}
	if maxSessions > 0 && uint64(len(r.sessions)) >= maxSessions {
		return Session{}, reason.Limit
	}
	i, known := r.findNode(req.Node)
	if !known {
		r.nodes = slices.Insert(r.nodes, i, Node{Name: req.Node, Number: uint32(len(r.nodes)) + 1})
	}
	n := &r.nodes[i]
	if why := n.returned(&req); why != reason.None {
		return Session{}, why
	}
	switch {
	case n.State == Expired:
		return Session{}, reason.NotFenced
	case n.Ledger.Held:
		return Session{}, reason.Unsettled
	case n.State == LoggedIn && n.BootID != req.BootID:
		return Session{}, reason.StaleIncarnation
	case n.State != LoggedIn:
		n.Incarnation++
		n.BootID = req.BootID
		n.enter(LoggedIn, stamp)
	}
	n.Seen = index
	r.lastSession++
	s := Session{
		Number: r.lastSession, Node: n.Name, Incarnation: n.Incarnation,
		LoginID: req.LoginID, Process: req.Process, Expiry: req.Expiry, Watchdog: req.Watchdog,
		Flags: req.Flags,
	}
	r.sessions = append(r.sessions, s)
	return s, reason.None
}

// findLogin returns the place of the session with that login, -1 if there is none.
func (r *Registry) findLogin(node string, id LoginID) int {
	return slices.IndexFunc(r.sessions, func(s Session) bool { return s.LoginID == id && s.Node == node })
}

func (req *LoginRequest) valid() bool {
	return len(req.Node) > 0 && len(req.Node) <= MaxNodeName && len(req.BootID) > 0 && len(req.BootID) <= MaxBootID &&
		len(req.Process) <= MaxProcess && req.LoginID != LoginID{} && req.Watchdog >= 0 && req.Watchdog <= MaxWatchdog &&
		req.Flags&^allFlags == 0 && req.Flags.Has(Server) == (req.LoginID == ServerLogin())
}

// Logout ends a session cleanly, and with the last one the node is logged out.
// Refused with NoSession, or NodeExpired if the node was declared dead.
func (r *Registry) Logout(number uint64, stamp int64) reason.Reason {
	i, ok := r.findSession(number)
	if !ok {
		return reason.NoSession
	}
	s := r.sessions[i]
	if s.Frozen {
		return reason.NodeExpired
	}
	r.sessions = slices.Delete(r.sessions, i, i+1)
	if len(r.sessionsOf(s.Node)) == 0 {
		r.node(s.Node).enter(LoggedOut, stamp)
	}
	return reason.None
}
