package member

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/google/go-cmp/cmp"
)

// sound checks what must hold of a registry at any time, and that it comes back
// from a snapshot as it is.
func sound(r *Registry) error {
	if !slices.IsSortedFunc(r.Nodes(), func(a, b Node) int { return cmpString(a.Name, b.Name) }) {
		return fmt.Errorf("nodes are out of order: %v", r.Nodes())
	}
	for _, n := range r.Nodes() {
		if err := soundNode(r, n); err != nil {
			return fmt.Errorf("node %s, %v: %w", n.Name, n.State, err)
		}
	}
	last := uint64(0)
	for _, s := range r.Sessions() {
		n, ok := r.Node(s.Node)
		if s.Number <= last || s.Number > r.LastSession() || !ok || n.Incarnation != s.Incarnation {
			return fmt.Errorf("impossible session %+v", s)
		}
		last = s.Number
	}
	var again Registry
	c := r.Clone()
	slices.Reverse(c.nodes)
	slices.Reverse(c.sessions)
	if !again.Restore(c.nodes, c.sessions, c.lastSession) {
		return fmt.Errorf("a snapshot is refused:\n%s", show(r))
	}
	if c := r.Clone(); !reflect.DeepEqual(c, again) {
		return fmt.Errorf("a snapshot comes back otherwise: %s", cmp.Diff(c, again, cmp.AllowUnexported(Registry{})))
	}
	return nil
}

func soundNode(r *Registry, n Node) error {
	var live, frozen int
	for _, s := range r.Sessions() {
		switch {
		case s.Node != n.Name:
		case s.Frozen:
			frozen++
		default:
			live++
		}
	}
	pending := slices.Contains(r.Pending(), Life{n.Name, n.Incarnation})
	wanted := n.Fence.State == FenceWanted
	switch {
	case n.Incarnation == 0:
		return fmt.Errorf("never lived")
	case (n.State == Expired) != wanted, wanted != pending:
		return fmt.Errorf("fence wanted %v, pending %v", wanted, pending)
	case (n.State == LoggedIn) != (live > 0), (n.State == Expired) != (frozen > 0):
		return fmt.Errorf("%d live sessions, %d frozen ones", live, frozen)
	case wanted && n.Fence.Incarnation != n.Incarnation, n.Fence.Incarnation > n.Incarnation:
		return fmt.Errorf("fence is of incarnation %d of %d", n.Fence.Incarnation, n.Incarnation)
	case n.State == Fenced && (n.Fence.Incarnation != n.Incarnation || n.Fence.State == FenceNone):
		return fmt.Errorf("fenced without a fence")
	case len(n.Fence.Attempts) > MaxAttempts:
		return fmt.Errorf("%d attempts", len(n.Fence.Attempts))
	case n.Ledger.Held && n.State != Fenced, n.State == Fenced && n.Ledger.Held && !n.Fence.Late:
		return fmt.Errorf("held, late %v", n.Fence.Late)
	case n.State == LoggedIn && n.Fence.Late && n.Ledger.Held:
		return fmt.Errorf("let in while it was held")
	}
	open := 0
	for i, a := range n.Fence.Attempts {
		if a.Open {
			open++
			if n.Fence.State != FenceWanted || i != len(n.Fence.Attempts)-1 && !slices.Contains(n.Fence.Attempts[i:], a) {
				return fmt.Errorf("attempt %+v is open", a)
			}
		}
		if a.Late && !n.Fence.Late {
			return fmt.Errorf("attempt %+v is late, the fence is not", a)
		}
	}
	if open > 1 {
		return fmt.Errorf("%d attempts are open", open)
	}
	return nil
}

// legal holds the only moves of a node, from and to.
var legal = map[[2]State]bool{
	{LoggedOut, LoggedIn}: true, {LoggedIn, LoggedOut}: true, {LoggedIn, Expired}: true,
	{Expired, Fenced}: true, {Fenced, LoggedIn}: true,
}

// moved checks that one operation made legal moves only.
func moved(before, after *Registry) error {
	changes := 0
	for _, n := range after.Nodes() {
		old, known := before.Node(n.Name)
		if !reflect.DeepEqual(old, n) {
			changes++
		}
		lives := n.Incarnation - old.Incarnation
		switch {
		case !known:
			old.State = LoggedOut
			fallthrough
		case old.State != n.State:
			if !legal[[2]State{old.State, n.State}] || (lives == 1) != (n.State == LoggedIn) {
				return fmt.Errorf("node %s went from %v to %v, incarnation %d to %d", n.Name, old.State, n.State, old.Incarnation, n.Incarnation)
			}
		case lives != 0:
			return fmt.Errorf("node %s: incarnation %d became %d", n.Name, old.Incarnation, n.Incarnation)
		}
	}
	if len(after.Nodes()) < len(before.Nodes()) || changes > 1 {
		return fmt.Errorf("%d nodes changed at once, %d became %d", changes, len(before.Nodes()), len(after.Nodes()))
	}
	if after.LastSession() < before.LastSession() {
		return fmt.Errorf("session numbers went back")
	}
	return nil
}

func cmpString(a, b string) int {
	if a < b {
		return -1
	}
	return 1 // equal names are out of order, too
}
