package codec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

const (
	// snapshotFormat is the version of the record order; others are refused.
	snapshotFormat = 1
	// locksPerRecord bounds the memory of writing, but for a resource with more.
	locksPerRecord = 1024
	// maxRecord is what protobuf allows. readStep is how much of a record is
	// believed to be there before it has been read.
	maxRecord = 1<<31 - 1
	readStep  = 1 << 20
)

// WriteSnapshot writes the state, which must not change meanwhile: a clone.
func WriteSnapshot(w io.Writer, s *state.State) error {
	out := &recordWriter{w: bufio.NewWriterSize(w, 1<<18)}
	img := s.Image()
	out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Header{Header: headerToLog(&img)}})
	for i := range img.Nodes {
		out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Node{Node: nodeToLog(&img.Nodes[i])}})
		if f := fenceToLog(&img.Nodes[i]); f != nil {
			out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Fence{Fence: f}})
		}
	}
	for i := range img.Sessions {
		out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Session{Session: sessionToLog(&img.Sessions[i])}})
	}
	for i := range img.Spaces {
		out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Lockspace{Lockspace: spaceToLog(&img.Spaces[i])}})
	}
	for i := range img.Owners {
		out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Owner{Owner: ownerToLog(&img.Owners[i])}})
	}
	out.resources(s.Locks())
	out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Footer{Footer: &raftlogv1.Footer{Records: out.records}}})
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

// recordWriter writes records, each with its length before it, and remembers the
// first error.
type recordWriter struct {
	w       *bufio.Writer
	buf     []byte
	records uint64
	err     error
}

func (o *recordWriter) write(r *raftlogv1.Record) {
	if o.err != nil {
		return
	}
	o.buf, o.err = proto.MarshalOptions{}.MarshalAppend(o.buf[:0], r)
	if o.err != nil {
		return
	}
	var head [binary.MaxVarintLen64]byte
	if _, o.err = o.w.Write(head[:binary.PutUvarint(head[:], uint64(len(o.buf)))]); o.err == nil {
		_, o.err = o.w.Write(o.buf)
	}
	o.records++
}

func (o *recordWriter) resources(t *lock.Table) {
	group := &raftlogv1.Resources{}
	locks := 0
	flush := func() {
		if locks > 0 {
			o.write(&raftlogv1.Record{Body: &raftlogv1.Record_Resources{Resources: group}})
		}
		group, locks = &raftlogv1.Resources{}, 0
	}
	t.Walk(func(r *lock.ResourceState) bool {
		group.Resources = append(group.Resources, resourceToLog(r))
		if locks += len(r.Locks); locks >= locksPerRecord {
			flush()
		}
		return o.err == nil
	})
	flush()
}

// ReadSnapshot reads a state that WriteSnapshot wrote, and r to its end. An error
// says that the snapshot is damaged or of an unknown format; nothing is half
// restored.
func ReadSnapshot(r io.Reader) (*state.State, error) {
	in := &recordReader{r: bufio.NewReaderSize(r, 1<<18), sound: true}
	img, err := in.image()
	if err != nil {
		return nil, err
	}
	s, ok := state.FromImage(img, in.nextResource)
	switch {
	case in.err != nil:
		return nil, in.err
	case !ok || !in.sound:
		return nil, errors.New("snapshot holds an impossible state")
	}
	if err := in.end(); err != nil {
		return nil, err
	}
	return s, nil
}

type recordReader struct {
	r       *bufio.Reader
	buf     []byte
	record  raftlogv1.Record
	records uint64
	group   []*raftlogv1.Resource // resources read and not yet given out
	sound   bool                  // all numbers are in their range
	err     error
}

func (in *recordReader) read() error {
	n, err := binary.ReadUvarint(in.r)
	if err != nil {
		return fmt.Errorf("snapshot ends early: %w", err)
	}
	if n > maxRecord {
		return fmt.Errorf("snapshot record %d claims %d bytes", in.records, n)
	}
	in.buf = in.buf[:0]
	for left := int(n); left > 0; {
		at := len(in.buf)
		step := min(left, max(readStep, at))
		in.buf = slices.Grow(in.buf, step)[:at+step]
		if _, err := io.ReadFull(in.r, in.buf[at:]); err != nil {
			return fmt.Errorf("snapshot ends early: %w", err)
		}
		left -= step
	}
	in.records++
	in.record.Reset()
	if err := proto.Unmarshal(in.buf, &in.record); err != nil {
		return fmt.Errorf("snapshot record %d is damaged: %w", in.records, err)
	}
	return in.whole()
}

