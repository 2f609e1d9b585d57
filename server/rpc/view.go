package rpc

import (
	"fmt"
	"slices"
	"strings"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// nodes returns every node of the configuration, and those that only the state
// still knows, by name.
func (e *Edge) nodes() []*gulmv1.Node {
	var out []*gulmv1.Node
	e.cfg.Machine.View(func(s *state.State) {
		for _, c := range e.cfg.Cluster.Nodes {
			out = append(out, e.nodeToWire(s, c.Name))
		}
		for _, n := range s.Members().Nodes() {
			if _, configured := e.cfg.Cluster.Node(n.Name); !configured {
				out = append(out, e.nodeToWire(s, n.Name))
			}
		}
	})
	slices.SortFunc(out, func(a, b *gulmv1.Node) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// node returns one node and the log index at which it was so.
func (e *Edge) node(name string) (n *gulmv1.Node, index uint64) {
	e.cfg.Machine.View(func(s *state.State) { n, index = e.nodeToWire(s, name), s.Index() })
	return n, index
}

func (e *Edge) nodeToWire(s *state.State, name string) *gulmv1.Node {
	out := &gulmv1.Node{Name: name, LastBeatMs: -1, Server: e.cfg.Cluster.IsServer(name)}
	if c, ok := e.cfg.Cluster.Node(name); ok {
		out.Address = c.Addr.String()
	}
	n, known := s.Members().Node(name)
	if !known {
		return out
	}
	out.State, out.Incarnation, out.BootId, out.SinceMs = gulmv1.NodeState(n.State), n.Incarnation, n.BootID, n.Since
	out.Held, out.AwaitsWord, out.Awaiting = n.Ledger.Held, s.AwaitsWord(name), s.Awaiting(name)
	out.NoAgents = n.State == member.Expired && !s.NeedsAgents(name)
	if n.Fence.State != member.FenceNone {
		out.Fence = fenceToWire(&n)
	}
	e.addLeases(s, &n, out)
	for _, x := range s.Members().Sessions() {
		if x.Node != name {
			continue
		}
		locks := uint64(s.Locks().Locks(lock.Session(x.Number)))
		out.Locks += locks
		w := &gulmv1.Session{
			Session: x.Number, Process: x.Process, Locks: locks, Attached: e.cfg.Hub.Attached(x.Number),
			WatchdogMs: x.Watchdog, ExpiryMs: x.Expiry, LastBeatMs: -1,
			Unimportant: x.Flags.Has(member.Unimportant), Locked: x.Flags.Has(member.Locked), Container: x.Flags.Has(member.Container),
			Server: x.Flags.Has(member.Server),
		}
		if at, ok := e.cfg.Master.LastAlive(x.Number); ok && n.State == member.LoggedIn {
			w.LastBeatMs = max(0, time.Since(at).Milliseconds()) // a server is taken as newer than it was heard of
			out.LastBeatMs = max(out.LastBeatMs, w.LastBeatMs)
		}
		w.Troubles = troublesToWire(e.cfg.Master.Troubles(x.Number), time.Now())
		out.Sessions = append(out.Sessions, w)
	}
	return out
}

func fenceToWire(n *member.Node) *gulmv1.Fence {
	f := &n.Fence
	out := &gulmv1.Fence{
		Node: n.Name, Incarnation: f.Incarnation, State: gulmv1.FenceState(f.State), Reason: f.Reason, WantedMs: f.Wanted,
		SettledMs: f.Settled, Rounds: f.Rounds, By: f.By, Power: f.Power, Operator: f.Operator, Word: f.Word,
	}
	for _, a := range f.Attempts {
		out.Attempts = append(out.Attempts, attemptToWire(a))
	}
	return out
}

// needed reports, on the master, whether the quorum needs a node's lock server, so
// that the node is not fenced.
func (e *Edge) needed(node string) bool {
	return e.cfg.Master.Serving() && !e.cfg.Master.QuorumWithout(node)
}

// neededText says why a node is not fenced.
const neededText = "without this machine the lock servers have no quorum, so it is not fenced: start another server"

// waitingFor names everything that is waited for, one sentence each.
func waitingFor(quorate bool, nodes []*gulmv1.Node, waiters uint64, needed func(string) bool) []string {
	var out []string
	if !quorate {
		out = append(out, "quorum: too few lock servers reach each other; requests wait, nothing is expired or fenced")
	}
	for _, n := range nodes {
		if n.GetState() != gulmv1.NodeState_NODE_STATE_EXPIRED || n.GetNoAgents() {
			continue
		}
		f := n.GetFence()
		text := fmt.Sprintf("fence of node %s (incarnation %d, %d locks frozen): round %d", n.GetName(), n.GetIncarnation(), n.GetLocks(), f.GetRounds())
		if k := len(f.GetAttempts()); k > 0 {
			a := f.GetAttempts()[k-1]
			text += fmt.Sprintf(", last attempt %s/%s: %s", a.GetMethod(), a.GetDevice(), a.GetOutcome())
		}
		if needed(n.GetName()) {
			text += "; " + neededText
		}
		out = append(out, text+"; or fence_ack_manual "+n.GetName())
	}
	for _, n := range nodes {
		out = append(out, waitForLeases(n)...)
	}
	for _, n := range nodes {
		if n.GetAwaitsWord() {
			out = append(out, waitsForWord(n.GetName()))
		}
	}
	for _, n := range nodes {
		if n.GetHeld() {
			out = append(out, fmt.Sprintf("settle time of node %s: it is fenced, but an attempt that was given up may still cut it off; it may not log in yet", n.GetName()))
		}
	}
	if waiters > 0 {
		out = append(out, fmt.Sprintf("locks: %d requests wait, see gulm_tool locks --contended", waiters))
	}
	return out
}
