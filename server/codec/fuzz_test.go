package codec

import (
	"bytes"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/state"
)

// FuzzDecode: what is decoded comes back from its own encoding, and the
// generated code understands it in the same way.
func FuzzDecode(f *testing.F) {
	for _, c := range examples() {
		f.Add(Encode(1_700_000_000_000, c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		stamp, c, err := Decode(data)
		if err != nil {
			return
		}
		at, again, err := Decode(Encode(stamp, c))
		if err != nil || at != stamp || !reflect.DeepEqual(normal(again), normal(c)) {
			t.Fatalf("%v: %+v came back as %+v", err, c, again)
		}
		b, ok := c.(*state.Batch)
		if !ok {
			return
		}
		var theirs raftlogv1.Command
		if err := proto.Unmarshal(data, &theirs); err != nil || !proto.Equal(&theirs, generated(stamp, b)) {
			t.Fatalf("%v: %+v is %+v to the generated code", err, b, &theirs)
		}
	})
}

// FuzzReadSnapshot: what is read can be written, read again, and used.
func FuzzReadSnapshot(f *testing.F) {
	f.Add(written(f, state.New()))
	f.Add(written(f, randomState(4, 30)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadSnapshot(bytes.NewReader(data))
		if err != nil {
			return
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		again, err := ReadSnapshot(bytes.NewReader(written(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		sameState(t, s, again)
		for _, c := range examples() {
			a, b := s.Apply(s.Index()+1, 5, c), again.Apply(again.Index()+1, 5, c)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("%+v: %+v and %+v", c, a, b)
			}
		}
		var groups []state.Group
		for _, x := range s.Members().Sessions() {
			groups = append(groups, state.Group{Session: x.Number, Requests: []state.Request{{Seq: s.Applied(x.Number) + 1, Op: state.OpUnlock, Lock: 1}}})
		}
		s.Apply(s.Index()+1, 5, &state.Batch{Groups: groups})
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
