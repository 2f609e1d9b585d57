package client_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

func setOf(mode client.Mode, names ...string) (entries []client.SetEntry) {
	for _, name := range names {
		entries = append(entries, client.SetEntry{Name: name, Mode: mode})
	}
	return entries
}

// askedSet is a set that may wait.
type askedSet struct {
	t       *testing.T
	entries []client.SetEntry
	cancel  context.CancelFunc
	done    chan error
	locks   []*client.Lock
}

// askSet asks and sees to it that the set waits.
func (u *user) askSet(c *gulmtest.Cluster, entries []client.SetEntry, options ...client.Option) *askedSet {
	u.t.Helper()
	ctx, cancel := context.WithCancel(u.t.Context())
	a := &askedSet{t: u.t, entries: entries, cancel: cancel, done: make(chan error, 1)}
	before := setsOf(c)
	go func() {
		var err error
		a.locks, err = u.ls.LockSet(ctx, entries, options...)
		a.done <- err
	}()
	c.Await(time.Minute, "the set to wait", func() bool { return setsOf(c) > before })
	return a
}

func (a *askedSet) waits() {
	a.t.Helper()
	wait(a.t, time.Second)
	select {
	case err := <-a.done:
		a.t.Fatalf("does not wait: %v", err)
	default:
	}
}

// granted demands the whole set, in the order of its entries.
func (a *askedSet) granted() []*client.Lock {
	a.t.Helper()
	select {
	case err := <-a.done:
		if err != nil {
			a.t.Fatal(err)
		}
	case <-time.After(2 * time.Minute):
		a.t.Fatal("is not granted")
	}
	wantWhole(a.t, a.locks, a.entries)
	return a.locks
}

func wantWhole(t *testing.T, locks []*client.Lock, entries []client.SetEntry) {
	t.Helper()
	if len(locks) != len(entries) {
		t.Fatalf("%d locks, want %d", len(locks), len(entries))
	}
	for i, l := range locks {
		if l.Name() != entries[i].Name || l.Mode() != entries[i].Mode || l.Valid() != nil || l.Token() == 0 {
			t.Fatalf("lock %d is %q in %v (token %d), valid: %v", i, l.Name(), l.Mode(), l.Token(), l.Valid())
		}
	}
}

func (u *user) unlockAll(locks []*client.Lock) {
	u.t.Helper()
	for _, l := range locks {
		u.must(l.UnlockWait(u.t.Context()))
	}
}

// onMaster looks at the locks of the present master.
func onMaster(c *gulmtest.Cluster, look func(t *lock.Table)) {
	if s := c.Server(c.Master()); s != nil {
		s.View(func(st *state.State) { look(st.Locks()) })
	}
}

// setsOf returns how many sets wait.
func setsOf(c *gulmtest.Cluster) (n int) {
	onMaster(c, func(t *lock.Table) {
		for _, o := range t.Owners() {
			n += len(o.Sets)
		}
	})
	return n
}

// locksOn returns the locks of a resource, in all queues.
func locksOn(c *gulmtest.Cluster, name string) (list []lock.LockState) {
	onMaster(c, func(t *lock.Table) {
		t.Walk(func(r *lock.ResourceState) bool {
			if string(r.Name) == name {
				list = slices.Clone(r.Locks)
			}
			return true
		})
	})
	return list
}

// noLocksLeft waits until the master knows of no lock, no set, and nothing that a
// session has not been told.
func noLocksLeft(t *testing.T, c *gulmtest.Cluster) {
	t.Helper()
	c.Await(time.Minute, "all to be forgotten", func() bool {
		left := -1
		onMaster(c, func(t *lock.Table) {
			left = 0
			t.Walk(func(r *lock.ResourceState) bool { left += len(r.Locks); return true })
			for _, o := range t.Owners() {
				left += len(o.Ended) + len(o.Sets)
			}
		})
		return left == 0
	})
}

