package client_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// takeover kills the master once, when it denies a request.
type takeover struct {
	c *gulmtest.Cluster
	// at is "before" the master stores the denial, when it has "stored" it, or when
	// a standby has, too: "copied". With "unheard" the denial is carried out while
	// the node that it is about hears nobody, and the master dies later.
	at  string
	why reason.Reason
	// deaf is the node that is denied.
	deaf string

	mu     sync.Mutex
	over   bool
	victim string
}

func (k *takeover) onStore(server string, stored bool, c state.Command) {
	deny, ok := c.(state.Deny)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !ok || k.over || deny.Reason != k.why {
		return
	}
	master := k.c.Master()
	mine := server == master
	switch {
	case k.at == "unheard" && mine && !stored:
		k.over, k.victim = true, master
		k.c.Net.Partition([]string{k.deaf}, k.c.Config.Lock.Servers, gulmtest.Reset)
	case k.at == "before" && mine && !stored, k.at == "stored" && mine && stored, k.at == "copied" && !mine && stored:
		k.over, k.victim = true, master
		k.c.KillServer(master)
	}
}

// done waits until the master is dead, and another serves; the dead one comes back.
func (k *takeover) done() {
	k.c.Await(time.Minute, "a denial", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.over
	})
	if k.at == "unheard" {
		time.Sleep(time.Second) // it is carried out
		k.c.KillServer(k.victim)
		k.c.Net.HealAll()
	}
	k.c.Await(time.Minute, "a new master", func() bool { m := k.c.Master(); return m != "" && m != k.victim })
	k.c.StartServer(k.victim)
}

// takingOver runs a test against a cluster whose master dies at each of the moments.
func takingOver(t *testing.T, name string, why reason.Reason, deaf string, test func(t *testing.T, c *gulmtest.Cluster, k *takeover)) {
	for _, at := range []string{"before", "stored", "copied", "unheard"} {
		if testing.Short() && at != "copied" {
			continue // the moment at which the new master tells what the old one decided
		}
		t.Run(name+"/"+at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &takeover{at: at, why: why, deaf: deaf}
				k.c = gulmtest.NewCluster(t, 1, gulmtest.ClusterOptions{OnStore: k.onStore})
				defer k.c.Close()
				k.c.StartAll()
				k.c.AwaitMaster(time.Minute)
				test(t, k.c, k)
			})
		})
	}
}

// patience is a wait with a time-out.
type patience struct {
	name string
	// ask waits for what n1 holds, at most so long, and returns what to do after it
	// was in vain.
	ask func(t *testing.T, c *gulmtest.Cluster, n1, n2 *user, most client.Option) (<-chan error, func())
}

func patiences() []patience {
	return []patience{
		{"lock", func(_ *testing.T, _ *gulmtest.Cluster, n1, n2 *user, most client.Option) (<-chan error, func()) {
			held := n1.take("r", client.PR, client.PR, 0)
			return n2.asks("r", client.EX, most), func() { n1.must(held.Unlock()) }
		}},
		{"conversion", func(t *testing.T, _ *gulmtest.Cluster, n1, n2 *user, most client.Option) (<-chan error, func()) {
			held, mine := n1.take("r", client.PR, client.PR, 0), n2.take("r", client.PR, client.PR, 0)
			return n2.converts(mine, client.EX, most), func() {
				if mine.Mode() != client.PR || mine.Valid() != nil {
					t.Errorf("the lock is in %v: %v", mine.Mode(), mine.Valid())
				}
				n1.must(held.Unlock())
				n2.must(mine.Convert(t.Context(), client.EX)) // an ordinary lock
				n2.must(mine.Unlock())
			}
		}},
		{"range", func(t *testing.T, _ *gulmtest.Cluster, n1, n2 *user, most client.Option) (<-chan error, func()) {
			n1.lockRange("f", at(5, 9, client.RangeWrite))
			return n2.asksRange("f", at(0, 9, client.RangeRead), most), func() {
				n1.must(n1.ls.RangeUnlock(t.Context(), "f", at(5, 9, client.RangeWrite)))
			}
		}},
		{"set", func(_ *testing.T, c *gulmtest.Cluster, n1, n2 *user, most client.Option) (<-chan error, func()) {
			held := n1.take("b", client.EX, client.EX, 0)
			return n2.askSet(c, setOf(client.EX, "c", "a", "b"), most).done, func() { n1.must(held.Unlock()) }
		}},
	}
}

