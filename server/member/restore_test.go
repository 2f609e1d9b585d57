package member

import "testing"

// parts are what a registry is restored from.
type parts struct {
	nodes    []Node
	sessions []Session
	last     uint64
}

// everywhere returns a possible state with a node in each state.
func everywhere() parts {
	wanted := Fence{Incarnation: 2, State: FenceWanted}
	proved := Fence{Incarnation: 1, State: FenceProved}
	return parts{
		nodes: []Node{
			{Name: "expired", State: Expired, Incarnation: 2, BootID: "x", Fence: wanted},
			{Name: "fenced", State: Fenced, Incarnation: 1, BootID: "x", Fence: proved},
			{Name: "in", State: LoggedIn, Incarnation: 3, BootID: "x", Fence: proved},
			{Name: "out", State: LoggedOut, Incarnation: 1, BootID: "x"},
		},
		sessions: []Session{
			{Number: 1, Node: "in", Incarnation: 3, LoginID: LoginID{1}},
			{Number: 2, Node: "expired", Incarnation: 2, LoginID: LoginID{1}, Frozen: true},
			{Number: 4, Node: "in", Incarnation: 3, LoginID: LoginID{2}},
		},
		last: 7,
	}
}

// TestRestore_impossible: a snapshot of a state that no sequence of commands can
// reach is refused, whatever is wrong with it.
func TestRestore_impossible(t *testing.T) {
	p := everywhere()
	var r Registry
	if !r.Restore(p.nodes, p.sessions, p.last) {
		t.Fatal("the possible state is refused")
	}
	if err := sound(&r); err != nil {
		t.Fatal(err)
	}
	expired, fenced, in, out := 0, 1, 2, 3
	for _, c := range []struct {
		name  string
		spoil func(*parts)
	}{
		{"session number 0", func(p *parts) { p.sessions[0].Number = 0 }},
		{"session number beyond the last", func(p *parts) { p.sessions[2].Number = 8 }},
		{"two sessions of one number", func(p *parts) { p.sessions[0].Number = 4 }},
		{"session of no node", func(p *parts) { p.sessions[0].Node = "x" }},
		{"session of another life", func(p *parts) { p.sessions[0].Incarnation = 2 }},
		{"session without login id", func(p *parts) { p.sessions[0].LoginID = LoginID{} }},
		{"two sessions of one login id", func(p *parts) { p.sessions[2].LoginID = LoginID{1} }},
		{"frozen session of a live node", func(p *parts) { p.sessions[0].Frozen = true }},
		{"live session of an expired node", func(p *parts) { p.sessions[1].Frozen = false }},
		{"session of a node that is out", func(p *parts) { p.sessions[2].Node, p.sessions[2].Incarnation = "out", 1 }},
		{"session of a fenced node", func(p *parts) { p.sessions[2].Node, p.sessions[2].Incarnation = "fenced", 1 }},
		{"expired node without session", func(p *parts) { p.sessions = append(p.sessions[:1], p.sessions[2]) }},
		{"node in without session", func(p *parts) { p.sessions = p.sessions[1:2] }},
		{"two nodes of one name", func(p *parts) { p.nodes = append(p.nodes, p.nodes[out]) }},
		{"node without name", func(p *parts) { p.nodes[out].Name = "" }},
		{"node that never lived", func(p *parts) { p.nodes[out].Incarnation = 0 }},
		{"node without boot id", func(p *parts) { p.nodes[out].BootID = "" }},
		{"unknown state", func(p *parts) { p.nodes[out].State = 4 }},
		{"unknown fence state", func(p *parts) { p.nodes[fenced].Fence.State = 5 }},
		{"power lost by a lease's end", func(p *parts) { p.nodes[fenced].Fence.State, p.nodes[fenced].Fence.Power = FenceLeaseEnded, true }},
		{"expired without fence", func(p *parts) { p.nodes[expired].Fence = Fence{} }},
		{"expired with its fence proved", func(p *parts) { p.nodes[expired].Fence.State = FenceProved }},
		{"expired with the fence of another life", func(p *parts) { p.nodes[expired].Fence.Incarnation = 1 }},
		{"fence wanted of a live node", func(p *parts) { p.nodes[in].Fence.State = FenceWanted }},
		{"fence wanted of a node that is out", func(p *parts) { p.nodes[out].Fence = Fence{Incarnation: 1, State: FenceWanted} }},
		{"fence wanted of a fenced node", func(p *parts) { p.nodes[fenced].Fence.State = FenceWanted }},
		{"fenced without fence", func(p *parts) { p.nodes[fenced].Fence = Fence{} }},
		{"fenced in another life", func(p *parts) { p.nodes[fenced].Incarnation = 2 }},
		{"fence of a life to come", func(p *parts) { p.nodes[in].Fence.Incarnation = 4 }},
		{"fence of no life", func(p *parts) { p.nodes[in].Fence.Incarnation = 0 }},
	} {
		p := everywhere()
		c.spoil(&p)
		var r Registry
		if r.Restore(p.nodes, p.sessions, p.last) {
			t.Errorf("%s: restored", c.name)
		}
	}
}
