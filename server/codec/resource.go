package codec

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
)

// Resources are nearly the whole snapshot, so they are written and read field by
// field, in the wire format of raftlog.v1.Resource and raftlog.v1.Lock, without
// building messages. A new field needs its line on both sides and in the tests'
// resourceToLog.

func appendResource(b []byte, r *lock.ResourceState) []byte {
	b = appendUint(b, 1, uint64(r.Lockspace))
	b = appendBytes(b, 2, r.Name)
	for i := range r.Locks {
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = appendSized(b, func(p []byte) []byte { return appendLock(p, &r.Locks[i]) })
	}
	b = appendBytes(b, 4, r.Value)
	b = appendUint(b, 5, r.ValueVersion)
	b = appendUint(b, 6, bit(r.ValueInvalid))
	return appendUint(b, 7, uint64(r.Overtaken))
}

func appendLock(b []byte, l *lock.LockState) []byte {
	b = appendUint(b, 1, uint64(l.Session))
	b = appendUint(b, 2, uint64(l.ID))
	b = appendUint(b, 3, uint64(l.Queue))
	b = appendUint(b, 4, uint64(l.Granted))
	b = appendUint(b, 5, uint64(l.Requested))
	b = appendUint(b, 6, uint64(l.Flags))
	b = appendUint(b, 7, l.Token)
	b = appendUint(b, 8, l.Order)
	b = appendUint(b, 9, l.Changed)
	b = appendUint(b, 10, uint64(l.Stamp))
	b = appendUint(b, 11, uint64(l.Blocking))
	b = appendUint(b, 12, uint64(l.Status))
	b = appendUint(b, 13, uint64(l.Denied))
	b = appendUint(b, 14, uint64(l.Origin))
	b = appendUint(b, 15, l.Owner)
	b = appendUint(b, 16, uint64(l.Set))
	b = appendUint(b, 17, uint64(l.Timeout))
	b = appendUint(b, 18, l.Since)
	return appendUint(b, 45, l.Sub)
}

// readResources appends the resources of a raftlog.v1.Resources to rs, whose
// spare room it uses again. Names and values share data's memory.
func readResources(data []byte, rs []lock.ResourceState) ([]lock.ResourceState, error) {
	for f := (fields{data: data, bytes: 1 << 1}); ; {
		if !f.next() {
			return rs, f.err
		}
		if f.field != 1 {
			f.unknown("Resources")
			continue
		}
		rs = slices.Grow(rs, 1)[:len(rs)+1]
		f.err = readResource(f.sub, &rs[len(rs)-1])
	}
}

func readResource(data []byte, r *lock.ResourceState) error {
	*r = lock.ResourceState{Locks: r.Locks[:0]}
	f := fields{data: data, bytes: 1<<2 | 1<<3 | 1<<4}
	for f.next() {
		switch f.field {
		case 1:
			r.Lockspace = f.uint32()
		case 2:
			r.Name = f.sub
		case 3:
			r.Locks = slices.Grow(r.Locks, 1)[:len(r.Locks)+1]
			f.err = readLock(f.sub, &r.Locks[len(r.Locks)-1])
		case 4:
			r.Value = f.sub
		case 5:
			r.ValueVersion = f.v
		case 6:
			r.ValueInvalid = f.v != 0
		case 7:
			r.Overtaken = f.uint32()
		default:
			f.unknown("Resource")
		}
	}
	return f.err
}

func readLock(data []byte, l *lock.LockState) error {
	*l = lock.LockState{}
	f := fields{data: data}
	for f.next() {
		switch f.field {
		case 1:
			l.Session = lock.Session(f.v)
		case 2:
			l.ID = lock.ID(f.v)
		case 3:
			l.Queue = lock.Queue(f.uint8())
		case 4:
			l.Granted = lock.Mode(f.uint8())
		case 5:
			l.Requested = lock.Mode(f.uint8())
		case 6:
			l.Flags = lock.Flags(f.uint32())
		case 7:
			l.Token = f.v
		case 8:
			l.Order = f.v
		case 9:
			l.Changed = f.v
		case 10:
			l.Stamp = int64(f.v)
		case 11:
			l.Blocking = f.uint8()
		case 12:
			l.Status = lock.Status(f.uint8())
		case 13:
			l.Denied = reason.Reason(f.uint8())
		case 14:
			l.Origin = f.uint32()
		case 45:
			l.Sub = f.v
		case 15:
			l.Owner = f.v
		case 16:
			l.Set = lock.ID(f.v)
		case 17:
			l.Timeout = f.uint32()
		case 18:
			l.Since = f.v
		default:
			f.unknown("Lock")
		}
	}
	return f.err
}

// appendBytes appends a field of bytes, nothing for none.
func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
