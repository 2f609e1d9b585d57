package server_test

import (
	"testing"
	"time"

	"lock_gulmd/client"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// heard returns when the master last heard of a node.
func (w *world) heard(node string) time.Time {
	w.t.Helper()
	reply, err := w.core(w.Master()).Nodes(w.t.Context(), &gulmv1.NodesRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range reply.GetNodes() {
		if n.GetName() == node && n.GetLastBeatMs() >= 0 {
			return time.Now().Add(-time.Duration(n.GetLastBeatMs()) * time.Millisecond)
		}
	}
	w.t.Fatalf("the master has not heard of node %s", node)
	return time.Time{}
}

// until sleeps until a moment.
func until(at time.Time) { time.Sleep(time.Until(at)) }

// TestTiming_BackBeforeExpiry: a node whose heartbeats arrive just before its time
// is over keeps its locks; one whose heartbeats arrive two looks after it is dead;
// so it is under the master that it logged in to, under one that took over
// meanwhile, which begins the time anew, and after one whose machine stood still.
func TestTiming_BackBeforeExpiry(t *testing.T) {
	const margin = 20 * time.Millisecond // of the network and of what the master shows
	const findTime = 4 * time.Second     // to find another master
	for _, between := range []string{"nothing", "a new master", "a paused master"} {
		for _, late := range []bool{false, true} {
			t.Run(between, func(t *testing.T) {
				bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
					n1 := w.boot("n1")
					l := n1.take("r", client.EX)
					time.Sleep(10 * time.Second)
					w.cut("n1")
					time.Sleep(time.Second)
					from := w.heard("n1")
					if between != "nothing" {
						from = w.changeMaster(between, from.Add(expiry-time.Second))
					}
					if late {
						until(from.Add(expiry + 2*look + margin))
						w.mend("n1")
						w.awaitState("n1", member.Fenced, time.Minute)
						if at := w.expiredAt("n1"); at.Before(from.Add(expiry)) || at.After(from.Add(expiry+look+margin)) {
							t.Errorf("expired %v after its time began", at.Sub(from))
						}
						return
					}
					before := time.Duration(margin)
					if between != "nothing" {
						before = findTime // what was sent is held for the old master
					}
					until(from.Add(expiry - before))
					w.mend("n1")
					time.Sleep(2 * expiry)
					w.nobodyDied()
					if err := l.Valid(); err != nil {
						t.Errorf("the lock: %v", err)
					}
				})
			})
		}
	}
}

// changeMaster kills or pauses the master at a moment, and returns when another one
// began.
func (w *world) changeMaster(how string, at time.Time) time.Time {
	until(at)
	old := w.Master()
	if how == "a paused master" {
		w.Net.Host(old).Pause()
	} else {
		w.KillServer(old)
	}
	var next string
	w.Await(time.Minute, "another master", func() bool { next = w.Master(); return next != "" && next != old })
	took := w.logs.find("master", "server="+next)
	if len(took) != 1 {
		w.t.Fatalf("%s became master %d times", next, len(took))
	}
	if how == "a paused master" {
		w.Net.Host(old).Resume()
	}
	return took[0].At
}

// TestTiming_PausedMasterAccusesNobody: a master whose machine stands still for
// longer than anybody may be silent finds, when it goes on, that another one is
// master; it expires and fences nobody, and nor does the other, who gave everybody
// a grace.
func TestTiming_PausedMasterAccusesNobody(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		users := w.bootAll(3)
		l := users[0].take("r", client.EX)
		for _, pause := range []time.Duration{expiry - time.Second, expiry + time.Second, 5 * expiry} {
			old := w.AwaitMaster(time.Minute)
			w.Net.Host(old).Pause()
			time.Sleep(pause)
			w.Net.Host(old).Resume()
			time.Sleep(3 * expiry)
			w.nobodyDied()
		}
		if err := l.Valid(); err != nil {
			t.Errorf("the lock: %v", err)
		}
	})
}

// TestTiming_RebootProof: a node that has booted again is let in once its earlier life
// was silent for half of its time, and not before, without an expiry or a fence.
func TestTiming_RebootProof(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		w.boot("n1").take("r", client.EX)
		time.Sleep(10 * time.Second)
		from := w.heard("n1")
		w.kill("n1")
		w.boot("n1")
		after := time.Since(from)
		// Tries are up to a second apart.
		if after < expiry/2 || after > expiry/2+2*time.Second {
			t.Errorf("let in %v after the last sign of life of the earlier life, want %v", after, expiry/2)
		}
		w.nobodyDied()
	})
}
