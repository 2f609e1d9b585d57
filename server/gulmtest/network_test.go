package gulmtest_test

import (
	"bytes"
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

// inBubble runs f with a network that is closed at the end.
func inBubble(t *testing.T, f func(t *testing.T, n *gulmtest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := gulmtest.NewNetwork(1)
		defer n.Close()
		f(t, n)
	})
}

// pair connects host a to host b.
func pair(t *testing.T, n *gulmtest.Network) (a, b net.Conn) {
	t.Helper()
	l, err := n.Host("b").Listen("0")
	if err != nil {
		t.Fatal(err)
	}
	if a, err = n.Host("a").Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(text), err)
	}
}

// receive reads what comes and returns it with the time that it took.
func receive(t *testing.T, c net.Conn, want string) time.Duration {
	t.Helper()
	start := time.Now()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
	return time.Since(start)
}

// readFails reads one byte, which must fail with want.
func readFails(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("read %d bytes, %v, want %v", n, err, want)
	}
}

// silentFor checks that nothing comes for this long.
func silentFor(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	readFails(t, c, os.ErrDeadlineExceeded)
	if got := time.Since(start); got != d {
		t.Fatalf("deadline passed after %v, want %v", got, d)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func TestConn_carriesBytesBothWays(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		send(t, a, "ping")
		receive(t, b, "pi")
		receive(t, b, "ng")
		send(t, b, "pong")
		receive(t, a, "pong")
		if a.RemoteAddr().String() != b.LocalAddr().String() || a.LocalAddr().String() != b.RemoteAddr().String() {
			t.Errorf("addresses %v %v, %v %v", a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
		}
	})
}

func TestConn_worksOutsideOfBubbles(t *testing.T) {
	n := gulmtest.NewNetwork(1)
	defer n.Close()
	n.SetDelay("a", "b", time.Millisecond, time.Millisecond)
	a, b := pair(t, n)
	send(t, a, "ping")
	if d := receive(t, b, "ping"); d > time.Minute {
		t.Errorf("took %v", d)
	}
	readFailed := make(chan error)
	go func() {
		_, err := b.Read(make([]byte, 1))
		readFailed <- err
	}()
	_ = a.Close()
	if err := <-readFailed; !errors.Is(err, io.EOF) {
		t.Errorf("%v, want EOF", err)
	}
}

func TestConn_closeIsReadAfterTheBytes(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		n.SetDelay("a", "b", time.Second, 0)
		a, b := pair(t, n)
		send(t, a, "last words")
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		readFails(t, a, net.ErrClosed)
		if d := receive(t, b, "last words"); d != time.Second {
			t.Errorf("arrived after %v, want 1s", d)
		}
		readFails(t, b, io.EOF)
		readFails(t, b, io.EOF)
		// TCP takes the first write after the peer's close, and learns from the
		// answer that it was in vain.
		send(t, b, "too late")
		time.Sleep(2 * time.Second)
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v, want ECONNRESET", err)
		}
	})
}

func TestConn_deadlines(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		silentFor(t, a, 3*time.Second)

		// A deadline in the past ends a call that waits already.
		failed := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			failed <- err
		}()
		synctest.Wait()
		_ = a.SetReadDeadline(time.Unix(1, 0))
		err := <-failed
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%v, want a time-out", err)
		}

		// A later one gives a waiting call more time.
		_ = a.SetReadDeadline(time.Now().Add(time.Second))
		go func() {
			time.Sleep(time.Second / 2)
			_ = a.SetReadDeadline(time.Now().Add(time.Hour))
			time.Sleep(time.Minute)
			_, _ = b.Write([]byte("x"))
		}()
		receive(t, a, "x")

		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		k, err := a.Write(make([]byte, gulmtest.BufferSize+1))
		if k != gulmtest.BufferSize || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v, want %d and a time-out", k, err, gulmtest.BufferSize)
		}
	})
}

func TestConn_fullBufferBlocksTheWriter(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		sent := bytes.Repeat([]byte("0123456789abcdef"), 3*gulmtest.BufferSize/16)
		done := make(chan error)
		go func() {
			_, err := a.Write(sent)
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("the write ended without a reader: %v", err)
		default:
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("other bytes, or %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestConn_writesStayWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		const size = gulmtest.BufferSize + 1000
		for _, letter := range []byte("xyz") {
			go func() { _, _ = a.Write(bytes.Repeat([]byte{letter}, size)) }()
		}
		got := make([]byte, 3*size)
		if _, err := io.ReadFull(b, got); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			part := got[i*size : (i+1)*size]
			if bytes.Count(part, part[:1]) != size {
				t.Errorf("write %d is mixed with another", i)
			}
		}
	})
}

func TestNetwork_delayAndJitter(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		n.SetDelay("a", "b", 10*time.Millisecond, 5*time.Millisecond)
		n.SetDelay("b", "a", time.Second, 0)
		start := time.Now()
		a, b := pair(t, n)
		if d := time.Since(start); d < 1010*time.Millisecond || d > 1015*time.Millisecond {
			t.Errorf("connected after %v, want a round trip", d)
		}
		different := map[time.Duration]bool{}
		for range 50 {
			send(t, a, "x")
			d := receive(t, b, "x")
			if d < 10*time.Millisecond || d > 15*time.Millisecond {
				t.Fatalf("took %v, want 10 to 15 ms", d)
			}
			different[d] = true
		}
		if len(different) < 10 {
			t.Errorf("only %d different delays", len(different))
		}
		send(t, b, "x")
		if d := receive(t, a, "x"); d != time.Second {
			t.Errorf("the way back took %v, want 1s", d)
		}
	})
}

