package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// inContainer is a client whose boot id proves nothing.
func inContainer(c *client.Config) { yes := true; c.Container = &yes }

// bootIDs gives a client a boot id of its own.
func bootID(id string) func(*client.Config) { return func(c *client.Config) { c.BootID = id } }

// kill ends a node's life and waits until nothing of it runs.
func (w *world) kill(node string) {
	w.t.Helper()
	w.Node(node).Kill()
	w.Await(time.Minute, "the end of "+node, func() bool { return !w.Node(node).Up() })
}

// TestReboot_ProvesThatTheOldLifeIsGone: a node that booted again does not wait
// for its own fence, be it expired already or not yet; its old locks are free.
func TestReboot_ProvesThatTheOldLifeIsGone(t *testing.T) {
	for _, expired := range []bool{false, true} {
		bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
			n1, n2 := w.boot("n1"), w.boot("n2")
			n1.take("r", client.EX)
			x := n2.ask("r", client.EX)
			w.Power.Set("n1", behaviourHang)
			w.kill("n1")
			if expired {
				w.awaitState("n1", member.Expired, time.Minute)
			}
			began := time.Now()
			again := w.boot("n1")
			if again.node.Incarnation() != 2 {
				t.Errorf("incarnation %d", again.node.Incarnation())
			}
			x.granted(time.Minute)
			if took := time.Since(began); !expired && took > expiry {
				t.Errorf("the reboot took %v to be believed", took)
			}
			n := w.member("n1")
			if n.Fence.State != member.FenceProved || n.Fence.Incarnation != 1 ||
				!strings.Contains(n.Fence.By, "reboot (boot id boot-n1-1 -> boot-n1-2)") {
				t.Errorf("ledger: %+v", n.Fence)
			}
			if len(w.logs.find("node has booted again, its earlier life is settled", "node=n1")) != 1 {
				t.Error("not in the log")
			}
		})
	}
}

// TestReboot_NotTrusted: with trust_reboot = "no", and for containers, new and
// old, a new boot id proves nothing: the fence does.
func TestReboot_NotTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		settings    string
		first, then []func(*client.Config)
	}{
		"trust_reboot = no": {settings: `trust_reboot = "no"`},
		"was a container":   {first: []func(*client.Config){inContainer}},
		"is a container":    {then: []func(*client.Config){inContainer}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, gulmtest.ClusterOptions{Settings: c.settings}, func(t *testing.T, w *world) {
				n1, n2 := w.boot("n1", c.first...), w.boot("n2")
				n1.take("r", client.EX)
				x := n2.ask("r", client.EX)
				w.Power.Set("n1", sim.Behaviour{Delay: 30 * time.Second})
				w.kill("n1")
				began := time.Now()
				dialled := make(chan error, 1)
				w.Node("n1").Boot(func(ctx context.Context, life *gulmtest.Life) {
					_, err := life.Dial(ctx, c.then...)
					dialled <- err
				})
				if at := x.granted(2 * time.Minute); at.Sub(began) < expiry+30*time.Second-expiry/2 {
					t.Errorf("lock was released after %v, before the fence", at.Sub(began))
				}
				if n := w.member("n1"); strings.Contains(n.Fence.By, "reboot") {
					t.Errorf("ledger: %+v", n.Fence)
				}
				<-dialled // the fence has cut the power of the new life as well
			})
		})
	}
}

// TestReboot_CloneOfALiveNodeIsRefused: another machine under the same name is
// not taken for the same one booted again while the first gives signs of life.
func TestReboot_CloneOfALiveNodeIsRefused(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		l := n1.take("r", client.EX)
		ctx, cancel := context.WithTimeout(t.Context(), 10*expiry)
		defer cancel()
		dialled := make(chan error, 1)
		w.Node("n2").Boot(func(life context.Context, machine *gulmtest.Life) {
			_, err := machine.Dial(ctx, bootID("clone"), func(c *client.Config) { c.Node = "n1" })
			dialled <- err
		})
		if err := <-dialled; !errors.Is(err, client.ErrStaleIncarnation) {
			t.Errorf("the clone: %v", err)
		}
		if err := l.Valid(); err != nil || w.member("n1").Incarnation != 1 {
			t.Errorf("the node: %v", err)
		}
		w.nobodyDied()
	})
}

// TestReboot_SameBootIDAfterAPowerFence: the fence was no fence; the node is kept
// out, loudly, until it has really booted.
func TestReboot_SameBootIDAfterAPowerFence(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		same := bootID("the same")
		w.boot("n1", same)
		w.kill("n1")
		w.awaitState("n1", member.Fenced, time.Minute)
		if n := w.member("n1"); !n.Fence.Power {
			t.Fatalf("ledger: %+v", n.Fence)
		}
		dialled := make(chan error, 1)
		w.Node("n1").Boot(func(ctx context.Context, life *gulmtest.Life) {
			_, err := life.Dial(ctx, same)
			dialled <- err
		})
		if err := <-dialled; !is(err, gulmerr.ErrFenceLied) || !strings.Contains(err.Error(), `proves = "access"`) {
			t.Errorf("login: %v", err)
		}
		alarms := w.logs.find("node was fenced by cutting its power and comes back with the same boot id: its fence method does not fence")
		if len(alarms) == 0 || w.status(w.Master()).GetCounters()["fence_lies"] == 0 {
			t.Error("no alarm")
		}
		w.kill("n1")
		w.boot("n1", bootID("another"))
	})
}

// TestReboot_SameBootIDAfterAFabricFence: who was only cut off comes back as it is.
func TestReboot_SameBootIDAfterAFabricFence(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Proves: "access"}, func(t *testing.T, w *world) {
		same := bootID("the same")
		w.boot("n1", same)
		w.kill("n1")
		w.awaitState("n1", member.Fenced, time.Minute)
		if again := w.boot("n1", same); again.node.Incarnation() != 2 {
			t.Errorf("incarnation %d", again.node.Incarnation())
		}
	})
}
