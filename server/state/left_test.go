package state_test

import (
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// TestJournal_olderRemainsInDoubt: what a node left before the lockspace had
// journals, and which is in doubt when the first mounter has replayed them all, is
// released with the node's fence; nobody has to unmount for that.
func TestJournal_olderRemainsInDoubt(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, b := c.enter("a"), c.enter("b")
	c.want(c.on(a, 1, "r", lock.EX, 0), lock.Granted, 0)
	c.want(c.ask(a, rangeOn(2, "file", 0)), lock.Granted, 0)
	c.want(c.ask(a, state.Request{Op: state.OpGulmWithdraw, Lockspace: 1}), lock.Unlocked, 0)
	c.mustMount(b, 0)
	c.expire("a")
	c.say(b, state.OpMounted, 0)
	c.want(c.on(b, 1, "r", lock.EX, lock.NoQueue), lock.Refused, reason.TryFailed)
	c.sound()
	c.fence("a")
	c.want(c.on(b, 2, "r", lock.EX, lock.NoQueue), lock.Granted, 0)
	c.want(c.ask(b, rangeOn(3, "file", lock.NoQueue)), lock.Granted, 0)
	c.say(b, state.OpUnmount, 0)
	if n := len(c.Journals().Spaces()); n != 0 {
		t.Errorf("%d lockspaces have journals after the last unmount", n)
	}
}

// remembered counts the sessions that the ledger of lockspace 1 remembers.
func (c *cluster) remembered() int {
	n := 0
	p, _ := c.Journals().Space(1)
	for i := range p.Journals {
		for _, r := range p.Journals[i].Left {
			n += 1 + len(r.Sessions)
		}
	}
	for _, r := range p.Late {
		n += 1 + len(r.Sessions)
	}
	return n
}

// again logs a node in anew, joins lockspace 1 and mounts it.
func (c *cluster) again(node string, policy lock.Policy) uint64 {
	c.Helper()
	s := c.must(login(node, "boot1", 1)).Login.Number
	c.want(c.ask(s, state.Request{Op: state.OpJoin, Name: []byte("gfs"), Policy: policy}), lock.Joined, 0)
	if r := c.mount(s); r.Reason != reason.None {
		c.Fatalf("%s mounts: %v", node, r.Reason)
	}
	return s
}

// TestJournal_ledgerIsBounded: S9. However often a node mounts and fails, withdraws,
// or logs out without an unmount, the ledger remembers one entry for it, and of its
// sessions those only that left a lock.
func TestJournal_ledgerIsBounded(t *testing.T) {
	const times = 50
	for name, end := range map[string]func(c *cluster, s uint64){
		"dies":     func(c *cluster, _ uint64) { c.expire("a"); c.fence("a") },
		"logs out": func(c *cluster, s uint64) { c.must(state.Logout{Session: s}) },
		"withdraws": func(c *cluster, s uint64) {
			c.say(s, state.OpWithdraw, 0)
			c.must(state.Logout{Session: s})
		},
		"dies with others": func(c *cluster, _ uint64) {
			for id := byte(2); id < 6; id++ {
				other := c.must(login("a", "boot1", id)).Login.Number
				c.ask(other, state.Request{Op: state.OpJoin, Name: []byte("gfs")})
			}
			c.expire("a")
			c.fence("a")
		},
	} {
		c := newCluster(t, state.Limits{})
		for i := range times {
			s := c.again("a", lock.PolicyFence)
			if i%10 == 0 {
				c.want(c.on(s, 1, string(rune('A'+i)), lock.EX, 0), lock.Granted, 0)
			}
			end(c, s)
		}
		c.sound()
		if n := c.remembered(); n > 1+1+times/10 {
			t.Errorf("%s %d times: %d things are remembered", name, times, n)
		}
		b := c.again("b", lock.PolicyFence)
		c.say(b, state.OpMounted, 0)
		for i := 0; i < times; i += 10 {
			c.want(c.on(b, lock.ID(i+1), string(rune('A'+i)), lock.EX, lock.NoQueue), lock.Granted, 0)
		}
	}
}

// TestJournal_lateIsBounded: S9. What waits for an operator's word after its replay
// is remembered only if there is something to release.
func TestJournal_lateIsBounded(t *testing.T) {
	c := newCluster(t, state.Limits{})
	m := c.again("m", lock.PolicyManual)
	c.say(m, state.OpMounted, 0)
	for i := range 50 {
		s := c.again("a", lock.PolicyManual)
		other := c.must(login("a", "boot1", 2)).Login.Number
		c.ask(other, state.Request{Op: state.OpJoin, Name: []byte("gfs"), Policy: lock.PolicyManual})
		if i%10 == 0 {
			c.want(c.on(other, 1, string(rune('A'+i)), lock.EX, 0), lock.Granted, 0)
		}
		c.say(s, state.OpWithdraw, 0)
		c.expire("a")
		c.fence("a")
		c.say(m, state.OpRecovered, 1)
	}
	c.sound()
	if n := c.remembered(); n > 10 {
		t.Errorf("%d things are remembered", n)
	}
	if r := c.word("a", 50); r.Reason != reason.None {
		t.Fatal(r.Reason)
	}
	for i := 0; i < 50; i += 10 {
		c.want(c.on(m, lock.ID(i+1), string(rune('A'+i)), lock.EX, lock.NoQueue), lock.Granted, 0)
	}
}