// TestNetwork_seed checks that a seed repeats the jitter of a link whatever
// happens on the others.
func TestNetwork_seed(t *testing.T) {
	delays := func(seed uint64, noise bool) (all []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			n := gulmtest.NewNetwork(seed)
			defer n.Close()
			n.SetDelay("a", "b", 0, time.Second)
			n.SetDelay("b", "a", 0, time.Second)
			a, b := pair(t, n)
			for range 5 {
				if noise {
					send(t, b, "x")
				}
				send(t, a, "x")
				all = append(all, receive(t, b, "x"))
			}
		})
		return all
	}
	first, again, other := delays(7, false), delays(7, true), delays(8, false)
	same := true
	for i := range first {
		if first[i] != again[i] {
			t.Errorf("delay %d: %v, then %v with the same seed", i, first[i], again[i])
		}
		same = same && first[i] == other[i]
	}
	if same {
		t.Error("another seed gave the same delays")
	}
}

func TestNetwork_cutHoldsBytes(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		n.SetDelay("a", "b", 2*time.Second, 0)
		a, b := pair(t, n)
		send(t, a, "one")
		time.Sleep(2 * time.Second)
		send(t, a, "two") // under way when the link is cut
		time.Sleep(time.Second)
		n.Partition([]string{"a"}, []string{"b", "c"})
		send(t, a, "three")
		receive(t, b, "one") // had arrived
		silentFor(t, b, time.Hour)
		n.HealAll()
		if d := receive(t, b, "twothree"); d != 2*time.Second {
			t.Errorf("arrived %v after the heal, want 2s", d)
		}
	})
}

func TestNetwork_oneWayCut(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		n.CutOneWay("b", "a")
		send(t, b, "held")
		silentFor(t, a, time.Minute)
		// a still reaches b, until its window is full of what b cannot
		// acknowledge.
		go func() { _, _ = io.Copy(io.Discard, io.LimitReader(b, gulmtest.BufferSize)) }()
		_ = a.SetWriteDeadline(time.Now().Add(time.Minute))
		k, err := a.Write(make([]byte, 2*gulmtest.BufferSize))
		if k != gulmtest.BufferSize || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v, want %d and a time-out", k, err, gulmtest.BufferSize)
		}
		_ = a.SetWriteDeadline(time.Time{})
		n.HealOneWay("b", "a")
		receive(t, a, "held")
		send(t, a, "and on")
		receive(t, b, "and on")
	})
}

func TestNetwork_cutWithReset(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := pair(t, n)
		send(t, a, "arrived")
		n.CutOneWay("a", "b", gulmtest.Reset)
		receive(t, b, "arrived")
		readFails(t, b, syscall.ECONNRESET)
		readFails(t, a, syscall.ECONNRESET)
		if _, err := n.Host("b").Dial(t.Context(), "a:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v, want ECONNREFUSED", err)
		}
		n.Heal("a", "b")
		pair(t, n)
	})
}

func TestHost_dialOverACutHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := n.Host("a"), n.Host("b")
		if _, err := b.Listen("b:1"); err != nil {
			t.Fatal(err)
		}
		n.CutOneWay("b", "a") // the answer is lost
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := a.Dial(ctx, "b:1")
		if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d != 5*time.Second {
			t.Errorf("%v after %v", err, d)
		}
		start = time.Now()
		_, err = a.Dial(t.Context(), "b:1")
		var ne net.Error
		if d := time.Since(start); !errors.As(err, &ne) || !ne.Timeout() || d != gulmtest.ConnectTimeout {
			t.Errorf("%v after %v", err, d)
		}
		go func() {
			time.Sleep(time.Minute)
			n.Heal("a", "b")
		}()
		start = time.Now()
		if _, err = a.Dial(t.Context(), "b:1"); err != nil || time.Since(start) != time.Minute {
			t.Errorf("%v after %v, want success with the heal", err, time.Since(start))
		}
	})
}

func TestHost_dialFailsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, b := n.Host("a"), n.Host("b")
		start := time.Now()
		if _, err := a.Dial(t.Context(), "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		l, err := b.Listen("1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Listen(":1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v", err)
		}
		b.Crash()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after a crash: %v", err)
		}
		if _, err := a.Dial(t.Context(), "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("host down: %v", err)
		}
		if _, err := b.Dial(t.Context(), "a:1"); !errors.Is(err, gulmtest.ErrHostDown) {
			t.Errorf("from a host that is down: %v", err)
		}
		var unknown *net.DNSError
		if _, err := a.Dial(t.Context(), "nobody:1"); !errors.As(err, &unknown) {
			t.Errorf("unknown host: %v", err)
		}
		if _, err := a.Dial(t.Context(), "nonsense"); err == nil {
			t.Error("an address without a port was taken")
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("took %v", d)
		}
	})
}

func TestHost_backlogIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		l, err := n.Host("b").Listen("1")
		if err != nil {
			t.Fatal(err)
		}
		for range gulmtest.Backlog {
			if _, err := n.Host("a").Dial(t.Context(), "b:1"); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.Host("a").Dial(ctx, "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the attempt to hang", err)
		}
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Host("a").Dial(t.Context(), "b:1"); err != nil {
			t.Error(err)
		}
	})
}
