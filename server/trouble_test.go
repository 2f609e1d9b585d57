package server_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// troubles returns what the master shows of the probes of a node with one session.
func (w *world) troubles(node string) []*gulmv1.ProbeTrouble {
	w.t.Helper()
	reply, err := w.core(w.Master()).Nodes(w.t.Context(), &gulmv1.NodesRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range reply.GetNodes() {
		if n.GetName() == node && len(n.GetSessions()) > 0 {
			return n.GetSessions()[0].GetTroubles()
		}
	}
	return nil
}

// TestS7_ProbeTroubleIsShown: servers show which probe of a node fails, since when,
// and when it will stop its heartbeats for that; they log its begin and its end
// once; another master knows with the next heartbeat; what was said last stays to be
// seen while the node is fenced for it.
func TestS7_ProbeTroubleIsShown(t *testing.T) {
	const bound = 60 * time.Second
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		var sick atomic.Bool
		n1 := w.boot("n1", func(c *client.Config) {
			c.Probes = []client.Probe{{Name: "write a file", Every: time.Second, Limit: time.Second, Bound: bound, Run: func(context.Context, *client.Node) error {
				if sick.Load() {
					return errors.New("/tmp: no space left on device " + strings.Repeat("x", 1000))
				}
				return nil
			}}}
		})
		began := func() int { return len(w.logs.find("probe of a node fails", "node=n1", "probe=write a file")) }
		time.Sleep(time.Minute)
		if told := w.troubles("n1"); told != nil || began() != 0 {
			t.Fatalf("a node that is well: %v", told)
		}
		sick.Store(true)
		fell := time.Now()
		time.Sleep(4 * time.Second)
		told := w.troubles("n1")
		if len(told) != 1 || told[0].GetProbe() != "write a file" || !strings.HasPrefix(told[0].GetError(), "/tmp: no space left") || len(told[0].GetError()) > 256 {
			t.Fatalf("told: %v", told)
		}
		if since := time.UnixMilli(told[0].GetSinceMs()); since.Before(fell.Add(-time.Second)) || since.After(fell.Add(2*time.Second)) {
			t.Errorf("it fails since %v, shown as %v", fell, since)
		}
		if sum := time.Duration(told[0].GetFailingMs()+told[0].GetStopsInMs()) * time.Millisecond; (sum - bound).Abs() > 2*time.Second {
			t.Errorf("failing for %d ms, stops in %d ms", told[0].GetFailingMs(), told[0].GetStopsInMs())
		}

		sick.Store(false)
		time.Sleep(5 * time.Second)
		ended := w.logs.find("probe of a node succeeds again", "node=n1")
		if told := w.troubles("n1"); told != nil || len(ended) != 1 || began() != 1 {
			t.Fatalf("after it: %v, %d begins, %d ends in the log", told, began(), len(ended))
		}

		sick.Store(true)
		time.Sleep(4 * time.Second)
		w.KillServer(w.Master())
		w.AwaitMaster(time.Minute)
		w.Await(10*time.Second, "the new master to know", func() bool { return len(w.troubles("n1")) == 1 })
		w.Power.Set("n1", sim.Behaviour{Delay: expiry})
		w.awaitState("n1", member.Expired, 2*bound)
		told = w.troubles("n1")
		if len(told) != 1 || told[0].GetStopsInMs() != 0 || began() != 3 { // one for each term in which it began or was learned
			t.Errorf("once it is expired: %v, %d begins in the log", told, began())
		}
		if n1.node.State() != client.StateExpired && n1.node.State() != client.StateLost {
			t.Errorf("the node is %v", n1.node.State())
		}
	})
}
