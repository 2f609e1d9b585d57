package client

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/proto/gulmerr"
)

func TestLock_TakeConvertUnlock(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		a := mustLock(t, ls, "r", PR)
		b := mustLock(t, ls, "r", PR)
		_, err := ls.TryLock(t.Context(), "r", EX)
		wantErr(t, err, ErrTryFailed)
		wantErr(t, a.TryConvert(t.Context(), EX), ErrTryFailed)
		if a.Mode() != PR || a.Valid() != nil {
			t.Fatal("a failed TryConvert changed the lock")
		}
		if err := b.UnlockWait(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantErr(t, b.Unlock(), ErrNotHeld)
		wantErr(t, b.Valid(), ErrNotHeld)
		wantErr(t, b.Convert(t.Context(), PR), ErrNotHeld)
		before := a.Token()
		if err := a.Convert(t.Context(), EX); err != nil {
			t.Fatal(err)
		}
		if a.Mode() != EX || a.Token() <= before {
			t.Fatalf("converted to %v with token %d after %d", a.Mode(), a.Token(), before)
		}
		if err := a.Convert(t.Context(), NL); err != nil {
			t.Fatal(err)
		}
		wantErr(t, ls.Leave(t.Context()), ErrInUse)
		if err := a.Unlock(); err != nil || a.Mode() != NL {
			t.Fatalf("unlock: %v, then in %v", err, a.Mode())
		}
		if err := ls.Leave(t.Context()); err != nil { // sent after the unlock
			t.Fatal(err)
		}
		_, err = ls.Lock(t.Context(), "r", PR)
		wantErr(t, err, ErrNoLockspace)
		wantErr(t, ls.Leave(t.Context()), ErrNoLockspace)
	})
}

func TestLock_RefusesBadArguments(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		for _, name := range []string{"", strings.Repeat("x", 256)} {
			_, err := ls.Lock(t.Context(), name, PR)
			wantErr(t, err, ErrInvalid)
		}
		_, err := ls.Lock(t.Context(), "r", Mode(6))
		wantErr(t, err, ErrInvalid)
		_, err = n.Join(t.Context(), "", JoinOptions{})
		wantErr(t, err, ErrInvalid)
		_, err = n.Join(t.Context(), ls.Name(), JoinOptions{})
		wantErr(t, err, ErrInUse)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = ls.Lock(ctx, "r", PR)
		wantErr(t, err, context.Canceled)
		l := mustLock(t, ls, "\x00\xff/binary", PR)
		if l.Name() != "\x00\xff/binary" {
			t.Fatalf("name came back as %q", l.Name())
		}
	})
}

func TestLock_WaitsAndIsToldToGiveWay(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		a := mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "r", PR)
		b := mustLock(t, joinSpace(t, dialNode(t, c, "n2")), "r", PR)
		other := joinSpace(t, dialNode(t, c, "n3"))
		got := lockLater(t, other, "r", EX)
		for _, l := range []*Lock{a, b} { // a asks for the channel after the hint came
			if wanted := <-l.Blocking(); wanted != EX {
				t.Fatalf("told to give way to %v", wanted)
			}
		}
		if err := a.Unlock(); err != nil {
			t.Fatal(err)
		}
		pending(t, got)
		if err := b.Convert(t.Context(), NL); err != nil {
			t.Fatal(err)
		}
		if l := <-got; l.Mode() != EX || l.Token() == 0 {
			t.Fatalf("granted %v with token %d", l.Mode(), l.Token())
		}
	})
}

func TestLock_BlockingCoalescesAndNeverStalls(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		l := mustLock(t, ls, "r", EX)
		blocking := l.Blocking() // never read until the end
		other := joinSpace(t, dialNode(t, c, "n2"))
		for _, mode := range []Mode{CR, CW, PR} {
			lockLater(t, other, "r", mode)
		}
		for range 200 { // each makes another hint
			_, err := other.TryLock(t.Context(), "r", CR, NotifyHolders)
			wantErr(t, err, ErrTryFailed)
		}
		mustLock(t, ls, "another", EX) // the reader is not stuck
		if wanted := <-blocking; wanted != PW {
			t.Fatalf("CR, CW and PR were coalesced to %v, want what covers them all: PW", wanted)
		}
		pending(t, blocking)
		_ = l.Unlock()
		quiet, err := ls.Lock(t.Context(), "q", EX, NoBlocking)
		if err != nil {
			t.Fatal(err)
		}
		_, err = other.TryLock(t.Context(), "q", EX, NotifyHolders)
		wantErr(t, err, ErrTryFailed)
		pending(t, quiet.Blocking())
		synctest.Wait()
	})
}

