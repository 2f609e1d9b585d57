package lock

import (
	"bytes"
	"testing"
)

// TestRestore_refusesImpossible changes one thing of a good snapshot each.
func TestRestore_refusesImpossible(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(spaces *[]SpaceState, rs []ResourceState) []ResourceState
	}{
		{"two exclusive holders", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[1].Granted, rs[0].Locks[1].Requested = EX, EX
			return rs
		}},
		{"a waiting lock that holds", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[3].Granted = PR
			return rs
		}},
		{"a granted lock that wants more", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[0].Requested = EX
			return rs
		}},
		{"a queue that should have moved", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks = rs[0].Locks[3:]
			return rs
		}},
		{"queues out of order", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[0], rs[0].Locks[3] = rs[0].Locks[3], rs[0].Locks[0]
			return rs
		}},
		{"no such queue", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[3].Queue = 3
			return rs
		}},
		{"no such mode", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[3].Requested = modes
			return rs
		}},
		{"unknown session", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[3].Session = 99
			return rs
		}},
		{"lock number 0", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[3].ID = 0
			return rs
		}},
		{"one lock twice", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Locks[3].Session = rs[0].Locks[0].Session
			return rs
		}},
		{"one resource twice", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			return append(rs, rs[0])
		}},
		{"no locks", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			return append(rs, ResourceState{Lockspace: 1, Name: []byte("s")})
		}},
		{"no name", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Name = nil
			return rs
		}},
		{"a name too long", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Name = bytes.Repeat([]byte("n"), MaxName+1)
			return rs
		}},
		{"no such lockspace", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
			rs[0].Lockspace = 2
			return rs
		}},
		{"lockspace number 0", func(spaces *[]SpaceState, rs []ResourceState) []ResourceState {
			*spaces = append(*spaces, SpaceState{Name: "home", Members: []Session{1}})
			return rs
		}},
		{"one lockspace twice", func(spaces *[]SpaceState, rs []ResourceState) []ResourceState {
			*spaces = append(*spaces, (*spaces)[0])
			return rs
		}},
		{"a holder that is no member", func(spaces *[]SpaceState, rs []ResourceState) []ResourceState {
			(*spaces)[0].Members = (*spaces)[0].Members[1:]
			return rs
		}},
	} {
		if refused(t, c.spoil) == nil {
			t.Errorf("%s: taken for a possible state", c.name)
		}
	}
	if table := refused(t, func(_ *[]SpaceState, rs []ResourceState) []ResourceState { return rs }); table != nil {
		t.Error("the good snapshot is refused")
	}
}

// refused returns what Finish refused of a spoiled snapshot, nil if it did not.
func refused(t *testing.T, spoil func(*[]SpaceState, []ResourceState) []ResourceState) *Table {
	t.Helper()
	table := opened(t, 4)
	for s, mode := range []Mode{PR, PR, PR, CW} {
		lockIn(table, Session(s+1), mode)
	}
	table.Convert(1, 1, EX, 0) // now 2 and 3 hold, 1 converts, 4 waits
	spaces := table.Spaces()
	resources := spoil(&spaces, resourcesOf(table))
	r := NewRestore(Limits{})
	r.SetCounters(table.Counters())
	for _, sp := range spaces {
		r.Space(sp)
	}
	for s := range Session(4) {
		r.Session(s+1, false)
	}
	for i := range resources {
		r.Resource(&resources[i])
	}
	if again, ok := r.Finish(); !ok {
		return again
	}
	return nil
}
