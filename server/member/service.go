package member

import (
	"slices"

	"lock_gulmd/server/reason"
)

// SessionFlags say what the service is that has logged in. The numbers stand in
// the log and in snapshots. Without flags it is an ordinary important service:
// its silence fails the node.
type SessionFlags uint8

// The flags.
const (
	// Unimportant: its silence ends this session only, as long as it has nothing
	// that would need a fence.
	Unimportant SessionFlags = 1 << iota
	// Locked: it must be gone before the servers may be shut down below quorum.
	Locked
	// Container: the node's boot id is that of its host and proves nothing.
	Container
	// Server: the node's lock server. It sends no beats; the master judges it by
	// the replicated log.
	Server

	allFlags = Unimportant | Locked | Container | Server
)

// ServerLogin returns the login id of every lock server's session.
func ServerLogin() LoginID { return LoginID([]byte("lock_gulmd/serve")) }

// Has reports whether all of the given flags are set.
func (f SessionFlags) Has(flags SessionFlags) bool { return f&flags == flags }

// Rebooted returns the life that a login proves to be gone: the machine has
// booted again since. The login says which life is in its way, which it can only
// know from a refusal that is younger than that life; it has another boot id;
// and neither life is a container's.
func (r *Registry) Rebooted(req LoginRequest) (Life, bool) {
	n := r.node(req.Node)
	switch {
	case !req.valid(), req.Replaces == 0, req.Flags.Has(Container):
		return Life{}, false
	case n == nil, n.State != LoggedIn && n.State != Expired, n.Incarnation != req.Replaces, n.BootID == req.BootID:
		return Life{}, false
	}
	for _, s := range r.sessions {
		if s.Node == n.Name && s.Flags.Has(Container) {
			return Life{}, false
		}
	}
	return Life{n.Name, n.Incarnation}, true
}

// returned refuses a login that shows that the node's fence was no fence: who
// lost its power cannot have the same boot id.
func (n *Node) returned(req *LoginRequest) reason.Reason {
	if n.State == Fenced && n.Fence.Power && n.BootID == req.BootID && !req.Flags.Has(Container) {
		return reason.FenceLied
	}
	return reason.None
}

// NotePower notes that the proof of a life's fence, which is settled, is that the
// machine lost its power.
func (r *Registry) NotePower(l Life) {
	if n := r.node(l.Node); n != nil && n.State == Fenced && n.Incarnation == l.Incarnation {
		n.Fence.Power = true
	}
}

// NoteOperator notes who expired a life by force.
func (r *Registry) NoteOperator(l Life, operator string) {
	if n := r.pending(l); n != nil {
		n.Fence.Operator = clip(operator)
	}
}

// ServerSession returns the session of a node's lock server, false if there is
// none.
func (r *Registry) ServerSession(node string) (Session, bool) {
	i := slices.IndexFunc(r.sessions, func(s Session) bool { return s.Node == node && s.Flags.Has(Server) })
	if i < 0 {
		return Session{}, false
	}
	return r.sessions[i], true
}
