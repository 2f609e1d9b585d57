package demo

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lock_gulmd/client"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// stopTime is for how long the master is stopped: many expiry times.
const stopTime = 30 * time.Second

// TestS6_MasterStoppedUnderLoad stops the master's process, as SIGSTOP or a host
// stops a machine, while a node works: another master takes over, and when the old
// one wakes up and finds everybody silent for so long, it judges nobody.
func TestS6_MasterStoppedUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("stops a process for half a minute")
	}
	c := startServers(t)
	space := c.dial(t, 1)[0]
	held, err := space.Lock(t.Context(), "held", client.EX)
	if err != nil {
		t.Fatal(err)
	}
	var pairs atomic.Int64
	var load sync.WaitGroup
	defer load.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for i := range 8 {
		load.Go(func() {
			for ctx.Err() == nil {
				l, err := space.Lock(ctx, fmt.Sprint("load", i), client.EX)
				if err == nil {
					err = l.Unlock()
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("under load: %v", err)
					return
				}
				pairs.Add(1)
			}
		})
	}

	limit, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	old := c.master(limit).GetServer()
	p := c.proc(old)
	if err := p.signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	if c.conns[old] != nil {
		_ = c.conns[old].Close()
		delete(c.conns, old)
	}
	time.Sleep(stopTime) // this is what is tested
	before := pairs.Load()
	if err := p.signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// The old master answers again, as somebody who is not master, and work goes on.
	for {
		s, err := c.status(limit, old)
		if err == nil && s.GetRole() != gulmv1.ServerRole_SERVER_ROLE_MASTER && s.GetMaster() != "" && s.GetMaster() != old && pairs.Load() > before {
			break
		}
		if limit.Err() != nil {
			t.Fatalf("%s does not follow another master: %v, %v", old, s, err)
		}
		time.Sleep(pollPeriod)
	}
	// Whatever it had to say about the time that it missed, it has said by now.
	time.Sleep(3 * heartbeatRate * (allowedMisses + 1) * time.Second)
	stop()
	load.Wait()
	if err := held.Valid(); err != nil || space.Node().Incarnation() != 1 {
		t.Errorf("the holder after %v: %v, incarnation %d", time.Since(stopped), err, space.Node().Incarnation())
	}
	for _, name := range c.servers {
		if name == old {
			continue
		}
		if s, err := c.status(limit, name); err != nil {
			t.Error(err)
		} else if n := nodeOf(s, "n1"); n.GetState() != gulmv1.NodeState_NODE_STATE_LOGGED_IN || n.GetFence().GetState() != gulmv1.FenceState_FENCE_STATE_NONE {
			t.Errorf("%s says of n1: %v", name, n)
		}
	}
	text, err := os.ReadFile(c.log(old))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "msg=\"node expired\"") || strings.Contains(line, "msg=\"fence begins\"") {
			t.Errorf("%s judged: %s", old, line)
		}
	}
	t.Logf("%d pairs, %d of them after the old master woke up", pairs.Load(), pairs.Load()-before)
}
