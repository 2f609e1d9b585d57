package state_test

import (
	"slices"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// TestImage_impossible: an image that no log can lead to is refused.
func TestImage_impossible(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*picture)
	}{
		{"a kept reply is missing", func(p *picture) { p.Image.Sessions[0].Kept = p.Image.Sessions[0].Kept[1:] }},
		{"the last kept reply is missing", func(p *picture) { p.Image.Sessions[0].Kept = p.Image.Sessions[0].Kept[:1] }},
		{"kept replies out of order", func(p *picture) { p.Image.Sessions[0].Kept[0].Seq = 9 }},
		{"more applied than kept", func(p *picture) { p.Image.Sessions[0].Applied++ }},
		{"confirmed beyond applied", func(p *picture) { p.Image.Sessions[0].Confirmed = 3 }},
		{"a session twice", func(p *picture) { p.Image.Sessions = append(p.Image.Sessions, p.Image.Sessions[0]) }},
		{"a session that is missing", func(p *picture) { p.Image.Sessions = p.Image.Sessions[1:] }},
		{"a node that is missing", func(p *picture) { p.Image.Nodes = p.Image.Nodes[1:] }},
		{"frozen without expiry", func(p *picture) { p.Image.Sessions[0].Frozen = true }},
		{"an expired node forgotten", func(p *picture) { p.Image.Nodes[1].State = member.Fenced }},
		{"a fence forgotten", func(p *picture) { p.Image.Nodes[1].Fence = member.Fence{} }},
		{"a lockspace that is missing", func(p *picture) { p.Image.Spaces = nil }},
		{"two who exclude each other", func(p *picture) {
			p.Resources[0].Locks[1].Queue, p.Resources[0].Locks[1].Granted = lock.QueueGranted, lock.EX
		}},
		{"a lock of nobody", func(p *picture) { p.Resources[0].Locks[1].Session = 77 }},
		{"a member that is no session", func(p *picture) { p.Image.Spaces[0].Members = append(p.Image.Spaces[0].Members, 77) }},
		{"a counter behind its locks", func(p *picture) { p.Image.Counters.Order = 0 }},
		{"a counter behind its tokens", func(p *picture) { p.Image.Counters.Token = 0 }},
		{"a counter behind its lockspaces", func(p *picture) { p.Image.Counters.Lockspace = 0 }},
		{"vanished twice", func(p *picture) { p.Image.Vanished = append(p.Image.Vanished, p.Image.Vanished[0]) }},
		{"a life vanished that never was", func(p *picture) { p.Image.Vanished[0].Incarnation = 9 }},
		{"a node vanished that nobody knows", func(p *picture) { p.Image.Vanished[0].Node = "z" }},
		{"a resource without locks", func(p *picture) { p.Resources[0].Locks = nil }},
	} {
		made := newCluster(t, state.Limits{})
		a, b := made.enter("a"), made.enter("b")
		made.ask(b, lockOn("r", lock.EX))
		made.ask(a, lockOn("r", lock.EX))
		made.expire("b")
		p := pictureOf(made.State)
		p.Image.Vanished = slices.Clone(p.Image.Vanished)
		if _, ok := rebuilt(p); !ok {
			t.Fatal("the possible state is refused")
		}
		c.spoil(&p)
		if _, ok := rebuilt(p); ok {
			t.Errorf("%s: restored", c.name)
		}
	}
}

// TestImage_hugeNumbers: sessions are found again whatever their numbers are.
func TestImage_hugeNumbers(t *testing.T) {
	const huge = uint64(1)<<63 - 5 // beyond are the nodes' orphans
	made := newCluster(t, state.Limits{})
	made.enter("a")
	made.enter("b")
	p := pictureOf(made.State)
	p.Image.LastSession, p.Image.Sessions[1].Number = huge, huge
	p.Image.Spaces[0].Members[1], p.Image.Owners[1].Session = lock.Session(huge), lock.Session(huge)
	for i := range p.Image.Sessions[1].Kept {
		p.Image.Sessions[1].Kept[i].Session = huge
	}
	s, ok := rebuilt(p)
	if !ok {
		t.Fatal("refused")
	}
	for _, session := range []uint64{1, huge} {
		if s.Applied(session) != 1 {
			t.Errorf("session %d applied %d", session, s.Applied(session))
		}
	}
}
