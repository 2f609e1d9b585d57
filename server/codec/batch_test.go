package codec

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// generated is the batch as a message of the generated code.
func generated(stamp int64, b *state.Batch) *raftlogv1.Command {
	out := &raftlogv1.Batch{}
	for _, g := range b.Groups {
		to := &raftlogv1.Group{Session: g.Session, Confirmed: g.Confirmed}
		for _, r := range g.Requests {
			to.Requests = append(to.Requests, &raftlogv1.Request{
				Seq: r.Seq, Op: uint32(r.Op), Lock: uint64(r.Lock), Lockspace: r.Lockspace, Name: r.Name, Mode: uint32(r.Mode),
				Flags: uint32(r.Flags), Policy: uint32(r.Policy), LeaseMs: r.Lease, Value: r.Value, ValueLen: uint32(r.ValueLen), Journals: r.Journals, Jid: r.JID,
				RangeOwner: r.Range.Owner, RangeStart: r.Range.Start, RangeEnd: r.Range.End, RangeSkip: r.Range.Skip,
				Sub: r.Sub, Node: r.Node,
				Owner: r.Owner, TimeoutMs: r.Timeout, Entries: setToLog(&lock.SetState{Entries: r.Entries}).GetEntries(),
			})
		}
		out.Groups = append(out.Groups, to)
	}
	return &raftlogv1.Command{StampMs: stamp, Body: &raftlogv1.Command_Batch{Batch: out}}
}

// randomBatch has small numbers and huge ones, and names of every length class.
func randomBatch(pick func(int) int) *state.Batch {
	number := func() uint64 {
		return []uint64{0, 1, uint64(pick(200)), uint64(pick(1 << 30)), 1<<63 + uint64(pick(9)), ^uint64(0)}[pick(6)]
	}
	b := &state.Batch{}
	for range pick(5) {
		g := state.Group{Session: number(), Confirmed: number()}
		for range pick(6) {
			r := state.Request{
				Seq: number(), Op: state.Op(pick(256)), Lock: lock.ID(number()), Lockspace: uint32(number()), Mode: lock.Mode(pick(256)),
				Flags: lock.Flags(number()), Policy: lock.Policy(pick(256)), Lease: uint32(number()), ValueLen: uint8(pick(256)),
				Journals: uint32(number()), JID: uint32(number()), Sub: number(),
				Terms: lock.Terms{Owner: number(), Timeout: uint32(number())},
			}
			if n := pick(40); n > 20 {
				r.Node = make([]byte, n)
			}
			if pick(3) == 0 {
				r.Range = state.Range{Owner: number(), Start: number(), End: number(), Skip: number()}
			}
			if n := pick(300); n > 100 {
				r.Value = make([]byte, n)
			}
			if n := []int{0, 1, 20, 127, 128, 255, 20_000}[pick(7)]; n > 0 {
				r.Name = make([]byte, n)
				r.Name[0], r.Name[n-1] = byte(pick(256)), byte(pick(256))
			}
			r.Entries = randomEntries(pick, number)
			g.Requests = append(g.Requests, r)
		}
		b.Groups = append(b.Groups, g)
	}
	return b
}

// TestBatch_asGenerated holds the hand-written path against the generated code,
// both ways.
func TestBatch_asGenerated(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		b, stamp := randomBatch(rng.IntN), int64(rng.Uint64())
		want := generated(stamp, b)
		ours := Encode(stamp, b)
		var got raftlogv1.Command
		if err := proto.Unmarshal(ours, &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(want, &got) {
			t.Fatalf("ours, read by the generated code: %s", cmp.Diff(want, &got, protocmp.Transform()))
		}
		theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		at, again, err := Decode(theirs)
		if err != nil || at != stamp || !reflect.DeepEqual(again, b) {
			t.Fatalf("theirs, read by us: %v at %d: %s", err, at, cmp.Diff(b, again))
		}
		if string(ours) != string(theirs) {
			t.Fatalf("the encodings differ:\n%x\n%x", ours, theirs)
		}
	}
}

// TestBatch_keepsNoMore: names share the memory of the data and nothing is
// written to it.
func TestBatch_keepsNoMore(t *testing.T) {
	b := examples()[1].(*state.Batch)
	data := Encode(1, b)
	before := string(data)
	_, again, err := Decode(data)
	if err != nil || string(data) != before {
		t.Fatalf("%v, data changed: %v", err, string(data) != before)
	}
	name := again.(*state.Batch).Groups[0].Requests[0].Name
	name[0] ^= 0xff
	if string(data) == before {
		t.Error("a name was copied")
	}
}

// field is one field of the wire format.
func field(n protowire.Number, kind protowire.Type, body []byte) []byte {
	b := protowire.AppendTag(nil, n, kind)
	switch kind {
	case protowire.BytesType:
		return protowire.AppendBytes(b, body)
	case protowire.VarintType:
		return protowire.AppendVarint(b, 1<<33)
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(b, 1)
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(b, 1)
	default:
		return b
	}
}

