package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// fakeSet is a set that waits. This one waits until all of its locks are free at
// the same moment, which nobody can see from outside.
type fakeSet struct {
	session *fakeSession
	req     *gulmv1.Request
}

func (c *fakeCluster) lockSet(s *fakeSession, req *gulmv1.Request) *gulmv1.Reply {
	if !s.spaces[req.GetLockspace()] {
		return refused(ErrNoLockspace)
	}
	set := &fakeSet{s, req}
	switch {
	case c.whole(set):
		return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_GRANTED, Number: uint32(len(req.GetEntries()))}
	case req.GetFlags()&uint32(noQueue) != 0:
		return refused(ErrTryFailed)
	}
	c.sets = append(c.sets, set)
	return &gulmv1.Reply{Outcome: gulmv1.Outcome_OUTCOME_QUEUED}
}

// whole grants all locks of a set if that can be.
func (c *fakeCluster) whole(set *fakeSet) bool {
	var locks []*fakeLock
	for _, e := range set.req.GetEntries() {
		l := &fakeLock{
			session: set.session, number: e.GetLock(), key: fmt.Sprintf("%d/%s", set.req.GetLockspace(), e.GetName()),
			want: Mode(e.GetMode()), quiet: e.GetFlags()&uint32(NoBlocking) != 0,
		}
		if q := c.queue(l.key); len(q.converting)+len(q.waiting) > 0 || !q.free(l) {
			return false
		}
		locks = append(locks, l)
	}
	c.index++
	for _, l := range locks {
		set.session.locks[l.number] = l
		c.grant(c.queue(l.key), l)
		c.send(set.session, l.event(gulmv1.EventKind_EVENT_KIND_GRANTED, l.mode))
	}
	return true
}

// serveSets grants the sets that can be granted.
func (c *fakeCluster) serveSets() { c.sets = slices.DeleteFunc(c.sets, c.whole) }

// dropSet withdraws a set.
func (c *fakeCluster) dropSet(s *fakeSession, number uint64) bool {
	before := len(c.sets)
	c.sets = slices.DeleteFunc(c.sets, func(x *fakeSet) bool { return x.session == s && x.req.GetLock() == number })
	return len(c.sets) < before
}

// denySets denies all sets that wait.
func (c *fakeCluster) denySets(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.sets {
		x.session.ended[x.req.GetLock()] = why
		c.send(x.session, (&fakeLock{number: x.req.GetLock()}).deniedEvent(why))
	}
	c.sets = nil
}

// setOf makes a set of resources in one mode.
func setOf(mode Mode, names ...string) (entries []SetEntry) {
	for _, name := range names {
		entries = append(entries, SetEntry{Name: name, Mode: mode})
	}
	return entries
}

// setResult is what LockSet returns.
type setResult struct {
	locks []*Lock
	err   error
}

// setLater asks for a set in the background.
func setLater(ctx context.Context, ls *Lockspace, entries []SetEntry, options ...Option) <-chan setResult {
	done := make(chan setResult, 1)
	go func() {
		locks, err := ls.LockSet(ctx, entries, options...)
		done <- setResult{locks, err}
	}()
	synctest.Wait()
	return done
}

