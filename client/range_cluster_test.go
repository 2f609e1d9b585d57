package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// at is a range of owner 1.
func at(start, end uint64, kind client.RangeKind) client.Range {
	return client.Range{Owner: 1, Start: start, End: end, Kind: kind}
}

// lockRange takes a range at once and returns its token.
func (u *user) lockRange(name string, r client.Range) uint64 {
	u.t.Helper()
	token, err := u.ls.TryRangeLock(u.t.Context(), name, r)
	u.must(err)
	return token
}

// asked is a request for a range that may wait.
type asked struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	token  uint64
}

// askRange asks and sees to it that the request waits.
func (u *user) askRange(c *gulmtest.Cluster, name string, r client.Range) *asked {
	u.t.Helper()
	ctx, cancel := context.WithCancel(u.t.Context())
	a := &asked{t: u.t, cancel: cancel, done: make(chan error, 1)}
	before := rangeCounts(c).Waiting
	go func() {
		var err error
		a.token, err = u.ls.RangeLock(ctx, name, r)
		a.done <- err
	}()
	c.Await(time.Minute, "the request to wait", func() bool { return rangeCounts(c).Waiting > before })
	return a
}

func (a *asked) waits() {
	a.t.Helper()
	select {
	case err := <-a.done:
		a.t.Fatalf("does not wait: %v", err)
	default:
	}
}

func (a *asked) granted() uint64 {
	a.t.Helper()
	select {
	case err := <-a.done:
		if err != nil {
			a.t.Fatal(err)
		}
	case <-time.After(2 * time.Minute):
		a.t.Fatal("is not granted")
	}
	return a.token
}

func rangeCounts(c *gulmtest.Cluster) (n lock.RangeCounts) {
	if s := c.Server(c.Master()); s != nil {
		s.View(func(st *state.State) { n = st.Locks().RangeCounts() })
	}
	return n
}

// nothingLeft waits until the master knows of no range, and of nothing that a
// session has not been told.
func nothingLeft(t *testing.T, c *gulmtest.Cluster) {
	t.Helper()
	c.Await(time.Minute, "all to be forgotten", func() bool {
		left := -1
		if s := c.Server(c.Master()); s != nil {
			s.View(func(st *state.State) {
				n := st.Locks().RangeCounts()
				left = n.Ranges + n.Waiting + n.Files + n.Owners
				for _, o := range st.Locks().Owners() {
					left += len(o.Ended)
				}
			})
		}
		return left == 0
	})
}

// TestRange_fromOwnerToOwner: split, weaken in place, join, wait, test, unlock.
func TestRange_fromOwnerToOwner(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		ctx := t.Context()
		first := n1.lockRange("f", at(0, client.MaxOffset, client.RangeWrite))
		_, err := n2.ls.TryRangeLock(ctx, "f", at(10, 19, client.RangeRead))
		wantIs(t, err, client.ErrTryFailed)
		n2.lockRange("g", at(10, 19, client.RangeWrite))
		n2.take("f", client.EX, client.EX, 0) // a resource of that name is another thing

		w := n2.askRange(c, "f", at(10, 19, client.RangeWrite))
		r := n2.askRange(c, "f", client.Range{Owner: 2, Start: 30, End: 39, Kind: client.RangeRead})
		n1.lockRange("f", at(0, 99, client.RangeRead)) // weakens in place
		if token := r.granted(); token <= first {
			t.Fatalf("token %d after %d", token, first)
		}
		w.waits()
		found, err := n2.ls.RangeTest(ctx, "f", client.Range{Owner: 3, Start: 15, End: 200, Kind: client.RangeWrite})
		n2.must(err)
		want := fmt.Sprint([]client.RangeConflict{
			{Range: client.Range{Owner: 1, Start: 0, End: 99}, Node: "n1", Session: 1},
			{Range: client.Range{Owner: 2, Start: 30, End: 39}, Node: "n2", Session: 2},
			{Range: client.Range{Owner: 1, Start: 100, End: client.MaxOffset, Kind: client.RangeWrite}, Node: "n1", Session: 1},
			{Range: client.Range{Owner: 1, Start: 10, End: 19, Kind: client.RangeWrite}, Node: "n2", Session: 2, Waiting: true},
		})
		if got := fmt.Sprint(found); got != want {
			t.Fatalf("in the way are\n%s, want\n%s", got, want)
		}
		wantIs(t, n1.ls.Leave(ctx), client.ErrInUse)
		n1.must(n1.ls.RangeUnlock(ctx, "f", at(10, 19, client.RangeRead)))
		if token := w.granted(); token <= first {
			t.Fatalf("token %d after %d", token, first)
		}
		n1.must(n1.ls.RangeCloseAll(ctx, 1))
		n1.must(n1.ls.Leave(ctx))
		n2.must(n2.ls.LeaveForce(ctx))
		nothingLeft(t, c)
	})
}

// TestRange_cancelled: a request whose context ends leaves nothing, and what waits
// behind it goes on.
func TestRange_cancelled(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.lockRange("f", at(0, 9, client.RangeRead))
		w := n2.askRange(c, "f", at(0, 9, client.RangeWrite))
		r := n2.askRange(c, "f", client.Range{Owner: 2, End: 9})
		w.cancel()
		wantIs(t, <-w.done, context.Canceled)
		r.granted()
		x := n2.askRange(c, "f", at(0, 9, client.RangeWrite))
		n2.must(n2.ls.RangeClose(t.Context(), "f", 1))
		wantIs(t, <-x.done, gulmerr.ErrCanceled)
		n2.must(n2.ls.RangeClose(t.Context(), "f", 2))
		n1.must(n1.ls.RangeUnlock(t.Context(), "f", at(0, client.MaxOffset, 0)))
		nothingLeft(t, c)
	})
}

