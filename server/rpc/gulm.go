package rpc

import (
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// maxNodeName is how much of a node's name in a request goes into the log: no
// longer one is known.
const maxNodeName = 255

func clipped(b []byte, n int) []byte { return b[:min(len(b), n)] }

// holdersToWire names the nodes of holders as far as they are known by now.
func (e *Edge) holdersToWire(h *lock.GulmHolders) []*gulmv1.GulmHolder {
	out := make([]*gulmv1.GulmHolder, len(h.List))
	e.cfg.Machine.View(func(s *state.State) {
		nodes := map[uint32]string{}
		for _, n := range s.Members().Nodes() {
			nodes[n.Number] = n.Name
		}
		for i := range h.List {
			x := &h.List[i]
			name := nodes[x.Node]
			if of, known := s.Members().Session(uint64(x.Session)); known {
				name = of.Node
			}
			out[i] = &gulmv1.GulmHolder{
				Node: name, Session: uint64(x.Session), Sub: x.Sub, Mode: gulmv1.Mode(x.Mode), Start: x.Start, End: x.End, Frozen: x.Frozen,
			}
		}
	})
	return out
}

// nameHolders adds the holders to those of the replies that have some.
func (e *Edge) nameHolders(in []state.Reply, out []*gulmv1.Reply) {
	for i, w := range out {
		if h := in[i].Holders; h != nil {
			w.Holders, w.More = e.holdersToWire(h), h.More
		}
	}
}
