package state_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// bereaved returns a cluster in which node dead holds "r" in a mode and expired,
// and node heir waits for it.
func bereaved(t *testing.T, held lock.Mode) (c *cluster, dead, heir uint64, life member.Life) {
	t.Helper()
	c = newCluster(t, state.Limits{})
	dead, heir = c.enter("dead"), c.enter("heir")
	other := c.must(login("dead", "boot1", 2)).Login.Number
	c.ask(other, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	if r := c.ask(dead, lockOn("r", held)); r.Outcome != lock.Granted {
		t.Fatalf("%+v", r)
	}
	c.ask(other, lockOn("q", held))
	life = c.expire("dead")
	if r := c.ask(heir, lockOn("r", lock.EX)); r.Outcome != lock.Queued {
		t.Fatalf("%v held, EX: %+v", held, r)
	}
	return c, dead, heir, life
}

// everyOther is each command but the two that settle a pending fence, in the
// forms that come nearest to it.
func everyOther(dead, heir uint64, l member.Life) []state.Command {
	earlier, later, living := l, l, member.Life{Node: "heir", Incarnation: 1}
	earlier.Incarnation--
	later.Incarnation++
	commands := []state.Command{
		state.BeginTerm{Term: 1, Server: "s1"},
		state.BeginTerm{Term: 1, Server: "s2"},
		state.Logout{Session: dead},
		state.Logout{Session: dead + 2}, // the dead node's other one
		login("dead", "boot1", 1),
		login("dead", "boot1", 9),
		login("dead", "boot2", 1),
		login("dead", "boot2", 9),
		login("third", "boot1", 1),
		state.Expire{Term: 1, Life: l, Seen: ^uint64(0)},
		state.Expire{Term: 1, Life: later, Seen: ^uint64(0)},
		state.FenceBegin{Term: 1, Life: l},
		state.FenceAttempted{Term: 1, Life: l, Attempt: member.Attempt{Outcome: "ok"}},
		state.FenceStarted{Term: 1, Life: l, Method: "m"},
		state.FenceReleased{Term: 1, Life: l},
		state.FenceManual{Node: "dead", ManualFence: member.ManualFence{Fenced: true, By: "m/d", Operator: "root"}},
		state.FenceSeen{Term: 1, Node: "dead", Alive: 1, Outlets: []member.Outlet{{Device: "d", Power: "off"}}},
		state.ServerLeft{Server: "s1"},
		state.ServerLeft{Server: "dead"},
		state.ServerEntered{Server: "dead"},
		state.Check{},
		&state.Batch{},
	}
	for _, wrong := range []member.Life{earlier, later, living, {}} {
		commands = append(commands, state.FenceProved{Term: 1, Life: wrong, By: "m/d"}, state.FenceAcknowledged{Term: 1, Life: wrong})
	}
	for _, stale := range []uint64{0, 2} {
		commands = append(commands, state.FenceProved{Term: stale, Life: l, By: "m/d"}, state.FenceAcknowledged{Term: stale, Life: l})
	}
	for op := range state.OpLeave + 2 {
		request := state.Request{Seq: 3, Op: op, Lock: 1, Lockspace: 1, Name: []byte("r")}
		commands = append(commands, batch(group(dead, 3, request)), batch(group(dead+2, 0, request)))
		if op != state.OpUnlock && op != state.OpCancel {
			commands = append(commands, batch(group(heir, 0, request)))
		}
	}
	return commands
}

// TestRelease_onlyByFence: no command but the proof or the acknowledgement of
// the fence of that very life, in the present term, releases a frozen lock.
func TestRelease_onlyByFence(t *testing.T) {
	_, dead, heir, life := bereaved(t, lock.EX)
	frozen := func(t *testing.T, c *cluster, held lock.Mode) {
		t.Helper()
		for _, name := range []string{"r", "q"} {
			r, _ := c.Locks().Resource(1, []byte(name))
			if len(r.Locks) == 0 || !r.Locks[0].Frozen || r.Locks[0].Granted != held {
				t.Fatalf("%s: %+v", name, r.Locks)
			}
		}
		if got := c.Members().Pending(); !slices.Equal(got, []member.Life{life}) {
			t.Fatalf("pending %v", got)
		}
	}
	// NL claims nothing and lets the heir in.
	for held := lock.CR; held <= lock.EX; held++ {
		for i, command := range everyOther(dead, heir, life) {
			t.Run(fmt.Sprintf("%v/%d_%T", held, i, command), func(t *testing.T) {
				c, _, _, _ := bereaved(t, held)
				if r := c.do(command); slices.Contains(r.Ended, dead) || len(r.Events) > 0 {
					t.Errorf("%+v", r)
				}
				frozen(t, c, held)
				c.must(state.BeginTerm{Term: 2, Server: "s2"})
				frozen(t, c, held)
			})
		}
		// One after the other.
		c, _, _, _ := bereaved(t, held)
		for _, command := range everyOther(dead, heir, life) {
			c.do(command)
			frozen(t, c, held)
		}
		for _, settle := range []state.Command{
			state.FenceProved{Term: 1, Life: life, By: "m/d"}, state.FenceAcknowledged{Term: 1, Life: life, Operator: "root"},
		} {
			c, _, _, _ := bereaved(t, held)
			r := c.must(settle)
			granted := lock.Event{Session: lock.Session(heir), Lock: 1, Kind: lock.EventGranted, Mode: lock.EX}
			if len(r.Events) != 1 {
				t.Fatalf("%T: %+v", settle, r)
			}
			granted.Token = r.Events[0].Token
			if !reflect.DeepEqual(r.Events[0], granted) || granted.Token == 0 || !slices.Equal(r.Ended, []uint64{dead, dead + 2}) || r.Node != "dead" {
				t.Errorf("%T: %+v", settle, r)
			}
			if _, ok := c.Locks().Resource(1, []byte("q")); ok {
				t.Errorf("%T leaves a lock of the dead node's other session", settle)
			}
			if r := c.do(settle); r.Reason != reason.NotPending || len(r.Ended) != 0 {
				t.Errorf("%T again: %+v", settle, r)
			}
		}
	}
}

// TestRelease_nextLife: the next life of a node has nothing of the earlier one,
// and what is said of that does not touch it.
func TestRelease_nextLife(t *testing.T) {
	c, _, heir, life := bereaved(t, lock.EX)
	c.must(state.FenceProved{Term: 1, Life: life, By: "m/d"})
	again := c.enter("dead")
	if n := c.life("dead"); n.Incarnation != life.Incarnation+1 {
		t.Errorf("%+v", n)
	}
	if got := c.ask(again, state.Request{Op: state.OpUnlock, Lock: 1}); got.Reason != reason.NotHeld {
		t.Errorf("%+v", got)
	}
	c.ask(heir, state.Request{Op: state.OpUnlock, Lock: 1})
	c.ask(again, lockOn("r", lock.EX))
	for command, why := range map[state.Command]reason.Reason{
		state.Expire{Term: 1, Life: life, Seen: ^uint64(0)}: reason.StaleIncarnation,
		state.FenceBegin{Term: 1, Life: life}:               reason.NotPending,
		state.FenceProved{Term: 1, Life: life}:              reason.NotPending,
		state.FenceAcknowledged{Term: 1, Life: life}:        reason.NotPending,
	} {
		if r := c.do(command); r.Reason != why {
			t.Errorf("%T: %v, want %v", command, r.Reason, why)
		}
	}
	if r, _ := c.Locks().Resource(1, []byte("r")); len(r.Locks) != 1 || r.Locks[0].Granted != lock.EX || r.Locks[0].Frozen {
		t.Errorf("%+v", r)
	}
}

// TestRelease_logout: a logout gives its own session's locks back, at once.
func TestRelease_logout(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, b := c.enter("a"), c.enter("b")
	other := c.must(login("a", "boot1", 2)).Login.Number
	c.ask(other, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
	c.ask(other, lockOn("q", lock.PR))
	c.ask(a, lockOn("r", lock.EX))
	c.ask(b, lockOn("r", lock.PR))
	r := c.must(state.Logout{Session: a})
	if len(r.Events) != 1 || r.Events[0].Session != lock.Session(b) || r.Events[0].Kind != lock.EventGranted || !slices.Equal(r.Ended, []uint64{a}) {
		t.Errorf("%+v", r)
	}
	if q, _ := c.Locks().Resource(1, []byte("q")); len(q.Locks) != 1 {
		t.Errorf("the other session's lock: %+v", q)
	}
	if n, _ := c.Members().Node("a"); n.State != member.LoggedIn {
		t.Errorf("%v", n.State)
	}
}
