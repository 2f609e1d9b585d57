package state_test

import (
	"slices"
	"testing"

	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// TestVanished: who was expired for silence is on the list, the newest life of each
// node, until a master of the present term forgets that very life; who was expired
// by a person is not.
func TestVanished(t *testing.T) {
	c := newCluster(t, state.Limits{})
	life := func(node string, incarnation uint64) member.Life {
		return member.Life{Node: node, Incarnation: incarnation}
	}
	want := func(lives ...member.Life) {
		t.Helper()
		if !slices.Equal(c.Vanished(), lives) {
			t.Errorf("vanished are %v, want %v", c.Vanished(), lives)
		}
		c.survives()
	}
	c.must(login("b", "boot1", 1))
	c.must(login("a", "boot1", 2))
	c.must(login("c", "boot1", 3))
	want()
	c.must(state.Expire{Term: 1, Life: life("b", 1), Seen: 99})
	c.must(state.Expire{Term: 1, Life: life("a", 1), Seen: 99})
	c.must(state.Expire{Term: 1, Life: life("c", 1), Seen: 99, Operator: "alice"})
	want(life("a", 1), life("b", 1))
	c.must(state.FenceProved{Term: 1, Life: life("a", 1)})
	c.must(login("a", "boot2", 4)) // that it is back takes nothing away from having vanished
	want(life("a", 1), life("b", 1))
	c.must(state.Expire{Term: 1, Life: life("a", 2), Seen: 99})
	want(life("a", 2), life("b", 1))

	if r := c.do(state.ForgetVanished{Term: 0, Lives: []member.Life{life("b", 1)}}); r.Reason != reason.StaleTerm {
		t.Errorf("a master of an old term: %v", r.Reason)
	}
	c.must(state.ForgetVanished{Term: 1, Lives: []member.Life{life("a", 1), life("z", 1)}})
	want(life("a", 2), life("b", 1)) // of another life, which counts
	c.must(state.ForgetVanished{Term: 1, Lives: []member.Life{life("b", 1), life("a", 2)}})
	want()
}
