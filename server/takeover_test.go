package server_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// steps are the moments of an expiry at which a master may die; at tells a log
// entry of that moment, the earliest after the step.
var steps = []struct {
	name string
	at   func(entry) bool
	// calls are how often the fencer may be called in all.
	min, max int
}{
	{"before expire", nil, 1, 1},
	{"after expire was committed", func(e entry) bool { return e.is("node expired") }, 1, 2},
	{"after the intent, before the agent", func(e entry) bool { return e.is("fence begins") }, 1, 2},
	{"during the agent", nil, 2, 2},
	{"after the agent, before the proof", func(e entry) bool { return e.is("fence attempt", "outcome=ok") }, 2, 2},
	{"after the proof", func(e entry) bool { return e.is("fence proved") }, 1, 1},
}

// TestS2S3_MasterDiesAtEachStepOfAnExpiry: the next master finishes what the
// state says is not done; what was committed is not done again.
func TestS2S3_MasterDiesAtEachStepOfAnExpiry(t *testing.T) {
	for i, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
				n1, n2 := w.boot("n1"), w.boot("n2")
				n1.take("r", client.EX)
				x := n2.ask("r", client.EX)
				w.Power.Set("n1", sim.Behaviour{Delay: 3 * time.Second})
				first := w.Master()
				if step.at != nil {
					var once sync.Once
					w.logs.on(func(e entry) {
						if step.at(e) && e.Attrs["server"] == first {
							once.Do(func() { w.KillServer(first) })
						}
					})
				}
				w.Node("n1").Kill()
				switch i {
				case 0:
					time.Sleep(expiry / 2)
					w.KillServer(first)
				case 3:
					w.Await(time.Minute, "the agent", func() bool { return len(w.Power.CallsFor("n1")) == 1 })
					time.Sleep(time.Second)
					w.KillServer(first)
				}
				at := x.granted(time.Minute)
				w.Await(time.Minute, "the end of the first master", func() bool { return w.Server(first) == nil })
				finished(t, w, at, step.min, step.max)
			})
		})
	}
}

// finished checks that n1 was fenced in effect once and n2 has its lock.
func finished(t *testing.T, w *world, granted time.Time, least, most int) {
	t.Helper()
	calls := w.Power.CallsFor("n1")
	if len(calls) < least || len(calls) > most {
		t.Errorf("the fencer was called %d times, want %d to %d", len(calls), least, most)
	}
	proved := false
	for _, c := range calls {
		proved = proved || c.Cut && !granted.Before(c.Start.Add(c.Dur))
	}
	if !proved {
		t.Errorf("lock was granted at %v before any of the fences %+v", granted, calls)
	}
	w.AwaitMaster(time.Minute)
	w.awaitState("n1", member.Fenced, time.Minute)
	w.agree()
	if n := w.member("n1"); n.Incarnation != 1 || n.Fence.State != member.FenceProved {
		t.Errorf("n1 is %+v", n)
	}
	if c := w.counts(); c.Locks != 1 || c.Waiting != 0 {
		t.Errorf("afterwards there are %+v", c)
	}
	if again := w.boot("n1"); again.node.Incarnation() != 2 {
		t.Errorf("n1 came back as incarnation %d", again.node.Incarnation())
	}
}

// TestS6_NewMasterGivesFullGrace: whatever was missed before, a new master
// expires nobody before one full expiry of its own.
func TestS6_NewMasterGivesFullGrace(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.cut("n1")
		time.Sleep(expiry - time.Second)
		first := w.Master()
		w.KillServer(first)
		var second string
		w.Await(time.Minute, "another master", func() bool { second = w.Master(); return second != "" && second != first })
		x.granted(time.Minute)
		took := w.logs.find("master", "server="+second)
		if len(took) != 1 {
			t.Fatalf("%s became master %d times", second, len(took))
		}
		if grace := w.expiredAt("n1").Sub(took[0].At); grace < expiry || grace > expiry+2*look {
			t.Errorf("n1 was expired %v after the takeover, want %v", grace, expiry)
		}
		if n2.node.State() != client.StateSafe || w.member("n2").State != member.LoggedIn {
			t.Error("n2, which beat all the time, suffered")
		}
	})
}

