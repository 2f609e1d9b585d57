package replica

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// A snapshot travels framed from the machine that wrote it to the machine that
// reads it: eight bytes of magic and version, the machine's own stream, then
// its length and a CRC32C over all of it.
const (
	frameMagic      = "GLMSNAP\x01"
	frameEnd        = "PANS"
	frameTrailerLen = 8 + 4 + len(frameEnd)
)

// errBadFrame says that a snapshot is not what the machine wrote.
var errBadFrame = errors.New("snapshot damaged")

// frameWriter frames what is written to it. Finish must be called at the end.
type frameWriter struct {
	w   io.Writer
	sum hash.Hash32
	n   uint64
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	f := &frameWriter{w: w, sum: crc32.New(castagnoli)}
	_, _ = f.sum.Write([]byte(frameMagic))
	_, err := io.WriteString(w, frameMagic)
	return f, err
}

// Write implements io.Writer.
func (f *frameWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	_, _ = f.sum.Write(p[:n])
	f.n += uint64(n)
	return n, err
}

func (f *frameWriter) finish() error {
	_, err := f.w.Write(frameTrailer(f.sum, f.n))
	return err
}

// frameTrailer returns the bytes that end a frame of n body bytes.
func frameTrailer(sum hash.Hash32, n uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	_, _ = sum.Write(b)
	b = binary.BigEndian.AppendUint32(b, sum.Sum32())
	return append(b, frameEnd...)
}

// frameReader yields the body of a frame and, in place of io.EOF, an error when
// the frame is not whole.
type frameReader struct {
	r    *bufio.Reader
	sum  hash.Hash32
	n    uint64
	done error
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	f := &frameReader{r: bufio.NewReaderSize(r, 64<<10), sum: crc32.New(castagnoli)}
	var head [len(frameMagic)]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadFrame, err)
	}
	if string(head[:]) != frameMagic {
		return nil, fmt.Errorf("%w or of another release: it begins with %q", errBadFrame, head[:])
	}
	_, _ = f.sum.Write(head[:])
	return f, nil
}

// Read implements io.Reader.
func (f *frameReader) Read(p []byte) (int, error) {
	if f.done != nil {
		return 0, f.done
	}
	if len(p) == 0 {
		return 0, nil
	}
	// All but the last frameTrailerLen bytes belong to the body.
	if _, err := f.r.Peek(frameTrailerLen + 1); err != nil {
		f.done = f.end(err)
		return 0, f.done
	}
	n, err := f.r.Read(p[:min(len(p), f.r.Buffered()-frameTrailerLen)])
	_, _ = f.sum.Write(p[:n])
	f.n += uint64(n)
	return n, err
}

func (f *frameReader) end(err error) error {
	if err != io.EOF {
		return err
	}
	got, _ := f.r.Peek(frameTrailerLen)
	if string(got) != string(frameTrailer(f.sum, f.n)) {
		return fmt.Errorf("%w: checksum or length differ after %d bytes", errBadFrame, f.n)
	}
	return io.EOF
}

// frameChecker verifies a frame that is written to it, keeping only its last
// bytes.
type frameChecker struct {
	head []byte
	tail []byte
	sum  hash.Hash32
	n    uint64
}

func newFrameChecker() *frameChecker { return &frameChecker{sum: crc32.New(castagnoli)} }

// Write implements io.Writer; it never fails.
func (f *frameChecker) Write(p []byte) (int, error) {
	size := len(p)
	if missing := len(frameMagic) - len(f.head); missing > 0 {
		k := min(missing, len(p))
		f.head = append(f.head, p[:k]...)
		_, _ = f.sum.Write(p[:k])
		p = p[k:]
	}
	if len(f.tail)+len(p) <= frameTrailerLen {
		f.tail = append(f.tail, p...)
		return size, nil
	}
	surplus := len(f.tail) + len(p) - frameTrailerLen
	k := min(surplus, len(f.tail))
	_, _ = f.sum.Write(f.tail[:k])
	_, _ = f.sum.Write(p[:surplus-k])
	f.n += uint64(surplus)
	f.tail = append(append(make([]byte, 0, frameTrailerLen), f.tail[k:]...), p[surplus-k:]...)
	return size, nil
}

// check reports whether what was written so far is one whole frame.
func (f *frameChecker) check() error {
	if string(f.head) != frameMagic || string(f.tail) != string(frameTrailer(f.sum, f.n)) {
		return fmt.Errorf("%w: checksum or length differ after %d bytes", errBadFrame, f.n)
	}
	return nil
}
