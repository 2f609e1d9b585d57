package lock

import (
	"encoding/binary"
	"runtime"
	"slices"
	"testing"
	"time"
)

const million = 1_000_000

// glock fills name with what a GFS inode's glock looks like.
func glock(name []byte, n int) []byte {
	return binary.BigEndian.AppendUint64(append(name[:0], "G\x04shop\x00\x02"...), uint64(n))
}

// held returns a table in which one session holds n names in PR.
func held(b *testing.B, n int) *Table {
	b.Helper()
	table := opened(b, 1)
	var name []byte
	for i := range n {
		name = glock(name, i)
		if r := table.Lock(1, LockRequest{ID: ID(i + 1), Lockspace: 1, Name: name, Mode: PR}); r.Outcome != Granted {
			b.Fatalf("lock %d: %+v", i, r)
		}
	}
	return table
}

// BenchmarkPair locks and unlocks: the one name there is, or one of a million
// that somebody else holds in NL.
func BenchmarkPair(b *testing.B) {
	for _, bench := range []struct {
		name  string
		names int
	}{{"names=1", 1}, {"names=1M", million}} {
		b.Run(bench.name, func(b *testing.B) {
			table := opened(b, 2)
			name := make([]byte, 0, 32)
			for i := range bench.names {
				table.Lock(2, LockRequest{ID: ID(i + 1), Lockspace: 1, Name: glock(name, i), Mode: NL})
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				name = glock(name, i*7919%bench.names)
				table.Lock(1, LockRequest{ID: 1, Lockspace: 1, Name: name, Mode: EX})
				if r := unlock(table, 1); r.Outcome != Unlocked {
					b.Fatalf("%+v", r)
				}
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
		})
	}
}

// BenchmarkHandOff passes one EX lock around 17 sessions: the holder unlocks,
// the next is granted and asked, and the holder queues again.
func BenchmarkHandOff(b *testing.B) {
	const sessions = 17
	table := opened(b, sessions)
	for s := range Session(sessions) {
		lockIn(table, s+1, EX)
	}
	table.TakeEvents()
	b.ReportAllocs()
	s := Session(0)
	for b.Loop() {
		unlock(table, s+1)
		lockIn(table, s+1, EX)
		if events := table.TakeEvents(); len(events) != 2 {
			b.Fatalf("%+v", events)
		}
		s = (s + 1) % sessions
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handoffs/s")
}

// BenchmarkCrowd passes one EX lock on while others wait for it: whoever holds it
// unlocks and queues again. Half of the crowd waits in order for EX, and in one
// case the other half would take anything that it could have before its turn. What
// it costs must not grow with the crowd.
func BenchmarkCrowd(b *testing.B) {
	for _, c := range []struct {
		name  string
		crowd int
		flags Flags
	}{
		{"waiters=16", 16, 0},
		{"waiters=10000", 10_000, 0},
		{"waiters=16,NOORDER", 16, NoOrder},
		{"waiters=10000,NOORDER", 10_000, NoOrder},
	} {
		b.Run(c.name, func(b *testing.B) {
			table := opened(b, 1)
			name := []byte("r")
			ask := func(id ID) {
				flags := c.flags
				if id%2 == 0 {
					flags = 0
				}
				table.Lock(1, LockRequest{ID: id, Lockspace: 1, Name: name, Mode: EX, Flags: flags})
			}
			for id := range ID(c.crowd + 1) {
				ask(id + 1)
			}
			holder := ID(1)
			table.TakeEvents()
			b.ReportAllocs()
			for b.Loop() {
				table.Unlock(1, UnlockRequest{ID: holder})
				events := table.TakeEvents()
				if len(events) != 2 || events[0].Kind != EventGranted {
					b.Fatalf("%+v", events)
				}
				ask(holder)
				holder = events[0].Lock
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handoffs/s")
		})
	}
}

// BenchmarkRelease frees an EX lock that 10,000 readers wait for.
func BenchmarkRelease(b *testing.B) {
	const waiters = 10_000
	for b.Loop() {
		b.StopTimer()
		table := opened(b, waiters+1)
		for s := range Session(waiters + 1) {
			mode := PR
			if s == 0 {
				mode = EX
			}
			lockIn(table, s+1, mode)
		}
		table.TakeEvents()
		b.StartTimer()
		table.Release(1)
		if events := table.TakeEvents(); len(events) != waiters {
			b.Fatalf("%d events", len(events))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/waiters, "ns/waiter")
}

// BenchmarkMillion tells what a million held locks, each on its own name, cost.
func BenchmarkMillion(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			table := held(b, million)
			b.ReportMetric(float64(heap()-before)/million, "B/lock")
			runtime.KeepAlive(table)
		}
	})
	table := held(b, million)
	b.Run("gc", func(b *testing.B) {
		var stats runtime.MemStats
		var pauses []uint64
		for b.Loop() {
			runtime.GC()
			runtime.ReadMemStats(&stats)
			pauses = append(pauses, stats.PauseNs[(stats.NumGC+255)%256])
		}
		b.ReportMetric(float64(slices.Max(pauses))/1e3, "max-pause-µs")
		runtime.KeepAlive(table)
	})
	b.Run("clone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			runtime.KeepAlive(table.Clone())
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/clone")
	})
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			n := 0
			table.Walk(func(*ResourceState) bool { n++; return true })
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/walk")
	})
	b.Run("digest", func(b *testing.B) {
		for b.Loop() {
			table.Digest()
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/digest")
	})
	b.Run("restore", func(b *testing.B) {
		all := resourcesOf(table)
		for b.Loop() {
			benchRestore(b, table, all)
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/restore")
	})
	b.Run("writeAfterClone", func(b *testing.B) { writeAfterClone(b, table) })
}

// writeAfterClone looks for the worst single write: the first one to each shared
// page copies it.
func writeAfterClone(b *testing.B, table *Table) {
	slowest := time.Duration(0)
	var name []byte
	i := 0
	for b.Loop() {
		if i%1000 == 0 {
			table.Clone()
		}
		begin := time.Now()
		name = glock(name, million+i*7919%million)
		table.Lock(1, LockRequest{ID: million + 1, Lockspace: 1, Name: name, Mode: EX})
		table.Unlock(1, UnlockRequest{ID: million + 1})
		slowest = max(slowest, time.Since(begin))
		i++
	}
	b.ReportMetric(float64(slowest.Microseconds()), "slowest-µs")
}

func benchRestore(b *testing.B, table *Table, all []ResourceState) {
	b.Helper()
	r := NewRestore(Limits{})
	r.SetCounters(table.Counters())
	for _, sp := range table.Spaces() {
		r.Space(sp)
	}
	r.Owner(OwnerState{Session: 1, Node: 1})
	for i := range all {
		r.Resource(&all[i])
	}
	if _, ok := r.Finish(); !ok {
		b.Fatal("the snapshot was refused")
	}
}

// heap returns what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}
