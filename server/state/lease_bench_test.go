package state_test

import (
	"fmt"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// BenchmarkLeaseExpired is what a master asks whenever a node changes, while one is
// dead that had 100,000 locks in a lockspace under a fence.
func BenchmarkLeaseExpired(b *testing.B) {
	c := newCluster(b, state.Limits{})
	a, _ := c.join("a", "gfs", lock.PolicyFence)
	const each = 1000
	for n := range 100 {
		requests := make([]state.Request, each)
		for i := range requests {
			requests[i] = lockOn(fmt.Sprint(n*each+i), lock.EX)
			requests[i].Seq, requests[i].Lock = c.Applied(a)+uint64(i)+1, lock.ID(n*each+i+1)
		}
		c.next++
		c.Apply(c.next, 1, batch(group(a, c.Applied(a), requests...)))
	}
	if held := c.Locks().Locks(lock.Session(a)); held != 100*each {
		b.Fatalf("%d locks", held)
	}
	c.expire("a")
	for b.Loop() {
		if len(c.LeaseExpired()) > 0 {
			b.Fatal("there is no lease")
		}
	}
}
