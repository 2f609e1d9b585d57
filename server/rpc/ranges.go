package rpc

import (
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// conflictsToWire names the nodes of those who are in the way, as they are now.
func (e *Edge) conflictsToWire(in []lock.RangeConflict) []*gulmv1.RangeConflict {
	out := make([]*gulmv1.RangeConflict, 0, len(in))
	e.cfg.Machine.View(func(s *state.State) {
		for i := range in {
			c := &in[i]
			out = append(out, &gulmv1.RangeConflict{
				Session: sessionOf(c.Owner), Owner: c.Owner.Number, Start: c.Start, End: c.End, Mode: rangeMode(c.Kind),
				Frozen: c.Frozen, Waiting: c.Waiting, Node: nodeOf(s, c.Owner.Session),
			})
		}
	})
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
