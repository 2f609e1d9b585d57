package lock

import "slices"

// Value blocks, as in the DLM. A resource has one as soon as somebody wrote it,
// of the length that its lockspace gives it. With ValBlk:
//
//	held \ granted   NL    CR    CW    PR    PW    EX
//	nothing, NL      read  read  read  read  read  read
//	CR               -     read  read  read  read  read
//	CW               -     -     read  read  read  read
//	PR               -     -     -     read  read  read
//	PW               write write write write write read
//	EX               write write write write write write
//
// and an Unlock of PW or EX writes. IvValBlk, where a write would be, marks the
// block as not valid instead, and so does the end of a session or node that held
// PW or EX. Until the next write every grant that looks at the block is told so
// (ValNotValid), and still gets the old bytes.

// Lengths of value blocks, in bytes.
const (
	DefaultValueLen = 32
	MaxValueLen     = 255
)

// valueRecord is one value block.
type valueRecord struct {
	version uint64 // number of writes
	length  uint8
	invalid bool
	bytes   [MaxValueLen]byte
}

// valueUse is what a change of mode does with the value block.
type valueUse uint8

const (
	valueNone valueUse = iota
	valueRead
	valueWrite
)

// valueUseOf reads the table above; `fresh` is true for a lock that holds
// nothing yet.
func valueUseOf(fresh bool, held, granted Mode) valueUse {
	switch {
	case fresh || held == NL:
		return valueRead
	case held == EX || held == PW && granted < EX:
		return valueWrite
	case granted >= held:
		return valueRead
	}
	return valueNone
}

// useValue does with the value block what a grant of `mode` to a lock that held
// `held` asks for, and returns the bytes if they were read and the status bits.
func (t *Table) useValue(l *lockRecord, fresh bool, held, mode Mode, value []byte) ([]byte, Status) {
	if l.marked() {
		return t.useGulmValue(l, held, mode, value)
	}
	switch valueUseOf(fresh, held, mode) {
	case valueRead:
		if l.flags&ValBlk == 0 {
			return nil, 0
		}
		return t.readValue(l.resource)
	case valueWrite:
		return nil, t.writeValue(l.resource, l.flags, value)
	}
	if l.flags&ValBlk != 0 {
		_, status := t.readValue(l.resource)
		return nil, status
	}
	return nil, 0
}

// readValue returns a copy of the value block and whether it is not valid.
func (t *Table) readValue(resource uint32) ([]byte, Status) {
	slot := t.resources.get(resource).value
	if slot == 0 {
		return make([]byte, t.valueLen(resource)), 0
	}
	v := t.values.get(slot)
	status := Status(0)
	if v.invalid {
		status = ValNotValid
	}
	return slices.Clone(v.bytes[:v.length]), status
}

// writeValue writes the value block, or marks it, as the flags say.
func (t *Table) writeValue(resource uint32, flags Flags, value []byte) Status {
	switch {
	case flags&IvValBlk != 0:
		t.spoilValue(resource)
	case flags&ValBlk != 0:
		v := t.ownValue(resource)
		clear(v.bytes[copy(v.bytes[:v.length], value):])
		v.version++
		v.invalid = false
	}
	return 0
}

// spoilValue marks the value block as not valid, if there is one.
func (t *Table) spoilValue(resource uint32) {
	if slot := t.resources.get(resource).value; slot != 0 {
		t.values.mut(slot).invalid = true
	}
}

// ownValue returns the value block for writing, making it if need be.
func (t *Table) ownValue(resource uint32) *valueRecord {
	if slot := t.resources.get(resource).value; slot != 0 {
		return t.values.mut(slot)
	}
	slot, v := t.values.alloc()
	v.length = uint8(t.valueLen(resource))
	t.resources.mut(resource).value = slot
	return v
}

func (t *Table) valueLen(resource uint32) int {
	return t.space(t.resources.get(resource).lockspace).values()
}

// checkValue reports whether a value fits into a lockspace's blocks.
func (t *Table) checkValue(lockspace uint32, value []byte) bool {
	return len(value) <= t.space(lockspace).values()
}
