package rpc

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/session"
	"lock_gulmd/server/state"
)

// Session serves one session's stream: this goroutine sends what its outbox
// holds, another one reads what the session asks.
func (e *Edge) Session(stream grpc.BidiStreamingServer[gulmv1.SessionRequest, gulmv1.SessionReply]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	attach := first.GetAttach()
	if attach == nil {
		return gulmerr.New(gulmerr.ErrInvalid, "the first message of a session stream must attach")
	}
	box, attached, err := e.attach(stream.Context(), attach)
	if err != nil {
		return err
	}
	defer e.cfg.Hub.Detach(box)
	if err := stream.Send(&gulmv1.SessionReply{Attached: attached}); err != nil {
		return err
	}
	// The reader ends when this handler has returned, since gRPC then ends the
	// stream that it reads; Close waits for it.
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	e.readers.Go(func() { cancel(e.read(ctx, stream, first, attach)) })
	return e.send(ctx, stream, box)
}

// attach checks who wants the session and gives it an outbox that begins with
// what changed since it last saw anything.
func (e *Edge) attach(ctx context.Context, a *gulmv1.Attach) (*session.Outbox, *gulmv1.Attached, error) {
	term := e.cfg.Master.Term()
	if term == 0 {
		return nil, nil, e.notMaster()
	}
	var (
		box      *session.Outbox
		attached = &gulmv1.Attached{Term: term}
		err      error
	)
	e.cfg.Machine.View(func(s *state.State) {
		var found member.Session
		if found, err = e.session(ctx, s, a.GetSession(), a.GetLoginId()); err != nil {
			return
		}
		attached.Applied = s.Applied(found.Number)
		events := s.Locks().Changed(lock.Session(found.Number), a.GetSeenIndex(), nil)
		journals := s.Journals().Changed(found.Number, a.GetSeenIndex(), nil)
		box = e.cfg.Hub.Attach(found.Number, s.Index(), events, journals...)
	})
	if err != nil {
		return nil, nil, e.confirmed(ctx, err)
	}
	if e.cfg.Master.Term() != term {
		e.cfg.Hub.Detach(box) // the term ended in between, nobody would close the outbox
		return nil, nil, e.notMaster()
	}
	return box, attached, nil
}

// confirmed returns err if this server still is the master: to a session it says
// for good that it is over, and a deposed master may not know better.
func (e *Edge) confirmed(ctx context.Context, err error) error {
	if verifyErr := e.cfg.Master.Verify(ctx); verifyErr != nil {
		return verifyErr
	}
	return err
}

// session returns a live session that the caller has proved to be its own.
func (e *Edge) session(ctx context.Context, s *state.State, number uint64, loginID []byte) (member.Session, error) {
	found, ok := s.Members().Session(number)
	switch {
	case !ok:
		return found, gulmerr.New(gulmerr.ErrNoSession, "session %d does not exist (any more): log in again", number)
	case subtle.ConstantTimeCompare(found.LoginID[:], loginID) != 1:
		return found, gulmerr.New(gulmerr.ErrPermission, "session %d belongs to another process", number)
	case found.Flags.Has(member.Server):
		return found, gulmerr.New(gulmerr.ErrPermission, "session %d is that of lock server %s itself", number, found.Node)
	case found.Frozen:
		return found, gulmerr.New(gulmerr.ErrNodeExpired, "node %s is expired: stop all I/O", found.Node)
	}
	return found, mayBe(ctx, found.Node)
}

// read hands the session's requests on until the stream ends.
func (e *Edge) read(
	ctx context.Context, stream grpc.BidiStreamingServer[gulmv1.SessionRequest, gulmv1.SessionReply],
	first *gulmv1.SessionRequest, a *gulmv1.Attach,
) error {
	number, confirmed := a.GetSession(), a.GetConfirmed()
	for message := first; ; {
		e.cfg.Master.Alive(number, message.GetBeat())
		if message.GetBeat() != 0 {
			e.cfg.Master.Troubled(number, troublesFromWire(message.GetTroubles(), time.Now()))
		}
		if len(message.GetRequests()) > requestsPerStream {
			return gulmerr.New(gulmerr.ErrLimit, "a message carries at most %d requests", requestsPerStream)
		}
		if len(message.GetRequests()) > 0 || message.GetConfirmed() > confirmed {
			confirmed = max(confirmed, message.GetConfirmed())
			group := state.Group{Session: number, Confirmed: confirmed, Requests: requestsFromWire(message.GetRequests())}
			if err := e.cfg.Master.Submit(ctx, group); err != nil {
				return err
			}
		}
		var err error
		if message, err = stream.Recv(); err != nil {
			return err
		}
	}
}

