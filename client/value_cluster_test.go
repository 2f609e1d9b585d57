package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/server/gulmtest"
)

// user is a node of a simulated cluster that has joined a lockspace.
type user struct {
	t    *testing.T
	life *gulmtest.Life
	node *client.Node
	ls   *client.Lockspace
}

// boot switches a node on and joins.
func boot(t *testing.T, c *gulmtest.Cluster, name string) *user {
	t.Helper()
	lives := make(chan *gulmtest.Life)
	c.Node(name).Boot(func(ctx context.Context, life *gulmtest.Life) {
		lives <- life
		<-ctx.Done()
	})
	return dial(t, <-lives)
}

// dial starts one process of a node.
func dial(t *testing.T, life *gulmtest.Life) *user {
	t.Helper()
	node, err := life.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ls, err := node.Join(t.Context(), "gfs01", client.JoinOptions{ValueLen: 8})
	if err != nil {
		t.Fatal(err)
	}
	return &user{t, life, node, ls}
}

// take locks and demands a mode and a status.
func (u *user) take(name string, ask, want client.Mode, status client.Status, flags ...client.Option) *client.Lock {
	u.t.Helper()
	l, err := u.ls.Lock(u.t.Context(), name, ask, flags...)
	if err != nil {
		u.t.Fatal(err)
	}
	if l.Mode() != want || l.Status() != status {
		u.t.Fatalf("%s is in %v (%v), want %v (%v)", name, l.Mode(), l.Status(), want, status)
	}
	return l
}

func (u *user) must(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

func wantValue(t *testing.T, l *client.Lock, want string) {
	t.Helper()
	if got := strings.TrimRight(string(l.Value()), "\x00"); got != want || len(l.Value()) != 8 {
		t.Fatalf("value is %q, want %q", l.Value(), want)
	}
}

// inCluster runs a test against three real servers.
func inCluster(t *testing.T, test func(t *testing.T, c *gulmtest.Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := gulmtest.NewCluster(t, 1, gulmtest.ClusterOptions{})
		defer c.Close()
		c.StartAll()
		c.AwaitMaster(time.Minute)
		test(t, c)
	})
}

// TestValue_FromNodeToNode hands values on until a writer dies.
func TestValue_FromNodeToNode(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		w := n1.take("r", client.EX, client.EX, 0, client.Value)
		wantValue(t, w, "")
		w.SetValue([]byte("one"))
		n1.must(w.Convert(t.Context(), client.PR, client.Value))
		r := n2.take("r", client.PR, client.PR, 0, client.Value)
		wantValue(t, r, "one")
		n2.must(r.Convert(t.Context(), client.NL))

		n1.must(w.Convert(t.Context(), client.EX, client.Value))
		w.SetValue([]byte("two"))
		n1.must(w.UnlockWait(t.Context(), client.Value))
		n2.must(r.Convert(t.Context(), client.PR, client.Value))
		wantValue(t, r, "two")
		n2.must(r.Convert(t.Context(), client.NL)) // keeps the block

		n1.take("r", client.EX, client.EX, 0, client.Value)
		n1.must(n1.ls.LeaveForce(t.Context()))
		n2.must(r.Convert(t.Context(), client.EX, client.Value))
		if wantValue(t, r, "two"); r.Status() != client.ValueNotValid {
			t.Fatalf("status is %v", r.Status())
		}
		r.SetValue([]byte("three"))
		n2.must(r.Convert(t.Context(), client.NL, client.Value))

		n3 := boot(t, c, "n3")
		n3.take("r", client.PW, client.PW, 0, client.Value)
		c.Node("n3").Kill()
		n2.must(r.Convert(t.Context(), client.PR, client.Value)) // after the fence
		if wantValue(t, r, "three"); r.Status() != client.ValueNotValid {
			t.Fatalf("status is %v", r.Status())
		}
		if len(c.Power.CallsFor("n3")) == 0 {
			t.Fatal("n3 was not fenced")
		}
	})
}

// TestOtherMode_AtOnceAndLater takes PR or CW for EX.
func TestOtherMode_AtOnceAndLater(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		l := n1.take("r", client.PR, client.PR, 0)
		n2.take("r", client.EX, client.PR, client.OtherMode, client.OrShared)
		_, err := n2.ls.TryLock(t.Context(), "r", client.EX, client.OrDeferred)
		if !errors.Is(err, client.ErrTryFailed) {
			t.Fatalf("error is %v", err)
		}
		n1.must(l.Unlock())

		l = n1.take("s", client.EX, client.EX, 0)
		done := make(chan struct{})
		go func() {
			defer close(done)
			n2.take("s", client.PW, client.PR, client.OtherMode, client.OrShared)
		}()
		synctest.Wait()
		n1.must(l.Convert(t.Context(), client.PR))
		<-done
	})
}

// TestOrphan_AdoptAndPurge logs out with Persistent locks.
func TestOrphan_AdoptAndPurge(t *testing.T) {
	inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
		n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
		n1.take("r", client.EX, client.EX, 0, client.Persistent)
		n1.take("s", client.EX, client.EX, 0, client.Persistent)
		old := n1.node.Session()
		n1.must(n1.node.Logout(t.Context()))
		n1 = dial(t, n1.life)
		if _, err := n2.ls.TryLock(t.Context(), "r", client.CR); !errors.Is(err, client.ErrTryFailed) {
			t.Fatalf("error is %v", err)
		}
		if _, err := n2.ls.Lock(t.Context(), "r", client.EX, client.AdoptOrphan); !errors.Is(err, client.ErrNotHeld) {
			t.Fatalf("error is %v", err)
		}
		l := n1.take("r", client.EX, client.EX, 0, client.AdoptOrphan)
		n1.must(l.Valid())
		n1.must(l.UnlockWait(t.Context()))
		n2.take("r", client.EX, client.EX, 0)
		if orphans, err := n1.node.Purge(t.Context(), old); err != nil || orphans != 1 {
			t.Fatalf("purged %d: %v", orphans, err)
		}
		n2.take("s", client.EX, client.EX, 0)
	})
}
