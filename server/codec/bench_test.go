package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// sixtyFour is a batch as a busy master makes them: 64 requests of 16 sessions.
func sixtyFour() *state.Batch {
	b := &state.Batch{}
	for i := range uint64(16) {
		g := state.Group{Session: i + 1, Confirmed: 1_000_000}
		for j := range uint64(4) {
			g.Requests = append(g.Requests, state.Request{
				Seq: 1_000_001 + j, Op: state.OpLock, Lock: lock.ID(i*1_000_000 + j), Lockspace: 1,
				Name: binary.BigEndian.AppendUint64([]byte("G\x04shop\x00\x02"), i*4+j), Mode: lock.PR,
			})
		}
		b.Groups = append(b.Groups, g)
	}
	return b
}

func BenchmarkEncode(b *testing.B) {
	batch := sixtyFour()
	b.ReportAllocs()
	b.SetBytes(int64(len(Encode(1_700_000_000_000, batch))))
	for b.Loop() {
		Encode(1_700_000_000_000, batch)
	}
}

func BenchmarkDecode(b *testing.B) {
	data := Encode(1_700_000_000_000, sixtyFour())
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

// million is a state with a million locks of 16 sessions.
func million(b *testing.B) *state.State {
	b.Helper()
	s := state.New()
	index := uint64(0)
	apply := func(c state.Command) { index++; s.Apply(index, 1_700_000_000_000, c) }
	const sessions = 16
	for i := range uint64(sessions) {
		apply(state.Login{LoginRequest: member.LoginRequest{Node: fmt.Sprint("node", i), BootID: "b", LoginID: member.LoginID{1}}})
		apply(&state.Batch{Groups: []state.Group{{Session: i + 1, Requests: []state.Request{{Seq: 1, Op: state.OpJoin, Name: []byte("gfs")}}}}})
	}
	for i := range uint64(1_000_000) {
		session, seq := i%sessions+1, i/sessions+2
		apply(&state.Batch{Groups: []state.Group{{Session: session, Confirmed: seq - 1, Requests: []state.Request{{
			Seq: seq, Op: state.OpLock, Lock: lock.ID(seq), Lockspace: 1, Mode: lock.PR,
			Name: binary.BigEndian.AppendUint64([]byte("G\x04shop\x00\x02"), i),
		}}}}})
	}
	if n := s.Locks().Counts().Locks; n != 1_000_000 {
		b.Fatalf("%d locks", n)
	}
	return s
}

func BenchmarkWriteSnapshot(b *testing.B) {
	clone := million(b).Clone()
	var size countingWriter
	b.ReportAllocs()
	for b.Loop() {
		size = 0
		if err := WriteSnapshot(&size, clone); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size), "B/snapshot")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/op")
}

func BenchmarkReadSnapshot(b *testing.B) {
	data := written(b, million(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadSnapshot(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/op")
}

// BenchmarkClone is how long a snapshot holds up the log.
func BenchmarkClone(b *testing.B) {
	s := million(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Clone()
	}
}

type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}