// wantSet checks that a set came in the order of its entries, and unlocks it.
func wantSet(t *testing.T, got setResult, entries []SetEntry) {
	t.Helper()
	if got.err != nil {
		t.Fatal(got.err)
	}
	if len(got.locks) != len(entries) {
		t.Fatalf("%d locks, want %d", len(got.locks), len(entries))
	}
	for i, l := range got.locks {
		if l.Name() != entries[i].Name || l.Mode() != entries[i].Mode || l.Valid() != nil || l.Token() == 0 {
			t.Fatalf("lock %d is %q in %v (token %d), valid: %v", i, l.Name(), l.Mode(), l.Token(), l.Valid())
		}
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
}

// wantNothing checks that neither the servers nor the library have anything left:
// that the lockspace can be left.
func wantNothing(t *testing.T, c *fakeCluster, ls *Lockspace, left int) {
	t.Helper()
	if err := ls.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if got := c.left(); got != left || c.ended() != 0 {
		t.Fatalf("%d locks are left, want %d; %d denials are not acknowledged", got, left, c.ended())
	}
	ls.node.mu.Lock()
	defer ls.node.mu.Unlock()
	if len(ls.node.sets) != 0 || ls.locks != 0 || ls.loose != 0 {
		t.Fatalf("the library keeps %d sets, %d locks, %d loose ones", len(ls.node.sets), ls.locks, ls.loose)
	}
}

func TestLockSet_AtOnceAndLater(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		first, second := joinSpace(t, dialNode(t, c, "n1")), joinSpace(t, dialNode(t, c, "n2"))
		entries := []SetEntry{{Name: "c", Mode: EX}, {Name: "a", Mode: PR, Flags: NoBlocking}, {Name: "b", Mode: CW}}
		locks, err := first.LockSet(t.Context(), entries, Value, WithOwner(7), WithTimeout(3*time.Second), NoVictim)
		req := lastRequest(c, gulmv1.Op_OP_LOCK_SET)
		if req.GetOwner() != 7 || req.GetTimeoutMs() != 3000 || req.GetFlags() != uint32(NoVictim)|uint32(gulmv1.Flag_FLAG_TIMEOUT) ||
			req.GetEntries()[1].GetFlags() != uint32(Value|NoBlocking) || req.GetEntries()[2].GetFlags() != uint32(Value) {
			t.Errorf("the request is %v", req)
		}
		later := setLater(t.Context(), second, entries)
		pending(t, later)
		if _, err := second.TryLockSet(t.Context(), entries); err == nil || !strings.Contains(err.Error(), "lock set of 3 in lockspace \"gfs01\"") {
			t.Errorf("error is %v", err)
		} else {
			wantErr(t, err, ErrTryFailed)
		}
		if err := first.Leave(t.Context()); err == nil {
			t.Fatal("left with locks")
		}
		wantSet(t, setResult{locks, err}, entries)
		wantSet(t, <-later, entries)
		wantNothing(t, c, first, 0)
		wantNothing(t, c, second, 0)
	})
}

// TestLockSet_OrdinaryAfterwards: its locks are converted, asked to give way and
// unlocked one by one.
func TestLockSet_OrdinaryAfterwards(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		first, second := joinSpace(t, dialNode(t, c, "n1")), joinSpace(t, dialNode(t, c, "n2"))
		locks, err := first.LockSet(t.Context(), setOf(EX, "a", "b"))
		if err != nil {
			t.Fatal(err)
		}
		other := lockLater(t, second, "a", PR)
		if wanted := <-locks[0].Blocking(); wanted != PR {
			t.Fatalf("asked to give way to %v", wanted)
		}
		if err := locks[0].Convert(t.Context(), PR); err != nil {
			t.Fatal(err)
		}
		(<-other).Unlock()
		if err := locks[1].Unlock(); err != nil {
			t.Fatal(err)
		}
		wantErr(t, locks[1].Valid(), ErrNotHeld)
		if err := locks[0].Unlock(); err != nil {
			t.Fatal(err)
		}
		wantNothing(t, c, first, 0)
	})
}

