package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/cmd/internal/daemon"
	"lock_gulmd/fence"
	"lock_gulmd/fence/process"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// TestMain plays a lock server or a fence agent when it is started under that name,
// as the demo's executable does.
func TestMain(m *testing.M) {
	fence.Supervise()
	switch filepath.Base(os.Args[0]) {
	case AsServer:
		os.Exit(daemon.Main(os.Args[1:], os.Stdout, os.Stderr))
	case AsAgent:
		os.Exit(process.Main(os.Stdin, os.Stdout, os.Stderr, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// BenchmarkThreeProcesses measures lock + unlock of distinct names over the whole
// path: three lock_gulmd processes with their logs synced to disk, and the load,
// on one machine. The load is a number of streams (sessions) with a number of
// callers each; pairs/s counts lock + unlock.
func BenchmarkThreeProcesses(b *testing.B) {
	c := startServers(b)
	for _, load := range []struct{ streams, callers int }{{1, 1}, {1, 16}, {1, 256}, {64, 16}} {
		b.Run(fmt.Sprintf("streams=%d/callers=%d", load.streams, load.callers), func(b *testing.B) {
			spaces := c.dial(b, load.streams)
			var names atomic.Int64
			b.ResetTimer()
			began := time.Now()
			var callers sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			for i := range load.streams * load.callers {
				callers.Go(func() {
					for left.Add(-1) >= 0 {
						pair(b, spaces[i%len(spaces)], fmt.Sprint("name", names.Add(1)))
					}
				})
			}
			callers.Wait()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "pairs/s")
		})
	}
}

// BenchmarkThreeProcessesHandOff measures how fast one exclusive lock goes round
// among 16 waiters, who sit on 4 streams.
func BenchmarkThreeProcessesHandOff(b *testing.B) {
	c := startServers(b)
	spaces := c.dial(b, 4)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	began := time.Now()
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				pair(b, spaces[i%len(spaces)], "one")
			}
		})
	}
	callers.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "hand-offs/s")
}

func pair(b *testing.B, space *client.Lockspace, name string) {
	l, err := space.Lock(context.Background(), name, client.EX)
	if err == nil {
		err = l.Unlock()
	}
	if err != nil {
		b.Error(err)
	}
}

// startServers starts the demo's servers and waits for a master.
func startServers(b testing.TB) *cluster {
	b.Helper()
	c, err := newCluster(b.TempDir(), setup{nodes: []string{"n1", "n2", "n3"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.close)
	for _, name := range c.servers {
		if err := c.startServer(name); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := c.await(context.Background(), stepLimit, "a master", func(*gulmv1.StatusReply) bool { return true }); err != nil {
		b.Fatal(err)
	}
	return c
}

// dial logs sessions of one node in.
func (c *cluster) dial(b testing.TB, streams int) []*client.Lockspace {
	b.Helper()
	var servers []string
	for _, name := range c.servers {
		servers = append(servers, c.address[name])
	}
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	var spaces []*client.Lockspace
	for range streams {
		n, err := client.Dial(ctx, client.Config{Cluster: clusterName, Node: "n1", Servers: servers, BootID: "bench", Process: strings.ToLower(b.Name()[:9]), Probes: []client.Probe{}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = n.Logout(context.Background()) })
		ls, err := n.Join(ctx, "bench", client.JoinOptions{})
		if err != nil {
			b.Fatal(err)
		}
		spaces = append(spaces, ls)
	}
	return spaces
}
