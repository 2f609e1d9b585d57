package client_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
)

// state demands a state at once or after a wait, with a status.
func (u *user) state(key string, sub uint64, ask client.Mode, status client.Status, flags ...client.GulmFlag) *client.Lock {
	u.t.Helper()
	l, err := u.ls.Gulm().State(u.t.Context(), key, sub, ask, flags...)
	if err != nil {
		u.t.Fatal(err)
	}
	if l.Mode() != ask || l.Status() != status || l.Sub() != sub {
		u.t.Fatalf("%s is in %v (%v) for %d, want %v (%v) for %d", key, l.Mode(), l.Status(), l.Sub(), ask, status, sub)
	}
	return l
}

// refused demands that a state cannot be had.
func (u *user) refused(want error, key string, sub uint64, ask client.Mode, flags ...client.GulmFlag) {
	u.t.Helper()
	if _, err := u.ls.Gulm().State(u.t.Context(), key, sub, ask, flags...); !errors.Is(err, want) {
		u.t.Fatalf("%s in %v: %v, want %v", key, ask, err, want)
	}
}

// TestGulm_StatesFromNodeToNode: sub-ids, conversions, values and queries through
// real servers.
func TestGulm_StatesFromNodeToNode(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		g1, g2 := n1.ls.Gulm(), n2.ls.Gulm()
		first := n1.state("k", 1, client.PR, 0)
		if again := n1.state("k", 1, client.EX, 0); again != first {
			t.Fatal("the holder has another lock after a conversion")
		}
		n1.refused(client.ErrTryFailed, "k", 2, client.PR, client.GulmTry)
		n2.refused(client.ErrTryFailed, "k", 1, client.CW, client.GulmTry)

		_, err := g1.Hold(t.Context(), "k")
		n1.must(err)
		n1.must(g1.Sync(t.Context(), "k", 1, []byte("one")))
		if err := g1.Sync(t.Context(), "k", 2, []byte("no")); !errors.Is(err, client.ErrNotHeld) {
			t.Fatalf("sync without a lock: %v", err)
		}
		first.SetValue([]byte("two"))
		n1.state("k", 1, client.PR, 0)
		reader := n2.state("k", 7, client.PR, 0)
		wantValue(t, reader, "two")

		found, more, err := g2.Query(t.Context(), "k", 7, client.EX)
		n2.must(err)
		want := []client.GulmHolder{{Node: "n1", Session: found[0].Session, Sub: 1, State: client.PR, End: client.MaxOffset}}
		if more || !slices.Equal(found, want) {
			t.Fatalf("in the way: %+v, want %+v", found, want)
		}
		n2.must(reader.UnlockWait(t.Context()))
		if err := g2.Unlock("k", 7, nil); !errors.Is(err, client.ErrNotHeld) {
			t.Fatalf("unlocked twice: %v", err)
		}
		if found, _, err := g1.Query(t.Context(), "k", 1, client.EX); err != nil || len(found) != 0 {
			t.Fatalf("in the way of the only holder: %+v, %v", found, err)
		}
		n1.must(g1.Unhold(t.Context(), "k"))
		n1.must(g1.Unlock("k", 1, nil))
		n1.must(n1.ls.Leave(t.Context()))
	})
}

// TestGulm_SharersWhoBothWantAll: the second lets go of what it has, and is told.
func TestGulm_SharersWhoBothWantAll(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.state("k", 0, client.PR, 0)
		second := n2.state("k", 0, client.PR, 0)
		done := make(chan error, 1)
		go func() {
			l, err := n1.ls.Gulm().State(t.Context(), "k", 0, client.EX)
			if err == nil && l.Status() != 0 {
				err = errors.New("the first one lost its cache")
			}
			if err == nil {
				err = l.Unlock()
			}
			done <- err
		}()
		<-second.Blocking() // it waits
		l := n2.state("k", 0, client.EX, client.Demoted)
		n1.must(<-done)
		n2.must(l.Unlock())
	})
}

// TestGulm_DropExpired: a dead node's locks stay in every state until its fence is
// proved; what was withdrawn stays until it is dropped.
func TestGulm_DropExpired(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.state("fs1 a", 0, client.PR, 0)
		n1.state("fs2 a", 0, client.PR, 0)
		gone, err := n1.ls.Gulm().Withdraw(t.Context(), []byte("fs1"))
		if err != nil || gone != 1 {
			t.Fatalf("withdrew %d: %v", gone, err)
		}
		n2.refused(client.ErrTryFailed, "fs1 a", 0, client.EX, client.GulmTry)
		n2.state("fs1 a", 1, client.EX, 0, client.GulmNoExp, client.GulmTry)
		n2.must(n2.ls.Gulm().Unlock("fs1 a", 1, nil))
		n1.state("fs2 a", 0, client.EX, 0) // goes on

		c.Node("n1").Kill()
		n2.state("fs2 a", 0, client.EX, 0) // after the fence
		if len(c.Power.CallsFor("n1")) == 0 {
			t.Fatal("n1 was not fenced")
		}
		n2.refused(client.ErrTryFailed, "fs1 a", 0, client.EX, client.GulmTry)
		if _, err := n2.ls.Gulm().DropExpired(t.Context(), "nobody", nil); !errors.Is(err, gulmerr.ErrUnknownNode) {
			t.Fatalf("dropped what nobody left: %v", err)
		}
		dropped, err := n2.ls.Gulm().DropExpired(t.Context(), "n1", []byte("fs\xff"))
		if err != nil || dropped != 1 {
			t.Fatalf("dropped %d: %v", dropped, err)
		}
		n2.state("fs1 a", 0, client.EX, 0, client.GulmTry)
	})
}

// TestShed_aboveHighWater: nodes are asked to give back cached locks while there
// are too many, as often as lt_drop_req_rate says, and not any more once they did.
func TestShed_aboveHighWater(t *testing.T) {
	for name, c := range map[string]struct {
		setting     string
		least, most int // times in a minute
	}{
		"default": {"", 5, 6},
		"often":   {"\nlt_drop_req_rate = 2.5", 23, 24},
		"seldom":  {"\nlt_drop_req_rate = 45", 1, 2},
	} {
		t.Run(name, func(t *testing.T) { aboveHighWater(t, c.setting, c.least, c.most) })
	}
}

func aboveHighWater(t *testing.T, setting string, least, most int) {
	synctest.Test(t, func(t *testing.T) {
		c := gulmtest.NewCluster(t, 1, gulmtest.ClusterOptions{Settings: "lt_high_locks = 2" + setting})
		defer c.Close()
		c.StartAll()
		c.AwaitMaster(time.Minute)
		n1 := boot(t, c, "n1")
		var locks []*client.Lock
		asked := func() (times int) {
			for {
				select {
				case e := <-n1.node.Events():
					if e.Kind == client.EventShed {
						times++
					}
				default:
					return times
				}
			}
		}
		for _, key := range []string{"a", "b"} {
			locks = append(locks, n1.state(key, 0, client.PR, 0))
		}
		time.Sleep(time.Minute)
		if n := asked(); n != 0 {
			t.Fatalf("asked %d times for two locks of two", n)
		}
		locks = append(locks, n1.state("c", 0, client.PR, 0))
		time.Sleep(time.Minute)
		if n := asked(); n < least || n > most {
			t.Fatalf("asked %d times in a minute for three locks of two", n)
		}
		n1.must(locks[0].UnlockWait(t.Context()))
		asked()
		time.Sleep(time.Minute)
		if n := asked(); n != 0 {
			t.Fatalf("asked %d times after one lock was given back", n)
		}
	})
}