func TestLockSet_RefusesBadArguments(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		many := make([]SetEntry, MaxSet+1)
		for i := range many {
			many[i].Name = fmt.Sprint(i)
		}
		for what, test := range map[string]struct {
			entries []SetEntry
			options []Option
		}{
			"none":       {},
			"too many":   {entries: many},
			"twice":      {entries: setOf(EX, "a", "b", "a")},
			"no name":    {entries: setOf(EX, "a", "")},
			"long name":  {entries: setOf(EX, strings.Repeat("x", maxName+1))},
			"mode":       {entries: setOf(EX+1, "a")},
			"flag":       {entries: []SetEntry{{Name: "a", Flags: AtHead}}},
			"option":     {entries: setOf(EX, "a"), options: []Option{AnyOrder}},
			"time-out":   {entries: setOf(EX, "a"), options: []Option{WithTimeout(0)}},
			"no queuing": {entries: []SetEntry{{Name: "a", Flags: noQueue}}},
		} {
			if _, err := ls.LockSet(t.Context(), test.entries, test.options...); err == nil {
				t.Errorf("%s: accepted", what)
			} else {
				wantErr(t, err, ErrInvalid)
			}
		}
		wantSet(t, <-setLater(t.Context(), ls, many[:MaxSet]), many[:MaxSet])
		wantNothing(t, c, ls, 0)
		_, err := ls.LockSet(t.Context(), setOf(EX, "a"))
		wantErr(t, err, ErrNoLockspace)
		if got := c.applied["OP_LOCK_SET"]; got != 1 {
			t.Errorf("%d requests reached the servers", got)
		}
	})
}

func TestLockSet_Denied(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "b", EX)
		ls := joinSpace(t, dialNode(t, c, "n2"))
		done := setLater(t.Context(), ls, setOf(EX, "a", "b"))
		c.denySets(ErrTimedOut)
		wantErr(t, (<-done).err, ErrTimedOut)
		wantNothing(t, c, ls, 1)
	})
}

// TestLockSet_DeniedAcrossStreams loses the denial, then the acknowledgement.
func TestLockSet_DeniedAcrossStreams(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "b", EX)
		ls := joinSpace(t, dialNode(t, c, "n2"))
		done := setLater(t.Context(), ls, setOf(EX, "a", "b"))
		c.with(func(f *faults) { f.attach = gulmerr.ErrUnavailable })
		c.cut(gulmerr.ErrUnavailable)
		c.denySets(ErrDeadlock)
		c.with(func(f *faults) { f.attach = nil })
		wantErr(t, (<-done).err, ErrDeadlock)
		c.cut(gulmerr.ErrUnavailable)
		mustLock(t, ls, "other", EX).Unlock()
		wantNothing(t, c, ls, 1)
	})
}

// TestLockSet_Cancel withdraws a set while it waits, and while its grant or denial,
// or the loss of the stream, is on its way.
func TestLockSet_Cancel(t *testing.T) {
	steps := map[string]func(c *fakeCluster, held *Lock){
		"waits":  func(*fakeCluster, *Lock) {},
		"denied": func(c *fakeCluster, _ *Lock) { c.denySets(ErrTimedOut) },
		"granted": func(_ *fakeCluster, held *Lock) {
			_ = held.UnlockWait(context.Background())
		},
		"cut": func(c *fakeCluster, _ *Lock) { c.cut(gulmerr.ErrUnavailable) },
		"granted and cut": func(c *fakeCluster, held *Lock) {
			_ = held.UnlockWait(context.Background())
			c.cut(gulmerr.ErrUnavailable)
		},
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, c *fakeCluster) {
				holder := joinSpace(t, dialNode(t, c, "n1"))
				held := mustLock(t, holder, "b", EX)
				ls := joinSpace(t, dialNode(t, c, "n2"))
				ctx, cancel := context.WithCancel(t.Context())
				done := setLater(ctx, ls, setOf(EX, "b", "a"))
				pending(t, done)
				go step(c, held)
				cancel()
				if got := <-done; got.err != nil {
					wantErr(t, got.err, context.Canceled)
				} else {
					for _, l := range got.locks {
						_ = l.Unlock()
					}
				}
				synctest.Wait()
				if held.Valid() == nil { // with the stream lost it takes a while
					_ = held.UnlockWait(t.Context())
				}
				wantNothing(t, c, ls, 0)
			})
		})
	}
}

