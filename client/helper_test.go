package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test in fake time against so many servers.
func bubble(t *testing.T, servers int, test func(t *testing.T, c *fakeCluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFake(t, servers)) })
}

// dialNode logs a node in and closes it when the test ends.
func dialNode(tb testing.TB, c *fakeCluster, name string) *Node {
	tb.Helper()
	n, err := Dial(tb.Context(), c.config(name))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = n.Close() })
	return n
}

func joinSpace(tb testing.TB, n *Node) *Lockspace {
	tb.Helper()
	ls, err := n.Join(tb.Context(), "gfs01", JoinOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return ls
}

func mustLock(tb testing.TB, ls *Lockspace, name string, mode Mode) *Lock {
	tb.Helper()
	l, err := ls.Lock(tb.Context(), name, mode)
	if err != nil {
		tb.Fatal(err)
	}
	if err := l.Valid(); err != nil || l.Mode() != mode {
		tb.Fatalf("lock %s is in %v, valid: %v", name, l.Mode(), err)
	}
	return l
}

// lockLater asks for a lock in the background, and hands it over when granted.
func lockLater(t *testing.T, ls *Lockspace, name string, mode Mode) <-chan *Lock {
	t.Helper()
	got := make(chan *Lock, 1)
	go func() {
		l, err := ls.Lock(t.Context(), name, mode)
		if err != nil && t.Context().Err() == nil && !errors.Is(err, ErrClosed) { // else the test is over
			t.Errorf("lock %s: %v", name, err)
		}
		got <- l
	}()
	synctest.Wait()
	return got
}

func wantErr(tb testing.TB, err, want error) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Fatalf("error is %v, want %v", err, want)
	}
}

// pending fails if there is something in the channel.
func pending[T any](t *testing.T, ch <-chan T) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-ch:
		t.Fatalf("has %v already", v)
	default:
	}
}

// stamp is an event with the time since a start.
type stamp struct {
	kind EventKind
	at   time.Duration
}

// lifeEvents reads what is in the channel, leaving connections out.
func lifeEvents(n *Node, start time.Time) []stamp {
	synctest.Wait()
	var all []stamp
	for {
		select {
		case e, ok := <-n.Events():
			if !ok {
				return all
			}
			if e.Kind != EventConnected && e.Kind != EventDisconnected {
				all = append(all, stamp{e.Kind, e.At.Sub(start)})
			}
		default:
			return all
		}
	}
}

func shortly(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
