package rpc

import (
	"fmt"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// addLeases tells of a node's lockspaces under the policy lease.
func (e *Edge) addLeases(s *state.State, n *member.Node, out *gulmv1.Node) {
	expired := n.State == member.Expired
	leases := s.LeasesJoined(n.Name)
	if expired {
		leases = s.LeasesOf(n.Name)
	}
	for _, l := range leases {
		w := &gulmv1.Lease{Lockspace: s.Locks().SpaceName(l.Lockspace), TimeMs: int64(l.Time), LeftMs: -1, Locks: uint64(l.Held)}
		if left, ok := e.cfg.Master.LeaseLeft(life(n), l); ok && expired {
			w.LeftMs = left.Milliseconds()
		}
		out.Leases = append(out.Leases, w)
	}
}

func life(n *member.Node) member.Life {
	return member.Life{Node: n.Name, Incarnation: n.Incarnation}
}

// waitForLeases names the leases of an expired node that are waited for, one sentence
// each.
func waitForLeases(n *gulmv1.Node) []string {
	var out []string
	if n.GetState() != gulmv1.NodeState_NODE_STATE_EXPIRED {
		return nil
	}
	for _, l := range n.GetLeases() {
		what := fmt.Sprintf("%d locks frozen", l.GetLocks())
		if l.GetLocks() == 0 {
			what = "the node may not log in yet"
		}
		out = append(out, fmt.Sprintf("%s in lockspace %q; %s; no fence", leaseText(n.GetName(), l.GetLeftMs()), l.GetLockspace(), what))
	}
	return out
}

// leaseText says that a lease of a node has to end, and when it will.
func leaseText(node string, leftMs int64) string {
	text := "lease of node " + node + " to end"
	if leftMs < 0 {
		return text
	}
	left := time.Duration(leftMs) * time.Millisecond
	return fmt.Sprintf("%s, %v left (a new master counts anew)", text, left.Round(100*time.Millisecond))
}

// waitsForLease says for what an expired node waits that is not fenced, "" for any
// other.
func (e *Edge) waitsForLease(s *state.State, n *member.Node) string {
	if n.State != member.Expired || !s.Unfenced(n.Name) {
		return ""
	}
	last := lock.Lease{}
	for _, l := range s.LeasesOf(n.Name) {
		if l.Time >= last.Time {
			last = l
		}
	}
	return leaseText(n.Name, e.leaseLeft(n, last))
}

// leaseLeft returns what is left of a lease, milliseconds, -1 if that is not known.
func (e *Edge) leaseLeft(n *member.Node, l lock.Lease) int64 {
	if left, ok := e.cfg.Master.LeaseLeft(life(n), l); ok {
		return left.Milliseconds()
	}
	return -1
}

// leaseInTheWay says what lease keeps a node from logging in, "" if none does.
func (e *Edge) leaseInTheWay(node string) (text string) {
	e.cfg.Machine.View(func(s *state.State) {
		if n, known := s.Members().Node(node); known {
			text = e.waitsForLease(s, &n)
		}
	})
	return text
}

// policy returns a lockspace's policy, and its time-to-live.
func (w *lockLister) policy(lockspace uint32) (gulmv1.Policy, uint32) {
	return gulmv1.Policy(w.state.Locks().PolicyOf(lockspace)), w.state.Locks().LeaseOf(lockspace)
}

// heldForLease says for which lease something waits that a node has in a lockspace,
// "" if for none.
func (w *lockLister) heldForLease(lockspace uint32, node string) string {
	n, _ := w.state.Members().Node(node)
	lease := w.state.Locks().LeaseOf(lockspace)
	if lease == 0 || n.State != member.Expired {
		return ""
	}
	return leaseText(node, w.edge.leaseLeft(&n, lock.Lease{Lockspace: lockspace, Time: lease}))
}