// TestRange_deadlock: the request that closes a circle is refused at once.
func TestRange_deadlock(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.lockRange("f", at(0, 9, client.RangeWrite))
		n2.lockRange("g", at(0, 9, client.RangeWrite))
		w := n1.askRange(c, "g", at(5, 5, client.RangeRead))
		before := time.Now()
		_, err := n2.ls.RangeLock(t.Context(), "f", at(0, 0, client.RangeWrite))
		wantIs(t, err, client.ErrDeadlock)
		if took := time.Since(before); took > 2*time.Second {
			t.Errorf("found after %v", took)
		}
		n2.must(n2.ls.RangeUnlock(t.Context(), "g", at(0, 9, 0)))
		w.granted()
	})
}

// TestFlock_openFiles: flock's locks and ranges do not meet, and to change the kind
// lets go first.
func TestFlock_openFiles(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		ctx := t.Context()
		a, b, x := n1.node.NewRangeOwner(), n1.node.NewRangeOwner(), n2.node.NewRangeOwner()
		n1.lockRange("f", client.Range{Owner: a, End: client.MaxOffset, Kind: client.RangeWrite})
		for u, owner := range map[*user]client.RangeOwner{n1: b, n2: x} {
			_, err := u.ls.Flock(ctx, "f", owner, client.RangeRead)
			u.must(err)
		}
		_, err := n1.ls.TryFlock(ctx, "f", a, client.RangeWrite)
		wantIs(t, err, client.ErrTryFailed)
		_, err = n1.ls.TryFlock(ctx, "f", b, client.RangeWrite) // loses the shared one
		wantIs(t, err, client.ErrTryFailed)
		found, err := n1.ls.FlockTest(ctx, "f", a, client.RangeWrite)
		if err != nil || len(found) != 1 || found[0].Owner != x || found[0].Node != "n2" {
			t.Fatalf("in the way are %v, %v", found, err)
		}
		n2.must(n2.ls.Funlock(ctx, "f", x))
		_, err = n1.ls.Flock(ctx, "f", b, client.RangeWrite)
		n1.must(err)
	})
}

// TestRange_deadNode: the ranges of a dead node stay until its fence is proved.
func TestRange_deadNode(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.lockRange("f", at(0, 9, client.RangeRead))
		w := n2.askRange(c, "f", at(9, 9, client.RangeWrite))
		c.Node("n1").Kill()
		w.granted()
		if calls := c.Power.CallsFor("n1"); len(calls) == 0 {
			t.Fatal("granted, and n1 was not fenced")
		}
	})
}

// TestRange_newMaster: a request keeps its place under a new master, also if it is
// granted while its session has no stream.
func TestRange_newMaster(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2, n3 := boot(t, c, "n1"), boot(t, c, "n2"), boot(t, c, "n3")
		n1.lockRange("f", at(0, 9, client.RangeWrite))
		second := n2.askRange(c, "f", at(0, 9, client.RangeWrite))
		third := n3.askRange(c, "f", at(0, 9, client.RangeWrite))
		old := c.Master()
		c.KillServer(old)
		c.Await(time.Minute, "a new master", func() bool { m := c.Master(); return m != "" && m != old })
		n1.must(n1.ls.RangeUnlock(t.Context(), "f", at(0, 9, 0)))
		two := second.granted()
		third.waits()
		n2.must(n2.ls.RangeUnlock(t.Context(), "f", at(0, 9, 0)))
		if three := third.granted(); three <= two {
			t.Errorf("tokens %d, then %d", two, three)
		}
	})
}

// TestRange_missedGrant: what was granted while a session had no stream is told
// when it resumes, and forgotten once it is known.
func TestRange_missedGrant(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.lockRange("f", at(0, 9, client.RangeWrite))
		w := n2.askRange(c, "f", at(0, 9, client.RangeWrite))
		servers := []string{"lk1", "lk2", "lk3"}
		c.Net.Partition([]string{"n2"}, servers)
		n1.must(n1.ls.RangeUnlock(t.Context(), "f", at(0, 9, 0)))
		c.Await(time.Minute, "the grant", func() bool { return rangeCounts(c).Waiting == 0 })
		w.waits()
		old := c.Master() // what it has sent is lost with it
		c.KillServer(old)
		c.Await(time.Minute, "a new master", func() bool { m := c.Master(); return m != "" && m != old })
		w.waits()
		c.Net.HealAll()
		w.granted()
		n2.must(n2.ls.RangeUnlock(t.Context(), "f", at(0, 9, 0)))
		nothingLeft(t, c)
	})
}

// TestRange_arguments never reach the servers.
func TestRange_arguments(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1 := boot(t, c, "n1")
		for _, r := range []client.Range{{Start: 2, End: 1}, {End: client.MaxOffset + 1}, {Kind: 2}} {
			_, err := n1.ls.RangeLock(t.Context(), "f", r)
			wantIs(t, err, client.ErrInvalid)
		}
		_, err := n1.ls.RangeTest(t.Context(), "", client.Range{})
		wantIs(t, err, client.ErrInvalid)
		wantIs(t, n1.ls.RangeClose(t.Context(), "", 1), client.ErrInvalid)
		n1.must(n1.ls.RangeUnlock(t.Context(), "f", at(0, 9, 0)))
		n1.must(n1.ls.Leave(t.Context()))
		_, err = n1.ls.RangeLock(t.Context(), "f", at(0, 1, 0))
		wantIs(t, err, client.ErrNoLockspace)
	})
}