// whole refuses a record with fields that this version does not know.
func (in *recordReader) whole() error {
	err := error(nil)
	if r := in.record.GetResources(); r == nil {
		err = whole(in.record.ProtoReflect())
	} else if len(in.record.ProtoReflect().GetUnknown())+len(r.ProtoReflect().GetUnknown()) > 0 {
		err = errors.New("unknown field in Resources")
	}
	if err != nil {
		return fmt.Errorf("snapshot record %d holds more than this version knows, upgrade this server: %w", in.records, err)
	}
	return nil
}

// end reads what is left, which must be nothing: only there the reader says if
// what it read was damaged.
func (in *recordReader) end() error {
	n, err := io.Copy(io.Discard, in.r)
	switch {
	case err != nil:
		return fmt.Errorf("snapshot is damaged: %w", err)
	case n > 0:
		return fmt.Errorf("snapshot goes on for %d bytes after its footer", n)
	}
	return nil
}

// image reads everything up to the first resources or the footer.
func (in *recordReader) image() (state.Image, error) {
	var img state.Image
	if err := in.read(); err != nil {
		return img, err
	}
	header := in.record.GetHeader()
	if header == nil || header.GetFormat() != snapshotFormat {
		return img, fmt.Errorf("snapshot has format %d, this version reads %d", header.GetFormat(), snapshotFormat)
	}
	headerFromLog(header, &img)
	for {
		if err := in.read(); err != nil {
			return img, err
		}
		switch b := in.record.GetBody().(type) {
		case *raftlogv1.Record_Node:
			img.Nodes = append(img.Nodes, nodeFromLog(b.Node, &in.sound))
		case *raftlogv1.Record_Fence:
			if len(img.Nodes) == 0 || img.Nodes[len(img.Nodes)-1].Name != b.Fence.GetNode() {
				return img, fmt.Errorf("snapshot record %d: fence of another node", in.records)
			}
			fenceFromLog(b.Fence, &img.Nodes[len(img.Nodes)-1], &in.sound)
		case *raftlogv1.Record_Session:
			img.Sessions = append(img.Sessions, sessionFromLog(b.Session, &in.sound))
		case *raftlogv1.Record_Owner:
			img.Owners = append(img.Owners, ownerFromLog(b.Owner, &in.sound))
		case *raftlogv1.Record_Lockspace:
			img.Spaces = append(img.Spaces, spaceFromLog(b.Lockspace, &in.sound))
		case *raftlogv1.Record_Resources:
			in.group = b.Resources.GetResources()
			return img, nil
		case *raftlogv1.Record_Footer:
			return img, in.footer(b.Footer)
		default:
			return img, fmt.Errorf("snapshot record %d is of an unknown kind: upgrade this server", in.records)
		}
	}
}

func (in *recordReader) footer(f *raftlogv1.Footer) error {
	if f.GetRecords() != in.records-1 {
		return fmt.Errorf("snapshot has %d records, its footer counts %d", in.records-1, f.GetRecords())
	}
	return nil
}

// nextResource fills in the next resource; false at the end or after an error.
func (in *recordReader) nextResource(r *lock.ResourceState) bool {
	for len(in.group) == 0 {
		if in.err != nil || in.record.GetFooter() != nil {
			return false
		}
		if in.err = in.read(); in.err != nil {
			return false
		}
		switch b := in.record.GetBody().(type) {
		case *raftlogv1.Record_Resources:
			in.group = b.Resources.GetResources()
		case *raftlogv1.Record_Footer:
			in.err = in.footer(b.Footer)
		default:
			in.err = fmt.Errorf("snapshot record %d is out of place", in.records)
		}
	}
	resourceFromLog(in.group[0], r, &in.sound)
	in.group = in.group[1:]
	return true
}