// TestLockSet_CancelLoses: the grant is held back until the CANCEL is sent.
func TestLockSet_CancelLoses(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		c.with(func(f *faults) { f.holdReplies = true })
		ctx, cancel := context.WithCancel(t.Context())
		done := setLater(ctx, ls, setOf(EX, "a", "b"))
		cancel()
		wantErr(t, (<-done).err, context.Canceled)
		synctest.Wait()
		if c.left() != 2 {
			t.Fatalf("%d locks, the servers have granted 2", c.left())
		}
		c.with(func(f *faults) { f.holdReplies = false })
		wantNothing(t, c, ls, 0)
	})
}

// TestLockSet_CancelBeforeItWasSent takes it back without a word.
func TestLockSet_CancelBeforeItWasSent(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *fakeCluster) {
		ls := joinSpace(t, dialNode(t, c, "n1"))
		c.with(func(f *faults) { f.attach = gulmerr.ErrUnavailable })
		c.cut(gulmerr.ErrUnavailable)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		done := setLater(ctx, ls, setOf(EX, "a", "b"))
		cancel()
		wantErr(t, (<-done).err, context.Canceled)
		c.with(func(f *faults) { f.attach = nil })
		wantNothing(t, c, ls, 0)
		if c.applied["OP_LOCK_SET"] != 0 || c.applied["OP_CANCEL"] != 0 {
			t.Fatalf("the servers were asked: %v", c.applied)
		}
	})
}

// TestLockSet_AcrossStreams loses the reply to the request, then the grants.
func TestLockSet_AcrossStreams(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *fakeCluster) {
		held := mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "b", EX)
		ls := joinSpace(t, dialNode(t, c, "n2"))
		once := true
		c.with(func(f *faults) {
			f.cutAfter = func(req *gulmv1.Request) bool {
				cut := once && req.GetOp() == gulmv1.Op_OP_LOCK_SET
				once = once && !cut
				return cut
			}
		})
		entries := setOf(EX, "b", "a")
		done := setLater(t.Context(), ls, entries)
		pending(t, done)
		c.elect(c.addr(1))
		time.Sleep(time.Second)
		pending(t, done)
		c.with(func(f *faults) { f.attach = gulmerr.ErrUnavailable })
		c.cut(gulmerr.ErrUnavailable)
		c.mu.Lock()
		for _, s := range c.sessions {
			if l := s.locks[held.number]; l != nil && l.held {
				c.index++
				c.drop(l) // as an operator would
			}
		}
		c.mu.Unlock()
		c.with(func(f *faults) { f.attach = nil })
		wantSet(t, <-done, entries)
		wantNothing(t, c, ls, 0)
	})
}

// TestLockSet_EndsWithItsSpaceOrNode while it waits.
func TestLockSet_EndsWithItsSpaceOrNode(t *testing.T) {
	for what, test := range map[string]struct {
		end  func(ls *Lockspace) error
		want error
	}{
		"space": {func(ls *Lockspace) error { return ls.LeaveForce(context.Background()) }, ErrNoLockspace},
		"node":  {func(ls *Lockspace) error { return ls.node.Close() }, ErrClosed},
		"some of it": {func(ls *Lockspace) error {
			for _, end := range ls.Gulm().forget([]byte("a")) {
				end(ErrUnlocked)
			}
			return nil
		}, ErrUnlocked},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, c *fakeCluster) {
				mustLock(t, joinSpace(t, dialNode(t, c, "n1")), "b", EX)
				ls := joinSpace(t, dialNode(t, c, "n2"))
				done := setLater(t.Context(), ls, setOf(EX, "a", "b", "c"))
				pending(t, done)
				if err := test.end(ls); err != nil {
					t.Fatal(err)
				}
				wantErr(t, (<-done).err, test.want)
				if what == "some of it" {
					wantNothing(t, c, ls, 1)
				}
			})
		})
	}
}