// TestS6_MastersThatDieInTurnExpireNobody: each takeover begins the grace anew,
// so nodes that live through three of them in a row keep their locks.
func TestS6_MastersThatDieInTurnExpireNobody(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Servers: 5}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		l := n1.take("r", client.EX)
		for range 6 {
			down := w.AwaitMaster(time.Minute)
			w.KillServer(down)
			time.Sleep(expiry - time.Second)
			w.StartServer(down)
		}
		w.AwaitMaster(time.Minute)
		time.Sleep(expiry)
		w.nobodyDied()
		if err := l.Valid(); err != nil {
			t.Errorf("the lock is %v", err)
		}
	})
}

// TestS4_GrantSurvivesTheMaster: what was granted stays granted, with its token,
// and the queue keeps its order.
func TestS4_GrantSurvivesTheMaster(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Nodes: 6}, func(t *testing.T, w *world) {
		holder := w.boot("n1")
		l := holder.take("r", client.EX)
		token := l.Token()
		var queue []*waiter
		for _, name := range []string{"n4", "n2", "n6", "n3", "n5"} {
			queue = append(queue, w.boot(name).ask("r", client.EX))
		}
		for range 3 {
			down := w.AwaitMaster(time.Minute)
			w.KillServer(down)
			w.Await(time.Minute, "another master", func() bool { m := w.Master(); return m != "" && m != down })
			w.Await(time.Minute, "the nodes", func() bool { return holder.node.State() == client.StateSafe })
			w.StartServer(down)
		}
		if l.Valid() != nil || l.Token() != token {
			t.Fatalf("the lock is %v with token %d, was %d", l.Valid(), l.Token(), token)
		}
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
		for i, x := range queue {
			x.granted(10 * time.Second)
			for _, later := range queue[i+1:] {
				if later.over() {
					t.Errorf("%s was granted before %s had unlocked", later.u.name, x.u.name)
				}
			}
			if x.lock.Token() <= token {
				t.Errorf("token %d follows %d", x.lock.Token(), token)
			}
			token = x.lock.Token()
			if err := x.lock.Unlock(); err != nil {
				t.Fatal(err)
			}
		}
		w.nobodyDied()
	})
}

// TestS4_RestartOfAllServersKeepsAllLocks in single-server and fail-over mode;
// the holder keeps its lock and the waiter its place, although no server ran for
// longer than the expiry time.
func TestS4_RestartOfAllServersKeepsAllLocks(t *testing.T) {
	for _, servers := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(servers, " servers"), func(t *testing.T) {
			bubble(t, gulmtest.ClusterOptions{Servers: servers}, func(t *testing.T, w *world) {
				n1, n2, n3 := w.boot("n1"), w.boot("n2"), w.boot("n3")
				l := n1.take("r", client.EX)
				token := l.Token()
				second, third := n2.ask("r", client.PR), n3.ask("r", client.EX)
				for _, s := range w.servers() {
					w.KillServer(s)
				}
				time.Sleep(2 * expiry)
				if l.Valid() == nil {
					t.Error("the holder was not told that its lock is in doubt")
				}
				w.StartAll()
				w.AwaitMaster(time.Minute)
				w.Await(time.Minute, "n1 to be safe", func() bool { return l.Valid() == nil })
				time.Sleep(3 * expiry)
				if l.Token() != token || second.over() || third.over() {
					t.Error("the lock or the queue changed")
				}
				w.nobodyDied()
				w.view(w.Master(), func(s *state.State) {
					if c := s.Locks().Counts(); c.Locks != 3 || c.Waiting != 2 {
						t.Errorf("after the restart there are %+v", c)
					}
				})
				if err := l.Unlock(); err != nil {
					t.Fatal(err)
				}
				second.granted(time.Minute)
				if third.over() {
					t.Error("the third passed the second")
				}
				_ = second.lock.Unlock()
				third.granted(time.Minute)
			})
		})
	}
}
