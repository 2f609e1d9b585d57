package gulmtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/server/gulmtest"
)

func TestHost_crashResetsPeers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		n.SetDelay("b", "a", time.Second, 0)
		a, b := pair(t, n)
		send(t, b, "last words")
		n.Host("b").Crash()
		readFails(t, b, net.ErrClosed)
		if d := receive(t, a, "last words"); d != time.Second {
			t.Errorf("arrived after %v", d)
		}
		readFails(t, a, syscall.ECONNRESET)
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestHost_crashBehindACutIsLearntLater(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, _ := pair(t, n)
		n.Partition([]string{"a"}, []string{"b"})
		n.Host("b").Crash()
		silentFor(t, a, time.Hour)
		n.HealAll()
		readFails(t, a, syscall.ECONNRESET)
	})
}

func TestHost_powerOffIsSilent(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		host := n.Host("b")
		host.PowerOff()
		readFails(t, b, net.ErrClosed)
		silentFor(t, a, time.Hour)
		_ = a.SetWriteDeadline(time.Now().Add(time.Minute))
		k, err := a.Write(make([]byte, 2*gulmtest.BufferSize))
		if k != gulmtest.BufferSize || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v, want a full buffer and a time-out", k, err)
		}
		// The machine that boots knows nothing of the connection, and says so
		// when it hears of it.
		host.Start()
		readFails(t, a, syscall.ECONNRESET)
		pair(t, n)
	})
}

func TestHost_powerOffLosesWhatWasHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		n.CutOneWay("b", "a")
		send(t, b, "lost")
		n.Host("b").PowerOff()
		n.HealAll()
		silentFor(t, a, time.Hour)
		n.Host("b").Start()
		silentFor(t, a, time.Hour) // a has sent nothing, so b has nothing to answer
		send(t, a, "x")
		readFails(t, a, syscall.ECONNRESET)
	})
}

func TestHost_oldLifeCannotSpeak(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		if _, err := n.Host("b").Listen("1"); err != nil {
			t.Fatal(err)
		}
		host := n.Host("a")
		dial := host.Dialer()
		host.Crash()
		host.Start()
		if _, err := dial(t.Context(), "b:1"); !errors.Is(err, gulmtest.ErrHostDown) {
			t.Errorf("old life: %v", err)
		}
		if _, err := host.Dial(t.Context(), "b:1"); err != nil {
			t.Errorf("new life: %v", err)
		}
	})
}

func TestHost_pauseStopsIt(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		host := n.Host("b")
		_ = b.SetReadDeadline(time.Now().Add(time.Minute))
		host.Pause()

		start := time.Now()
		done := make(chan time.Duration, 3)
		go func() {
			_, _ = io.ReadFull(b, make([]byte, 4)) // its deadline does not pass
			done <- time.Since(start)
		}()
		go func() {
			_, _ = b.Write([]byte("answer"))
			done <- time.Since(start)
		}()
		go func() {
			if err := host.Await(t.Context()); err != nil {
				t.Error(err)
			}
			done <- time.Since(start)
		}()
		send(t, a, "ping") // its kernel takes bytes
		silentFor(t, a, time.Hour)
		_ = a.SetWriteDeadline(time.Now().Add(time.Minute))
		if k, err := a.Write(make([]byte, 2*gulmtest.BufferSize)); k != gulmtest.BufferSize-4 {
			t.Errorf("wrote %d, %v, want what is left of the buffer", k, err)
		}
		host.Resume()
		for range 3 {
			if d := <-done; d < time.Hour {
				t.Errorf("went on after %v", d)
			}
		}
		receive(t, a, "answer")
	})
}

func TestHost_pauseHidesItsCloses(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		host := n.Host("b")
		host.Pause()
		_ = b.Close()
		readFails(t, b, net.ErrClosed)
		send(t, a, "nobody knows") // not answered with a reset either
		silentFor(t, a, time.Hour)
		host.Resume()
		readFails(t, a, io.EOF)
	})
}

func TestHost_pausedHostTakesConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		host := n.Host("b")
		l, err := host.Listen("1")
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan time.Time)
		go func() {
			_, _ = l.Accept()
			accepted <- time.Now()
		}()
		host.Pause()
		if _, err := n.Host("a").Dial(t.Context(), "b:1"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := host.Dial(ctx, "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a paused host dialled: %v", err)
		}
		resumed := time.Now()
		host.Resume()
		if at := <-accepted; at.Before(resumed) {
			t.Error("a paused host accepted")
		}
	})
}

func TestHost_crashWhilePaused(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		host := n.Host("b")
		host.Pause()
		failed := make(chan error, 2)
		go func() {
			_, err := b.Read(make([]byte, 1))
			failed <- err
		}()
		go func() { failed <- host.Await(t.Context()) }()
		synctest.Wait()
		host.Crash()
		for range 2 {
			if err := <-failed; !errors.Is(err, net.ErrClosed) && !errors.Is(err, gulmtest.ErrHostDown) {
				t.Errorf("%v", err)
			}
		}
		readFails(t, a, syscall.ECONNRESET)
	})
}

// TestNetwork_closeEndsEveryWait leaves one goroutine in each kind of wait; the
// bubble fails if one of them stays.
func TestNetwork_closeEndsEveryWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := gulmtest.NewNetwork(1)
		a, _ := pair(t, n)
		l, err := n.Host("b").Listen("1")
		if err != nil {
			t.Fatal(err)
		}
		n.Host("c")
		n.Partition([]string{"a"}, []string{"c"})
		n.Host("p").Pause()
		errs := make(chan error, 5)
		call := func(f func() error) { go func() { errs <- f() }() }
		call(func() error { _, err := a.Read(make([]byte, 1)); return err })
		call(func() error { _, err := a.Write(make([]byte, 2*gulmtest.BufferSize)); return err })
		call(func() error { _, err := l.Accept(); return err })
		call(func() error { _, err := n.Host("a").Dial(t.Context(), "c:1"); return err })
		call(func() error { return n.Host("p").Await(t.Context()) })
		synctest.Wait()
		n.Close()
		for range 5 {
			if err := <-errs; !errors.Is(err, net.ErrClosed) {
				t.Errorf("%v, want ErrClosed", err)
			}
		}
		n.Close()
	})
}
