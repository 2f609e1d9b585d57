package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// rebooting starts a server again some time after its power was cut, as a machine
// does whose fence is a reboot, until the returned function is called.
func (w *world) rebooting(server string, after time.Duration) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			case <-time.After(after):
			}
			if w.Server(server) == nil {
				w.StartServer(server)
			}
		}
	}()
	return func() { close(end); <-done }
}

// TestServers_MachineThatTheQuorumNeedsIsNotFenced: of three servers one is shut
// down, and on the machine of another one a node dies. Its fence would take the
// quorum away, and with it the term whose agent runs and who could commit the
// proof: it waits, and says so, until the third server is back.
func TestServers_MachineThatTheQuorumNeedsIsNotFenced(t *testing.T) {
	bubble(t, fenced, func(t *testing.T, w *world) {
		w.awaitServers()
		machine, away := w.others(w.Master())[0], w.others(w.Master())[1]
		node := w.boot("n1", func(c *client.Config) { c.Node = machine }, bootID("boot-"+machine+"-0"))
		n2 := w.boot("n2")
		node.take("r", client.EX)
		if err := w.ShutdownServer(t.Context(), away, true); err != nil {
			t.Fatal(err)
		}
		x := n2.ask("r", client.EX)
		stop := w.rebooting(machine, 20*time.Second)
		defer stop()
		w.Node("n1").Kill()
		w.awaitState(machine, member.Expired, time.Minute)
		time.Sleep(10 * expiry)
		if calls := w.Power.Calls(); len(calls) > 0 || x.over() {
			t.Fatalf("fences %+v, lock given away: %v", calls, x.over())
		}
		const want = "without this machine the lock servers have no quorum"
		if said := strings.Join(w.status(w.Master()).GetWaitingFor(), "\n"); !strings.Contains(said, want) {
			t.Errorf("status: %s", said)
		}
		reply, err := w.admin(w.Master()).Fences(t.Context(), &gulmv1.FencesRequest{Node: machine})
		if err != nil || len(reply.GetNodes()) != 1 || !strings.Contains(reply.GetNodes()[0].GetWaitsFor(), want) {
			t.Errorf("ledger: %v, %v", reply, err)
		}
		w.StartServer(away)
		x.granted(2 * time.Minute)
		w.awaitState(machine, member.LoggedIn, 2*time.Minute)
		time.Sleep(10 * expiry)
		if calls := w.Power.Calls(); len(calls) != 1 || calls[0].Plan.Node != machine {
			t.Errorf("fences: %+v", calls)
		}
		w.Disk.Fenced("n1", node.node.Incarnation())
	})
}

// TestServers_QuorumLostInTheMidstOfAFence: the third server dies while the machine
// of the second is being fenced. The machine is back before the proof could be
// committed: its reboot is the proof, and it is not fenced again each time that it
// is back.
func TestServers_QuorumLostInTheMidstOfAFence(t *testing.T) {
	bubble(t, fenced, func(t *testing.T, w *world) {
		w.awaitServers()
		machine, other := w.others(w.Master())[0], w.others(w.Master())[1]
		node := w.boot("n1", func(c *client.Config) { c.Node = machine }, bootID("boot-"+machine+"-0"))
		n2 := w.boot("n2")
		node.take("r", client.EX)
		x := n2.askBlind("r", client.EX)
		w.Power.Set(machine, sim.Behaviour{Delay: 500 * time.Millisecond})
		w.logs.on(func(e entry) {
			if e.is("fence agent starts", "node="+machine) {
				go w.KillServer(other)
			}
		})
		stop := w.rebooting(machine, 20*time.Second)
		defer stop()
		w.Node("n1").Kill()
		x.granted(10 * time.Minute)
		w.awaitState(machine, member.LoggedIn, 5*time.Minute)
		time.Sleep(10 * expiry)
		if calls := w.Power.CallsFor(machine); len(calls) != 1 {
			t.Errorf("%s was fenced %d times", machine, len(calls))
		}
		w.Disk.Fenced("n1", node.node.Incarnation())
	})
}

// TestBreaker_PausesAFenceInItsMidst: what is paused while a fence is under way
// starts no further agent, also not of the next method of the same round.
func TestBreaker_PausesAFenceInItsMidst(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		admin := w.admin(w.Master())
		paused := make(chan struct{})
		w.logs.on(func(e entry) {
			if e.is("fence begins", "node=n1") && !isClosed(paused) {
				close(paused)
				go func() {
					if _, err := admin.PauseFencing(context.Background(), &gulmv1.PauseFencingRequest{Operator: "bob", Reason: "stop it"}); err != nil {
						t.Error(err)
					}
				}()
			}
		})
		w.Power.Set("n1", sim.Behaviour{Delay: time.Second, Fail: 1})
		w.Node("n1").Kill()
		<-paused
		time.Sleep(10 * expiry)
		if x.over() {
			t.Fatal("fenced while paused")
		}
		started := len(w.logs.find("fence agent starts", "node=n1"))
		time.Sleep(10 * expiry)
		if more := len(w.logs.find("fence agent starts", "node=n1")); more != started || started > 1 {
			t.Errorf("%d agents were started, %d while paused", more, more-started)
		}
		if _, err := admin.ResumeFencing(t.Context(), &gulmv1.ResumeFencingRequest{Operator: "bob"}); err != nil {
			t.Fatal(err)
		}
		x.granted(2 * time.Minute)
	})
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
