package state_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"lock_gulmd/server/codec"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// What one core does, and what a million held locks cost, all through Apply, in
// batches of 64 requests. Figures per second of processor time (…/cpu-s) count
// every thread, the garbage collector's too, and hold on a machine that others
// use as well.

const (
	million      = 1_000_000
	benchBatch   = 64
	benchHolders = 16 // sessions that hold a million locks together
)

// glock fills name with what a GFS inode's glock looks like.
func glock(name []byte, n int) []byte {
	return binary.BigEndian.AppendUint64(append(name[:0], "G\x04shop\x00\x02"...), uint64(n))
}

// bench is a state with sessions that keep their request numbers.
type bench struct {
	*state.State
	index uint64
	seqs  []uint64 // of the sessions from 1
	batch *state.Batch
}

// newBench opens n sessions of as many nodes in lockspace 1.
func newBench(b *testing.B, n int) *bench {
	b.Helper()
	s := &bench{State: state.New()}
	s.apply(state.BeginTerm{Term: 1, Server: "s1", Limits: state.Limits{InFlight: 1024}})
	for i := range n {
		s.apply(login(fmt.Sprint("node", i), "boot", 1))
		s.apply(batch(group(uint64(i)+1, 0, state.Request{Seq: 1, Op: state.OpJoin, Name: []byte("gfs")})))
		s.seqs = append(s.seqs, 1)
	}
	return s
}

func (s *bench) apply(c state.Command) state.Result {
	s.index++
	return s.Apply(s.index, 1_700_000_000_000, c)
}

// fill has a million names held in a mode.
func (s *bench) fill(b *testing.B, mode lock.Mode) {
	b.Helper()
	g := make([]state.Request, 0, benchBatch)
	for at := 0; at < million; at += benchBatch {
		session := at / benchBatch % benchHolders
		g = g[:0]
		confirmed := s.seqs[session]
		for i := range min(benchBatch, million-at) {
			s.seqs[session]++
			g = append(g, state.Request{
				Seq: s.seqs[session], Op: state.OpLock, Lock: lock.ID(at + i + 1), Lockspace: 1, Name: glock(nil, at+i), Mode: mode,
			})
		}
		s.apply(batch(group(uint64(session)+1, confirmed, g...)))
	}
	if n := s.Locks().Counts().Locks; n != million {
		b.Fatalf("%d locks", n)
	}
}

// prepare makes the batch that is applied again and again: each of some sessions
// asks for as many locks in a mode as it gives back.
func (s *bench) prepare(sessions int, mode lock.Mode) {
	s.batch = batch()
	for i := range sessions {
		g := group(uint64(i)+1, 0)
		for range benchBatch / sessions / 2 {
			g.Requests = append(g.Requests,
				state.Request{Op: state.OpLock, Lockspace: 1, Mode: mode}, state.Request{Op: state.OpUnlock})
		}
		s.batch.Groups = append(s.batch.Groups, g)
	}
}

// pairs applies the batch with fresh request numbers, on names from `from` on in
// steps that no cache foresees, and returns how many pairs there were.
func (s *bench) pairs(from int) (int, error) {
	n := 0
	for i := range s.batch.Groups {
		g := &s.batch.Groups[i]
		g.Confirmed = s.seqs[i]
		for j := 0; j < len(g.Requests); j += 2 {
			take, drop := &g.Requests[j], &g.Requests[j+1]
			take.Name = glock(take.Name, (from+n)*7919%million)
			take.Lock, drop.Lock = lock.ID(2*million+n), lock.ID(2*million+n)
			take.Seq, drop.Seq = s.seqs[i]+1, s.seqs[i]+2
			s.seqs[i] += 2
			n++
		}
	}
	r := s.apply(s.batch)
	if len(r.Replies) != 2*n || len(r.Events) != 0 || r.Replies[0].Outcome != lock.Granted || r.Replies[2*n-1].Outcome != lock.Unlocked {
		return n, fmt.Errorf("%d replies, %d events, %+v", len(r.Replies), len(r.Events), r.Replies[0])
	}
	return n, nil
}

// BenchmarkPairs locks and unlocks names that nobody else wants: in an empty
// table, and beside a million locks in NL on the same names.
func BenchmarkPairs(b *testing.B) {
	for _, held := range []string{"nothing", "1M"} {
		b.Run("held="+held, func(b *testing.B) {
			s := newBench(b, benchHolders)
			if held == "1M" {
				s.fill(b, lock.NL)
			}
			s.prepare(benchHolders, lock.EX)
			runtime.GC()
			b.ReportAllocs()
			used, n := processorTime(), 0
			for b.Loop() {
				more, err := s.pairs(n)
				if err != nil {
					b.Fatal(err)
				}
				n += more
			}
			rates(b, n, "pairs", processorTime()-used)
		})
	}
}