// TestDecode_strange: a command with anything in it that this version does not
// know is refused, wherever it stands: applying a part of it would make this
// server differ from the others.
func TestDecode_strange(t *testing.T) {
	in := func(numbers ...protowire.Number) func([]byte) []byte {
		return func(b []byte) []byte {
			for _, n := range numbers {
				b = field(n, protowire.BytesType, b)
			}
			return b
		}
	}
	for _, c := range []struct {
		name string
		wrap func([]byte) []byte
		good []byte
	}{
		{"command", in(), Encode(1, state.Logout{Session: 1})},
		{"empty command", in(), nil},
		{"batch", in(3), field(1, protowire.BytesType, nil)},
		{"group", in(1, 3), nil},
		{"request", in(3, 1, 3), nil},
		{"begin term", in(2), nil},
		{"limits", in(3, 2), nil},
		{"login", in(4), field(3, protowire.BytesType, make([]byte, 16))},
		{"logout", in(5), nil},
		{"expire", in(6), nil},
		{"fence begin", in(7), nil},
		{"fence attempted", in(8), nil},
		{"fence proved", in(9), nil},
		{"fence acknowledged", in(10), nil},
		{"check", in(11), nil},
		{"server left", in(12), nil},
		{"server entered", in(13), nil},
	} {
		if _, _, err := Decode(c.wrap(c.good)); err != nil && c.name != "empty command" {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, kind := range []protowire.Type{protowire.VarintType, protowire.BytesType, protowire.Fixed32Type, protowire.Fixed64Type, protowire.StartGroupType} {
			for _, n := range []protowire.Number{63, 99, protowire.MaxValidNumber} {
				strange := field(n, kind, []byte("x"))
				for _, data := range [][]byte{append(strange, c.good...), append(append([]byte(nil), c.good...), strange...)} {
					if _, got, err := Decode(c.wrap(data)); err == nil {
						t.Errorf("%s with field %d of type %d: %+v", c.name, n, kind, got)
					}
				}
			}
		}
	}
}

// TestDecode_wireTypes: a field of a batch that has another type than it should
// is no such field.
func TestDecode_wireTypes(t *testing.T) {
	wrap := func(b []byte, numbers ...protowire.Number) []byte {
		for _, n := range numbers {
			b = field(n, protowire.BytesType, b)
		}
		return b
	}
	for _, c := range []struct {
		in    []protowire.Number
		bytes []protowire.Number // fields that are bytes
		rest  []protowire.Number // fields that are numbers
	}{
		{[]protowire.Number{3}, []protowire.Number{1}, nil},
		{[]protowire.Number{1, 3}, []protowire.Number{3}, []protowire.Number{1, 2}},
		{[]protowire.Number{3, 1, 3}, []protowire.Number{5}, []protowire.Number{1, 2, 3, 4, 6, 7, 8}},
	} {
		for _, n := range c.bytes {
			if _, got, err := Decode(wrap(field(n, protowire.VarintType, nil), c.in...)); err == nil {
				t.Errorf("field %d in %v as a number: %+v", n, c.in, got)
			}
		}
		for _, n := range c.rest {
			if _, got, err := Decode(wrap(field(n, protowire.BytesType, []byte("x")), c.in...)); err == nil {
				t.Errorf("field %d in %v as bytes: %+v", n, c.in, got)
			}
		}
	}
	// What does not fit its type is refused, too.
	for _, n := range []protowire.Number{2, 4, 6, 7, 8} {
		if _, got, err := Decode(wrap(field(n, protowire.VarintType, nil), 3, 1, 3)); err == nil {
			t.Errorf("field %d of a request is 2^33: %+v", n, got)
		}
	}
}

// TestDecode_loginID: 16 bytes, no more and no less.
func TestDecode_loginID(t *testing.T) {
	for n := range 40 {
		m := &raftlogv1.Command{Body: &raftlogv1.Command_Login{Login: &raftlogv1.Login{Node: "n", LoginId: make([]byte, n)}}}
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = Decode(data); (err == nil) != (n == 16) {
			t.Errorf("login id of %d bytes: %v", n, err)
		}
	}
}

// TestDecode_damaged: cut or flipped anywhere, a command is an error or another
// command, never a panic; cut inside its body it is an error.
func TestDecode_damaged(t *testing.T) {
	for _, c := range examples() {
		whole := Encode(1_700_000_000_000, c)
		for n := range whole {
			if _, _, err := Decode(whole[:n]); err == nil {
				t.Errorf("%T, cut to %d of %d bytes, is decoded", c, n, len(whole))
			}
			for bit := range 8 {
				flipped := append([]byte(nil), whole...)
				flipped[n] ^= 1 << bit
				stamp, again, err := Decode(flipped)
				if err != nil {
					continue
				}
				if s, third, err := Decode(Encode(stamp, again)); err != nil || s != stamp || !reflect.DeepEqual(normal(third), normal(again)) {
					t.Errorf("%T, bit %d of byte %d flipped, does not come back: %v", c, bit, n, err)
				}
			}
		}
	}
}

// normal makes empty names and lists the same as none.
func normal(c state.Command) state.Command {
	b, ok := c.(*state.Batch)
	if !ok {
		return c
	}
	for i := range b.Groups {
		for j := range b.Groups[i].Requests {
			if r := &b.Groups[i].Requests[j]; len(r.Name) == 0 {
				r.Name = nil
			}
		}
	}
	return b
}
