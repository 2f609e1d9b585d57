package codec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

const (
	// maxRecord is what protobuf allows. readStep is how much of a record is
	// believed to be there before it has been read.
	maxRecord = 1<<31 - 1
	readStep  = 1 << 20
	// portions is how many records with resources are in memory at once.
	portions = 4
)

// ReadSnapshot reads a state that WriteSnapshot wrote, and r to its end. An error
// says that the snapshot is damaged or of an unknown format; nothing is half
// restored.
func ReadSnapshot(r io.Reader) (*state.State, error) {
	in := &recordReader{r: bufio.NewReaderSize(r, 1<<18), sound: true}
	first := &portion{}
	img, err := in.image(first)
	if err != nil {
		return nil, err
	}
	ahead := in.readAhead(first)
	s, ok := state.FromImage(img, ahead.next)
	ahead.wait()
	switch {
	case ahead.err != nil:
		return nil, ahead.err
	case !ok || !in.sound:
		return nil, errors.New("snapshot holds an impossible state")
	}
	if err := in.end(); err != nil {
		return nil, err
	}
	return s, nil
}

// portion is one record; if it is one of resources, with these.
type portion struct {
	data      []byte
	is        bool // a record of resources
	resources []lock.ResourceState
}

// lookAhead reads and decodes records while those before are put into the state,
// which is the other half of the work.
type lookAhead struct {
	full, empty chan *portion
	now         *portion // what next gives out
	given       int
	err         error // valid after wait
}

// readAhead reads the rest of the snapshot, in a goroutine that ends with it; the
// caller waits for it with wait.
func (in *recordReader) readAhead(first *portion) *lookAhead {
	a := &lookAhead{full: make(chan *portion, portions), empty: make(chan *portion, portions)}
	a.full <- first
	for range portions - 1 {
		a.empty <- &portion{}
	}
	go func() {
		defer close(a.full)
		for in.record.GetFooter() == nil && a.err == nil {
			p := <-a.empty
			switch a.err = in.read(p); {
			case a.err != nil:
			case p.is:
				a.full <- p
			case in.record.GetFooter() != nil:
				a.err = in.footer(in.record.GetFooter())
			default:
				a.err = fmt.Errorf("snapshot record %d is out of place", in.records)
			}
		}
	}()
	return a
}

// next gives out the next resource; false at the end or after an error. It is
// valid until the next call.
func (a *lookAhead) next(r *lock.ResourceState) bool {
	for a.now == nil || a.given == len(a.now.resources) {
		if a.now != nil {
			a.empty <- a.now
		}
		a.given = 0
		if a.now = <-a.full; a.now == nil {
			return false
		}
	}
	*r = a.now.resources[a.given]
	a.given++
	return true
}

// wait drops what next has not given out and waits until all is read.
func (a *lookAhead) wait() {
	for p := range a.full {
		a.empty <- p
	}
}

type recordReader struct {
	r       *bufio.Reader
	record  raftlogv1.Record // the last one that was not of resources
	records uint64
	sound   bool // all numbers are in their range
}

// read reads a record into p, and into in.record if it is none of resources.
func (in *recordReader) read(p *portion) error {
	if err := in.bytes(p); err != nil {
		return err
	}
	in.records++
	if resources, ok := resourcesOf(p.data); ok {
		p.is = true
		var err error
		if p.resources, err = readResources(resources, p.resources[:0]); err != nil {
			return fmt.Errorf("snapshot record %d cannot be read: %w", in.records, err)
		}
		return nil
	}
	p.is = false
	in.record.Reset()
	if err := proto.Unmarshal(p.data, &in.record); err != nil {
		return fmt.Errorf("snapshot record %d is damaged: %w", in.records, err)
	}
	if err := whole(in.record.ProtoReflect()); err != nil {
		return fmt.Errorf("snapshot record %d holds more than this version knows, upgrade this server: %w", in.records, err)
	}
	return nil
}

// bytes reads the bytes of a record.
func (in *recordReader) bytes(p *portion) error {
	n, err := binary.ReadUvarint(in.r)
	if err != nil {
		return fmt.Errorf("snapshot ends early: %w", err)
	}
	if n > maxRecord {
		return fmt.Errorf("snapshot record %d claims %d bytes", in.records, n)
	}
	p.data = p.data[:0]
	for left := int(n); left > 0; {
		at := len(p.data)
		step := min(left, max(readStep, at))
		p.data = slices.Grow(p.data, step)[:at+step]
		if _, err := io.ReadFull(in.r, p.data[at:]); err != nil {
			return fmt.Errorf("snapshot ends early: %w", err)
		}
		left -= step
	}
	return nil
}

// resourcesOf returns the resources of a record that holds nothing else.
func resourcesOf(record []byte) ([]byte, bool) {
	field, kind, n := protowire.ConsumeTag(record)
	if n < 0 || field != fieldResources || kind != protowire.BytesType {
		return nil, false
	}
	data, m := protowire.ConsumeBytes(record[n:])
	return data, m >= 0 && n+m == len(record)
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

// image reads everything up to the first portion or the footer.
func (in *recordReader) image(first *portion) (state.Image, error) {
	var img state.Image
	if err := in.read(first); err != nil {
		return img, err
	}
	header := in.record.GetHeader()
	if header == nil || header.GetFormat() != snapshotFormat {
		return img, fmt.Errorf("snapshot has format %d, this version reads %d", header.GetFormat(), snapshotFormat)
	}
	headerFromLog(header, &img)
	for {
		if err := in.read(first); err != nil || first.is {
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
		case *raftlogv1.Record_Journaled:
			img.Journals = append(img.Journals, journaledFromLog(b.Journaled, &in.sound))
		case *raftlogv1.Record_RangeFiles:
			for _, f := range b.RangeFiles.GetFiles() {
				img.RangeFiles = append(img.RangeFiles, rangeFileFromLog(f, &in.sound))
			}
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
