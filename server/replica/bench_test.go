package replica

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// BenchmarkPropose commits 100-byte commands on three servers over loopback TCP,
// one at a time and from 64 callers.
func BenchmarkPropose(b *testing.B) {
	for _, store := range []string{LogStoreWAL, LogStoreBolt, "memory"} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", store, callers), func(b *testing.B) {
				leader := benchCluster(b, store)
				command := make([]byte, 100)
				b.ResetTimer()
				var wg sync.WaitGroup
				for i := range callers {
					n := b.N / callers
					if i < b.N%callers {
						n++
					}
					wg.Go(func() {
						for range n {
							f, err := leader.Propose(command)
							if err == nil {
								_, _, err = f.Wait(context.Background())
							}
							if err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
			})
		}
	}
}

// forgetful applies commands and keeps nothing.
type forgetful struct{ tape }

func (*forgetful) Apply(uint64, uint64, []byte) any { return nil }

func benchCluster(b *testing.B, store string) *Replica {
	var peers []Peer
	var layers []StreamLayer
	for i := range 3 {
		l, err := Listen("127.0.0.1:0", nil)
		if err != nil {
			b.Fatal(err)
		}
		layers = append(layers, l)
		peers = append(peers, Peer{Name: fmt.Sprint("lk", i+1), RaftAddr: l.Addr().String()})
	}
	var all []*Replica
	for i, p := range peers {
		cfg := Config{Cluster: "bench", Server: p.Name, Servers: peers, Stream: layers[i], Fatal: func(err error) { b.Error(err) }}
		if store == "memory" {
			cfg.Memory = NewMemory()
		} else {
			cfg.Dir, cfg.LogStore = b.TempDir(), store
		}
		r, err := Open(cfg, &forgetful{})
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, r)
		b.Cleanup(func() { _ = r.Close(context.Background()) })
	}
	for {
		for _, r := range all {
			if r.Status().Leading && r.Barrier(context.Background()) == nil {
				return r
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}
