package codec

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// maxTag is an upper bound of the bytes of one of our tags with a length.
const maxTag = 11

// encodeBatch writes a raftlog.v1.Command with a batch.
func encodeBatch(stamp int64, batch *state.Batch) []byte {
	size := 2 * maxTag
	for i := range batch.Groups {
		size += maxTag + groupSize(&batch.Groups[i])
	}
	b := appendUint(make([]byte, 0, size), fieldStamp, uint64(stamp))
	inner := make([]byte, 0, size)
	for i := range batch.Groups {
		g := &batch.Groups[i]
		inner = protowire.AppendTag(inner, 1, protowire.BytesType)
		inner = appendSized(inner, func(p []byte) []byte { return appendGroup(p, g) })
	}
	b = protowire.AppendTag(b, fieldBatch, protowire.BytesType)
	return protowire.AppendBytes(b, inner)
}

// groupSize is an upper bound of the encoded size.
func groupSize(g *state.Group) int {
	size := 2 * maxTag
	for i := range g.Requests {
		size += 162 + len(g.Requests[i].Name) + len(g.Requests[i].Value) + len(g.Requests[i].Node) + entriesSize(g.Requests[i].Entries)
	}
	return size
}

func appendGroup(b []byte, g *state.Group) []byte {
	b = appendUint(b, 1, g.Session)
	b = appendUint(b, 2, g.Confirmed)
	for i := range g.Requests {
		r := &g.Requests[i]
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = appendSized(b, func(p []byte) []byte { return appendRequest(p, r) })
	}
	return b
}

func appendRequest(b []byte, r *state.Request) []byte {
	b = appendUint(b, 1, r.Seq)
	b = appendUint(b, 2, uint64(r.Op))
	b = appendUint(b, 3, uint64(r.Lock))
	b = appendUint(b, 4, uint64(r.Lockspace))
	if len(r.Name) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, 5, protowire.BytesType), r.Name)
	}
	b = appendUint(b, 6, uint64(r.Mode))
	b = appendUint(b, 7, uint64(r.Flags))
	b = appendUint(b, 8, uint64(r.Policy))
	if len(r.Value) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, 9, protowire.BytesType), r.Value)
	}
	b = appendUint(b, 10, uint64(r.ValueLen))
	b = appendUint(b, 11, r.Range.Owner)
	b = appendUint(b, 12, r.Range.Start)
	b = appendUint(b, 13, r.Range.End)
	b = appendUint(b, 14, r.Range.Skip)
	b = appendUint(b, 15, r.Sub)
	b = appendBytes(b, 18, r.Node)
	b = appendUint(b, 19, r.Owner)
	b = appendUint(b, 20, uint64(r.Timeout))
	b = appendEntries(b, 21, r.Entries)
	b = appendUint(b, 23, uint64(r.Journals))
	b = appendUint(b, 24, uint64(r.JID))
	return appendUint(b, 60, uint64(r.Lease))
}

// appendSized appends what fill appends, with its length before it.
func appendSized(b []byte, fill func([]byte) []byte) []byte {
	at := len(b)
	b = fill(append(b, 0))
	n := uint64(len(b) - at - 1)
	if more := protowire.SizeVarint(n) - 1; more > 0 {
		b = append(b, make([]byte, more)...)
		copy(b[at+1+more:], b[at+1:len(b)-more])
	}
	protowire.AppendVarint(b[:at], n)
	return b
}

var errDamaged = errors.New("command is damaged")

// decodeBatch reads a command if it is a batch; ok is false for another kind.
func decodeBatch(data []byte) (stamp int64, batch *state.Batch, ok bool, err error) {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return 0, nil, false, errDamaged
		}
		switch {
		case field == fieldStamp && kind == protowire.VarintType:
			v, m := protowire.ConsumeVarint(data[n:])
			if m < 0 {
				return 0, nil, false, errDamaged
			}
			stamp, data = int64(v), data[n+m:]
		case field == fieldBatch && kind == protowire.BytesType:
			inner, m := protowire.ConsumeBytes(data[n:])
			if m < 0 || n+m != len(data) {
				return 0, nil, false, errDamaged
			}
			batch, err = readBatch(inner)
			return stamp, batch, err == nil, err
		default:
			return 0, nil, false, nil
		}
	}
	return 0, nil, false, nil
}

func readBatch(data []byte) (*state.Batch, error) {
	batch := &state.Batch{}
	err := eachField(data, 1<<1, func(field protowire.Number, v uint64, sub []byte) error {
		if field != 1 {
			return fmt.Errorf("%w: field %d of a batch", errDamaged, field)
		}
		var g state.Group
		if err := readGroup(sub, &g); err != nil {
			return err
		}
		batch.Groups = append(batch.Groups, g)
		return nil
	})
	return batch, err
}

func readGroup(data []byte, g *state.Group) error {
	return eachField(data, 1<<3, func(field protowire.Number, v uint64, sub []byte) error {
		switch field {
		case 1:
			g.Session = v
		case 2:
			g.Confirmed = v
		case 3:
			var r state.Request
			if err := readRequest(sub, &r); err != nil {
				return err
			}
			g.Requests = append(g.Requests, r)
		default:
			return fmt.Errorf("%w: field %d of a group", errDamaged, field)
		}
		return nil
	})
}

func readRequest(data []byte, r *state.Request) error {
	return eachField(data, 1<<5|1<<9|1<<18|1<<21, func(field protowire.Number, v uint64, sub []byte) error {
		small := v <= 0xff
		switch field {
		case 1:
			r.Seq = v
		case 2:
			r.Op = state.Op(v)
		case 3:
			r.Lock, small = lock.ID(v), true
		case 4:
			r.Lockspace, small = uint32(v), v <= 0xffffffff
		case 5:
			r.Name = sub
		case 6:
			r.Mode = lock.Mode(v)
		case 7:
			r.Flags, small = lock.Flags(v), v <= 0xffffffff
		case 8:
			r.Policy = lock.Policy(v)
		case 9:
			r.Value = sub
		case 10:
			r.ValueLen = uint8(v)
		case 15:
			r.Sub, small = v, true
		case 18:
			r.Node = sub
		case 23:
			r.Journals, small = uint32(v), v <= 0xffffffff
		case 60:
			r.Lease, small = uint32(v), v <= 0xffffffff
		case 24:
			r.JID, small = uint32(v), v <= 0xffffffff
		case 11:
			r.Range.Owner, small = v, true
		case 12:
			r.Range.Start, small = v, true
		case 13:
			r.Range.End, small = v, true
		case 14:
			r.Range.Skip, small = v, true
		case 19:
			r.Owner, small = v, true
		case 20:
			r.Timeout, small = uint32(v), v <= 0xffffffff
		case 21:
			return readEntry(sub, &r.Entries)
		default:
			return fmt.Errorf("%w: field %d of a request", errDamaged, field)
		}
		if !small && field != 1 {
			return fmt.Errorf("%w: field %d of a request is out of range", errDamaged, field)
		}
		return nil
	})
}

// eachField calls f for every field of a message: v is set for a number, sub for
// the fields that hold bytes, whose bits are in the set. Other wire types are an
// error.
func eachField(data []byte, bytesFields uint32, f func(field protowire.Number, v uint64, sub []byte) error) error {
	in := fields{data: data, bytes: bytesFields}
	for in.next() {
		if err := f(in.field, in.v, in.sub); err != nil {
			return err
		}
	}
	return in.err
}
