package member

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Restore replaces everything, as read from a snapshot, and reports whether it
// is a possible state. It takes the slices over.
func (r *Registry) Restore(nodes []Node, sessions []Session, lastSession uint64) bool {
	*r = Registry{nodes, sessions, lastSession}
	slices.SortFunc(r.nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.sessions, func(a, b Session) int { return cmp.Compare(a.Number, b.Number) })
	return r.Check() == nil
}

// Check returns what is inconsistent among the nodes and sessions, nil if nothing
// is.
func (r *Registry) Check() error {
	having := make([]int, len(r.nodes)) // sessions of each node
	for i := range r.sessions {
		s := &r.sessions[i]
		at, ok := r.findNode(s.Node)
		if !ok || !r.possibleSession(i, &r.nodes[at]) {
			return fmt.Errorf("session %d of node %q, incarnation %d, is impossible", s.Number, s.Node, s.Incarnation)
		}
		having[at]++
	}
	for i := range r.nodes {
		n := &r.nodes[i]
		if i > 0 && r.nodes[i-1].Name >= n.Name || !n.possible() {
			return fmt.Errorf("node %q is impossible: %v, fence %v of incarnation %d", n.Name, n.State, n.Fence.State, n.Fence.Incarnation)
		}
		// A node is logged in by its sessions, and they stay until its fence.
		if (having[i] > 0) != (n.State == LoggedIn || n.State == Expired) {
			return fmt.Errorf("node %q is %v and has %d sessions", n.Name, n.State, having[i])
		}
	}
	if r.sameLogin() {
		return errors.New("two sessions of a node have the same login id")
	}
	return nil
}

// possibleSession reports whether the session at a place can be one of n.
func (r *Registry) possibleSession(i int, n *Node) bool {
	s := &r.sessions[i]
	switch {
	case s.Number == 0, s.Number > r.lastSession, i > 0 && r.sessions[i-1].Number >= s.Number:
		return false
	case s.Watchdog < 0, s.Watchdog > MaxWatchdog:
		return false
	case s.Incarnation != n.Incarnation, s.Frozen != (n.State == Expired):
		return false
	case s.Flags&^allFlags != 0, s.Flags.Has(Server) != (s.LoginID == ServerLogin()):
		return false
	}
	return s.LoginID != LoginID{}
}

// sameLogin reports whether two sessions of a node have the same login id.
func (r *Registry) sameLogin() bool {
	byLogin := slices.Clone(r.sessions)
	slices.SortFunc(byLogin, func(a, b Session) int {
		if c := strings.Compare(a.Node, b.Node); c != 0 {
			return c
		}
		return slices.Compare(a.LoginID[:], b.LoginID[:])
	})
	for i := 1; i < len(byLogin); i++ {
		if byLogin[i].Node == byLogin[i-1].Node && byLogin[i].LoginID == byLogin[i-1].LoginID {
			return true
		}
	}
	return false
}

// possible reports whether a node can be like that, whatever sessions it has.
func (n *Node) possible() bool {
	f := &n.Fence
	switch {
	case n.Name == "", n.BootID == "", n.Incarnation == 0, n.State > Fenced, f.State > FenceLeaseEnded:
		return false
	case (f.State == FenceNone) != (f.Incarnation == 0), f.Incarnation > n.Incarnation:
		return false
	case (n.State == Expired) != (f.State == FenceWanted), f.Power && f.State != FenceProved, f.State == FenceNone && f.Operator != "",
		f.Word != "" && !f.State.settled():
		return false
	case !n.Ledger.possible(n), n.Ledger.Held && !f.Late:
		return false
	case n.State == Expired, n.State == Fenced:
		return f.Incarnation == n.Incarnation
	}
	return true
}