// send sends what the outbox holds until it is closed or the reader gave up.
func (e *Edge) send(
	ctx context.Context, stream grpc.BidiStreamingServer[gulmv1.SessionRequest, gulmv1.SessionReply], box *session.Outbox,
) error {
	for {
		select {
		case <-ctx.Done():
			err := context.Cause(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-box.Wake():
		}
		m, err := box.Take()
		if err != nil {
			return err
		}
		for {
			replies := m.Replies
			reply, more := nextReply(&m, e.nodeNames)
			e.nameHolders(replies, reply.Replies)
			if err := stream.Send(reply); err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
}

// nextReply takes up to itemsPerMessage replies or events out of m; only the
// last part carries the index, since nothing is told before all of it is.
func nextReply(m *session.Message, names namer) (*gulmv1.SessionReply, bool) {
	reply := &gulmv1.SessionReply{}
	n := min(len(m.Replies), itemsPerMessage)
	reply.Replies, m.Replies = repliesToWire(m.Replies[:n], names), m.Replies[n:]
	n = 0
	if len(m.Replies) == 0 {
		n = min(len(m.Events), itemsPerMessage)
	}
	reply.Events, m.Events = eventsToWire(m.Events[:n]), m.Events[n:]
	if len(m.Replies) > 0 || len(m.Events) > 0 {
		return reply, true
	}
	reply.Journals = journalsToWire(m.Journals)
	reply.Index, reply.Beat, reply.Shed = m.Index, m.Beat, m.Shed
	return reply, false
}

// unknownOp is what no operation is.
const unknownOp = state.Op(255)

func requestsFromWire(in []*gulmv1.Request) []state.Request {
	out := make([]state.Request, len(in))
	for i, r := range in {
		name := r.GetName()
		op := small[state.Op](r.GetOp())
		if len(name) > lock.MaxName || r.GetValueLen() > lock.MaxValueLen {
			// Refused by the state, without a place in the log for the name; to some
			// operations no name means everything.
			name, op = nil, unknownOp
		}
		value := r.GetValue()
		if len(value) > lock.MaxValueLen {
			value = value[:lock.MaxValueLen+1] // likewise
		}
		out[i] = state.Request{
			Seq: r.GetSeq(), Op: op, Lock: lock.ID(r.GetLock()), Lockspace: r.GetLockspace(), Name: name,
			Mode: small[lock.Mode](r.GetMode()), Flags: lock.Flags(r.GetFlags()), Policy: small[lock.Policy](r.GetPolicy()),
			Lease: r.GetLeaseMs(),
			Value: value, ValueLen: uint8(r.GetValueLen()), Journals: r.GetJournals(), JID: r.GetJid(),
			Entries: entriesFromWire(r.GetEntries()), Terms: lock.Terms{Owner: r.GetOwner(), Timeout: r.GetTimeoutMs()},
			Range: state.Range{Owner: r.GetRangeOwner(), Start: r.GetRangeStart(), End: r.GetRangeEnd(), Skip: r.GetRangeSkip()},
			Sub:   r.GetSub(), Node: clipped(r.GetNode(), maxNodeName),
		}
	}
	return out
}

// small narrows an enum of the wire to a byte; numbers that do not fit become
// 255, which nothing knows.
func small[T ~uint8, E ~int32](e E) T {
	if e < 0 || e > 255 {
		return 255
	}
	return T(e)
}

func repliesToWire(in []state.Reply, names namer) []*gulmv1.Reply {
	out, values := make([]*gulmv1.Reply, len(in)), make([]gulmv1.Reply, len(in))
	for i := range in {
		r, w := &in[i], &values[i]
		w.Seq, w.Outcome, w.Mode = r.Seq, gulmv1.Outcome(r.Outcome), gulmv1.Mode(r.Mode)
		w.Token, w.Number, w.Reason = r.Token, r.Number, r.Reason.String()
		w.Status, w.Value = uint32(r.Status), r.Value
		if r.Conflicts != nil {
			w.Conflicts, w.More = conflictsToWire(r.Conflicts.List, names(r.Conflicts.List)), r.Conflicts.More
		}
		out[i] = w
	}
	return out
}

func eventsToWire(in []lock.Event) []*gulmv1.Event {
	out, values := make([]*gulmv1.Event, len(in)), make([]gulmv1.Event, len(in))
	for i := range in {
		ev, w := &in[i], &values[i]
		w.Lock, w.Kind, w.Mode, w.Token = uint64(ev.Lock), gulmv1.EventKind(ev.Kind), gulmv1.Mode(ev.Mode), ev.Token
		w.Status, w.Value, w.Reason = uint32(ev.Status), ev.Value, ev.Reason.String()
		w.Detail = ev.Detail
		out[i] = w
	}
	return out
}
