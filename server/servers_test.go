package server_test

import (
	"context"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// fenced is a cluster whose servers are expired and fenced like nodes.
var fenced = gulmtest.ClusterOptions{FenceServers: true}

// awaitServers waits until all servers are logged in.
func (w *world) awaitServers() {
	w.t.Helper()
	for _, s := range w.servers() {
		w.awaitState(s, member.LoggedIn, time.Minute)
	}
}

// TestServers_AStandbyThatVanishesIsFenced like any node, and comes back as a new
// life after its machine has booted.
func TestServers_AStandbyThatVanishesIsFenced(t *testing.T) {
	bubble(t, fenced, func(t *testing.T, w *world) {
		w.awaitServers()
		time.Sleep(10 * expiry)
		w.nobodyDied()
		gone := w.others(w.Master())[0]
		began := time.Now()
		w.KillServer(gone)
		w.awaitState(gone, member.Fenced, time.Minute)
		if took := w.expiredAt(gone).Sub(began); took < expiry || took > expiry+4*time.Second {
			t.Errorf("%s was expired after %v", gone, took)
		}
		if calls := w.Power.Calls(); len(calls) != 1 || calls[0].Plan.Node != gone {
			t.Errorf("fences: %+v", calls)
		}
		w.StartServer(gone)
		w.awaitState(gone, member.LoggedIn, time.Minute)
		if n := w.member(gone); n.Incarnation != 2 {
			t.Errorf("%s is in incarnation %d", gone, n.Incarnation)
		}
		w.agree()
	})
}

// TestServers_TheOldMasterThatVanishesIsFencedByTheNew, after a full grace.
func TestServers_TheOldMasterThatVanishesIsFencedByTheNew(t *testing.T) {
	bubble(t, fenced, func(t *testing.T, w *world) {
		w.awaitServers()
		old := w.Master()
		w.KillServer(old)
		next := w.AwaitMaster(time.Minute)
		w.awaitState(old, member.Fenced, time.Minute)
		took := w.logs.find("master", "server="+next)
		if grace := w.expiredAt(old).Sub(took[len(took)-1].At); grace < expiry {
			t.Errorf("the old master was expired %v after the takeover", grace)
		}
	})
}

// TestServers_WhoLeavesOrIsBackInTimeIsNotFenced: a clean shutdown, a process that
// is restarted, and an old master that steps down and talks to the new one.
func TestServers_WhoLeavesOrIsBackInTimeIsNotFenced(t *testing.T) {
	bubble(t, fenced, func(t *testing.T, w *world) {
		w.awaitServers()
		left := w.others(w.Master())[0]
		if err := w.ShutdownServer(t.Context(), left, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * expiry)
		if n := w.member(left); n.State != member.LoggedOut {
			t.Errorf("%s is %v", left, n.State)
		}
		w.StartServer(left)
		w.awaitState(left, member.LoggedIn, time.Minute)

		old := w.Master()
		w.KillServer(old)
		time.Sleep(expiry / 3)
		w.StartServer(old)
		w.AwaitMaster(time.Minute)
		time.Sleep(10 * expiry)

		if err := w.Server(w.Master()).Leave(t.Context(), false); err != nil { // hands the mastership over
			t.Fatal(err)
		}
		time.Sleep(10 * expiry)
		w.nobodyDied()
	})
}

// TestServers_MinorityFencesNobody: a master cut off with one node, and then each
// server alone: whoever has no quorum fences neither servers nor nodes, the
// majority fences the other side once, and never do two sides fence each other.
func TestServers_MinorityFencesNobody(t *testing.T) {
	bubble(t, fenced, func(t *testing.T, w *world) {
		w.awaitServers()
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		old := w.Master()
		w.Net.Partition([]string{old, "n1"}, append(w.others(old), "n2", "n3"))
		x.granted(time.Minute)
		w.awaitState(old, member.Fenced, time.Minute)
		for _, e := range append(w.logs.find("node expired"), w.logs.find("fence begins")...) {
			if e.Attrs["server"] == old || e.Attrs["node"] != old && e.Attrs["node"] != "n1" {
				t.Errorf("%s logged %q of %s", e.Attrs["server"], e.Message, e.Attrs["node"])
			}
		}
		w.Net.HealAll()
		w.StartServer(old) // its power was cut
		w.awaitServers()
		calls := len(w.Power.Calls())
		w.Net.Partition(w.servers(), w.servers())
		time.Sleep(20 * expiry)
		if now := len(w.Power.Calls()); now != calls {
			t.Errorf("%d fences without any quorum: %+v", now-calls, w.Power.Calls()[calls:])
		}
		w.Net.HealAll()
		w.AwaitMaster(time.Minute)
		time.Sleep(10 * expiry)
		if now := len(w.Power.Calls()); now != calls {
			t.Errorf("%d fences after the network healed: %+v", now-calls, w.Power.Calls()[calls:])
		}
		w.awaitServers()
	})
}

// TestServers_ExpiredServerThatBecomesMasterHandsOver: a standby whose fence hangs
// is elected; it does not fence itself, but hands the mastership on.
func TestServers_ExpiredServerThatBecomesMasterHandsOver(t *testing.T) {
	elected := 0
	for seed := range uint64(12) {
		seeded(t, seed, fenced, func(t *testing.T, w *world) {
			w.awaitServers()
			master := w.Master()
			cut := w.others(master)[0]
			w.Power.Set(cut, behaviourHang)
			w.Net.Partition([]string{cut}, w.others(cut))
			w.awaitState(cut, member.Expired, time.Minute)
			w.Net.HealAll()
			w.agree()
			w.Power.Set(cut, sim.Behaviour{Delay: time.Second})
			w.KillServer(master)
			w.AwaitMaster(time.Minute)
			time.Sleep(expiry / 2)
			w.StartServer(master)
			w.Await(2*time.Minute, "the fence of "+cut, func() bool { return len(w.logs.find("fence proved", "node="+cut)) == 1 })
			if own := w.logs.find("fence begins", "node="+cut, "server="+cut); len(own) > 0 {
				t.Error("a server fenced itself")
			}
			elected += len(w.logs.find("this server's own machine is to be fenced, the mastership is handed over", "server="+cut))
		})
	}
	if elected == 0 {
		t.Error("the expired server was never elected, so nothing was shown")
	}
}

// TestServers_OneMachineServerAndNode: the silence of either fails the machine.
func TestServers_OneMachineServerAndNode(t *testing.T) {
	both := func(server string) func(*client.Config) { return func(c *client.Config) { c.Node = server } }
	for _, dies := range []string{"server", "node"} {
		t.Run("the "+dies+" dies", func(t *testing.T) {
			bubble(t, fenced, func(t *testing.T, w *world) {
				w.awaitServers()
				machine := w.others(w.Master())[0]
				n1 := w.boot("n1", both(machine), bootID("boot-"+machine+"-0"))
				n2 := w.boot("n2")
				n1.take("r", client.EX)
				x := n2.ask("r", client.EX)
				time.Sleep(10 * expiry)
				w.nobodyDied()
				if n1.node.State() != client.StateSafe {
					t.Fatalf("with both alive the node is %v", n1.node.State())
				}
				w.logs.on(func(e entry) {
					if e.is("node expired", "node="+machine) && dies == "server" && n1.node.State() < client.StateLost {
						t.Errorf("the node was %v when its server's silence failed it", n1.node.State())
					}
				})
				if dies == "server" {
					w.KillServer(machine)
				} else {
					w.Node("n1").Kill()
				}
				x.granted(time.Minute)
				if w.member(machine).State != member.Fenced {
					t.Errorf("the machine is %v", w.member(machine).State)
				}
				if calls := w.Power.Calls(); len(calls) != 1 || calls[0].Plan.Node != machine {
					t.Errorf("fences: %+v", calls)
				}
				w.Disk.Fenced("n1", n1.node.Incarnation())
			})
		})
	}
}

// TestServers_SwitchedOff: with fence_servers = no nobody judges servers.
func TestServers_SwitchedOff(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		w.KillServer(w.others(w.Master())[0])
		time.Sleep(10 * expiry)
		w.nobodyDied()
		for _, s := range w.servers() {
			if n := w.member(s); n.Name != "" {
				t.Errorf("%s is known as a node, %v", s, n.State)
			}
		}
	})
}

