package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// DefaultProbes returns what a node does if Config.Probes is nil: it starts a
// process and writes a file into the directory for temporary files every 10 s,
// which may fail for 30 s, and takes one request through the servers' log and
// back every 30 s, which may fail for 2 min.
func DefaultProbes() []Probe {
	return []Probe{ProcessProbe(""), FileProbe(""), RoundTripProbe()}
}

// noProgram is started where there is no program to start.
const noProgram = "/nonexistent/gulm-probe"

// ProcessProbe starts a process and waits for its end: a node that is short of
// memory or of processes cannot. command is a program without arguments that
// ends with success; empty means "true". On a machine without that program, a
// process is made but finds nothing to run, which proves most of it.
func ProcessProbe(command string) Probe {
	path, err := exec.LookPath(command)
	if command == "" {
		path, err = exec.LookPath("true")
	}
	switch {
	case err != nil && command == "":
		path = noProgram
	case err != nil:
		path = command // it may come to be there
	}
	starter := &starter{path: path}
	return Probe{Name: "start a process", Run: starter.run}
}

// starter starts processes, the next one when the last has ended.
type starter struct {
	path string
	left atomic.Int64 // the process that did not end, 0 for none
}

func (s *starter) run(ctx context.Context, _ *Node) error {
	if pid := s.left.Load(); pid != 0 {
		return fmt.Errorf("process %d, which was killed, does not end", pid)
	}
	cmd := exec.Command(s.path)
	if err := cmd.Start(); err != nil {
		if s.path == noProgram && errors.Is(err, fs.ErrNotExist) {
			return nil // there was a process to say so
		}
		return fmt.Errorf("cannot start a process: %w", err)
	}
	ended := make(chan error, 1)
	s.left.Store(int64(cmd.Process.Pid))
	go func() {
		err := cmd.Wait()
		s.left.Store(0)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = cmd.Process.Kill() // it may have ended right now
		select {
		case <-ended:
		case <-time.After(probeEnd / 2): // not while the kernel waits for a disk
		}
		return fmt.Errorf("process %d does not end: %w", cmd.Process.Pid, context.Cause(ctx))
	}
}

// FileProbe writes a small file into a directory, syncs and removes it: a node
// whose disk is full, read-only or stuck cannot. Empty means the directory for
// temporary files.
func FileProbe(dir string) Probe {
	if dir == "" {
		dir = os.TempDir()
	}
	return Probe{Name: "write a file", Run: func(context.Context, *Node) error { return writeFile(dir) }}
}

func writeFile(dir string) error {
	f, err := os.CreateTemp(dir, "gulm-*.state")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "process %d of %s can write\n", os.Getpid(), filepath.Base(os.Args[0]))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// RoundTripProbe takes a request that changes nothing through the servers' log
// and back, by the way that all requests take. It fails only while heartbeats are
// acknowledged: servers that do not answer, or have no quorum, are not this
// node's fault.
func RoundTripProbe() Probe {
	return Probe{
		Name: "take a request through the lock servers", Run: func(ctx context.Context, n *Node) error { return n.roundTrip(ctx) },
		Every: 30 * time.Second, Limit: 30 * time.Second, Bound: 2 * time.Minute, Doubt: time.Second,
	}
}

// errNoAnswer ends a stream on which heartbeats are acknowledged and requests are
// not answered.
var errNoAnswer = gulmerr.New(ErrUnavailable, "heartbeats are acknowledged, but requests have no answer")

// roundTrip asks to cancel a lock that does not exist, and waits for any answer.
func (n *Node) roundTrip(ctx context.Context) error {
	began := time.Now()
	select {
	case <-n.trip():
		return nil
	case <-ctx.Done():
	}
	if n.live.safeFor() < time.Since(began) || n.ctx.Err() != nil {
		return nil // nothing follows from that
	}
	n.cutStream(errNoAnswer) // what was lost on the way is sent again
	return fmt.Errorf("no answer for %v: %w", time.Since(began).Round(time.Millisecond), errNoAnswer)
}

// trip sends the request unless one is under way, and returns what is closed when
// it is answered.
func (n *Node) trip() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tripping != nil {
		return n.tripping
	}
	answered := make(chan struct{})
	if n.err != nil {
		return answered
	}
	n.tripping = answered
	n.pipe.push(&request{
		msg: &gulmv1.Request{Op: gulmv1.Op_OP_CANCEL},
		done: func(*gulmv1.Reply, error) {
			n.tripping = nil
			close(answered)
		},
	})
	return answered
}

// cutStream ends the present stream, if there is one.
func (n *Node) cutStream(why error) {
	if cut := n.cut.Load(); cut != nil {
		(*cut)(why)
	}
}
