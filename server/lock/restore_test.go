package lock

import (
	"bytes"
	"testing"

	"lock_gulmd/server/reason"
)

// impossible are snapshots of snapshotted with one thing changed.
var impossible = []struct {
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
	{"no such flag", spoilLock(3, func(l *LockState) { l.Flags = 1 << 31 })},
	{"no such status", spoilLock(0, func(l *LockState) { l.Status = ValNotValid })},
	{"no such reason", spoilLock(0, func(l *LockState) { l.Denied = 255 })},
	{"no such blocking mode", spoilLock(0, func(l *LockState) { l.Blocking = 1 << modes })},
	{"a waiting lock with a token", spoilLock(3, func(l *LockState) { l.Token = 1 })},
	{"a waiting lock with a status", spoilLock(3, func(l *LockState) { l.Status = Demoted })},
	{"a waiting lock that was asked to give way", spoilLock(3, func(l *LockState) { l.Blocking = 1 << EX })},
	{"a waiting lock that was denied", spoilLock(3, func(l *LockState) { l.Denied = reason.Deadlock })},
	{"a granted lock without a token", spoilLock(0, func(l *LockState) { l.Token = 0 })},
	{"a converting lock without a token", spoilLock(2, func(l *LockState) { l.Token = 0 })},
	{"a token from the future", spoilLock(0, func(l *LockState) { l.Token = 99 })},
	{"a lock without order", spoilLock(0, func(l *LockState) { l.Order = 0 })},
	{"an order from the future", spoilLock(0, func(l *LockState) { l.Order = 99 })},
	{"a lock that somebody left, and is no orphan", spoilLock(0, func(l *LockState) { l.Origin = 9 })},
	{"a lock of a denied request", spoilLock(3, func(l *LockState) { l.ID = 7 })},
	{"an orphan that nobody left", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		rs[1].Locks[0].Origin = 0
		return rs
	}},
	{"an orphan that waits", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		l := &rs[1].Locks[0]
		l.Queue, l.Requested, l.Granted, l.Token = QueueWaiting, EX, NL, 0
		return rs
	}},
	{"no orphan for the owner of orphans", func(_ *[]SpaceState, rs []ResourceState) []ResourceState { return rs[:1] }},
	{"a value of another length", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		rs[1].Value = rs[1].Value[1:]
		return rs
	}},
	{"no value, but a version", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		rs[1].Value = nil
		return rs
	}},
	{"no value, but not valid", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		rs[0].ValueInvalid = true
		return rs
	}},
	{"both marks", spoilLock(0, func(l *LockState) { l.Flags |= gulmMarks })},
	{"a hold of more than NL", spoilLock(0, func(l *LockState) { l.Flags |= gulmHold })},
	{"a sub-id without its mark", spoilLock(0, func(l *LockState) { l.Sub = 1 })},
	{"a value without locks", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		return append(rs, ResourceState{Lockspace: 1, Name: []byte("v"), Value: make([]byte, 32)})
	}},
	{"overtaken, but nobody waits", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		rs[1].Overtaken = 1
		return rs
	}},
	{"an empty lockspace", func(spaces *[]SpaceState, rs []ResourceState) []ResourceState {
		(*spaces)[1].Members = nil
		return rs
	}},
	{"a lockspace from the future", func(spaces *[]SpaceState, rs []ResourceState) []ResourceState {
		(*spaces)[1].Number = 3
		return rs
	}},
	{"a member twice", func(spaces *[]SpaceState, rs []ResourceState) []ResourceState {
		(*spaces)[1].Members = []Session{1, 1}
		return rs
	}},
	{"a member that is no session", func(spaces *[]SpaceState, rs []ResourceState) []ResourceState {
		(*spaces)[1].Members = []Session{1, 9}
		return rs
	}},
	{"a node's orphans as a member", func(spaces *[]SpaceState, rs []ResourceState) []ResourceState {
		(*spaces)[1].Members = []Session{1, OrphansOf(5)}
		return rs
	}},
	{"no such lockspace", func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		rs[0].Lockspace = 3
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
}