// TestServers_CatchUpBeforeTheyCount: a server that was away while much happened
// is not counted for a commit before it has everything: what was granted with its
// help survives the loss of the others' memory of it.
func TestServers_CatchUpBeforeTheyCount(t *testing.T) {
	bubble(t, fenced, func(t *testing.T, w *world) {
		w.awaitServers()
		n1 := w.boot("n1")
		away := w.others(w.Master())[0]
		if err := w.ShutdownServer(t.Context(), away, false); err != nil {
			t.Fatal(err)
		}
		held := n1.take("held", client.EX)
		for range 200 {
			l := n1.take("r", client.PR)
			if err := l.Unlock(); err != nil {
				t.Fatal(err)
			}
		}
		w.StartServer(away)
		w.awaitState(away, member.LoggedIn, time.Minute)
		other := w.others(w.Master())
		for _, s := range other {
			if s != away {
				w.KillServer(s)
			}
		}
		l := n1.take("r", client.EX) // committed by the master and the one that was away
		old := w.Master()
		w.agree()
		w.KillServer(old)
		for _, s := range other {
			if s != away {
				w.StartServer(s)
			}
		}
		w.AwaitMaster(time.Minute)
		w.Await(time.Minute, "n1 to be safe", func() bool { return held.Valid() == nil && l.Valid() == nil })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := w.boot("n2").TryLock(ctx, "held", client.PR); !is(err, client.ErrTryFailed) {
			t.Errorf("the lock was forgotten: %v", err)
		}
	})
}
