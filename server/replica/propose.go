package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// maxBarriers is how many barriers may wait beside the commands.
const maxBarriers = 16

// Future is a proposed command on its way.
type Future struct {
	data  []byte // nil: a barrier
	size  int64
	raft  raft.Future
	done  chan struct{}
	gone  <-chan struct{} // closed when raft has stopped without an answer
	res   any
	index uint64
	err   error
}

// Done is closed when the outcome is known. After Close it may stay open.
func (f *Future) Done() <-chan struct{} { return f.done }

// Wait returns what Machine.Apply returned and the command's index in the log.
// Errors: ErrNotLeader and ErrStopped, not applied; ErrUnknownOutcome, perhaps;
// ctx's error, the wait ended and the command goes on.
func (f *Future) Wait(ctx context.Context) (result any, index uint64, err error) {
	select {
	case <-f.done:
		return f.res, f.index, f.err
	default:
	}
	select {
	case <-f.done:
		return f.res, f.index, f.err
	case <-f.gone:
		return nil, 0, ErrUnknownOutcome
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// admission bounds what is under way.
type admission struct {
	maxCount int
	maxBytes int64

	mu       sync.Mutex
	closed   bool
	count    int
	bytes    int64
	barriers int
}

// opCount counts what raft still has to answer.
type opCount struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed while n is 0
}

func (o *opCount) init() {
	o.idle = make(chan struct{})
	close(o.idle)
}

func (o *opCount) add() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n++; o.n == 1 {
		o.idle = make(chan struct{})
	}
}

func (o *opCount) done() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n--; o.n == 0 {
		close(o.idle)
	}
}

func (o *opCount) wait(ctx context.Context) error {
	o.mu.Lock()
	idle := o.idle
	o.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *admission) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

func (a *admission) release(f *Future) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.data == nil {
		a.barriers--
		return
	}
	a.count--
	a.bytes -= f.size
}

// admit takes f into the queue or says why not. tail is how many entries of the
// log are not committed. Since up to maxCount more may already be under way, the
// tail can grow to twice maxCount, which must stay below TrailingLogs.
func (a *admission) admit(f *Future, tail int, queue chan<- *Future, ops *opCount) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return ErrStopped
	case f.data == nil && a.barriers >= maxBarriers:
		return fmt.Errorf("%w: %d barriers wait", ErrBusy, a.barriers)
	case f.data != nil && a.count >= a.maxCount:
		return fmt.Errorf("%w: %d commands", ErrBusy, a.count)
	case f.data != nil && a.bytes+f.size > a.maxBytes:
		return fmt.Errorf("%w: %d bytes", ErrBusy, a.bytes)
	case f.data != nil && tail >= a.maxCount:
		return fmt.Errorf("%w: %d entries are not committed", ErrBusy, tail)
	}
	if f.data == nil {
		a.barriers++
	} else {
		a.count++
		a.bytes += f.size
	}
	ops.add()
	queue <- f // has room for all that admit lets in
	return nil
}

// Propose puts command, which is copied, into the log. It does not wait: commands
// proposed one after the other are applied in that order. Errors mean that the
// command was not taken: ErrNotLeader, ErrBusy, ErrTooLarge, ErrStopped.
func (r *Replica) Propose(command []byte) (*Future, error) {
	if len(command) > r.cfg.MaxCommand {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(command), r.cfg.MaxCommand)
	}
	if err := r.mayPropose(); err != nil {
		return nil, err
	}
	f := &Future{data: seal(command), size: int64(len(command)), done: make(chan struct{}), gone: r.gone}
	if err := r.inflight.admit(f, r.tail(), r.queue, &r.ops); err != nil {
		return nil, err
	}
	return f, nil
}

// tail is the number of entries in this leader's log that are not yet committed.
func (r *Replica) tail() int {
	committed, last := r.raft.CommitIndex(), r.raft.LastIndex()
	return int(max(last, committed) - committed)
}

