package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server/gulmtest"
)

// mounter is a user that has mounted the lockspace; it notes what it is asked to
// recover, and answers when it is told to.
type mounter struct {
	*user
	mount *client.Mount

	mu     sync.Mutex
	asked  []client.Recovery
	answer chan error // nil: at once
}

func (m *mounter) onRecover(ctx context.Context, r client.Recovery) error {
	m.mu.Lock()
	m.asked = append(m.asked, r)
	m.mu.Unlock()
	if m.answer == nil {
		return nil
	}
	select {
	case err := <-m.answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// told returns what it was asked to recover.
func (m *mounter) told() string {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, r := range m.asked {
		out = append(out, fmt.Sprintf("%d of %s/%d", r.JID, r.Node, r.Incarnation))
	}
	slices.Sort(out) // each is asked in a goroutine of its own
	return fmt.Sprint(out)
}

// options are for a file system of three journals.
func (m *mounter) options() client.MountOptions {
	return client.MountOptions{Journals: 3, OnRecover: m.onRecover}
}

// mountNow mounts and demands a journal.
func mountNow(t *testing.T, u *user, jid int, first bool) *mounter {
	t.Helper()
	m := &mounter{user: u}
	var err error
	if m.mount, err = u.ls.Mount(t.Context(), m.options()); err != nil {
		t.Fatal(err)
	}
	if m.mount.JID() != jid || m.mount.First() != first {
		t.Fatalf("journal %d, first %v; want %d, %v", m.mount.JID(), m.mount.First(), jid, first)
	}
	return m
}

// mountLater mounts in the background.
func mountLater(t *testing.T, u *user) (*mounter, <-chan struct{}) {
	t.Helper()
	m, done := &mounter{user: u}, make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if m.mount, err = u.ls.Mount(t.Context(), m.options()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	}()
	wait(t, 2*time.Second)
	return m, done
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
}

func notYet(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	wait(t, 2*time.Second)
	select {
	case <-done:
		t.Fatalf("%s too early", what)
	default:
	}
}

// askLater asks for a lock in the background.
func (m *mounter) askLater(name string) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := m.ls.Lock(m.t.Context(), name, client.EX); err != nil && m.t.Context().Err() == nil && !errors.Is(err, client.ErrClosed) {
			m.t.Error(err)
		}
	}()
	wait(m.t, time.Second)
	return done
}

// two mounts n1 as the first and n2 as the second.
func two(t *testing.T, c *gulmtest.Cluster) (n1, n2 *mounter) {
	t.Helper()
	n1 = mountNow(t, boot(t, c, "n1"), 0, true)
	n1.must(n1.mount.OthersMayMount(t.Context()))
	return n1, mountNow(t, boot(t, c, "n2"), 1, false)
}

// TestMount_firstMounter: others wait until the first mounter has said that all
// journals are replayed; a node mounts once, in whatever process.
func TestMount_firstMounter(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1 := mountNow(t, boot(t, c, "n1"), 0, true)
		n2, done := mountLater(t, boot(t, c, "n2"))
		notYet(t, done, "mounted")

		again := dial(t, n1.life)
		_, err := again.ls.Mount(t.Context(), n1.options())
		wantIs(t, err, client.ErrMounted)
		_, err = n1.ls.Mount(t.Context(), n1.options())
		wantIs(t, err, client.ErrMounted)
		wantIs(t, n1.ls.Leave(t.Context()), client.ErrInUse)
		wantIs(t, n1.ls.LeaveForce(t.Context()), client.ErrInUse)

		n1.must(n1.mount.OthersMayMount(t.Context()))
		wantIs(t, n1.mount.OthersMayMount(t.Context()), client.ErrNotRecovering)
		<-done
		if n2.mount.JID() != 1 || n2.mount.First() {
			t.Fatalf("n2 has journal %d, first %v", n2.mount.JID(), n2.mount.First())
		}
		n1.must(n1.mount.Unmount(t.Context()))
		wantIs(t, n1.mount.Unmount(t.Context()), client.ErrNotMounted)
		n1.must(n1.ls.Leave(t.Context()))
		mountNow(t, again, 0, false)
	})
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

// TestMount_giveUp: a mount that is given up leaves nothing behind, and the next
// one is not taken for it.
func TestMount_giveUp(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1 := mountNow(t, boot(t, c, "n1"), 0, true)
		n2 := &mounter{user: boot(t, c, "n2")}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n2.ls.Mount(ctx, n2.options())
		wantIs(t, err, context.DeadlineExceeded)
		n1.must(n1.mount.OthersMayMount(t.Context()))
		mountNow(t, n2.user, 1, false)
	})
}

