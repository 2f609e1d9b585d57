package server_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// TestS5_NodeThatCannotWorkIsFenced: a node whose connection is good but which
// cannot work any more says so to its holder, counts its locks as lost, and is
// then expired and fenced; nobody is granted them before.
func TestS5_NodeThatCannotWorkIsFenced(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		broken := errors.New("no more processes")
		var sick atomic.Bool
		n1 := w.boot("n1", func(c *client.Config) {
			c.Probes = []client.Probe{{Name: "work", Every: time.Second, Limit: time.Second, Bound: 5 * time.Second, Run: func(context.Context, *client.Node) error {
				if sick.Load() {
					return broken
				}
				return nil
			}}}
		})
		n2 := w.boot("n2")
		l := n1.take("r", client.EX)
		held := l.Context()
		x := n2.ask("r", client.EX)
		time.Sleep(10 * expiry)
		w.nobodyDied()

		sick.Store(true)
		w.awaitState("n1", member.Fenced, time.Minute)
		jeopardy, lost, expired := n1.told(client.EventJeopardy), n1.told(client.EventLost), w.expiredAt("n1")
		if len(jeopardy) != 1 || len(lost) != 1 || !errors.Is(jeopardy[0].Err, broken) || !errors.Is(lost[0].Err, broken) {
			t.Fatalf("jeopardy %v, lost %v", jeopardy, lost)
		}
		if margin := expired.Sub(lost[0].At); margin < expiry/6 || held.Err() == nil {
			t.Errorf("expired %v after the holder was told, its context: %v", margin, held.Err())
		}
		if granted := x.granted(time.Minute); granted.Before(expired) {
			t.Errorf("granted %v before the expiry", expired.Sub(granted))
		}
		if calls := w.Power.Calls(); len(calls) != 1 || calls[0].Plan.Node != "n1" {
			t.Errorf("fences were %+v, want one of n1", calls)
		}
	})
}

// TestS6_RoundTripsFailNobodyWithoutQuorum: nodes that take requests through the
// log as a probe find no fault with themselves while there is no quorum.
func TestS6_RoundTripsFailNobodyWithoutQuorum(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1 := w.boot("n1", func(c *client.Config) { c.Probes = []client.Probe{client.RoundTripProbe()} })
		l := n1.take("r", client.EX)
		time.Sleep(5 * time.Minute)
		w.Net.Partition(w.servers(), w.servers())
		time.Sleep(15 * time.Minute)
		if err := n1.node.Trouble(); err != nil {
			t.Errorf("trouble without quorum: %v", err)
		}
		w.Net.HealAll()
		w.AwaitMaster(time.Minute)
		w.Await(time.Minute, "n1 to be safe again", func() bool { return l.Valid() == nil })
		w.nobodyDied()
	})
}