// TestLockSet_oppositeOrders: nodes that want the same resources in opposite orders
// have them in turns, and never wait for each other in a circle.
func TestLockSet_oppositeOrders(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		const rounds = 25
		names := []string{"a", "b", "c", "d"}
		var inside atomic.Int32
		var newest atomic.Uint64
		var all sync.WaitGroup
		for _, node := range []string{"n1", "n2", "n3"} {
			u, mine := boot(t, c, node), slices.Clone(names)
			if node == "n2" {
				slices.Reverse(mine)
			}
			all.Go(func() {
				for range rounds {
					locks, err := u.ls.LockSet(t.Context(), setOf(client.EX, mine...))
					if err != nil {
						t.Errorf("%s: %v", node, err)
						return
					}
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d nodes are inside", n)
					}
					for _, l := range locks {
						if l.Valid() != nil || l.Token() <= newest.Load() && l.Name() == "a" {
							t.Errorf("%s has %s: %v, token %d", node, l.Name(), l.Valid(), l.Token())
						}
					}
					newest.Store(locks[slices.Index(mine, "a")].Token())
					time.Sleep(time.Millisecond) // of the bubble: the others ask
					inside.Add(-1)
					for _, l := range locks {
						if err := l.Unlock(); err != nil {
							t.Errorf("%s: %v", node, err)
						}
					}
				}
			})
		}
		all.Wait()
		noLocksLeft(t, c)
	})
}

// TestLockSet_allOrNothing: what a set has while it waits keeps others out, but is
// nobody's; nobody is told of it and nobody is asked to give it up.
func TestLockSet_allOrNothing(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2, n3 := boot(t, c, "n1"), boot(t, c, "n2"), boot(t, c, "n3")
		b := n1.take("b", client.PR, client.PR, 0)
		set := n2.askSet(c, []client.SetEntry{{Name: "c", Mode: client.EX}, {Name: "b", Mode: client.CW}, {Name: "a", Mode: client.EX, Flags: client.Value}})
		if wanted := <-b.Blocking(); wanted != client.CW {
			t.Fatalf("asked to give way to %v", wanted)
		}
		_, err := n3.ls.TryLock(t.Context(), "a", client.PR)
		wantIs(t, err, client.ErrTryFailed)
		n3.unlockAll([]*client.Lock{n3.take("c", client.EX, client.EX, 0)}) // its turn has not come
		waiter := n3.asks("a", client.PR)
		set.waits()
		n1.must(b.Unlock())
		locks := set.granted()
		wantValue(t, locks[2], "")
		if wanted := <-locks[2].Blocking(); wanted != client.PR {
			t.Fatalf("asked to give way to %v", wanted)
		}
		n2.must(locks[2].Convert(t.Context(), client.PR)) // an ordinary lock
		n3.must(<-waiter)
		n2.unlockAll(locks)
		n3.must(n3.ls.LeaveForce(t.Context()))
		n2.must(n2.ls.Leave(t.Context()))
		noLocksLeft(t, c)
	})
}

// TestLockSet_endsWithout: a set that is cancelled, denied or only tried leaves
// nothing, and who waits for what it had goes on.
func TestLockSet_endsWithout(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2, n3 := boot(t, c, "n1"), boot(t, c, "n2"), boot(t, c, "n3")
		z := n1.take("z", client.EX, client.EX, 0)
		entries := setOf(client.EX, "z", "a", "b")

		_, err := n2.ls.TryLockSet(t.Context(), entries)
		wantIs(t, err, client.ErrTryFailed)
		set := n2.askSet(c, entries)
		waiter := n3.asks("a", client.PR)
		set.cancel()
		wantIs(t, <-set.done, context.Canceled)
		n3.must(<-waiter)
		n3.must(n3.ls.LeaveForce(t.Context()))

		start := time.Now()
		set = n2.askSet(c, entries, client.WithTimeout(3*time.Second))
		wantIs(t, <-set.done, client.ErrTimedOut)
		if took := time.Since(start); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("timed out after %v", took)
		}

		n1.must(z.Unlock())
		n1.must(n1.ls.LeaveForce(t.Context()))
		n2.must(n2.ls.Leave(t.Context()))
		noLocksLeft(t, c)
	})
}

