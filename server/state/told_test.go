package state_test

import (
	"strings"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// TestDeny_conversionInSnapshot: a session that resumes after a snapshot is told
// which circle ended its conversion.
func TestDeny_conversionInSnapshot(t *testing.T) {
	c := newCluster(t, state.Limits{})
	one, two := c.enter("n1"), c.enter("n2")
	ask := func(session uint64, op state.Op, id lock.ID, name string, mode lock.Mode) {
		c.ask(session, state.Request{Op: op, Lock: id, Lockspace: 1, Name: []byte(name), Mode: mode, Terms: lock.Terms{Owner: 7}})
	}
	ask(one, state.OpLock, 1, "a", lock.PR)
	ask(one, state.OpLock, 2, "b", lock.EX)
	ask(two, state.OpLock, 1, "a", lock.PR)
	ask(two, state.OpLock, 2, "b", lock.PR)
	ask(one, state.OpConvert, 1, "", lock.EX)
	cycles, _ := c.Locks().Deadlocks(100)
	if len(cycles) != 1 {
		t.Fatalf("%d deadlocks", len(cycles))
	}
	d, _ := cycles[0].Denial()
	c.must(state.Deny{Term: 1, Session: uint64(d.Session), Lock: d.ID, Reason: d.Reason, Since: d.Since, Cycle: d.Cycle})
	again, err := reread(c.State)
	if err != nil {
		t.Fatal(err)
	}
	if err := same(c.State, again); err != nil {
		t.Fatal(err)
	}
	for _, e := range again.Locks().Changed(lock.Session(one), 0, nil) {
		if e.Lock == 1 && e.Kind == lock.EventDenied {
			if e.Reason != reason.Deadlock || !strings.Contains(e.Detail, `node n1 (session 1, owner 7) waits for EX on gfs/"a"`) {
				t.Errorf("told again: %+v", e)
			}
			return
		}
	}
	t.Error("the denial is not told again")
}
