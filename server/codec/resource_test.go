package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
)

// resourceToLog is appendResource with the generated code.
func resourceToLog(r *lock.ResourceState) *raftlogv1.Resource {
	out := &raftlogv1.Resource{
		Lockspace: r.Lockspace, Name: append([]byte(nil), r.Name...), Locks: make([]*raftlogv1.Lock, len(r.Locks)),
		Value: append([]byte(nil), r.Value...), ValueVersion: r.ValueVersion, ValueInvalid: r.ValueInvalid, Overtaken: r.Overtaken,
	}
	locks := make([]raftlogv1.Lock, len(r.Locks))
	for i := range r.Locks {
		l, p := &r.Locks[i], &locks[i]
		p.Session, p.Lock, p.Queue = uint64(l.Session), uint64(l.ID), uint32(l.Queue)
		p.Granted, p.Requested, p.Flags = uint32(l.Granted), uint32(l.Requested), uint32(l.Flags)
		p.Token, p.Order, p.Changed = l.Token, l.Order, l.Changed
		p.StampMs, p.Blocking = l.Stamp, uint32(l.Blocking)
		p.Status, p.Denied, p.Origin = uint32(l.Status), uint32(l.Denied), l.Origin
		p.Owner, p.Set, p.TimeoutMs, p.Since = l.Owner, uint64(l.Set), l.Timeout, l.Since
		p.Sub = l.Sub
		out.Locks[i] = p
	}
	return out
}

// extremes are resources with nothing, with the largest numbers, and with each
// field another number.
func extremes() []lock.ResourceState {
	return []lock.ResourceState{
		{},
		{Name: []byte("\x00\xff"), Locks: make([]lock.LockState, 2)},
		{
			Lockspace: math.MaxUint32, Name: bytes.Repeat([]byte{0xff}, 300), Value: bytes.Repeat([]byte{1}, 255),
			ValueVersion: math.MaxUint64, ValueInvalid: true, Overtaken: math.MaxUint32,
			Locks: []lock.LockState{{
				Session: math.MaxUint64, ID: math.MaxUint64, Queue: 255, Granted: 255, Requested: 255, Flags: math.MaxUint32,
				Blocking: 255, Token: math.MaxUint64, Order: math.MaxUint64, Changed: math.MaxUint64, Stamp: -1, Status: 255,
				Denied: 255, Origin: math.MaxUint32, Owner: math.MaxUint64, Set: math.MaxUint64, Timeout: math.MaxUint32, Since: math.MaxUint64,
				Sub: math.MaxUint64,
			}},
		},
		{
			Lockspace: 1, Name: []byte("name"), Value: []byte("value"), ValueVersion: 2, Overtaken: 3,
			Locks: []lock.LockState{{
				Session: 4, ID: 5, Queue: 1, Granted: 2, Requested: 3, Flags: 6, Blocking: 7, Token: 8, Order: 9, Changed: 10,
				Stamp: 11, Status: 12, Denied: 13, Origin: 14, Owner: 15, Set: 16, Timeout: 17, Since: 18, Sub: 19,
			}, {Session: 1}},
		},
	}
}

// TestResource_asGenerated: the bytes of a resource are those of the generated
// code, and are read again.
func TestResource_asGenerated(t *testing.T) {
	all := extremes()
	for seed := range uint64(10) {
		randomState(seed, 600).Locks().Walk(func(r *lock.ResourceState) bool {
			c := *r
			c.Name, c.Value, c.Locks = bytes.Clone(r.Name), bytes.Clone(r.Value), append([]lock.LockState(nil), r.Locks...)
			for i := range c.Locks {
				c.Locks[i].Frozen = false // is its session's
			}
			all = append(all, c)
			return true
		})
	}
	var group []byte
	for i := range all {
		got := appendResource(nil, &all[i])
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(resourceToLog(&all[i]))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v: %+v is %x, to the generated code %x", err, all[i], got, want)
		}
		group = protowire.AppendBytes(protowire.AppendTag(group, 1, protowire.BytesType), got)
	}
	// Twice, the second time into what the first left.
	var again []lock.ResourceState
	for range 2 {
		var err error
		again, err = readResources(group, again[:0])
		if err != nil || len(again) != len(all) {
			t.Fatalf("%d resources come back as %d: %v", len(all), len(again), err)
		}
		for i := range all {
			if !reflect.DeepEqual(plain(again[i]), plain(all[i])) {
				t.Fatalf("another resource: %s", cmp.Diff(plain(all[i]), plain(again[i])))
			}
		}
	}
}

