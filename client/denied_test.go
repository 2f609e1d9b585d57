package client

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// deny ends whatever is queued for a resource of the first lockspace.
func (c *fakeCluster) deny(name string, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	q := c.queue("1/" + name)
	for _, l := range q.waiting {
		l.session.ended[l.number] = why
		delete(l.session.locks, l.number)
		c.send(l.session, l.deniedEvent(why))
	}
	for _, l := range q.converting {
		l.want, l.denied, l.changed = l.mode, why, c.index
		c.send(l.session, l.deniedEvent(why))
	}
	q.waiting, q.converting = nil, nil
}

func (l *fakeLock) deniedEvent(why error) *gulmv1.Event {
	e := l.event(gulmv1.EventKind_EVENT_KIND_DENIED, l.mode)
	e.Reason = refused(why).GetReason()
	return e
}

// ended returns how many denials are not acknowledged.
func (c *fakeCluster) ended() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, s := range c.sessions {
		n += len(s.ended)
	}
	return n
}

func lastRequest(c *fakeCluster, op gulmv1.Op) *gulmv1.Request {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[op]
}

// later runs f in the background until it waits for the servers.
func later(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return done
}

func TestDenied_WaitingLock(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		held := mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "r", EX)
		ls := joinSpace(t, dialNode(t, c, "n2"))
		done := later(func() error { _, err := ls.Lock(t.Context(), "r", PR); return err })
		c.deny("r", ErrTimedOut)
		wantErr(t, <-done, ErrTimedOut)
		synctest.Wait()
		if c.ended() != 0 || c.left() != 1 {
			t.Fatalf("%d denials are not acknowledged, %d locks left", c.ended(), c.left())
		}
		if err := held.Unlock(); err != nil {
			t.Fatal(err)
		}
		if err := ls.Leave(t.Context()); err != nil { // nothing is counted any more
			t.Fatal(err)
		}
	})
}

// TestDenied_WhileNobodyWaits denies a lock that its caller has given up, with
// the CANCEL still on its way.
func TestDenied_WhileNobodyWaits(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "r", EX)
		ls := joinSpace(t, dialNode(t, c, "n2"))
		ctx, cancel := context.WithCancel(t.Context())
		done := later(func() error { _, err := ls.Lock(ctx, "r", PR); return err })
		c.with(func(f *faults) { f.holdReplies = true })
		c.deny("r", ErrDeadlock)
		cancel()
		wantErr(t, <-done, context.Canceled)
		c.with(func(f *faults) { f.holdReplies = false })
		if err := ls.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.ended() != 0 {
			t.Fatal("the denial is not acknowledged")
		}
	})
}

// TestDenied_AcrossStreams loses the event and the acknowledgement with streams.
func TestDenied_AcrossStreams(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "r", EX)
		ls := joinSpace(t, dialNode(t, c, "n2"))
		done := later(func() error { _, err := ls.Lock(t.Context(), "r", PR); return err })
		c.with(func(f *faults) { f.attach = gulmerr.ErrUnavailable })
		c.cut(gulmerr.ErrUnavailable)
		c.deny("r", ErrTimedOut)
		c.with(func(f *faults) { f.attach = nil })
		wantErr(t, <-done, ErrTimedOut)
		c.cut(gulmerr.ErrUnavailable)
		mustLock(t, ls, "other", EX)
		if c.ended() != 0 {
			t.Fatal("the denial is not acknowledged")
		}
	})
}

// TestDenied_Conversion keeps the old mode, and does not take the repetition of
// a denial for that of a later conversion, which the servers do not have yet.
func TestDenied_Conversion(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		l := mustLock(t, ls, "r", PR)
		mustLock(t, joinSpace(t, dialNode(t, c, "n2")), "r", PR)
		done := later(func() error { return l.Convert(t.Context(), EX) })
		c.deny("r", ErrDeadlock)
		wantErr(t, <-done, ErrDeadlock)
		if l.Mode() != PR || l.Valid() != nil {
			t.Fatalf("lock is in %v, valid: %v", l.Mode(), l.Valid())
		}
		c.with(func(f *faults) { f.attach = gulmerr.ErrUnavailable })
		c.cut(gulmerr.ErrUnavailable)
		synctest.Wait()
		c.mu.Lock()
		for _, s := range c.sessions {
			for _, lock := range s.locks {
				lock.changed = c.index + 1 // the denial is told again
			}
		}
		c.mu.Unlock()
		done = later(func() error { return l.Convert(t.Context(), NL) })
		c.with(func(f *faults) { f.attach = nil })
		if err := <-done; err != nil || l.Mode() != NL {
			t.Fatalf("convert: %v, lock is in %v", err, l.Mode())
		}
	})
}

