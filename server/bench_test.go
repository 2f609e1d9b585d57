package server_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server"
	"lock_gulmd/server/replica"
)

// stores are where the benchmarks keep the log: in memory, which shows what the
// program costs, and on disk, as in production.
var stores = []string{"memory", "disk"}

// BenchmarkPairs measures lock and unlock of a resource of one's own, over
// loopback TCP, three servers and the client library: so many callers of one
// session, or of many sessions with 16 callers each.
func BenchmarkPairs(b *testing.B) {
	for _, store := range stores {
		b.Run(store, func(b *testing.B) {
			r := newRack(b, store)
			for _, shape := range []struct{ sessions, callers int }{{1, 1}, {1, 16}, {1, 256}, {64, 16}} {
				b.Run(fmt.Sprintf("sessions=%d/callers=%d", shape.sessions, shape.sessions*shape.callers), func(b *testing.B) {
					spaces := r.join(b, shape.sessions)
					b.ReportAllocs()
					b.ResetTimer()
					r.pairs(b, spaces, shape.callers)
				})
			}
		})
	}
}

// BenchmarkHandOff measures how long a lock takes from its holder to the next of
// 16 sessions that wait for it.
func BenchmarkHandOff(b *testing.B) {
	for _, store := range stores {
		b.Run(store, func(b *testing.B) {
			r := newRack(b, store)
			spaces := r.join(b, 16)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var all sync.WaitGroup
			for _, ls := range spaces {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						l, err := ls.Lock(context.Background(), "hot", client.EX)
						if err == nil {
							err = l.Unlock()
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			report(b, "handoffs/s")
		})
	}
}

func report(b *testing.B, unit string) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit)
}

// rack is three servers on loopback addresses.
type rack struct {
	config  *ccs.Config
	servers []*server.Server
}

func newRack(b *testing.B, store string) *rack {
	b.Helper()
	r := &rack{config: rackConfig(b)}
	for _, s := range r.config.Servers() {
		core, err := net.Listen("tcp", s.CoreAddr)
		if err != nil {
			b.Fatal(err)
		}
		layer, err := replica.Listen(s.RaftAddr, nil)
		if err != nil {
			b.Fatal(err)
		}
		opt := server.Options{
			Cluster: r.config, Name: s.Name, Core: core, Raft: layer, Insecure: true, Fencer: &sim.Switch{},
			Tune: func(c *replica.Config) { c.MinFree, c.WarnFree = 1, 1 },
		}
		if store == "memory" {
			opt.Memory = replica.NewMemory()
		} else {
			opt.Dir = b.TempDir()
		}
		srv, err := server.Open(opt)
		if err != nil {
			b.Fatal(err)
		}
		r.servers = append(r.servers, srv)
		b.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_ = srv.Close(ctx)
		})
	}
	return r
}

// rackConfig finds two ports that are free on three loopback addresses, which
// differ from process to process.
func rackConfig(b *testing.B) *ccs.Config {
	b.Helper()
	third := 10 + os.Getpid()%200
	core, raft := freePort(b, third), freePort(b, third)
	var nodes strings.Builder
	for i := range 4 {
		name := [...]string{"lk1", "lk2", "lk3", "n1"}[i]
		fmt.Fprintf(&nodes, "%s { ip_interfaces { lo = \"127.0.%d.%d\" } fence { power { switch { port = %q } } } }\n", name, third, i+1, name)
	}
	config, err := ccs.Parse(ccs.Source{
		Cluster: fmt.Appendf(nil, `cluster { name = "bench" lock_gulm { servers = ["lk1", "lk2", "lk3"] core_port = %d raft_port = %d heartbeat_rate = 5.0 } }`, core, raft),
		Nodes:   []byte("nodes {\n" + nodes.String() + "}\n"),
		Fence:   []byte(`fence_devices { switch { agent = "fence_sim" } }`),
	})
	if err != nil {
		b.Fatal(err)
	}
	return config
}

func freePort(b *testing.B, third int) int {
	b.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.%d.1:0", third))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// join logs sessions in; they log out when the benchmark ends.
func (r *rack) join(b *testing.B, sessions int) []*client.Lockspace {
	b.Helper()
	var addresses []string
	for _, s := range r.config.Servers() {
		addresses = append(addresses, s.CoreAddr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var spaces []*client.Lockspace
	for range sessions {
		n, err := client.Dial(ctx, client.Config{Cluster: "bench", Node: "n1", Servers: addresses, BootID: "bench", Probes: []client.Probe{}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = n.Logout(ctx)
		})
		ls, err := n.Join(ctx, "fs", client.JoinOptions{})
		if err != nil {
			b.Fatal(err)
		}
		spaces = append(spaces, ls)
	}
	return spaces
}

// pairs does b.N pairs with so many callers on each lockspace.
func (r *rack) pairs(b *testing.B, spaces []*client.Lockspace, callers int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for i, ls := range spaces {
		for k := range callers {
			name := fmt.Sprintf("inode/%d/%d", i, k)
			all.Go(func() {
				for left.Add(-1) >= 0 {
					l, err := ls.Lock(context.Background(), name, client.EX)
					if err == nil {
						err = l.UnlockWait(context.Background())
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	b.StopTimer()
	report(b, "pairs/s")
}