// plain makes empty slices nil.
func plain(r lock.ResourceState) lock.ResourceState {
	if len(r.Name) == 0 {
		r.Name = nil
	}
	if len(r.Value) == 0 {
		r.Value = nil
	}
	if len(r.Locks) == 0 {
		r.Locks = nil
	}
	return r
}

// TestResource_strange: what this version does not know, or cannot hold, is an
// error, and not read as something else.
func TestResource_strange(t *testing.T) {
	number := func(field protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
	}
	text := func(field protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), v)
	}
	inLock := func(b []byte) []byte { return text(1, text(3, b)) }
	for _, c := range []struct {
		name  string
		data  []byte
		later bool
	}{
		{"a later field beside resources", number(2, 1), true},
		{"a later field of a resource", text(1, number(99, 1)), true},
		{"a later field of a lock", inLock(number(99, 1)), true},
		{"field 0", text(1, []byte{0, 1}), false},
		{"a lockspace beyond its range", text(1, number(1, 1<<32)), false},
		{"a count beyond its range", text(1, number(7, 1<<32)), false},
		{"a queue beyond its range", inLock(number(3, 256)), false},
		{"a mode beyond its range", inLock(number(4, 256)), false},
		{"a wanted mode beyond its range", inLock(number(5, 256)), false},
		{"flags beyond their range", inLock(number(6, 1<<32)), false},
		{"blocking modes beyond their range", inLock(number(11, 256)), false},
		{"a status beyond its range", inLock(number(12, 256)), false},
		{"a reason beyond its range", inLock(number(13, 256)), false},
		{"an origin beyond its range", inLock(number(14, 1<<32)), false},
		{"a name that is a number", text(1, number(2, 1)), false},
		{"a lockspace that is a text", text(1, text(1, nil)), false},
		{"a fixed number", text(1, protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), 1)), false},
		{"a name cut", text(1, text(2, []byte("name"))[:3]), false},
		{"a number cut", text(1, []byte{1 << 3, 0x80}), false},
		{"a tag cut", text(1, []byte{0x80}), false},
	} {
		_, err := readResources(c.data, nil)
		if err == nil || errors.Is(err, errLater) != c.later || errors.Is(err, errDamaged) == c.later {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestSnapshot_errorAfterMany: an error far behind is the one that is told, and
// nobody goes on reading.
func TestSnapshot_errorAfterMany(t *testing.T) {
	s := randomState(1, 10)
	in := written(t, s)
	rs := records(t, in)
	group, err := proto.Marshal(&raftlogv1.Record{Body: &raftlogv1.Record_Resources{Resources: &raftlogv1.Resources{}}})
	if err != nil {
		t.Fatal(err)
	}
	data := joined(t, rs[:len(rs)-1])
	for range 10 * portions {
		data = append(binary.AppendUvarint(data, uint64(len(group))), group...)
	}
	fault := errors.New("checksum differs")
	if _, err := ReadSnapshot(&faulty{data, fault}); !errors.Is(err, fault) {
		t.Errorf("%v, want %v", err, fault)
	}
	data = joined(t, append(rs[:len(rs)-1:len(rs)-1], rs[1]))
	if _, err := ReadSnapshot(&faulty{data, fault}); err == nil || errors.Is(err, fault) {
		t.Errorf("a record out of place: %v", err)
	}
}

// faulty gives all data and then, instead of the end, an error.
type faulty struct {
	data []byte
	err  error
}

func (f *faulty) Read(b []byte) (int, error) {
	if len(f.data) == 0 {
		return 0, f.err
	}
	n := copy(b, f.data)
	f.data = f.data[n:]
	return n, nil
}