// TestMount_limits: what cannot be mounted.
func TestMount_limits(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, _ := two(t, c)
		n3 := &mounter{user: boot(t, c, "n3")}
		_, err := n3.ls.Mount(t.Context(), client.MountOptions{Journals: 2, OnRecover: n3.onRecover})
		if err == nil {
			t.Fatal("the file system has become smaller")
		}
		_, err = n3.ls.Mount(t.Context(), client.MountOptions{})
		wantIs(t, err, client.ErrInvalid)
		watcher, err := n3.ls.Mount(t.Context(), client.MountOptions{Spectator: true})
		if err != nil || watcher.JID() != -1 || watcher.First() {
			t.Fatalf("%v: spectator with journal %d", err, watcher.JID())
		}
		wantIs(t, watcher.OthersMayMount(t.Context()), client.ErrNotRecovering)
		n1.must(watcher.Unmount(t.Context()))
		_, err = n1.ls.Lock(t.Context(), "r", client.EX, client.DuringRecovery)
		wantIs(t, err, client.ErrNotRecovering)
	})
}

// TestRecovery: S2. What a dead node held stays until its fence is proved and its
// journal is recovered by exactly one survivor; what it did not hold flows on.
func TestRecovery(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := two(t, c)
		n1.answer = make(chan error)
		n2.take("held", client.EX, client.EX, 0)
		n2.take("read", client.PR, client.PR, 0)
		c.Power.Set("n2", sim.Behaviour{Delay: 20 * time.Second})
		c.Node("n2").Kill()
		held, read := n1.askLater("held"), n1.askLater("read")
		wait(t, 15*time.Second)
		notYet(t, held, "granted before the fence")
		if n1.told() != "[]" {
			t.Fatalf("told %v before the fence", n1.told())
		}
		n1.take("other", client.EX, client.EX, 0)
		wait(t, 30*time.Second)
		if n1.told() != "[1 of n2/1]" {
			t.Fatalf("told %v", n1.told())
		}
		notYet(t, held, "granted before the recovery")
		notYet(t, read, "granted before the recovery")
		n1.take("held", client.EX, client.EX, 0, client.DuringRecovery)
		n1.take("third", client.EX, client.EX, 0)
		wantIs(t, n1.mount.RecoveryDone(t.Context(), 2, nil), client.ErrNotRecovering)
		n1.answer <- nil
		<-read
		notYet(t, held, "granted beside the lock of the recovery")
		if n1.told() != "[1 of n2/1]" {
			t.Fatalf("told %v", n1.told())
		}
		mountNow(t, boot(t, c, "n2"), 1, false)
	})
}

// TestRecovery_recovererDies: the journal that a dead node was replaying is taken
// back after its fence, and handed on with its own.
func TestRecovery_recovererDies(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := two(t, c)
		n1.answer = make(chan error)
		n2.take("two", client.EX, client.EX, 0)
		n1.take("one", client.EX, client.EX, 0)
		c.Node("n2").Kill()
		wait(t, 30*time.Second)
		if n1.told() != "[1 of n2/1]" {
			t.Fatalf("told %v", n1.told())
		}
		n3 := mountNow(t, boot(t, c, "n3"), 2, false)
		wait(t, 10*time.Second)
		if n3.told() != "[]" {
			t.Fatalf("n3 was told %v while n1 replays", n3.told())
		}
		one, twoo := n3.askLater("one"), n3.askLater("two")
		c.Node("n1").Kill()
		wait(t, 30*time.Second)
		if told := n3.told(); told != "[0 of n1/1 1 of n2/1]" {
			t.Fatalf("n3 was told %v", told)
		}
		<-one
		<-twoo
	})
}

// TestRecovery_masterDies: what was handed out is known to the next master, and a
// recovery goes on under it.
func TestRecovery_masterDies(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := two(t, c)
		n1.answer = make(chan error)
		n2.take("r", client.EX, client.EX, 0)
		c.Node("n2").Kill()
		wait(t, 30*time.Second)
		r := n1.askLater("r")
		c.KillServer(c.AwaitMaster(time.Minute))
		c.AwaitMaster(time.Minute)
		wait(t, 5*time.Second)
		if n1.told() != "[1 of n2/1]" {
			t.Fatalf("told %v", n1.told())
		}
		n1.answer <- nil
		<-r
	})
}