// BenchmarkHandOffs passes one EX lock around, 16 sessions waiting for it all the
// time: the holder unlocks and queues again. A batch has 32 hand-offs.
func BenchmarkHandOffs(b *testing.B) {
	const sessions = 17
	s := newBench(b, sessions)
	for i := range sessions {
		s.seqs[i]++
		s.apply(batch(group(uint64(i)+1, 0, state.Request{
			Seq: s.seqs[i], Op: state.OpLock, Lock: 1, Lockspace: 1, Name: []byte("r"), Mode: lock.EX,
		})))
	}
	turn, n := 0, 0
	c := batch()
	for range benchBatch / 2 {
		c.Groups = append(c.Groups, group(0, 0, state.Request{Op: state.OpUnlock, Lock: 1},
			state.Request{Op: state.OpLock, Lock: 1, Lockspace: 1, Name: []byte("r"), Mode: lock.EX}))
	}
	b.ReportAllocs()
	used := processorTime()
	for b.Loop() {
		for i := range c.Groups {
			g := &c.Groups[i]
			g.Session, g.Confirmed = uint64(turn)+1, s.seqs[turn]
			g.Requests[0].Seq, g.Requests[1].Seq = s.seqs[turn]+1, s.seqs[turn]+2
			s.seqs[turn] += 2
			turn = (turn + 1) % sessions
		}
		r := s.apply(c)
		granted := 0
		for i := range r.Events {
			if r.Events[i].Kind == lock.EventGranted {
				granted++
			}
		}
		if granted != benchBatch/2 {
			b.Fatalf("%d hand-offs", granted)
		}
		n += granted
	}
	rates(b, n, "handoffs", processorTime()-used)
}

// rates reports how many there were per second, and per second of processor time.
func rates(b *testing.B, n int, what string, used time.Duration) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), what+"/s")
	b.ReportMetric(float64(n)/used.Seconds(), what+"/cpu-s")
}

// BenchmarkMillion tells what a million held locks, each on its own name, cost.
func BenchmarkMillion(b *testing.B) {
	empty := heapInUse()
	s := newBench(b, benchHolders)
	s.fill(b, lock.PR)
	perLock := float64(heapInUse()-empty) / million
	b.Run("memory", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(perLock, "B/lock")
	})
	b.Run("pause", func(b *testing.B) { benchPause(b, s) })
	b.Run("clone", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			begin := time.Now()
			runtime.KeepAlive(s.Clone())
			took = append(took, time.Since(begin))
		}
		spread(b, took, "clone")
	})
	b.Run("afterClone", func(b *testing.B) { benchAfterClone(b, s) })
	b.Run("restore", func(b *testing.B) { benchRestore(b, s) })
	runtime.KeepAlive(s)
}

// benchPause collects garbage while commands are applied, and reports for how long
// each collection stopped everything.
func benchPause(b *testing.B, s *bench) {
	s.prepare(benchHolders, lock.PR)
	stop, done := make(chan struct{}), make(chan error)
	var before debug.GCStats
	debug.ReadGCStats(&before)
	go func() {
		n, err := 0, error(nil)
		for {
			select {
			case <-stop:
				done <- err
				return
			default:
				if err == nil {
					n, err = s.pairs(n)
				}
			}
		}
	}()
	var took []time.Duration
	for b.Loop() {
		runtime.GC()
		var after debug.GCStats
		debug.ReadGCStats(&after)
		took = append(took, after.Pause[:min(len(after.Pause), int(after.NumGC-before.NumGC))]...)
		before = after
	}
	close(stop)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	spread(b, took, "pause")
}

// benchAfterClone looks for what a snapshot costs the batches after it: the first
// write to each shared page copies it.
func benchAfterClone(b *testing.B, s *bench) {
	s.prepare(benchHolders, lock.PR)
	var took []time.Duration
	from := 0
	for b.Loop() {
		clone := s.Clone()
		begin := time.Now()
		n, err := s.pairs(from)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
		from += n
		runtime.KeepAlive(clone)
	}
	spread(b, took, "batch")
}

// benchRestore reads a whole snapshot, from its bytes to a state that has been
// checked.
func benchRestore(b *testing.B, s *bench) {
	var data bytes.Buffer
	if err := codec.WriteSnapshot(&data, s.Clone()); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	used, n := processorTime(), 0
	for b.Loop() {
		begin := time.Now()
		again, err := codec.ReadSnapshot(bytes.NewReader(data.Bytes()))
		if err != nil || again.Locks().Counts().Locks != million {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
		n++
	}
	spread(b, took, "restore")
	b.ReportMetric((processorTime()-used).Seconds()*1e3/float64(n), "cpu-ms/restore")
}

// spread reports the median and the longest in milliseconds.
func spread(b *testing.B, took []time.Duration, what string) {
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "ms/"+what)
	b.ReportMetric(took[len(took)-1].Seconds()*1e3, "ms/longest-"+what)
}

// heapInUse returns what the heap takes after a collection, with what its pages
// waste.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}
