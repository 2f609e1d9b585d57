package rpc

import (
	"context"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/master"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/session"
	"lock_gulmd/server/state"
)

// Locate says which server this is and where the master is.
func (e *Edge) Locate(context.Context, *gulmv1.LocateRequest) (*gulmv1.LocateReply, error) {
	s := e.cfg.Replica.Status()
	reply := &gulmv1.LocateReply{
		Cluster: e.cfg.Cluster.Name, Server: e.cfg.Server, Role: roleToWire(e.cfg.Master.Role(s)), Servers: e.servers(),
	}
	for _, server := range reply.Servers {
		if server.GetName() == s.Leader && (!s.Leading || e.cfg.Master.Serving()) {
			reply.Master = server
		}
	}
	return reply, nil
}

func (e *Edge) servers() []*gulmv1.ServerAddress {
	var out []*gulmv1.ServerAddress
	for _, s := range e.cfg.Cluster.Servers() {
		out = append(out, &gulmv1.ServerAddress{Name: s.Name, Address: s.CoreAddr})
	}
	return out
}

// Login starts a session of a configured node.
func (e *Edge) Login(ctx context.Context, req *gulmv1.LoginRequest) (*gulmv1.LoginReply, error) {
	if err := e.checkLogin(ctx, req); err != nil {
		return nil, err
	}
	login := state.Login{LoginRequest: member.LoginRequest{Node: req.GetNode(), BootID: req.GetBootId(), Process: req.GetProcess()}}
	login.Expiry = e.cfg.Cluster.Expiry().Milliseconds()
	login.Watchdog = req.GetWatchdogMs()
	copy(login.LoginID[:], req.GetLoginId())
	login.Flags, login.Replaces = flagsOf(req), e.cfg.Master.Replaces(req.GetNode(), req.GetReplaces())
	earlier := e.lifeOf(req.GetNode())
	result, err := e.cfg.Master.Do(ctx, login)
	if err != nil {
		return nil, err
	}
	e.noteReboot(req.GetNode(), earlier, result)
	if result.Reason != reason.None {
		return nil, e.loginRefused(req.GetNode(), result.Reason)
	}
	e.cfg.Master.Alive(result.Login.Number, 0)
	e.log.Info("node logged in", "server", e.cfg.Server, "node", req.GetNode(), "incarnation", result.Login.Incarnation,
		"session", result.Login.Number, "process", req.GetProcess())
	return &gulmv1.LoginReply{
		Session: result.Login.Number, Incarnation: result.Login.Incarnation,
		HeartbeatRateMs: e.cfg.Cluster.Lock.HeartbeatRate.Milliseconds(), ExpiryMs: e.cfg.Cluster.Expiry().Milliseconds(),
		MaxInFlight: uint32(e.cfg.Cluster.Lock.MaxRequestsInFlight), Servers: e.servers(),
	}, nil
}

func (e *Edge) checkLogin(ctx context.Context, req *gulmv1.LoginRequest) error {
	if req.GetCluster() != e.cfg.Cluster.Name {
		return gulmerr.New(gulmerr.ErrWrongCluster, "this is cluster %q, not %q", e.cfg.Cluster.Name, clip(req.GetCluster()))
	}
	n, ok := e.cfg.Cluster.Node(req.GetNode())
	switch {
	case ok && len(n.Methods) == 0:
		return gulmerr.New(gulmerr.ErrBadConfig, "node %q has no fence methods in nodes.ccs: its locks would never be free again if it failed",
			req.GetNode())
	case !ok:
		return gulmerr.New(gulmerr.ErrUnknownNode, "node %q is not in nodes.ccs of cluster %q", clip(req.GetNode()), e.cfg.Cluster.Name)
	}
	if len(req.GetLoginId()) != len(member.LoginID{}) {
		return gulmerr.New(gulmerr.ErrInvalid, "login_id has %d bytes, want %d", len(req.GetLoginId()), len(member.LoginID{}))
	}
	return mayBe(ctx, req.GetNode())
}

// clip keeps strangers' texts short in messages.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

// Logout ends a session; one that is gone already is no error.
func (e *Edge) Logout(ctx context.Context, req *gulmv1.LogoutRequest) (*gulmv1.LogoutReply, error) {
	if !e.cfg.Master.Serving() {
		return nil, e.notMaster()
	}
	found, gone, err := e.ownSession(ctx, req.GetSession(), req.GetLoginId())
	if gone {
		return &gulmv1.LogoutReply{}, e.confirmed(ctx, nil)
	}
	if err != nil {
		return nil, e.confirmed(ctx, err)
	}
	result, err := e.cfg.Master.Do(ctx, state.Logout{Session: found.Number})
	if err != nil {
		return nil, err
	}
	if result.Reason != reason.NoSession {
		if err := master.Refused(result.Reason, "logout of session %d", found.Number); err != nil {
			return nil, err
		}
	}
	e.log.Info("node logged out", "server", e.cfg.Server, "node", found.Node, "incarnation", found.Incarnation, "session", found.Number)
	return &gulmv1.LogoutReply{}, nil
}

// ownSession returns the caller's session; gone is true if it does not exist.
func (e *Edge) ownSession(ctx context.Context, number uint64, loginID []byte) (found member.Session, gone bool, err error) {
	e.cfg.Machine.View(func(s *state.State) {
		if _, ok := s.Members().Session(number); !ok {
			gone = true
			return
		}
		found, err = e.session(ctx, s, number, loginID)
	})
	return found, gone, err
}

// Nodes lists all nodes of the configuration.
func (e *Edge) Nodes(context.Context, *gulmv1.NodesRequest) (*gulmv1.NodesReply, error) {
	return &gulmv1.NodesReply{Nodes: e.nodes()}, nil
}

// Watch sends all nodes, then every one that changes.
func (e *Edge) Watch(_ *gulmv1.WatchRequest, stream grpc.ServerStreamingServer[gulmv1.WatchReply]) error {
	term := e.cfg.Master.Term()
	var watcher *session.Watcher
	var index uint64
	e.cfg.Machine.View(func(s *state.State) { watcher, index = e.cfg.Hub.Watch(), s.Index() })
	defer e.cfg.Hub.Unwatch(watcher)
	if term == 0 || e.cfg.Master.Term() != term {
		return e.notMaster()
	}
	nodes := e.nodes()
	for i, n := range nodes {
		if err := stream.Send(&gulmv1.WatchReply{Node: n, Index: index, Listed: i == len(nodes)-1}); err != nil {
			return err
		}
	}
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-watcher.Wake():
		}
		changed, err := watcher.Take()
		if err != nil {
			return err
		}
		for _, name := range changed {
			n, index := e.node(name)
			if err := stream.Send(&gulmv1.WatchReply{Node: n, Index: index}); err != nil {
				return err
			}
		}
	}
}

func roleToWire(r master.Role) gulmv1.ServerRole { return gulmv1.ServerRole(r) }
