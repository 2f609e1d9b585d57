package client_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/server/gulmtest"
)

// asks asks for a lock in the background.
func (u *user) asks(name string, mode client.Mode, options ...client.Option) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := u.ls.Lock(u.t.Context(), name, mode, options...)
		done <- err
	}()
	time.Sleep(time.Millisecond) // of the bubble: the others come later
	synctest.Wait()
	return done
}

// TestCluster_deadlocks lets owners of two and three nodes wait for each other in
// circles: the youngest that did not ask to be spared is told, with the circle
// spelled out, and nobody else.
func TestCluster_deadlocks(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		one, two, three := boot(t, c, "n1"), boot(t, c, "n2"), boot(t, c, "n3")
		owner := client.WithOwner(7)
		a := one.take("a", client.EX, client.EX, 0, owner)
		b := two.take("b", client.EX, client.EX, 0, owner)
		older := one.asks("b", client.PR, owner)
		younger := two.asks("a", client.PR, owner)
		err := <-younger
		if !errors.Is(err, client.ErrDeadlock) {
			t.Fatalf("the younger request: %v", err)
		}
		for _, part := range []string{
			"node n2 (session", "owner 7) waits for PR on gfs01/\"a\" held in EX by node n1",
			"which waits for PR on gfs01/\"b\" held in EX by node n2",
		} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is not in the error: %v", part, err)
			}
		}
		two.must(b.Unlock())
		if err := <-older; err != nil {
			t.Fatalf("the older request: %v", err)
		}
		one.must(a.Unlock())

		// Three, of which the youngest asked to be spared.
		x := one.take("x", client.EX, client.EX, 0, owner)
		two.take("y", client.EX, client.EX, 0, owner)
		z := three.take("z", client.EX, client.EX, 0, owner)
		first := one.asks("y", client.CR, owner)
		second := two.asks("z", client.CR, owner)
		third := three.asks("x", client.CR, owner, client.NoVictim)
		if err := <-second; !errors.Is(err, client.ErrDeadlock) {
			t.Fatalf("the youngest that was not spared: %v", err)
		}
		one.must(x.Unlock())
		if err := <-third; err != nil {
			t.Fatalf("the one that was spared: %v", err)
		}
		three.must(z.Unlock())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		select {
		case err := <-first:
			t.Fatalf("waits for nobody who waits for it, and ends with %v", err)
		default:
		}
	})
}

// TestCluster_noDeadlock: other owners of the same process, and requests without
// one, wait for as long as it takes.
func TestCluster_noDeadlock(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		one, two := boot(t, c, "n1"), boot(t, c, "n2")
		a := one.take("a", client.EX, client.EX, 0, client.WithOwner(1))
		b := two.take("b", client.EX, client.EX, 0, client.WithOwner(1))
		waits := []<-chan error{one.asks("b", client.PR, client.WithOwner(2)), two.asks("a", client.PR)}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for i, w := range waits {
			select {
			case err := <-w:
				t.Fatalf("request %d ended with %v", i, err)
			default:
			}
		}
		one.must(a.Unlock())
		two.must(b.Unlock())
		for _, w := range waits {
			if err := <-w; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestCluster_timeouts: locks and conversions end when their time is over, and
// not before.
func TestCluster_timeouts(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		one, two := boot(t, c, "n1"), boot(t, c, "n2")
		one.take("r", client.PR, client.PR, 0)
		mine := two.take("r", client.PR, client.PR, 0)
		start := time.Now()
		err := <-two.asks("r", client.EX, client.WithTimeout(3*time.Second))
		if took := time.Since(start); !errors.Is(err, client.ErrTimedOut) || took < 3*time.Second || took > 4*time.Second {
			t.Fatalf("a lock ended after %v with %v", took, err)
		}
		start = time.Now()
		err = mine.Convert(t.Context(), client.EX, client.WithTimeout(2*time.Second))
		if took := time.Since(start); !errors.Is(err, client.ErrTimedOut) || took < 2*time.Second || took > 3*time.Second {
			t.Fatalf("a conversion ended after %v with %v", took, err)
		}
		if mine.Mode() != client.PR || mine.Valid() != nil {
			t.Fatalf("the lock is in %v: %v", mine.Mode(), mine.Valid())
		}
		for _, d := range []time.Duration{0, -time.Second, 1 << 62} {
			if err := mine.Convert(t.Context(), client.EX, client.WithTimeout(d)); !errors.Is(err, client.ErrInvalid) {
				t.Fatalf("a time-out of %v: %v", d, err)
			}
		}
	})
}