// converts converts in the background.
func (u *user) converts(l *client.Lock, mode client.Mode, options ...client.Option) <-chan error {
	done := make(chan error, 1)
	go func() { done <- l.Convert(u.t.Context(), mode, options...) }()
	time.Sleep(time.Millisecond) // of the bubble: the others come later
	synctest.Wait()
	return done
}

// TestTakeover_timeouts: the master dies while a request with a time-out waits. The
// new one ends it, not before its time, and once: nothing waits then, nothing is
// granted late, and nothing is left to be told.
func TestTakeover_timeouts(t *testing.T) {
	const most = 20 * time.Second
	for _, p := range patiences() {
		t.Run(p.name+"/waits", func(t *testing.T) {
			inCluster(t, func(t *testing.T, c *gulmtest.Cluster) {
				n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
				start := time.Now()
				done, after := p.ask(t, c, n1, n2, client.WithTimeout(most))
				time.Sleep(most * 3 / 4)
				c.KillServer(c.Master())
				timedOut(t, start, done, most, 2*most+15*time.Second)
				leave(t, c, n1, n2, after)
			})
		})
	}
}

// TestTakeover_timeoutDenied: the master dies when it has decided, or half told the
// others, that a request has waited for long enough.
func TestTakeover_timeoutDenied(t *testing.T) {
	const most = 5 * time.Second
	for _, p := range patiences() {
		takingOver(t, p.name, reason.TimedOut, "n2", func(t *testing.T, c *gulmtest.Cluster, k *takeover) {
			n1, n2 := boot(t, c, "n1"), boot(t, c, "n2")
			start := time.Now()
			done, after := p.ask(t, c, n1, n2, client.WithTimeout(most))
			k.done()
			timedOut(t, start, done, most, 2*most+15*time.Second)
			leave(t, c, n1, n2, after)
		})
	}
}

func timedOut(t *testing.T, start time.Time, done <-chan error, least, most time.Duration) {
	t.Helper()
	select {
	case err := <-done:
		if took := time.Since(start); !errors.Is(err, client.ErrTimedOut) || took < least {
			t.Fatalf("ended after %v with %v", took, err)
		}
	case <-time.After(most - time.Since(start)):
		t.Fatalf("still waits after %v", most)
	}
}

// leave sees to it that nothing is left of what n2 asked for, and of n1.
func leave(t *testing.T, c *gulmtest.Cluster, n1, n2 *user, after func()) {
	t.Helper()
	wait(t, 15*time.Second) // for whatever might be told a second time
	after()
	n1.must(n1.ls.Leave(t.Context()))
	n2.must(n2.ls.Leave(t.Context()))
	noLocksLeft(t, c)
}

// circle is a deadlock.
type circle struct {
	name string
	// victim is the node that asks last.
	victim string
	// story is what the victim is told.
	story []string
	// knot ties it: the requests, oldest first, and what frees what the victim holds.
	knot func(u map[string]*user) (waits []<-chan error, free func())
}

