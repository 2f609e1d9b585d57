package client_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
)

// part brings a part of a key into a state at once.
func (u *user) part(key string, sub, start, end uint64, ask client.Mode) {
	u.t.Helper()
	token, err := u.ls.Gulm().StatePart(u.t.Context(), key, sub, client.Part{Start: start, End: end}, ask, client.GulmTry)
	u.must(err)
	if token == 0 {
		u.t.Fatalf("%d-%d of %s without a token", start, end, key)
	}
}

// noPart demands that a part cannot be had.
func (u *user) noPart(want error, key string, sub, start, end uint64, ask client.Mode, flags ...client.GulmFlag) {
	u.t.Helper()
	flags = append(flags, client.GulmTry)
	if _, err := u.ls.Gulm().StatePart(u.t.Context(), key, sub, client.Part{Start: start, End: end}, ask, flags...); !errors.Is(err, want) {
		u.t.Fatalf("%d-%d of %s in %v: %v, want %v", start, end, key, ask, err, want)
	}
}

// later asks for a part and returns when that waits.
func (u *user) later(ctx context.Context, c *gulmtest.Cluster, key string, start, end uint64, ask client.Mode) <-chan error {
	u.t.Helper()
	done, before := make(chan error, 1), rangeCounts(c).Waiting
	go func() {
		_, err := u.ls.Gulm().StatePart(ctx, key, 0, client.Part{Start: start, End: end}, ask)
		done <- err
	}()
	c.Await(time.Minute, "the request to wait", func() bool { return rangeCounts(c).Waiting > before })
	return done
}

// TestGulm_PartsOfKeys: exact ends, waits, queries, cancellation, and a key that is
// used as a whole and in parts.
func TestGulm_PartsOfKeys(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		g1, g2 := n1.ls.Gulm(), n2.ls.Gulm()
		n1.part("f", 1, 0, 99, client.EX)
		n1.must(g1.UnlockPart(t.Context(), "f", 1, client.Part{}))
		n1.must(g1.UnlockPart(t.Context(), "f", 1, client.Part{Start: 99, End: 99}))
		n2.part("f", 0, 0, 0, client.EX)
		n2.part("f", 0, 99, client.MaxOffset, client.EX)
		n2.noPart(client.ErrTryFailed, "f", 0, 0, 1, client.PR)
		n2.noPart(client.ErrInvalid, "f", 0, 0, 1, client.CW)
		n2.noPart(client.ErrInvalid, "f", 0, 1, 0, client.PR)

		found, more, err := g2.QueryPart(t.Context(), "f", 0, client.Part{End: client.MaxOffset}, client.PR)
		n2.must(err)
		want := []client.GulmHolder{{Node: "n1", Session: found[0].Session, Sub: 1, State: client.EX, Start: 1, End: 98}}
		if more || !slices.Equal(found, want) {
			t.Fatalf("in the way: %+v, want %+v", found, want)
		}

		// Who gives up waits no more, who does not is granted.
		ctx, cancel := context.WithCancel(t.Context())
		given := n2.later(ctx, c, "f", 50, 60, client.PR)
		n2.noPart(client.ErrBusy, "f", 0, 500, 501, client.PR)
		cancel()
		if err := <-given; !errors.Is(err, context.Canceled) {
			t.Fatalf("given up: %v", err)
		}
		waits := n2.later(t.Context(), c, "f", 50, 60, client.PR)
		n1.must(g1.UnlockPart(t.Context(), "f", 1, client.Part{End: client.MaxOffset}))
		n2.must(<-waits)
		n1.part("f", 3, 61, 61, client.EX)
		n1.noPart(client.ErrTryFailed, "f", 3, 60, 61, client.EX)
		if counts := rangeCounts(c); counts.Waiting != 0 || counts.Ranges != 4 {
			t.Fatalf("%+v", counts)
		}
	})
}

