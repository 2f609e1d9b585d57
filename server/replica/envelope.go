package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// Neither log store notices a flipped bit in an entry's payload, so each command
// travels in an envelope: magic, version, CRC32C of version and command.
const (
	envelopeMagic   = 0xC7
	envelopeVersion = 1
	envelopeLen     = 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errBadEnvelope says that a command is not what was proposed.
var errBadEnvelope = errors.New("command damaged")

func envelopeSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[1:2], castagnoli), castagnoli, b[envelopeLen:])
}

// seal returns a copy of command in its envelope.
func seal(command []byte) []byte {
	b := make([]byte, envelopeLen+len(command))
	b[0], b[1] = envelopeMagic, envelopeVersion
	copy(b[envelopeLen:], command)
	binary.BigEndian.PutUint32(b[2:], envelopeSum(b))
	return b
}

// unseal returns the command inside b, which shares b's memory.
func unseal(b []byte) ([]byte, error) {
	switch {
	case len(b) < envelopeLen:
		return nil, fmt.Errorf("%w: %d bytes are too few", errBadEnvelope, len(b))
	case b[0] != envelopeMagic:
		return nil, fmt.Errorf("%w: it does not begin as one", errBadEnvelope)
	case b[1] != envelopeVersion:
		return nil, fmt.Errorf("%w or written by a newer release (version %d)", errBadEnvelope, b[1])
	case binary.BigEndian.Uint32(b[2:]) != envelopeSum(b):
		return nil, fmt.Errorf("%w: checksum differs", errBadEnvelope)
	}
	return b[envelopeLen:], nil
}

// checkEntry verifies the envelope of a command entry; others carry none.
func checkEntry(l *raft.Log) error {
	if l.Type != raft.LogCommand {
		return nil
	}
	if _, err := unseal(l.Data); err != nil {
		return fmt.Errorf("entry %d: %w", l.Index, err)
	}
	return nil
}
