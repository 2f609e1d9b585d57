package lock

import (
	"fmt"
	"runtime"
	"testing"
)

const manyRanges = 100_000

// rangesOf returns a table in which one owner each of two sessions holds every
// other of n ranges of one file.
func rangesOf(b *testing.B, n int) *rangeTable {
	b.Helper()
	table := &rangeTable{}
	for i := range n {
		lockRange(b, table, Session(1+i%2), uint64(10*i), uint64(10*i+4), RangeWrite, Granted)
	}
	return table
}

func lockRange(b *testing.B, t *rangeTable, s Session, start, end uint64, kind RangeKind, want Outcome) {
	b.Helper()
	req := rangeRequest{Owner: RangeOwner{Session: s, Number: 1}, Start: start, End: end, Kind: kind, Wait: want == Queued, ID: 1}
	if r := t.Lock(req); r.Outcome != want {
		b.Fatalf("%+v: %+v", req, r)
	}
}

// BenchmarkRangePair locks and unlocks a range of a file that has none, or
// 100,000 others.
func BenchmarkRangePair(b *testing.B) {
	for _, n := range []int{0, manyRanges} {
		b.Run(fmt.Sprint("ranges=", n), func(b *testing.B) {
			table := rangesOf(b, n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				start := uint64(10*(i*7919%manyRanges) + 6)
				lockRange(b, table, 3, start, start+1, RangeWrite, Granted)
				table.Unlock(RangeOwner{Session: 3, Number: 1}, 0, start, start+1)
				i++
			}
		})
	}
}

// BenchmarkRangeSplit unlocks the middle of one of 100,000 ranges and locks it
// again.
func BenchmarkRangeSplit(b *testing.B) {
	table := rangesOf(b, manyRanges)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		n := i * 7919 % manyRanges
		start := uint64(10*n + 2)
		table.Unlock(RangeOwner{Session: Session(1 + n%2), Number: 1}, 0, start, start)
		lockRange(b, table, Session(1+n%2), start, start, RangeWrite, Granted)
		i++
	}
}

// BenchmarkRangeTest asks who is in the way at one of 100,000 ranges.
func BenchmarkRangeTest(b *testing.B) {
	table := rangesOf(b, manyRanges)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		start := uint64(10 * (i * 7919 % manyRanges))
		found, _, _ := table.Test(RangeOwner{Session: 3, Number: 1}, 0, rangeSpan{start, start + 5, RangeRead}, 0, 0)
		if len(found) != 1 {
			b.Fatalf("%+v", found)
		}
		i++
	}
}

// BenchmarkRangeRelease releases a session with 100,000 ranges of one file:
// alone there, or beside as many of another.
func BenchmarkRangeRelease(b *testing.B) {
	for others, name := range []string{"alone", "beside"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				table := &rangeTable{}
				for i := range uint64(manyRanges) {
					lockRange(b, table, 1, 10*i, 10*i+4, RangeWrite, Granted)
					if others > 0 {
						lockRange(b, table, 2, 10*i+5, 10*i+9, RangeWrite, Granted)
					}
				}
				b.StartTimer()
				table.Release(1)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/manyRanges, "ns/range")
		})
	}
}

// BenchmarkRangeReplace turns 100,000 ranges of one owner into one, which is
// taken away again.
func BenchmarkRangeReplace(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		table := &rangeTable{}
		for i := range uint64(manyRanges) {
			lockRange(b, table, 1, 10*i, 10*i+4, RangeRead, Granted)
		}
		b.StartTimer()
		lockRange(b, table, 1, 0, RangeMax, RangeWrite, Granted)
		table.Unlock(RangeOwner{Session: 1, Number: 1}, 0, 0, RangeMax)
	}
}

