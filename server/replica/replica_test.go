package replica

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

func TestThreeServersElectAndAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		defer c.close()
		m := c.leader()
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint("c", i))
			c.propose(m, want[i])
		}
		c.agree(want)
		must(t, m.r.VerifyLeader(context.Background()))
	})
}
