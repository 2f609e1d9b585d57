package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/rpc"
)

var explained = flag.Int("explained", 0, "how many simulated failures TestExplain_HoldsInSimulation measures, 0 for its default")

// failure is one simulated failure of a node.
type failure struct {
	seed          uint64
	rate          time.Duration
	misses        int
	delay, jitter time.Duration // of the network
	fence         time.Duration // what the fence agent takes, and may
	master        string        // what happens to the master
	powerless     bool          // its machine loses its power: connections do not break, they are silent
}

func drawFailure(seed uint64) failure {
	rng := rand.New(rand.NewPCG(seed, 7))
	in := func(low, high int) time.Duration { return time.Duration(low+rng.IntN(high-low+1)) * time.Millisecond }
	f := failure{seed: seed, misses: 1 + rng.IntN(4), delay: in(0, 20), jitter: in(0, 20), fence: in(0, 4000)}
	f.rate = in(max(250, 3000/(f.misses+1)), 4000) // an expiry of three seconds or more
	f.master = []string{"lives", "dies with it", "dies at any moment"}[seed%3]
	f.powerless = rng.IntN(2) == 0
	return f
}

func (f failure) String() string {
	return fmt.Sprintf("seed %d, heartbeats every %v, %d may be missed, messages take %v and up to %v more, fence %v, master %s (powerless: %v)",
		f.seed, f.rate, f.misses, f.delay, f.jitter, f.fence, f.master, f.powerless)
}

// TestExplain_HoldsInSimulation kills nodes at random moments, in clusters with
// random settings and networks, with the master or without: the waiting node gets
// the lock within the times that are explained, no sooner and no later.
func TestExplain_HoldsInSimulation(t *testing.T) {
	n := *explained
	if n == 0 {
		if n = 24; testing.Short() {
			n = 6
		}
	}
	for seed := range uint64(n) {
		f := drawFailure(seed)
		synctest.Test(t, func(t *testing.T) {
			took, e := f.measure(t)
			bounds := map[string]total{"lives": e.sum, "dies with it": e.sumTakeover, "dies at any moment": e.sumMoment}[f.master]
			t.Logf("%v: %v, explained %v to %v", f, took, bounds.best, bounds.worst)
			if took < bounds.best || took > bounds.worst {
				t.Errorf("%v: granted after %v, explained are %v to %v", f, took, bounds.best, bounds.worst)
			}
		})
	}
}

// measure makes it happen and returns how long it took from the failure to the
// grant, and what is explained.
func (f failure) measure(t *testing.T) (time.Duration, *explanation) {
	rng := rand.New(rand.NewPCG(f.seed, 8))
	c := gulmtest.NewCluster(t, f.seed, gulmtest.ClusterOptions{Nodes: 2, HeartbeatRate: f.rate, AllowedMisses: f.misses})
	defer c.Close()
	hosts := append([]string{"n1", "n2"}, c.Config.Lock.Servers...)
	for _, from := range hosts {
		for _, to := range hosts {
			c.Net.SetDelay(from, to, f.delay, f.jitter)
		}
	}
	c.Power.Set("n1", sim.Behaviour{Delay: f.fence})
	c.StartAll()
	c.AwaitMaster(time.Minute)
	hold(t, c, "n1")
	waiter := hold(t, c, "n2")
	e := f.explain(t, c)

	granted := make(chan time.Time, 1)
	go func() {
		if _, err := waiter.Lock(context.Background(), "held by n1", client.EX); err != nil {
			t.Errorf("%v: %v", f, err)
		}
		granted <- time.Now()
	}()
	time.Sleep(time.Minute + time.Duration(rng.Int64N(int64(2*f.rate))))
	began := time.Now()
	c.Node("n1").Kill()
	f.strike(c, rng, e.sum.worst, granted)
	return (<-granted).Sub(began), e
}

// strike does to the master what is to happen to it.
func (f failure) strike(c *gulmtest.Cluster, rng *rand.Rand, within time.Duration, granted chan time.Time) {
	switch f.master {
	case "lives":
		return
	case "dies at any moment":
		select {
		case at := <-granted:
			granted <- at
			return
		case <-time.After(time.Duration(rng.Int64N(int64(within)))):
		}
	}
	if f.powerless {
		c.PowerOffServer(c.Master())
	} else {
		c.KillServer(c.Master())
	}
}

// hold boots a node that holds one lock, "held by" itself.
func hold(t *testing.T, c *gulmtest.Cluster, node string) *client.Lockspace {
	t.Helper()
	ready := make(chan *client.Lockspace, 1)
	c.Node(node).Boot(func(ctx context.Context, life *gulmtest.Life) {
		defer close(ready)
		n, err := life.Dial(ctx)
		var ls *client.Lockspace
		if err == nil {
			ls, err = n.Join(ctx, "fs", client.JoinOptions{})
		}
		if err == nil {
			_, err = ls.Lock(ctx, "held by "+node, client.EX)
		}
		if err != nil {
			t.Errorf("node %s: %v", node, err)
			return
		}
		ready <- ls
		<-ctx.Done()
	})
	ls, ok := <-ready
	if !ok {
		t.FailNow()
	}
	return ls
}

// explain explains the cluster; its fence agent runs once, for as long as it may.
func (f failure) explain(t *testing.T, c *gulmtest.Cluster) *explanation {
	t.Helper()
	s := rpc.TimeoutsOf(c.Config, 0, 0)
	for _, n := range s.GetNodes() {
		step := n.GetMethods()[0].GetSteps()[0]
		step.LimitMs, step.Runs, step.Rounds = f.fence.Milliseconds(), []string{step.GetAction()}, 3
	}
	list, err := explainAll(s, nil, []string{"n1"})
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}