// BenchmarkRangeWaiters hands one range of 10,000 on, for each of which somebody
// waits, and queues again.
func BenchmarkRangeWaiters(b *testing.B) {
	const waiters = 10_000
	table := &rangeTable{}
	for i := range uint64(waiters) {
		lockRange(b, table, Session(10+i), 10*i, 10*i+9, RangeWrite, Granted)
	}
	for i := range uint64(waiters) {
		lockRange(b, table, Session(10+waiters+i), 10*i, 10*i+9, RangeWrite, Queued)
	}
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		n := i % waiters
		holder, next := 10+n, 10+waiters+n
		if i/waiters%2 == 1 {
			holder, next = next, holder
		}
		table.Unlock(RangeOwner{Session: Session(holder), Number: 1}, 0, 10*n, 10*n+9)
		if e := table.TakeEvents(); len(e) != 1 || e[0].Owner.Session != Session(next) {
			b.Fatalf("%+v", e)
		}
		lockRange(b, table, Session(holder), 10*n, 10*n+9, RangeWrite, Queued)
		i++
	}
}

// BenchmarkRangeHandOff passes one range around 10,000 owners that all want it.
func BenchmarkRangeHandOff(b *testing.B) {
	const owners = 10_000
	table := &rangeTable{}
	lockRange(b, table, 1, 0, 9, RangeWrite, Granted)
	for s := range Session(owners - 1) {
		lockRange(b, table, s+2, 0, 9, RangeWrite, Queued)
	}
	b.ReportAllocs()
	s := Session(0)
	for b.Loop() {
		table.Unlock(RangeOwner{Session: s + 1, Number: 1}, 0, 0, 9)
		if e := table.TakeEvents(); len(e) != 1 {
			b.Fatalf("%+v", e)
		}
		lockRange(b, table, s+1, 0, 9, RangeWrite, Queued)
		s = (s + 1) % owners
	}
}

// BenchmarkRangeReaders lets 10,000 readers wait for one writer, and then go one
// by one while 10,000 writers wait.
func BenchmarkRangeReaders(b *testing.B) {
	const each = 10_000
	for b.Loop() {
		table := &rangeTable{}
		lockRange(b, table, 1, 0, 9, RangeWrite, Granted)
		for s := range Session(each) {
			lockRange(b, table, s+2, 0, 9, RangeRead, Queued)
		}
		for s := range Session(each) {
			lockRange(b, table, s+2+each, 0, 9, RangeWrite, Queued)
		}
		table.Unlock(RangeOwner{Session: 1, Number: 1}, 0, 0, 9)
		for s := range Session(each) {
			table.Unlock(RangeOwner{Session: s + 2, Number: 1}, 0, 0, 9)
		}
		if e := table.TakeEvents(); len(e) != each+1 {
			b.Fatalf("%d events", len(e))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(5*each), "ns/request")
}

// BenchmarkRangeDeadlock queues the last of 1,000 owners, each of which holds one
// range and waits for the next one's.
func BenchmarkRangeDeadlock(b *testing.B) {
	const owners = 1000
	table := &rangeTable{}
	for i := range uint64(owners) {
		lockRange(b, table, Session(1+i), 10*i, 10*i, RangeWrite, Granted)
	}
	for i := range uint64(owners - 1) {
		lockRange(b, table, Session(1+i), 10*(i+1), 10*(i+1), RangeWrite, Queued)
	}
	b.ReportAllocs()
	for b.Loop() {
		req := rangeRequest{Owner: RangeOwner{Session: owners, Number: 1}, Wait: true, ID: 1}
		if r := table.Lock(req); r.Outcome != Refused {
			b.Fatalf("%+v", r)
		}
	}
}

// BenchmarkRangeTable tells what 100,000 ranges cost.
func BenchmarkRangeTable(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			table := rangesOf(b, manyRanges)
			b.ReportMetric(float64(heap()-before)/manyRanges, "B/range")
			runtime.KeepAlive(table)
		}
	})
	table := rangesOf(b, manyRanges)
	b.Run("clone", func(b *testing.B) {
		for b.Loop() {
			runtime.KeepAlive(table.Clone())
		}
	})
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			table.Walk(func(*rangeFileState) bool { return true })
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if _, ok := restoredRanges(table, 0, 0); !ok {
				b.Fatal("the snapshot was refused")
			}
		}
	})
}
