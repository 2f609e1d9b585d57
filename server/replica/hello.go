package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Every connection between servers begins with an exchange, before raft sees it:
//
//	dialer   -> hello
//	acceptor -> hello, verdict
//	dialer   -> verdict
//
// A message is magic, version, kind, the length of its body (2 bytes), body, and
// a CRC32C of all that. It is read with a time limit and at most helloMax bytes.
const (
	helloMagic   = "GLMR"
	helloVersion = 1
	helloHeadLen = len(helloMagic) + 1 + 1 + 2
	helloMax     = 4096

	kindHello   = 1
	kindVerdict = 2
)

// hello is what a server says about itself.
type hello struct {
	Cluster    string
	Server     string
	Target     string // whom the sender believes to talk to
	Generation generation
	Starts     uint64
	Lives      []life // newest first, at least one
	Digest     string
}

// verdictCode says why a connection is refused.
type verdictCode uint8

const (
	verdictOK verdictCode = iota
	verdictProtocol
	verdictCluster
	verdictServer
	verdictConfig
	verdictNewDisk
	verdictOldDisk
	verdictBarred
	verdictBusy
	verdictEnd // one beyond the last
)

var verdictFields = [verdictEnd]string{"", "protocol", "cluster", "server", "config", "disk", "disk", "disk", ""}

// verdict answers a hello.
type verdict struct {
	Code verdictCode
	Text string
}

var errBadHello = errors.New("not a server of this protocol")

// maxVerdictText bounds the reason, in bytes.
const maxVerdictText = 512

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func (h hello) encode() []byte {
	var b []byte
	b = appendString(b, h.Cluster)
	b = appendString(b, h.Server)
	b = appendString(b, h.Target)
	b = append(b, h.Generation[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Starts)
	b = append(b, byte(len(h.Lives)))
	for _, l := range h.Lives {
		b = append(b, l[:]...)
	}
	return appendString(b, h.Digest)
}

// cursor takes a message apart; after the first fault it yields zeros.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.b) {
		c.bad = true
		return make([]byte, n)
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) text(limit int) string {
	n := int(binary.BigEndian.Uint16(c.take(2)))
	if n > limit {
		c.bad = true
		return ""
	}
	return string(c.take(n))
}

func decodeHello(body []byte) (hello, error) {
	c := &cursor{b: body}
	h := hello{Cluster: c.text(maxName), Server: c.text(maxName), Target: c.text(maxName)}
	copy(h.Generation[:], c.take(len(h.Generation)))
	h.Starts = binary.BigEndian.Uint64(c.take(8))
	n := int(c.take(1)[0])
	if n < 1 || n > maxLives || uint64(n) > h.Starts {
		c.bad = true
		n = 0
	}
	h.Lives = make([]life, n)
	for i := range h.Lives {
		copy(h.Lives[i][:], c.take(len(life{})))
	}
	h.Digest = c.text(maxDigest)
	if c.bad || len(c.b) != 0 || h.Cluster == "" || h.Server == "" {
		return hello{}, fmt.Errorf("%w: malformed hello", errBadHello)
	}
	return h, nil
}

func (v verdict) encode() []byte {
	return appendString([]byte{byte(v.Code)}, v.Text[:min(len(v.Text), maxVerdictText)])
}

func decodeVerdict(body []byte) (verdict, error) {
	c := &cursor{b: body}
	v := verdict{Code: verdictCode(c.take(1)[0]), Text: c.text(maxVerdictText)}
	if c.bad || len(c.b) != 0 || v.Code >= verdictEnd {
		return verdict{}, fmt.Errorf("%w: malformed verdict", errBadHello)
	}
	return v, nil
}

// encodeMessage puts body into a message.
func encodeMessage(kind byte, body []byte) []byte {
	b := make([]byte, 0, helloHeadLen+len(body)+4)
	b = append(b, helloMagic...)
	b = append(b, helloVersion, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readMessage reads one message of the wanted kind and returns its body. It
// reads not a byte more, and no more than helloMax.
func readMessage(r io.Reader, kind byte) ([]byte, error) {
	head := make([]byte, helloHeadLen, helloHeadLen+64)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if string(head[:len(helloMagic)]) != helloMagic {
		return nil, errBadHello
	}
	if v := head[len(helloMagic)]; v != helloVersion {
		return nil, fmt.Errorf("%w: the other side speaks version %d, this server %d", errBadHello, v, helloVersion)
	}
	if head[len(helloMagic)+1] != kind {
		return nil, fmt.Errorf("%w: message of kind %d where %d was due", errBadHello, head[len(helloMagic)+1], kind)
	}
	n := int(binary.BigEndian.Uint16(head[helloHeadLen-2:]))
	if n+helloHeadLen+4 > helloMax {
		return nil, fmt.Errorf("%w: message of %d bytes", errBadHello, n)
	}
	msg := append(head, make([]byte, n+4)...)
	if _, err := io.ReadFull(r, msg[helloHeadLen:]); err != nil {
		return nil, err
	}
	end := helloHeadLen + n
	if crc32.Checksum(msg[:end], castagnoli) != binary.BigEndian.Uint32(msg[end:]) {
		return nil, fmt.Errorf("%w: checksum differs", errBadHello)
	}
	return msg[helloHeadLen:end], nil
}

func readHello(r io.Reader) (hello, error) {
	b, err := readMessage(r, kindHello)
	if err != nil {
		return hello{}, err
	}
	return decodeHello(b)
}

func readVerdict(r io.Reader) (verdict, error) {
	b, err := readMessage(r, kindVerdict)
	if err != nil {
		return verdict{}, err
	}
	return decodeVerdict(b)
}