// TestGulm_WholeAndParts: a whole key and parts of it exclude each other, whichever
// came first.
func TestGulm_WholeAndParts(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.state("f", 0, client.PR, 0)
		n2.noPart(gulmerr.ErrInUse, "f", 0, 0, 1, client.PR)
		n2.noPart(gulmerr.ErrInUse, "f", 0, 0, 1, client.EX)
		n1.must(n1.ls.Gulm().Unlock("f", 0, nil))
		n1.part("f", 0, 10, 19, client.EX)
		n2.refused(client.ErrTryFailed, "f", 0, client.PR, client.GulmTry)
		n2.refused(gulmerr.ErrInUse, "f", 0, client.CW, client.GulmTry)

		type answer struct {
			lock *client.Lock
			err  error
		}
		got := make(chan answer, 1)
		go func() {
			l, err := n2.ls.Gulm().State(t.Context(), "f", 0, client.EX)
			got <- answer{l, err}
		}()
		c.Await(time.Minute, "the whole to wait", func() bool { return rangeCounts(c).Waiting == 1 })
		n1.must(n1.ls.Gulm().UnlockPart(t.Context(), "f", 0, client.Part{End: client.MaxOffset}))
		whole := <-got
		n2.must(whole.err)
		if whole.lock.Mode() != client.EX || whole.lock.Token() == 0 {
			t.Fatalf("%v, token %d", whole.lock.Mode(), whole.lock.Token())
		}
		n1.noPart(client.ErrTryFailed, "f", 0, 500, 501, client.PR)
		n2.state("f", 0, client.PR, 0)
		n1.part("f", 0, 500, 501, client.PR)

		// A conversion of the whole that is given up leaves it as it was.
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := n2.ls.Gulm().State(ctx, "f", 0, client.EX)
			failed <- err
		}()
		c.Await(time.Minute, "the conversion to wait", func() bool { return rangeCounts(c).Waiting == 1 })
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Fatalf("given up: %v", err)
		}
		c.Await(time.Minute, "the conversion to go", func() bool { return rangeCounts(c).Waiting == 0 })
		n1.must(n1.ls.Gulm().UnlockPart(t.Context(), "f", 0, client.Part{End: client.MaxOffset}))
		n2.state("f", 0, client.EX, 0, client.GulmTry)
		n2.must(n2.ls.Gulm().Unlock("f", 0, nil))
		n2.must(n2.ls.Leave(t.Context())) // not in use: nothing is left of it
		n1.state("f", 0, client.CW, 0, client.GulmTry)
	})
}

// TestGulm_PartsOfTheDead: they stay until the fence, or until they are dropped.
func TestGulm_PartsOfTheDead(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n2.part("fs1 f", 0, 90, 99, client.PR)
		n1.part("fs1 f", 0, 0, 9, client.EX)
		n1.part("fs2 f", 0, 0, 9, client.PR)
		waits := n1.later(t.Context(), c, "fs1 f", 95, 95, client.EX)
		gone, err := n1.ls.Gulm().Withdraw(t.Context(), []byte("fs1"))
		if err != nil || gone != 1 {
			t.Fatalf("withdrew %d: %v", gone, err)
		}
		if err := <-waits; !errors.Is(err, gulmerr.ErrCanceled) {
			t.Fatalf("what waited where its node withdrew: %v", err)
		}
		n2.noPart(client.ErrTryFailed, "fs1 f", 0, 5, 5, client.PR)
		n2.part("fs1 f", 0, 10, 19, client.EX)
		if _, err := n2.ls.Gulm().StatePart(
			t.Context(), "fs1 f", 1, client.Part{Start: 5, End: 5}, client.EX, client.GulmNoExp); err != nil {
			t.Fatal(err)
		}
		dropped, err := n2.ls.Gulm().DropExpired(t.Context(), "n1", []byte("fs\xff"))
		if err != nil || dropped != 1 {
			t.Fatalf("dropped %d: %v", dropped, err)
		}
		n2.part("fs1 f", 0, 6, 9, client.EX)

		c.Node("n1").Kill()
		if _, err := n2.ls.Gulm().StatePart(t.Context(), "fs2 f", 0, client.Part{Start: 9, End: 9}, client.EX); err != nil {
			t.Fatal(err)
		}
		if len(c.Power.CallsFor("n1")) == 0 {
			t.Fatal("a part was handed on without a fence")
		}
	})
}

// TestGulm_deadlockOfPartAndWhole: two holders wait for each other, one for a part of
// a key, one for the whole of another. The one who asks for the part is told, with
// the circle spelled out; who asks for a whole is never denied.
func TestGulm_deadlockOfPartAndWhole(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.state("whole", 5, client.EX, 0)
		n2.part("parts", 7, 0, 99, client.EX)
		part, whole := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := n1.ls.Gulm().StatePart(t.Context(), "parts", 5, client.Part{Start: 50, End: 59}, client.PR)
			part <- err
		}()
		c.Await(time.Minute, "the request for the part to wait", func() bool { return rangeCounts(c).Waiting == 1 })
		go func() {
			_, err := n2.ls.Gulm().State(t.Context(), "whole", 7, client.PR)
			whole <- err
		}()
		err := <-part
		if !errors.Is(err, client.ErrDeadlock) {
			t.Fatalf("the request for the part: %v, want %v", err, client.ErrDeadlock)
		}
		for _, want := range []string{"parts", "whole", "n1", "n2", "bytes 50 to 59", "bytes 0 to 99"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not speak of %s", err, want)
			}
		}
		n1.must(n1.ls.Gulm().Unlock("whole", 5, nil))
		n1.must(<-whole)
	})
}