func circles() []circle {
	owner, file := client.WithOwner(7), at(0, 99, client.RangeWrite)
	return []circle{
		{"modes", "n2", []string{
			`node n2 (session`, `owner 7) waits for PR on gfs01/"a" held in EX by node n1`, `waits for PR on gfs01/"b" held in EX by node n2`,
		}, func(u map[string]*user) ([]<-chan error, func()) {
			u["n1"].take("a", client.EX, client.EX, 0, owner)
			b := u["n2"].take("b", client.EX, client.EX, 0, owner)
			return []<-chan error{u["n1"].asks("b", client.PR, owner), u["n2"].asks("a", client.PR, owner)}, func() { u["n2"].must(b.Unlock()) }
		}},
		{"conversion", "n1", []string{
			`node n1 (session`, `owner 7) waits for EX on gfs01/"a" held in PR by node n2`, `waits for PR on gfs01/"b" held in EX by node n1`,
		}, func(u map[string]*user) ([]<-chan error, func()) {
			a := u["n1"].take("a", client.PR, client.PR, 0, owner)
			b := u["n1"].take("b", client.EX, client.EX, 0, owner)
			u["n2"].take("a", client.PR, client.PR, 0, owner)
			return []<-chan error{u["n2"].asks("b", client.PR, owner), u["n1"].converts(a, client.EX, owner)}, func() {
				if a.Mode() != client.PR || a.Valid() != nil {
					u["n1"].t.Errorf("the lock is in %v: %v", a.Mode(), a.Valid())
				}
				u["n1"].must(b.Unlock())
			}
		}},
		{"range", "n1", []string{
			`node n1 (session`, `waits for bytes 0 to 99 of gfs01/"f" (write) held by node n2`, `waits for PR on gfs01/"a" held in EX by node n1`,
		}, func(u map[string]*user) ([]<-chan error, func()) {
			a := u["n1"].take("a", client.EX, client.EX, 0, client.WithOwner(1))
			u["n2"].lockRange("f", file)
			return []<-chan error{u["n2"].asks("a", client.PR, client.WithOwner(1)), u["n1"].asksRange("f", file)}, func() { u["n1"].must(a.Unlock()) }
		}},
		{"ring", "n3", []string{
			`node n3 (session`, `gfs01/"x" held in EX by node n1`, `gfs01/"y" held in EX by node n2`, `gfs01/"z" held in EX by node n3`,
		}, func(u map[string]*user) ([]<-chan error, func()) {
			u["n1"].take("x", client.EX, client.EX, 0, owner)
			y := u["n2"].take("y", client.EX, client.EX, 0, owner)
			z := u["n3"].take("z", client.EX, client.EX, 0, owner)
			first := u["n1"].asks("y", client.CR, owner)
			second := u["n2"].asks("z", client.CR, owner)
			return []<-chan error{first, second, u["n3"].asks("x", client.CR, owner)}, func() {
				u["n3"].must(z.Unlock())
				u["n2"].must(<-second)
				u["n2"].must(y.Unlock())
			}
		}},
	}
}

// TestTakeover_deadlocks: the master dies when it has decided whose request ends a
// circle. Whatever came of that, it is one request, the youngest, and its session is
// told the circle even by the new master; the others wait on and are granted.
func TestTakeover_deadlocks(t *testing.T) {
	for _, x := range circles() {
		takingOver(t, x.name, reason.Deadlock, x.victim, func(t *testing.T, c *gulmtest.Cluster, k *takeover) {
			u := map[string]*user{}
			for _, name := range c.NodeNames() {
				u[name] = boot(t, c, name)
			}
			waits, free := x.knot(u)
			k.done()
			youngest := len(waits) - 1
			select {
			case err := <-waits[youngest]:
				wantIs(t, err, client.ErrDeadlock)
				for _, part := range x.story {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q is not in the error: %v", part, err)
					}
				}
			case <-time.After(time.Minute):
				t.Fatal("the deadlock stays")
			}
			wait(t, 15*time.Second)
			for i, w := range waits[:youngest] {
				select {
				case err := <-w:
					t.Fatalf("request %d ended, too: %v", i, err)
				default:
				}
			}
			free()
			u["n1"].must(<-waits[0]) // whoever asked
			for _, name := range c.NodeNames() {
				u[name].must(u[name].ls.LeaveForce(t.Context()))
			}
			noLocksLeft(t, c)
		})
	}
}