func TestDenied_DemotedConversion(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		l := mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "r", PR)
		mustLock(t, joinSpace(t, dialNode(t, c, "n2")), "r", PR)
		done := later(func() error { return l.Convert(t.Context(), EX, DemoteOnDeadlock) })
		if l.Mode() != NL { // it may have been demoted already
			t.Fatalf("the holder relies on %v", l.Mode())
		}
		c.mu.Lock()
		for _, lock := range c.queue("1/r").converting {
			lock.mode = NL
		}
		c.mu.Unlock()
		c.deny("r", ErrTimedOut)
		wantErr(t, <-done, ErrTimedOut)
		if l.Mode() != NL || l.Status() != Demoted {
			t.Fatalf("lock is in %v, %v", l.Mode(), l.Status())
		}
	})
}

func TestLockspace_LeaveForce(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		ls := joinSpace(t, n)
		l := mustLock(t, ls, "r", EX)
		ctx := l.Context()
		done := later(func() error { _, err := ls.Lock(t.Context(), "r", PR); return err })
		wantErr(t, ls.Leave(t.Context()), ErrInUse)
		if err := ls.LeaveForce(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantErr(t, <-done, ErrNoLockspace)
		wantErr(t, context.Cause(ctx), ErrUnlocked)
		wantErr(t, l.Valid(), ErrNotHeld)
		wantErr(t, ls.LeaveForce(t.Context()), ErrNoLockspace)
		if c.left() != 0 {
			t.Fatalf("%d locks are left", c.left())
		}
		mustLock(t, joinSpace(t, n), "r", EX)
	})
}

func TestJoin_OptionsReachTheServers(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		n := dialNode(t, c, "n1")
		_, err := n.Join(t.Context(), "x", JoinOptions{ValueLen: 256})
		wantErr(t, err, ErrInvalid)
		if _, err := n.Join(t.Context(), "x", JoinOptions{Exclusive: true, Existing: true, KeepValues: true, ValueLen: 8}); err != nil {
			t.Fatal(err)
		}
		if join := lastRequest(c, gulmv1.Op_OP_JOIN); join.GetFlags() != 7 || join.GetValueLen() != 8 {
			t.Fatalf("servers got %v", join)
		}
		if orphans, err := n.Purge(t.Context(), 5); err != nil || orphans != 5 {
			t.Fatalf("purged %d: %v", orphans, err)
		}
	})
}

// TestSetValue_UntilItIsWritten follows what goes to the servers.
func TestSetValue_UntilItIsWritten(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		l := mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "r", EX)
		sends := func(op gulmv1.Op, want string) {
			t.Helper()
			if got := lastRequest(c, op).GetValue(); !bytes.Equal(got, []byte(want)) {
				t.Fatalf("servers got %q, want %q", got, want)
			}
		}
		convert := func(mode Mode, flags ...Option) {
			t.Helper()
			if err := l.Convert(t.Context(), mode, flags...); err != nil {
				t.Fatal(err)
			}
		}
		value := []byte("one")
		l.SetValue(value)
		value[0] = 'x'
		convert(EX)
		sends(gulmv1.Op_OP_CONVERT, "")
		convert(PR, Value)
		sends(gulmv1.Op_OP_CONVERT, "one")
		if string(l.Value()) != "one" {
			t.Fatalf("has written %q", l.Value())
		}
		l.SetValue([]byte("two"))
		convert(EX, Value) // reads
		l.SetValue(make([]byte, 256))
		wantErr(t, l.Unlock(Value), ErrInvalid)
		wantErr(t, l.Unlock(Persistent), ErrInvalid)
		if l.Mode() != EX {
			t.Fatalf("lock is in %v", l.Mode())
		}
		l.SetValue([]byte("three"))
		if err := l.UnlockWait(t.Context(), Value); err != nil {
			t.Fatal(err)
		}
		sends(gulmv1.Op_OP_UNLOCK, "three")
	})
}