func TestLock_OnBlocking(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		called := make(chan Mode, 10)
		ls, err := n.Join(t.Context(), "gfs01", JoinOptions{OnBlocking: func(l *Lock, wanted Mode) {
			called <- wanted
			time.Sleep(5 * time.Minute) // a slow handler delays no request and no heartbeat
			if err := l.Unlock(); err != nil {
				t.Errorf("unlock in the handler: %v", err)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		mustLock(t, ls, "r", EX)
		got := lockLater(t, joinSpace(t, dialNode(t, c, "n2")), "r", PR)
		if wanted := <-called; wanted != PR {
			t.Fatalf("told to give way to %v", wanted)
		}
		mustLock(t, ls, "another", EX)
		<-got
		if n.State() != StateSafe {
			t.Fatalf("state is %v", n.State())
		}
		pending(t, called)
	})
}

func TestLock_CancelWhileWaiting(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		mustLock(t, ls, "r", EX)
		_, err := ls.Lock(shortly(t, time.Second), "r", PR)
		wantErr(t, err, context.DeadlineExceeded)
		synctest.Wait()
		if n := c.left(); n != 1 {
			t.Fatalf("servers have %d locks, want only the holder", n)
		}
		cause := errors.New("the user pressed a key")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		_, err = ls.Lock(ctx, "r", PR)
		wantErr(t, err, cause)
	})
}

// TestLock_CancelRacesWithGrant cancels at the moment of the grant, many times:
// whoever wins, the caller and the servers agree in the end.
func TestLock_CancelRacesWithGrant(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		other := joinSpace(t, dialNode(t, c, "n2"))
		won, lost := 0, 0
		for i := range 500 {
			holder := mustLock(t, other, "r", EX)
			ctx, cancel := context.WithCancel(t.Context())
			type result struct {
				l   *Lock
				err error
			}
			done := make(chan result, 1)
			go func() {
				l, err := ls.Lock(ctx, "r", EX)
				done <- result{l, err}
			}()
			if i%3 > 0 { // let it queue first
				synctest.Wait()
			}
			go func() {
				for range i % 50 { // later and later, so that either may win
					runtime.Gosched()
				}
				cancel()
			}()
			go func() { _ = holder.Unlock() }()
			switch r := <-done; {
			case r.err == nil:
				won++
				if err := r.l.Valid(); err != nil {
					t.Fatal(err)
				}
				_ = r.l.Unlock()
			default:
				lost++
				wantErr(t, r.err, context.Canceled)
			}
			synctest.Wait()
			if n := c.left(); n != 0 {
				t.Fatalf("round %d: %d locks are left on the servers", i, n)
			}
			cancel()
		}
		if err := ls.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("grant won %d, cancel %d", won, lost)
	})
}

func TestLock_CancelBeforeItWasSent(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		l := mustLock(t, ls, "r", PR)
		c.stop(c.addr(0))
		synctest.Wait()
		_, err := ls.Lock(shortly(t, time.Second), "s", EX)
		wantErr(t, err, context.DeadlineExceeded)
		wantErr(t, l.Convert(shortly(t, time.Second), EX), context.DeadlineExceeded)
		if l.Mode() != PR {
			t.Fatalf("a conversion that was never sent left %v", l.Mode())
		}
		c.start(c.addr(0))
		if err := l.UnlockWait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.applied["OP_CONVERT"] != 0 || c.applied["OP_LOCK"] != 1 || c.applied["OP_CANCEL"] != 0 {
			t.Fatalf("withdrawn requests were sent: %v", c.applied)
		}
	})
}

func TestConvert_CancelKeepsTheOldMode(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		other := mustLock(t, joinSpace(t, dialNode(t, c, "n2")), "r", PR)
		l := mustLock(t, ls, "r", PR)
		wantErr(t, l.Convert(shortly(t, time.Second), EX), context.DeadlineExceeded)
		synctest.Wait()
		if l.Mode() != PR || l.Valid() != nil {
			t.Fatalf("lock is in %v, valid: %v", l.Mode(), l.Valid())
		}
		_ = other.Unlock()
		if err := l.Convert(t.Context(), EX); err != nil {
			t.Fatal(err)
		}
	})
}