// TestLockSet_deadlock: a set in a circle with a single lock is told so, and which
// circle; the circle is gone with it.
func TestLockSet_deadlock(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.take("z", client.EX, client.EX, 0, client.WithOwner(7))
		set := n2.askSet(c, setOf(client.EX, "z", "a"))
		older := n1.asks("a", client.PR, client.WithOwner(7), client.NoVictim)
		err := <-set.done
		wantIs(t, err, client.ErrDeadlock)
		for _, part := range []string{"lock set of 2", `gfs01/"a"`, `gfs01/"z" held in EX by node n1`, "owner 7"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is not in %v", part, err)
			}
		}
		n1.must(<-older)
		n1.must(n1.ls.LeaveForce(t.Context()))
		n2.must(n2.ls.Leave(t.Context()))
		noLocksLeft(t, c)
	})
}

// TestLockSet_deadNode: the set of a dead node stays until its fence is proved; one
// that it only waited for is gone at once, with what it had.
func TestLockSet_deadNode(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2, n3 := boot(t, c, "n1"), boot(t, c, "n2"), boot(t, c, "n3")
		_, err := n1.ls.LockSet(t.Context(), setOf(client.CR, "a", "b"))
		n1.must(err)
		set := n2.askSet(c, setOf(client.EX, "b", "a"))
		held := n3.take("d", client.EX, client.EX, 0)
		n1.askSet(c, setOf(client.EX, "c", "d")) // has c
		other := n3.asks("c", client.EX)
		c.Power.Set("n1", sim.Behaviour{Delay: 10 * time.Second})
		c.Node("n1").Kill()
		c.Await(time.Minute, "the expiry", func() bool {
			on := locksOn(c, "a")
			return len(on) > 0 && on[0].Frozen && on[0].Queue == lock.QueueGranted
		})
		n3.must(<-other)
		set.waits()
		locks := set.granted()
		if calls := c.Power.CallsFor("n1"); len(calls) == 0 {
			t.Fatal("granted, and n1 was not fenced")
		}
		n2.unlockAll(locks)
		n3.must(held.Unlock())
		n3.must(n3.ls.LeaveForce(t.Context()))
		noLocksLeft(t, c)
	})
}

// TestLockSet_newMaster: a set keeps its place under a new master, also if it is
// granted while its session has no stream.
func TestLockSet_newMaster(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2, n3 := boot(t, c, "n1"), boot(t, c, "n2"), boot(t, c, "n3")
		b := n1.take("b", client.EX, client.EX, 0)
		second := n2.askSet(c, setOf(client.EX, "a", "b"))
		third := n3.askSet(c, setOf(client.EX, "c", "b", "a"))
		old := c.Master()
		c.KillServer(old)
		c.Await(time.Minute, "a new master", func() bool { m := c.Master(); return m != "" && m != old })
		second.waits()
		n1.must(b.Unlock())
		locks := second.granted()
		third.waits()
		n2.unlockAll(locks)
		newer := third.granted()
		if newer[1].Token() <= locks[1].Token() {
			t.Errorf("tokens %d, then %d", locks[1].Token(), newer[1].Token())
		}
		n3.unlockAll(newer)
		noLocksLeft(t, c)
	})
}

// TestLockSet_missedGrant: a grant that its session has missed, with the server
// that sent it lost, is told when it resumes.
func TestLockSet_missedGrant(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		b := n1.take("b", client.EX, client.EX, 0)
		set := n2.askSet(c, setOf(client.EX, "c", "a", "b"))
		c.Net.Partition([]string{"n2"}, []string{"lk1", "lk2", "lk3"})
		n1.must(b.Unlock())
		c.Await(time.Minute, "the grant", func() bool { return setsOf(c) == 0 })
		old := c.Master()
		c.KillServer(old)
		c.Await(time.Minute, "a new master", func() bool { m := c.Master(); return m != "" && m != old })
		c.Net.HealAll()
		n2.unlockAll(set.granted())
		noLocksLeft(t, c)
	})
}
