package rpc

import (
	"context"

	"lock_gulmd/ccs"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// Settings returns what must be equal on all servers.
func (e *Edge) Settings(context.Context, *gulmv1.SettingsRequest) (*gulmv1.SettingsReply, error) {
	reply := &gulmv1.SettingsReply{Server: e.cfg.Server, Digest: e.cfg.Cluster.Digest()}
	for _, s := range e.cfg.Cluster.Settings() {
		reply.Settings = append(reply.Settings, &gulmv1.Setting{Key: s.Key, Value: s.Value})
	}
	return reply, nil
}

// SettingsFromWire returns a peer's settings.
func SettingsFromWire(reply *gulmv1.SettingsReply) []ccs.Setting {
	var out []ccs.Setting
	for _, s := range reply.GetSettings() {
		out = append(out, ccs.Setting{Key: s.GetKey(), Value: s.GetValue()})
	}
	return out
}

// Enter notes that a server has started.
func (e *Edge) Enter(ctx context.Context, req *gulmv1.EnterRequest) (*gulmv1.EnterReply, error) {
	if err := e.checkServer(ctx, req.GetServer()); err != nil {
		return nil, err
	}
	if req.GetDigest() != e.cfg.Cluster.Digest() {
		return nil, gulmerr.New(gulmerr.ErrBadConfig, "configuration of server %s differs from that of %s", req.GetServer(), e.cfg.Server)
	}
	earlier := e.lifeOf(req.GetServer())
	result, err := e.cfg.Master.Do(ctx, e.cfg.Master.Entering(req.GetServer(), req.GetBootId(), req.GetContainer(), req.GetReplaces()))
	if err != nil {
		return nil, err
	}
	if result.Login.Number != 0 || result.Reason != reason.None {
		e.noteReboot(req.GetServer(), earlier, result)
	}
	if result.Reason != reason.None {
		return nil, e.loginRefused(req.GetServer(), result.Reason)
	}
	if result.Login.Number != 0 {
		e.cfg.Master.Alive(result.Login.Number, 0)
	}
	e.log.Info("server entered", "server", req.GetServer(), "incarnation", result.Login.Incarnation)
	return &gulmv1.EnterReply{}, nil
}

// Leave notes that a server logs out, unless the cluster could not go on without
// it.
func (e *Edge) Leave(ctx context.Context, req *gulmv1.LeaveRequest) (*gulmv1.LeaveReply, error) {
	if err := e.checkServer(ctx, req.GetServer()); err != nil {
		return nil, err
	}
	if err := e.LetGo(ctx, req.GetServer(), req.GetForce()); err != nil {
		return nil, err
	}
	return &gulmv1.LeaveReply{}, nil
}

func (e *Edge) checkServer(ctx context.Context, name string) error {
	if !e.cfg.Cluster.IsServer(name) {
		return gulmerr.New(gulmerr.ErrUnknownNode, "%q is no lock server of cluster %q", clip(name), e.cfg.Cluster.Name)
	}
	return mayBe(ctx, name)
}

// LetGo commits, on the master, that a server logs out cleanly. Errors:
// ErrLastQuorum if nodes are logged in that would be left without quorum, unless
// force; ErrNotMaster and the other errors of Do.
func (e *Edge) LetGo(ctx context.Context, server string, force bool) error {
	if !e.cfg.Master.Serving() {
		return e.notMaster()
	}
	if !e.cfg.Master.QuorumWithout(server) {
		err := e.nodesInTheWay(server)
		if err != nil && !force {
			return err
		}
		if err != nil {
			e.log.Warn("server logs out by force", "server", server, "operator", caller(ctx).Name, "reason", err.Error())
		}
	}
	_, err := e.cfg.Master.Do(ctx, state.ServerLeft{Server: server})
	if err == nil {
		e.log.Info("server logged out", "server", server)
	}
	return err
}
