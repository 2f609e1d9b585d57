package client

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// errSilent ends a stream whose server does not acknowledge beats.
var errSilent = gulmerr.New(ErrUnavailable, "server has not acknowledged a heartbeat for too long")

// errBehind ends a stream to a server that knows less than the session has been
// told: a master that was replaced and does not know it yet.
var errBehind = gulmerr.New(gulmerr.ErrNotMaster, "server knows less than the session has seen, so it is not the master any more")

// keep keeps one stream to whichever server is master, until ctx ends or the
// session is over for good.
func (n *Node) keep(ctx context.Context, master string) {
	at := course{hint: master}
	pause := pauses{min: n.cfg.PauseMin, max: n.cfg.PauseMax}
	complaint := ""
	for n.health.wait(ctx) {
		addr, err := n.servers.next(ctx, &at)
		if err == nil {
			var good bool
			good, err = n.serve(ctx, addr)
			if good {
				pause.reset()
				at.redirects = 0
			}
			n.servers.failed(&at, addr, err)
		}
		if over(err) {
			n.expire(err)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if !passing(err) && err.Error() != complaint { // once, not at every try
			complaint = err.Error()
			n.log.Warn("master refuses the stream", "server", addr, "err", err)
		}
		if !at.redirected {
			pause.wait(ctx)
		}
	}
}

// over says whether a status means that the session cannot go on, ever.
func over(err error) bool {
	return errors.Is(err, ErrNodeExpired) || errors.Is(err, ErrStaleIncarnation) || errors.Is(err, ErrNoSession)
}

// serve runs one stream until it ends, and returns why it ended and whether it
// was of any use.
func (n *Node) serve(ctx context.Context, addr string) (good bool, err error) {
	conn, err := newConn(&n.cfg, addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n.cut.Store(&cancel)
	defer n.cut.Store(nil)
	if n.health.sick() != nil {
		return false, errSick // just now; whoever found it did not see this stream
	}
	watch := time.AfterFunc(n.live.attach, func() { cancel(errSilent) })
	defer watch.Stop()

	s := &stream{node: n, addr: addr, watch: watch}
	err = s.run(ctx, cancel, conn)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if s.attached {
		n.master.Store(nil)
		n.events.put(Event{Kind: EventDisconnected, At: time.Now(), Server: addr, Err: err})
		n.log.Info("stream to the master ended", "server", addr, "err", err)
	}
	return s.good, err
}

// stream is one stream to one server.
type stream struct {
	node     *Node
	addr     string
	watch    *time.Timer
	attached bool
	good     bool // a beat was acknowledged
	grpc     grpc.BidiStreamingClient[gulmv1.SessionRequest, gulmv1.SessionReply]
}

// run attaches, starts the writer and reads until the stream ends.
func (s *stream) run(ctx context.Context, cancel context.CancelCauseFunc, conn *grpc.ClientConn) error {
	var err error
	if s.grpc, err = gulmv1.NewLockServiceClient(conn).Session(ctx); err != nil {
		return gulmerr.FromStatus(err)
	}
	if err = s.attach(); err != nil {
		return err
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write(ctx)
	}()
	err = s.read()
	cancel(err)
	<-written
	return err
}

// attach binds the stream to the session.
func (s *stream) attach() error {
	n := s.node
	n.mu.Lock()
	seen, confirmed := n.seen, n.pipe.confirmed
	n.mu.Unlock()
	// An error of Send is told better by Recv.
	_ = s.grpc.Send(&gulmv1.SessionRequest{Attach: &gulmv1.Attach{
		Session: n.session, LoginId: n.loginID, SeenIndex: seen, Confirmed: confirmed,
	}, Confirmed: confirmed})
	first, err := s.grpc.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return gulmerr.New(ErrUnavailable, "server %s ended the stream before it began", s.addr)
	case err != nil:
		return gulmerr.FromStatus(err)
	case first.GetAttached() == nil:
		return gulmerr.New(gulmerr.ErrVersion, "server %s did not begin the stream with attached", s.addr)
	case first.GetAttached().GetApplied() < confirmed:
		return errBehind
	}
	s.attached = true
	n.mu.Lock()
	n.pipe.restart()
	n.applied = first.GetAttached().GetApplied()
	n.mu.Unlock()
	n.master.Store(&s.addr)
	n.events.put(Event{Kind: EventConnected, At: time.Now(), Server: s.addr})
	n.log.Info("stream to the master is up", "server", s.addr)
	s.watch.Reset(n.live.patience)
	return s.take(first)
}

// read takes messages until the stream ends.
func (s *stream) read() error {
	for {
		reply, err := s.grpc.Recv()
		if errors.Is(err, io.EOF) {
			return gulmerr.New(ErrUnavailable, "server %s ended the stream without a reason", s.addr)
		}
		if err != nil {
			return gulmerr.FromStatus(err)
		}
		if err := s.take(reply); err != nil {
			return err
		}
	}
}

// take handles one message: replies first, then events. It never waits for
// anybody.
func (s *stream) take(reply *gulmv1.SessionReply) error {
	n := s.node
	n.mu.Lock()
	if index := reply.GetIndex(); index != 0 && index < n.seen {
		n.mu.Unlock()
		return errBehind
	}
	if n.err == nil {
		for _, r := range reply.GetReplies() {
			if r.GetReason() == reasonOutOfOrder {
				n.mu.Unlock()
				return gulmerr.New(gulmerr.ErrOutOfOrder, "server %s misses a request before number %d", s.addr, r.GetSeq())
			}
			n.pipe.answer(r)
		}
		for _, e := range reply.GetEvents() {
			n.event(e)
		}
		for _, e := range reply.GetJournals() {
			n.journalEvent(e)
		}
		n.seen = max(n.seen, reply.GetIndex())
	}
	n.mu.Unlock()
	if reply.GetShed() {
		n.events.put(Event{Kind: EventShed, At: time.Now(), Server: s.addr})
	}
	if b := reply.GetBeat(); b != 0 && n.live.acknowledged(b) {
		s.good = true
		s.watch.Reset(n.live.patience)
	}
	return nil
}

// event hands an event to its lock, range or set.
func (n *Node) event(e *gulmv1.Event) {
	if l := n.locks[e.GetLock()]; l != nil {
		l.event(e)
		return
	}
	if c := n.ranges[e.GetLock()]; c != nil {
		c.event(e)
		return
	}
	if s := n.sets[e.GetLock()]; s != nil {
		s.event(e)
		return
	}
	if e.GetKind() == gulmv1.EventKind_EVENT_KIND_DENIED {
		n.acknowledge(e.GetLock()) // nobody else will: the lock was left with its lockspace
	}
}

// reasonOutOfOrder is the one reason that is no answer to a request.
const reasonOutOfOrder = "OUT_OF_ORDER"

// write sends what is queued, and the beats, until the stream ends. All that is
// queued while one message is sent goes into the next.
func (s *stream) write(ctx context.Context) {
	n := s.node
	beat := time.NewTimer(n.live.beat)
	defer beat.Stop()
	var next time.Time // of the next beat
	for {
		msg := &gulmv1.SessionRequest{}
		if now := time.Now(); !now.Before(next) {
			next = now.Add(n.live.beat)
			beat.Reset(n.live.beat)
			if msg.Beat = n.live.nextBeat(); msg.Beat != 0 {
				msg.Troubles = n.health.tell(now)
			}
		}
		n.mu.Lock()
		msg.Requests = n.pipe.gather()
		msg.Confirmed = n.pipe.confirmed
		n.mu.Unlock()
		if msg.Beat == 0 && len(msg.Requests) == 0 {
			select {
			case <-beat.C:
			case <-n.pipe.wake:
				runtime.Gosched() // lets callers that are about to queue do so
			case <-ctx.Done():
				return
			}
			continue
		}
		if s.grpc.Send(msg) != nil {
			return // Recv says why
		}
	}
}
