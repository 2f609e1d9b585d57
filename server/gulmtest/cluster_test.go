package gulmtest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/client"
)

func TestCluster_ElectsLocksAndFences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCluster(t, 1, ClusterOptions{})
		defer c.Close()
		c.StartAll()
		c.AwaitMaster(time.Minute)
		got := make(chan uint64, 2)
		hold := func(ctx context.Context, life *Life) {
			n, err := life.Dial(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			ls, err := n.Join(ctx, "fs", client.JoinOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			l, err := ls.Lock(ctx, "r", client.EX)
			if err != nil {
				t.Error(err)
				return
			}
			got <- l.Token()
			<-ctx.Done()
		}
		c.Node("n1").Boot(hold)
		first := <-got
		c.Node("n2").Boot(hold)
		time.Sleep(time.Second)
		died := time.Now()
		c.Node("n1").Kill()
		second := <-got
		t.Logf("handed over %v after the death", time.Since(died))
		if second <= first {
			t.Errorf("token went from %d to %d", first, second)
		}
		if calls := c.Power.CallsFor("n1"); len(calls) != 1 {
			t.Errorf("n1 was fenced %d times", len(calls))
		}
		c.Disk.Check(t)
	})
}
