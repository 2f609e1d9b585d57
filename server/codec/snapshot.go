package codec

import (
	"bufio"
	"encoding/binary"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
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
	// fieldResources is the field of raftlog.v1.Record that needs the most speed.
	fieldResources = 5
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
	for i := range img.Journals {
		out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Journaled{Journaled: journaledToLog(&img.Journals[i])}})
	}
	for i := range img.Owners {
		out.write(&raftlogv1.Record{Body: &raftlogv1.Record_Owner{Owner: ownerToLog(&img.Owners[i])}})
	}
	out.ranges(s.Locks())
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
	if o.buf, o.err = (proto.MarshalOptions{}).MarshalAppend(o.buf[:0], r); o.err == nil {
		o.writeParts(nil, o.buf)
	}
}

// writeParts writes a record of two parts.
func (o *recordWriter) writeParts(head, rest []byte) {
	if o.err != nil {
		return
	}
	var size [binary.MaxVarintLen64]byte
	for _, part := range [][]byte{size[:binary.PutUvarint(size[:], uint64(len(head)+len(rest)))], head, rest} {
		if _, o.err = o.w.Write(part); o.err != nil {
			return
		}
	}
	o.records++
}

func (o *recordWriter) resources(t *lock.Table) {
	o.buf = o.buf[:0]
	locks := 0
	flush := func() {
		if len(o.buf) > 0 {
			head := protowire.AppendTag(nil, fieldResources, protowire.BytesType)
			o.writeParts(protowire.AppendVarint(head, uint64(len(o.buf))), o.buf)
		}
		o.buf, locks = o.buf[:0], 0
	}
	t.Walk(func(r *lock.ResourceState) bool {
		o.buf = protowire.AppendTag(o.buf, 1, protowire.BytesType)
		o.buf = appendSized(o.buf, func(p []byte) []byte { return appendResource(p, r) })
		if locks += len(r.Locks); locks >= locksPerRecord {
			flush()
		}
		return o.err == nil
	})
	flush()
}
