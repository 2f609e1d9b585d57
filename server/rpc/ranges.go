package rpc

import (
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// namer returns the names of the nodes of conflicts.
type namer func([]lock.RangeConflict) []string

// nodeNames returns the names of the nodes of those who are in the way, as they
// are now.
func (e *Edge) nodeNames(in []lock.RangeConflict) []string {
	out := make([]string, len(in))
	e.cfg.Machine.View(func(s *state.State) {
		for i := range in {
			out[i] = nodeOf(s, in[i].Owner.Session)
		}
	})
	return out
}

func conflictsToWire(in []lock.RangeConflict, nodes []string) []*gulmv1.RangeConflict {
	out := make([]*gulmv1.RangeConflict, 0, len(in))
	for i := range in {
		c := &in[i]
		out = append(out, &gulmv1.RangeConflict{
			Session: sessionOf(c.Owner), Owner: c.Owner.Number, Start: c.Start, End: c.End, Mode: rangeMode(c.Kind),
			Frozen: c.Frozen, Waiting: c.Waiting, Node: nodes[i],
		})
	}
	return out
}

// sessionOf returns the session that an owner is of, or was.
func sessionOf(o lock.RangeOwner) uint64 {
	if o.Origin != 0 {
		return uint64(o.Origin)
	}
	return uint64(o.Session)
}

// nodeOf returns the name of the node of a session or of remains, "" if it is
// gone.
func nodeOf(s *state.State, session lock.Session) string {
	if x, ok := s.Members().Session(uint64(session)); ok {
		return x.Node
	}
	for _, n := range s.Members().Nodes() {
		if lock.RemainsOf(n.Number) == session {
			return n.Name
		}
	}
	return ""
}

func rangeMode(k lock.RangeKind) gulmv1.Mode {
	if k == lock.RangeRead {
		return gulmv1.Mode_MODE_PR
	}
	return gulmv1.Mode_MODE_EX
}