func (r *Replica) mayPropose() error {
	switch {
	case r.hasFailed():
		return fmt.Errorf("%w: %w", ErrStopped, *r.failure.Load())
	case r.raft.State() == raft.Shutdown:
		return ErrStopped
	case r.raft.State() != raft.Leader:
		return ErrNotLeader
	}
	return nil
}

// Barrier returns when everything that was committed or proposed before has been
// applied here. A new leader's machine is up to date only after its first barrier.
// Errors as for Propose and Future.Wait.
func (r *Replica) Barrier(ctx context.Context) error {
	if err := r.mayPropose(); err != nil {
		return err
	}
	f := &Future{done: make(chan struct{}), gone: r.gone}
	if err := r.inflight.admit(f, 0, r.queue, &r.ops); err != nil {
		return err
	}
	_, _, err := f.Wait(ctx)
	return err
}

// VerifyLeader returns nil when a majority has confirmed, after the call began,
// that this server leads. Otherwise ErrNotLeader, ErrStopped or ctx's error.
//
// raft also takes answers for a confirmation that were on their way before it
// was asked: a leader that was stopped for a minute finds such ones in its
// sockets when it wakes. So raft is asked again until answers to newer requests
// have come, which takes one more round for each follower at most.
func (r *Replica) VerifyLeader(ctx context.Context) error {
	since := time.Now()
	for {
		if err := r.mayPropose(); err != nil {
			return err
		}
		if err := r.ask(ctx, r.raft.VerifyLeader); err != nil {
			return err
		}
		if r.confirmedSince(since) {
			return nil
		}
	}
}

// confirmedSince reports whether this server and the followers that accepted a
// newer request in its term are a majority.
func (r *Replica) confirmedSince(since time.Time) bool {
	voters, self := 0, 0
	var others []Peer
	for _, srv := range r.raft.GetConfiguration().Configuration().Servers {
		if srv.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(srv.ID) == r.cfg.Server {
			self = 1
		} else {
			others = append(others, Peer{Name: string(srv.ID)})
		}
	}
	return self+r.transport.askedSince(others, r.raft.CurrentTerm(), since) > voters/2
}

func (r *Replica) ask(ctx context.Context, call func() raft.Future) error {
	if !r.inflight.enter(&r.ops) {
		return ErrStopped
	}
	done := make(chan error, 1)
	r.wg.Go(func() {
		defer r.ops.done()
		done <- call().Error()
	})
	select {
	case err := <-done:
		return r.translate(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter counts one operation unless the replica is closing.
func (a *admission) enter(ops *opCount) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	ops.add()
	return true
}

// issue hands the queue to raft, in order.
func (r *Replica) issue() {
	defer close(r.issued)
	for f := range r.queue {
		if f.data == nil {
			f.raft = r.raft.Barrier(0)
		} else {
			f.raft = r.raft.Apply(f.data, 0)
		}
		r.issued <- f
	}
}

// finish collects raft's answers, which come in the order of the queue but for
// refusals.
func (r *Replica) finish() {
	for f := range r.issued {
		err := f.raft.Error()
		r.settle(f, err)
		r.inflight.release(f)
		r.ops.done()
		close(f.done)
	}
}

func (r *Replica) settle(f *Future, err error) {
	r.stall.observe(r, err)
	f.err = r.translate(err)
	if f.err != nil || f.data == nil {
		return
	}
	af := f.raft.(raft.ApplyFuture)
	f.index = af.Index()
	switch a := af.Response().(type) {
	case applied:
		f.res = a.result
		if a.err != nil {
			f.err = fmt.Errorf("%w: %w", ErrUnknownOutcome, a.err)
		}
	default:
		f.err = fmt.Errorf("%w: no answer from the machine", ErrUnknownOutcome)
	}
}

// translate turns raft's errors into those of this package.
func (r *Replica) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: it is handing over", ErrNotLeader)
	case r.hasFailed():
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, *r.failure.Load())
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}
