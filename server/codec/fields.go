package codec

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// errLater is for what a later version may have written.
var errLater = errors.New("upgrade this server")

// fields reads the fields of a message one by one, without the generated code,
// which would make a struct of each.
type fields struct {
	data []byte
	// bytes is the set of the fields that hold bytes or a message; all others
	// hold numbers.
	bytes uint32

	field protowire.Number
	v     uint64 // of a number
	sub   []byte // of the others; shares memory with data
	err   error
}

// next reads a field; false at the end or after an error.
func (f *fields) next() bool {
	if len(f.data) == 0 || f.err != nil {
		return false
	}
	var kind protowire.Type
	n := 1
	if tag := f.data[0]; tag < 0x80 {
		f.field, kind = protowire.Number(tag>>3), protowire.Type(tag&7)
	} else {
		f.field, kind, n = protowire.ConsumeTag(f.data)
	}
	if n < 0 || f.field == 0 {
		f.err = errDamaged
		return false
	}
	m := 0
	f.v, f.sub = 0, nil
	switch rest := f.data[n:]; {
	case inSet(f.bytes, f.field) && kind == protowire.BytesType:
		f.sub, m = protowire.ConsumeBytes(rest)
	case !inSet(f.bytes, f.field) && kind == protowire.VarintType:
		if len(rest) > 0 && rest[0] < 0x80 {
			f.v, m = uint64(rest[0]), 1
		} else {
			f.v, m = protowire.ConsumeVarint(rest)
		}
	default:
		f.err = fmt.Errorf("%w: field %d has wire type %d", errDamaged, f.field, kind)
		return false
	}
	if m < 0 {
		f.err = errDamaged
		return false
	}
	f.data = f.data[n+m:]
	return true
}

// uint8 returns the number, which is an error beyond the type's range.
func (f *fields) uint8() uint8 {
	if f.v > 1<<8-1 {
		f.err = fmt.Errorf("%w: field %d is out of range", errDamaged, f.field)
	}
	return uint8(f.v)
}

// uint32 is uint8 for the larger type.
func (f *fields) uint32() uint32 {
	if f.v > 1<<32-1 {
		f.err = fmt.Errorf("%w: field %d is out of range", errDamaged, f.field)
	}
	return uint32(f.v)
}

// unknown says that this version does not know the field.
func (f *fields) unknown(message string) {
	f.err = fmt.Errorf("unknown field %d in %s: %w", f.field, message, errLater)
}

func inSet(set uint32, field protowire.Number) bool { return field < 32 && set&(1<<field) != 0 }
