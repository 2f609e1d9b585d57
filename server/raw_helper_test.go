package server_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// raw speaks the contract by hand, as a faulty or hostile node would.
type raw struct {
	t       *testing.T
	conn    *grpc.ClientConn
	session uint64
	loginID []byte
	seq     uint64
	stream  gulmv1.LockService_SessionClient
}

// login logs a node in from its own host.
func (w *world) login(node, server string) *raw {
	w.t.Helper()
	r := &raw{t: w.t, conn: w.conn(node, server), loginID: slices.Repeat([]byte{9}, 16)}
	reply, err := gulmv1.NewCoreServiceClient(r.conn).Login(w.t.Context(), &gulmv1.LoginRequest{
		Cluster: "sim", Node: node, BootId: "raw", LoginId: r.loginID, Process: "raw",
	})
	if err != nil {
		w.t.Fatalf("login %s: %v", node, err)
	}
	r.session = reply.GetSession()
	return r
}

// open opens a stream and sends its first message; an error comes from the
// first answer.
func (r *raw) open(ctx context.Context, first *gulmv1.SessionRequest) (*gulmv1.SessionReply, error) {
	r.t.Helper()
	stream, err := gulmv1.NewLockServiceClient(r.conn).Session(ctx)
	if err != nil {
		return nil, gulmerr.FromStatus(err)
	}
	r.stream = stream
	_ = stream.Send(first) // Recv says why
	reply, err := stream.Recv()
	return reply, gulmerr.FromStatus(err)
}

// attach opens the session's stream.
func (r *raw) attach(seen uint64) *gulmv1.SessionReply {
	r.t.Helper()
	reply, err := r.open(r.t.Context(), &gulmv1.SessionRequest{
		Attach: &gulmv1.Attach{Session: r.session, LoginId: r.loginID, SeenIndex: seen},
	})
	if err != nil {
		r.t.Fatalf("attach session %d: %v", r.session, err)
	}
	return reply
}

// next numbers requests.
func (r *raw) next(requests ...*gulmv1.Request) []*gulmv1.Request {
	for _, q := range requests {
		r.seq++
		q.Seq = r.seq
	}
	return requests
}

// do sends requests and returns their replies.
func (r *raw) do(requests ...*gulmv1.Request) []*gulmv1.Reply {
	r.t.Helper()
	if err := r.stream.Send(&gulmv1.SessionRequest{Requests: r.next(requests...)}); err != nil {
		r.t.Fatal(err)
	}
	var replies []*gulmv1.Reply
	for len(replies) < len(requests) {
		m, err := r.stream.Recv()
		if err != nil {
			r.t.Fatalf("after %d of %d replies: %v", len(replies), len(requests), gulmerr.FromStatus(err))
		}
		replies = append(replies, m.GetReplies()...)
	}
	return replies
}

// join joins "fs" and returns its number.
func (r *raw) join() uint32 {
	r.t.Helper()
	reply := r.do(&gulmv1.Request{Op: gulmv1.Op_OP_JOIN, Name: []byte("fs")})[0]
	if reply.GetOutcome() != gulmv1.Outcome_OUTCOME_JOINED {
		r.t.Fatalf("join: %v", reply)
	}
	return reply.GetNumber()
}

// beats sends a numbered beat from time to time and collects what is
// acknowledged, until ctx ends.
func (r *raw) beats(ctx context.Context, every time.Duration, acknowledged func(beat uint64)) {
	go func() {
		for {
			m, err := r.stream.Recv()
			if err != nil {
				return
			}
			if m.GetBeat() > 0 {
				acknowledged(m.GetBeat())
			}
		}
	}()
	for n := uint64(1); ctx.Err() == nil; n++ {
		if r.stream.Send(&gulmv1.SessionRequest{Beat: n}) != nil {
			return
		}
		time.Sleep(every)
	}
}