// TestRestore_refusesImpossible changes one thing of a good snapshot each.
func TestRestore_refusesImpossible(t *testing.T) {
	for _, c := range impossible {
		table := snapshotted(t)
		spaces := table.Spaces()
		resources := c.spoil(&spaces, sortedResources(table))
		if restoreOf(table, spaces, table.Owners(), resources) {
			t.Errorf("%s: taken for a possible state", c.name)
		}
	}
	if table := snapshotted(t); !restoreOf(table, table.Spaces(), table.Owners(), sortedResources(table)) {
		t.Error("the good snapshot is refused")
	}
}

// spoilLock changes one lock of the first resource.
func spoilLock(n int, spoil func(*LockState)) func(*[]SpaceState, []ResourceState) []ResourceState {
	return func(_ *[]SpaceState, rs []ResourceState) []ResourceState {
		spoil(&rs[0].Locks[n])
		return rs
	}
}

// TestRestore_refusesOwners changes one owner of a good snapshot each.
func TestRestore_refusesOwners(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(os []OwnerState) []OwnerState
	}{
		{"session 0", func(os []OwnerState) []OwnerState { return append(os, OwnerState{}) }},
		{"one session twice", func(os []OwnerState) []OwnerState { return append(os, os[0]) }},
		{"denied request 0", func(os []OwnerState) []OwnerState { os[3].Ended[0].ID = 0; return os }},
		{"denied without a reason", func(os []OwnerState) []OwnerState { os[3].Ended[0].Reason = reason.None; return os }},
		{"denied for no known reason", func(os []OwnerState) []OwnerState { os[3].Ended[0].Reason = 255; return os }},
		{"denied twice", func(os []OwnerState) []OwnerState { os[3].Ended = append(os[3].Ended, os[3].Ended[0]); return os }},
		{"denied and held", func(os []OwnerState) []OwnerState { os[3].Ended[0].ID = 1; return os }},
		{"orphans of another node", func(os []OwnerState) []OwnerState { os[len(os)-1].Node++; return os }},
		{"orphans that were denied", func(os []OwnerState) []OwnerState {
			os[len(os)-1].Ended = []EndedState{{ID: 1, Reason: reason.Deadlock}}
			return os
		}},
		{"remains of another node", func(os []OwnerState) []OwnerState {
			return append(os, OwnerState{Session: RemainsOf(9), Node: 8, Frozen: true})
		}},
		{"a session in doubt", func(os []OwnerState) []OwnerState { os[0].Doubted = true; return os }},
		{"no owner of the orphans", func(os []OwnerState) []OwnerState { return os[:len(os)-1] }},
		{"a member that is not there", func(os []OwnerState) []OwnerState { return os[1:] }},
	} {
		table := snapshotted(t)
		if restoreOf(table, table.Spaces(), c.spoil(table.Owners()), sortedResources(table)) {
			t.Errorf("%s: taken for a possible state", c.name)
		}
	}
}

// snapshotted returns a table in which, on r, 2 and 3 hold, 1 converts and 4
// waits; an orphan and a value are on s; and a request of 4 was denied.
func snapshotted(t *testing.T) *Table {
	t.Helper()
	table := opened(t, 5)
	for s, mode := range []Mode{PR, PR, PR, CW} {
		lockIn(table, Session(s+1), mode)
	}
	convert(table, 1, EX, 0)
	table.Lock(4, LockRequest{ID: 7, Lockspace: 1, Name: []byte("r"), Mode: EX})
	table.Deny(Denial{Session: 4, ID: 7, Reason: reason.Deadlock})
	table.Lock(5, LockRequest{ID: 1, Lockspace: 1, Name: []byte("s"), Mode: EX})
	table.Convert(5, ConvertRequest{ID: 1, Mode: PR, Flags: ValBlk | Persistent, Value: []byte("v")})
	table.Close(5)
	table.Join(1, JoinRequest{Name: []byte("home")})
	if err := deepCheck(table); err != nil {
		t.Fatal(err)
	}
	return table
}

func sortedResources(table *Table) []ResourceState {
	all := resourcesOf(table)
	sortResources(all)
	return all
}

// restoreOf reports whether a snapshot is taken for a possible state.
func restoreOf(table *Table, spaces []SpaceState, owners []OwnerState, resources []ResourceState) bool {
	r := NewRestore(Limits{})
	r.SetCounters(table.Counters())
	for _, sp := range spaces {
		r.Space(sp)
	}
	for _, o := range owners {
		r.Owner(o)
	}
	for i := range resources {
		r.Resource(&resources[i])
	}
	_, ok := r.Finish()
	return ok
}