// TestConvert_CancelLoses withdraws a conversion whose grant is on its way.
func TestConvert_CancelLoses(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		l := mustLock(t, ls, "r", EX)
		c.with(func(f *faults) { f.holdReplies = true })
		wantErr(t, l.Convert(shortly(t, time.Second), CW), context.DeadlineExceeded)
		if l.Mode() != CW {
			t.Fatalf("while it is open, %v is relied upon instead of what both modes cover", l.Mode())
		}
		_, err := ls.TryLock(shortly(t, time.Millisecond), "x", PR)
		wantErr(t, err, context.DeadlineExceeded)
		wantErr(t, l.Convert(shortly(t, time.Millisecond), EX), context.DeadlineExceeded) // waits for the verdict
		c.with(func(f *faults) { f.holdReplies = false })
		synctest.Wait()
		if l.Mode() != CW || l.Valid() != nil {
			t.Fatalf("lock is in %v, valid: %v", l.Mode(), l.Valid())
		}
		if err := l.Convert(t.Context(), EX); err != nil || l.Mode() != EX {
			t.Fatalf("convert: %v, in %v", err, l.Mode())
		}
		c.with(func(f *faults) { f.holdReplies = true })
		wantErr(t, l.Convert(shortly(t, time.Second), PR), context.DeadlineExceeded)
		if err := l.Unlock(); err != nil { // while that is open
			t.Fatal(err)
		}
		c.with(func(f *faults) { f.holdReplies = false })
		synctest.Wait()
		if n := c.left(); n != 0 {
			t.Fatalf("%d locks are left", n)
		}
	})
}

func TestConvert_BusyWhileAnotherWaits(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		l := mustLock(t, ls, "r", PR)
		other := mustLock(t, joinSpace(t, dialNode(t, c, "n2")), "r", PR)
		done := make(chan error, 1)
		go func() { done <- l.Convert(t.Context(), EX) }()
		synctest.Wait()
		wantErr(t, l.Convert(t.Context(), NL), ErrBusy)
		wantErr(t, l.Unlock(), ErrBusy)
		if l.Mode() != PR {
			t.Fatalf("waiting for EX from PR, relies on %v", l.Mode())
		}
		_ = other.Unlock()
		if err := <-done; err != nil || l.Mode() != EX {
			t.Fatalf("convert: %v, in %v", err, l.Mode())
		}
	})
}

func TestLockspace_JoinGivenUpIsUndone(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		c.with(func(f *faults) { f.holdReplies = true })
		_, err := n.Join(shortly(t, time.Second), "gfs01", JoinOptions{})
		wantErr(t, err, context.DeadlineExceeded)
		_, err = n.Join(shortly(t, time.Millisecond), "gfs01", JoinOptions{})
		wantErr(t, err, context.DeadlineExceeded) // it has to be left first
		c.with(func(f *faults) { f.holdReplies = false })
		mustLock(t, joinSpace(t, n), "r", EX)
		if c.applied["OP_LEAVE"] != 1 {
			t.Fatalf("the join that was given up was not undone: %v", c.applied)
		}
	})
}

// TestLockspace_LeaveWaitsForLocksGivenUp leaves while a lock that was given up
// is still being withdrawn.
func TestLockspace_LeaveWaitsForLocksGivenUp(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		c.with(func(f *faults) { f.holdReplies = true })
		_, err := ls.Lock(shortly(t, time.Second), "r", EX)
		wantErr(t, err, context.DeadlineExceeded)
		time.AfterFunc(time.Millisecond, func() { c.with(func(f *faults) { f.holdReplies = false }) })
		if err := ls.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLock_ErrorsSayWhatTheyAreAbout(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		mustLock(t, ls, "inode 5", EX)
		_, err := ls.TryLock(t.Context(), "inode 5", PR)
		if want := `lock "inode 5" in lockspace "gfs01": ` + gulmerr.ErrTryFailed.Error(); err.Error() != want {
			t.Fatalf("error says %q, want %q", err, want)
		}
	})
}
