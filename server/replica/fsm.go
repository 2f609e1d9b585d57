package replica

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Machine is what the log drives. All its methods are called from one goroutine
// at a time, Apply in log order, identically on every server.
type Machine interface {
	// Apply takes one committed command. It must be deterministic and cannot
	// fail: a refusal is a result like any other, handed to whoever proposed the
	// command, on the server where it was proposed. command must not be changed
	// and not be kept. A machine that finds itself corrupt or diverged returns a
	// Fault: nothing is applied after that and Config.Fatal is called.
	Apply(index, term uint64, command []byte) any
	// Snapshot returns an image of the machine as it is now. It is called between
	// Applies and holds them up, so it must be cheap; the image is written while
	// Apply goes on.
	Snapshot() (Image, error)
	// Restore replaces the machine's contents by an image. It must read r to its
	// end: only there r says, by an error other than io.EOF, that the image was
	// damaged. An error is fatal.
	Restore(r io.Reader) error
}

// Fault is what Machine.Apply returns when the machine cannot go on.
type Fault struct{ Err error }

// Image is a machine's state at one moment.
type Image interface {
	// Persist writes the image in the form that Machine.Restore reads.
	Persist(w io.Writer) error
	// Release is called exactly once, when the image is no longer needed,
	// whether or not it was written.
	Release()
}

// fsm stands between raft and the machine.
type fsm struct {
	machine Machine
	noCRC   bool
	failed  func() bool
	fail    func(error)

	applied      atomic.Uint64 // index of the last command applied or snapshot restored
	restoreFault error         // set once, by the goroutine that restores
}

var _ raft.FSM = (*fsm)(nil)

// applied is what raft hands back for a command.
type applied struct {
	result any
	err    error
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	if f.failed() {
		return applied{err: ErrStopped}
	}
	command, err := unseal(l.Data)
	if err != nil && f.noCRC && len(l.Data) >= envelopeLen {
		command, err = l.Data[envelopeLen:], nil
	}
	if err != nil {
		err = fmt.Errorf("entry %d of term %d is not applied: %w", l.Index, l.Term, err)
		f.fail(err)
		return applied{err: err}
	}
	result := f.machine.Apply(l.Index, l.Term, command)
	if fault, ok := result.(Fault); ok {
		f.fail(fmt.Errorf("machine failed at entry %d of term %d: %w", l.Index, l.Term, fault.Err))
		return applied{err: fault.Err}
	}
	f.applied.Store(l.Index)
	return applied{result: result}
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.failed() {
		return nil, ErrStopped
	}
	image, err := f.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	return fsmImage{image}, nil
}

// Restore implements raft.FSM. Its first error is final: raft would go on with
// an older snapshot, or with a machine that is half restored.
func (f *fsm) Restore(rc io.ReadCloser) error {
	if f.restoreFault != nil {
		return f.restoreFault
	}
	if f.failed() {
		return ErrStopped
	}
	if err := f.restore(rc); err != nil {
		f.restoreFault = fmt.Errorf("snapshot not restored: %w", err)
		f.fail(f.restoreFault)
		return f.restoreFault
	}
	return nil
}

func (f *fsm) restore(r io.Reader) error {
	frame, err := newFrameReader(r)
	if err != nil {
		return err
	}
	if err := f.machine.Restore(frame); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, frame)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d bytes of the image were not read", n)
	}
	return err
}

// fsmImage writes an image as raft wants it.
type fsmImage struct{ image Image }

// Persist implements raft.FSMSnapshot.
func (s fsmImage) Persist(sink raft.SnapshotSink) error {
	if err := s.write(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (s fsmImage) write(sink io.Writer) error {
	frame, err := newFrameWriter(sink)
	if err != nil {
		return err
	}
	if err := s.image.Persist(frame); err != nil {
		return err
	}
	return frame.finish()
}

// Release implements raft.FSMSnapshot.
func (s fsmImage) Release() { s.image.Release() }