// asksRange asks for a range in the background.
func (u *user) asksRange(name string, r client.Range, options ...client.Option) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := u.ls.RangeLock(u.t.Context(), name, r, options...)
		done <- err
	}()
	time.Sleep(time.Millisecond) // of the bubble: the others come later
	synctest.Wait()
	return done
}

// TestCluster_deadlockWithRange: two owners wait for each other, one for a lock
// and one for a byte range. The younger is told, unless it asked to be spared.
func TestCluster_deadlockWithRange(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		one, two := boot(t, c, "n1"), boot(t, c, "n2")
		owner, file := client.WithOwner(1), at(0, 99, client.RangeWrite)
		a := one.take("a", client.EX, client.EX, 0, owner)
		two.lockRange("f", file)
		older := two.asks("a", client.PR, owner)
		err := <-one.asksRange("f", file)
		if !errors.Is(err, client.ErrDeadlock) {
			t.Fatalf("the younger request: %v", err)
		}
		for _, part := range []string{
			"node n1 (session", "waits for bytes 0 to 99 of gfs01/\"f\" (write) held by node n2",
			"which waits for PR on gfs01/\"a\" held in EX by node n1",
		} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is not in the error: %v", part, err)
			}
		}
		spared := one.asksRange("f", file, client.NoVictim)
		if err := <-older; !errors.Is(err, client.ErrDeadlock) {
			t.Fatalf("the older request, as the other one is spared: %v", err)
		}
		two.must(two.ls.RangeUnlock(t.Context(), "f", file))
		if err := <-spared; err != nil {
			t.Fatalf("the request that was spared: %v", err)
		}
		one.must(a.Unlock())
	})
}

// TestCluster_rangeTimeouts: requests for ranges and flock end when their time is
// over, and not before; after a change of the master it begins anew.
func TestCluster_rangeTimeouts(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		one, two := boot(t, c, "n1"), boot(t, c, "n2")
		file := at(0, 9, client.RangeRead)
		one.lockRange("f", at(5, 9, client.RangeWrite))
		start := time.Now()
		err := <-two.asksRange("f", file, client.WithTimeout(3*time.Second))
		if took := time.Since(start); !errors.Is(err, client.ErrTimedOut) || took < 3*time.Second || took > 4*time.Second {
			t.Fatalf("a range ended after %v with %v", took, err)
		}
		_, err = one.ls.Flock(t.Context(), "f", 1, client.RangeWrite)
		one.must(err)
		start = time.Now()
		_, err = two.ls.Flock(t.Context(), "f", 1, client.RangeRead, client.WithTimeout(2*time.Second))
		if took := time.Since(start); !errors.Is(err, client.ErrTimedOut) || took < 2*time.Second || took > 3*time.Second {
			t.Fatalf("a flock ended after %v with %v", took, err)
		}
		if err := <-two.asksRange("f", file, client.WithOwner(3)); !errors.Is(err, client.ErrInvalid) {
			t.Fatalf("an owner beside that of the range: %v", err)
		}
		if err := <-two.asksRange("f", file, client.Persistent); !errors.Is(err, client.ErrInvalid) {
			t.Fatalf("a flag that ranges do not know: %v", err)
		}
		waits := two.asksRange("f", file, client.WithTimeout(30*time.Second))
		time.Sleep(20 * time.Second)
		c.KillServer(c.Master())
		select {
		case err := <-waits:
			t.Fatalf("ended early: %v", err)
		case <-time.After(20 * time.Second):
		}
		if err := <-waits; !errors.Is(err, client.ErrTimedOut) {
			t.Fatalf("after a change of the master: %v", err)
		}
	})
}
