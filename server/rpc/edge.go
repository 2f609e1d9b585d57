package rpc

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"lock_gulmd/ccs"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/machine"
	"lock_gulmd/server/master"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/session"
)

// Limits of the gRPC server. The keepalive must let clients ping every 10 s.
const (
	maxRecvMessage    = 1 << 20
	maxSendMessage    = 4 << 20
	maxHeaders        = 16 << 10
	maxStreams        = 64
	streamWindow      = 1 << 20
	connectionWindow  = 4 << 20
	connectTimeout    = 5 * time.Second
	keepaliveTime     = 10 * time.Second
	keepaliveTimeout  = 5 * time.Second
	keepaliveMinTime  = 5 * time.Second
	closeTime         = time.Second
	itemsPerMessage   = 4096
	requestsPerStream = 4096 // of one message
)

// Config says what an Edge works with. All fields but Log, TLS and the flags are
// required.
type Config struct {
	// Cluster is the configuration.
	Cluster *ccs.Config
	// Server is this server's name.
	Server  string
	Version string
	Replica *replica.Replica
	Machine *machine.Machine
	Hub     *session.Hub
	Master  *master.Master
	// Leave logs a server out as AdminService.Shutdown asks; this server stops
	// soon after it returned nil.
	Leave func(ctx context.Context, force bool) error
	// TLS are the credentials of this server; nil only with Insecure.
	TLS credentials.TransportCredentials
	// Insecure serves plain text and believes everybody: development mode.
	Insecure bool
	// Reflection offers the gRPC reflection service: development mode.
	Reflection bool
	Log        *slog.Logger
}

// Edge is the gRPC side of one server. Use New and Close.
type Edge struct {
	cfg     Config
	log     *slog.Logger
	server  *grpc.Server
	health  *health.Server
	started time.Time
	readers sync.WaitGroup

	gulmv1.UnimplementedLockServiceServer
	gulmv1.UnimplementedCoreServiceServer
	gulmv1.UnimplementedAdminServiceServer
	gulmv1.UnimplementedPeerServiceServer
}

// New returns an Edge that is ready to serve.
func New(cfg Config) *Edge {
	e := &Edge{cfg: cfg, log: cfg.Log, health: health.NewServer(), started: time.Now()}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(e.unary), grpc.StreamInterceptor(e.stream),
		grpc.MaxRecvMsgSize(maxRecvMessage), grpc.MaxSendMsgSize(maxSendMessage), grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(connectTimeout),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connectionWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMinTime, PermitWithoutStream: true}),
	}
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(cfg.TLS))
	}
	e.server = grpc.NewServer(options...)
	gulmv1.RegisterLockServiceServer(e.server, e)
	gulmv1.RegisterCoreServiceServer(e.server, e)
	gulmv1.RegisterAdminServiceServer(e.server, e)
	gulmv1.RegisterPeerServiceServer(e.server, e)
	healthpb.RegisterHealthServer(e.server, e.health)
	e.SetServing(false)
	if cfg.Reflection {
		reflection.Register(e.server)
	}
	return e
}

// Server returns the gRPC server, to be given a listener.
func (e *Edge) Server() *grpc.Server { return e.server }

// SetServing tells health checks whether this server is the master; that the
// process lives is told by the health of "".
func (e *Edge) SetServing(master bool) {
	s := healthpb.HealthCheckResponse_NOT_SERVING
	if master {
		s = healthpb.HealthCheckResponse_SERVING
	}
	e.health.SetServingStatus(gulmv1.LockService_ServiceDesc.ServiceName, s)
}

// Close ends all streams, gives calls that are being answered closeTime, and
// waits for everything.
func (e *Edge) Close() {
	e.health.Shutdown()
	e.cfg.Hub.CloseAll(gulmerr.ErrShuttingDown)
	var graceful sync.WaitGroup
	graceful.Go(e.server.GracefulStop)
	timer := time.AfterFunc(closeTime, e.server.Stop)
	graceful.Wait()
	timer.Stop()
	e.readers.Wait()
}

// status turns a handler's error into what the caller sees, and logs those that
// are nobody's fault but ours.
func (e *Edge) status(method string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, gulmerr.ErrNotMaster) && gulmerr.Meta(err, gulmerr.MetaAddress) == "" {
		err = e.notMaster()
	}
	if _, isStatus := status.FromError(err); isStatus && !errors.Is(err, context.Canceled) {
		return err
	}
	st := gulmerr.ToStatus(err)
	if status.Code(st) == codes.Internal {
		e.log.Error("call failed", "call", method, "err", err)
	}
	return st
}

// notMaster says where the master is, as far as this server knows.
func (e *Edge) notMaster() error {
	s := e.cfg.Replica.Status()
	if s.Leading {
		return gulmerr.NotMaster("", "")
	}
	for _, server := range e.cfg.Cluster.Servers() {
		if server.Name == s.Leader {
			return gulmerr.NotMaster(server.Name, server.CoreAddr)
		}
	}
	return gulmerr.NotMaster("", "")
}
