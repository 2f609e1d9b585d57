package client

import (
	"context"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

func (s *fakeServer) check() error {
	s.cluster.mu.Lock()
	master := s.cluster.master == s.addr
	s.cluster.mu.Unlock()
	if !master {
		return gulmerr.ToStatus(s.cluster.notMaster())
	}
	return nil
}

// Locate answers for every role.
func (s *fakeServer) Locate(context.Context, *gulmv1.LocateRequest) (*gulmv1.LocateReply, error) {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults.locate != nil {
		if reply := c.faults.locate(s.addr); reply != nil {
			return reply, nil
		}
	}
	reply := &gulmv1.LocateReply{Cluster: fakeClusterName, Server: "lk" + s.addr, Role: gulmv1.ServerRole_SERVER_ROLE_PENDING}
	if c.master != "" {
		reply.Role = gulmv1.ServerRole_SERVER_ROLE_STANDBY
		reply.Master = &gulmv1.ServerAddress{Name: "lk" + c.master, Address: c.master}
	}
	if c.master == s.addr {
		reply.Role = gulmv1.ServerRole_SERVER_ROLE_MASTER
	}
	return reply, nil
}

// Login makes a session, once for each login id.
func (s *fakeServer) Login(ctx context.Context, req *gulmv1.LoginRequest) (*gulmv1.LoginReply, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	c := s.cluster
	c.mu.Lock()
	if err := c.faults.login; err != nil {
		c.mu.Unlock()
		return nil, gulmerr.ToStatus(err)
	}
	var session *fakeSession
	for _, old := range c.sessions {
		if old.loginID == string(req.GetLoginId()) {
			session = old
		}
	}
	if session == nil {
		session = &fakeSession{
			number: uint64(len(c.sessions) + 1), loginID: string(req.GetLoginId()), node: req.GetNode(),
			replies: map[uint64]*gulmv1.Reply{}, locks: map[uint64]*fakeLock{}, spaces: map[uint32]bool{}, ended: map[uint64]error{},
		}
		c.sessions[session.number] = session
	}
	session.watchdog = max(session.watchdog, req.GetWatchdogMs())
	reply := &gulmv1.LoginReply{
		Session: session.number, Incarnation: session.number, HeartbeatRateMs: c.rate.Milliseconds(),
		ExpiryMs: c.expiry.Milliseconds(), MaxInFlight: c.inFlight,
	}
	for addr := range c.servers {
		reply.Servers = append(reply.Servers, &gulmv1.ServerAddress{Name: "lk" + addr, Address: addr})
	}
	lost := c.faults.loginLost
	c.mu.Unlock()
	if lost {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return reply, nil
}

// Logout ends a session and drops what it holds.
func (s *fakeServer) Logout(_ context.Context, req *gulmv1.LogoutRequest) (*gulmv1.LogoutReply, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logouts++
	session := c.sessions[req.GetSession()]
	if session == nil || session.over != nil {
		return &gulmv1.LogoutReply{}, nil
	}
	session.over = gulmerr.ErrNoSession
	session.end(session.over)
	for _, l := range session.locks {
		c.drop(l)
	}
	return &gulmv1.LogoutReply{}, nil
}

// Session serves one stream.
func (s *fakeServer) Session(stream grpc.BidiStreamingServer[gulmv1.SessionRequest, gulmv1.SessionReply]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	session, out, err := s.cluster.attach(first.GetAttach())
	if err != nil {
		return gulmerr.ToStatus(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			msg, err := stream.Recv()
			if err != nil || !s.cluster.receive(session, out, msg) {
				return
			}
		}
	}()
	defer s.cluster.detach(session, out)
	for {
		s.cluster.mu.Lock()
		var send *gulmv1.SessionReply
		err := out.err
		if out.full && !s.cluster.faults.holdReplies && err == nil {
			send = &gulmv1.SessionReply{
				Replies: out.out.Replies, Events: out.out.Events, Index: s.cluster.index, Beat: out.out.Beat, Attached: out.out.Attached,
			}
			out.out.Reset()
			out.full = false
		}
		s.cluster.mu.Unlock()
		if err != nil {
			return gulmerr.ToStatus(err)
		}
		if send != nil {
			if err := stream.Send(send); err != nil {
				return err
			}
			continue
		}
		select {
		case <-out.wake:
		case <-ended:
			s.cluster.mu.Lock()
			err := out.err
			s.cluster.mu.Unlock()
			return gulmerr.ToStatus(err)
		case <-stream.Context().Done():
			return nil
		}
	}
}