// TestRecovery_fails: a journal that one mounter cannot replay goes to another,
// and to nobody if all failed, but to who mounts then.
func TestRecovery_fails(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := two(t, c)
		n1.answer = make(chan error, 1)
		n1.answer <- errors.New("i/o error")
		n2.take("r", client.EX, client.EX, 0)
		r := n1.askLater("r")
		c.Node("n2").Kill()
		wait(t, 30*time.Second)
		if n1.told() != "[1 of n2/1]" {
			t.Fatalf("told %v", n1.told())
		}
		notYet(t, r, "granted")
		n3 := mountNow(t, boot(t, c, "n3"), 2, false)
		<-r
		if n3.told() != "[1 of n2/1]" {
			t.Fatalf("n3 was told %v", n3.told())
		}
	})
}

// TestRecovery_nobodyLeft: the journals stay dirty until somebody mounts, who is
// first and replays all.
func TestRecovery_nobodyLeft(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := two(t, c)
		n1.take("one", client.EX, client.EX, 0)
		n2.take("two", client.EX, client.EX, 0)
		c.Node("n1").Kill()
		c.Node("n2").Kill()
		wait(t, time.Minute)
		n3 := boot(t, c, "n3")
		if _, err := n3.ls.TryLock(t.Context(), "one", client.CR); !errors.Is(err, client.ErrTryFailed) {
			t.Fatalf("error is %v", err)
		}
		first := mountNow(t, boot(t, c, "n2"), 1, true) // its own
		one := first.askLater("one")
		first.take("two", client.EX, client.EX, 0, client.DuringRecovery)
		notYet(t, one, "granted")
		first.must(first.mount.OthersMayMount(t.Context()))
		<-one
		if first.told() != "[]" {
			t.Fatalf("told %v", first.told())
		}
	})
}

// TestWithdraw: one lockspace is given up without a fence; the survivor replays
// the journal, and the node goes on elsewhere.
func TestWithdraw(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := two(t, c)
		n1.answer = make(chan error)
		other, err := n2.node.Join(t.Context(), "other", client.JoinOptions{})
		n2.must(err)
		kept, err := other.Lock(t.Context(), "r", client.EX)
		n2.must(err)
		lost := n2.take("r", client.EX, client.EX, 0)
		n2.must(n2.mount.Withdraw(t.Context()))
		wantIs(t, lost.Valid(), client.ErrNotHeld)
		n2.must(kept.Valid())
		r := n1.askLater("r")
		if n1.told() != "[1 of n2/1]" {
			t.Fatalf("told %v", n1.told())
		}
		notYet(t, r, "granted before the recovery")
		ls, err := n2.node.Join(t.Context(), "gfs01", client.JoinOptions{})
		n2.must(err)
		_, done := mountLater(t, &user{t, n2.life, n2.node, ls})
		notYet(t, done, "mounted before the recovery")
		n1.answer <- nil
		<-r
		<-done
		if calls := c.Power.CallsFor("n2"); len(calls) > 0 {
			t.Fatalf("n2 was fenced: %v", calls)
		}
	})
}

// TestLogout_mounted: a process that ends without an unmount leaves its journal
// to others.
func TestLogout_mounted(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := two(t, c)
		n1.answer = make(chan error)
		n2.take("r", client.EX, client.EX, 0)
		n2.must(n2.node.Logout(t.Context()))
		r := n1.askLater("r")
		if n1.told() != "[1 of n2/1]" {
			t.Fatalf("told %v", n1.told())
		}
		notYet(t, r, "granted before the recovery")
		n1.answer <- nil
		<-r
	})
}

// TestUnmount_handsOn: who unmounts while it replays stops that, and somebody
// else does it.
func TestUnmount_handsOn(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := two(t, c)
		n1.answer = make(chan error)
		n3 := mountNow(t, boot(t, c, "n3"), 2, false)
		n2.must(n2.node.Logout(t.Context()))
		wait(t, time.Second)
		if n1.told() != "[1 of n2/1]" || n3.told() != "[]" {
			t.Fatalf("told %v, %v", n1.told(), n3.told())
		}
		n1.must(n1.mount.Unmount(t.Context()))
		wait(t, time.Second)
		if n3.told() != "[1 of n2/1]" {
			t.Fatalf("n3 was told %v", n3.told())
		}
		if !slices.Equal(n1.asked, []client.Recovery{{JID: 1, Node: "n2", Incarnation: 1}}) {
			t.Fatalf("%v", n1.asked)
		}
	})
}
