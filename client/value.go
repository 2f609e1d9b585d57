package client

import (
	"slices"
	"strings"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// maxValueLen is the greatest length of value blocks, bytes.
const maxValueLen = 255

// Status says more about a grant.
type Status uint32

const (
	// Demoted: the lock let go of its mode while it waited to be converted, since
	// DemoteOnDeadlock allowed that: what it protects may have changed.
	Demoted = Status(gulmv1.Status_STATUS_DEMOTED)
	// ValueNotValid: whoever had to write the value block did not; Value is what
	// was written before.
	ValueNotValid = Status(gulmv1.Status_STATUS_VALNOTVALID)
	// OtherMode: the mode is not the one asked for, since OrShared or OrDeferred
	// allowed that; Mode tells which it is.
	OtherMode = Status(gulmv1.Status_STATUS_ALTMODE)
)

// String returns the bits as lower-case words, or "none".
func (s Status) String() string {
	var words []string
	for _, bit := range [...]struct {
		bit  Status
		word string
	}{{Demoted, "demoted"}, {ValueNotValid, "value not valid"}, {OtherMode, "other mode"}} {
		if s&bit.bit != 0 {
			words = append(words, bit.word)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// Status returns what the servers said with the newest grant. A conversion that
// failed after its lock was Demoted adds that.
func (l *Lock) Status() Status {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	return l.status
}

// Value returns a copy of the resource's value block as this lock has read or
// written it last, nil if it has done neither. A grant with Value reads it, but
// for a conversion from EX, or from PW to PW or less, which writes it.
func (l *Lock) Value() []byte {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(l.value)
}

// SetValue says what the next Convert or Unlock that writes the value block (with
// Value) writes to it; without SetValue that is what Value returns. Shorter
// values are padded with zeros; one that is longer than the lockspace's blocks
// makes Convert and Unlock return ErrInvalid. value is copied.
func (l *Lock) SetValue(value []byte) {
	n := l.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	l.toWrite = append([]byte{}, value...)
}

// outgoing returns the value that goes with a request with these flags.
func (l *Lock) outgoing(flags Flag) ([]byte, error) {
	if flags&Value == 0 {
		return nil, nil
	}
	value := l.toWrite
	if value == nil {
		value = l.value
	}
	most := maxValueLen
	if l.space.valueLen != 0 {
		most = l.space.valueLen
	}
	if len(value) > most {
		return nil, gulmerr.New(ErrInvalid, "value has %d bytes, at most %d", len(value), most)
	}
	return slices.Clone(value), nil
}

// writes says whether a conversion with Value writes the value block.
func writes(held, granted Mode) bool { return held == EX || held == PW && granted < EX }

// wrote notes that c, which is granted now, has written the value block.
func (l *Lock) wrote(c *call, granted Mode) {
	if c.op == gulmv1.Op_OP_CONVERT && c.flags&(Value|SpoilValue) == Value && writes(l.mode, granted) {
		l.value, l.toWrite = slices.Clone(c.req.msg.GetValue()), nil
	}
}

// learn takes what came with the newest grant.
func (l *Lock) learn(status uint32, value []byte) {
	l.status = Status(status)
	if len(value) > 0 {
		l.value = slices.Clone(value)
		l.space.valueLen = len(value)
	}
}
