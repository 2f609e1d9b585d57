package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"lock_gulmd/fence"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/machine"
	"lock_gulmd/server/master"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/rpc"
	"lock_gulmd/server/session"
	"lock_gulmd/server/state"
)

// rolePeriod is how often a server looks whether its role has changed, for the
// log and the health service.
const rolePeriod = 100 * time.Millisecond

// Server is one lock_gulmd. Use Open and Close.
type Server struct {
	opt     Options
	log     *slog.Logger
	machine *machine.Machine
	hub     *session.Hub
	replica *replica.Replica
	master  *master.Master
	edge    *rpc.Edge
	peers   *peers

	cancel context.CancelFunc
	wg     sync.WaitGroup

	// noter is the master from when it exists: the log is applied before that.
	noter atomic.Pointer[master.Master]
	// leaving is set once this server has begun to log out.
	leaving atomic.Bool
	ending  sync.Once
	done    chan struct{}
	err     error
}

// Open starts a server; it serves as soon as the servers have a master. An error
// says what is wrong with the options or the data folder and leaves nothing
// running, but for the listeners, which are the caller's until Open succeeds.
func Open(opt Options) (*Server, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	s := &Server{opt: opt, log: opt.Log, hub: session.NewHub(0), done: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.opt.identify(); err != nil {
		return nil, err
	}
	s.peers = newPeers(&s.opt)
	s.machine = machine.New(func(a *machine.Applied) {
		s.hub.Deliver(a)
		s.noter.Load().Note(a)
	})
	// Streams that are still attached would miss what the snapshot skips.
	s.machine.OnRestore = func() { s.hub.CloseAll(gulmerr.NotMaster("", "")) }
	var err error
	if s.replica, err = replica.Open(s.replicaConfig(), s.machine); err != nil {
		return nil, err
	}
	s.master = master.New(s.masterConfig())
	s.noter.Store(s.master)
	s.edge = rpc.New(s.edgeConfig())
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wg.Go(func() { s.master.Run(ctx) })
	s.wg.Go(func() { s.watchRole(ctx) })
	s.wg.Go(func() { s.announce(ctx) })
	s.wg.Go(func() { s.explain(ctx) })
	s.wg.Go(func() {
		if err := s.edge.Server().Serve(opt.Core); err != nil {
			s.end(err)
		}
	})
	return s, nil
}

func (s *Server) replicaConfig() replica.Config {
	cfg := replica.Config{
		Cluster: s.opt.Cluster.Name, Server: s.opt.Name, Dir: s.opt.Dir, Memory: s.opt.Memory, Stream: s.opt.Raft, Log: s.log,
		ConfigDigest: s.opt.Cluster.Digest(), OnMismatch: s.peers.mismatch, Fatal: s.fatal,
	}
	for _, p := range s.opt.Cluster.Servers() {
		cfg.Servers = append(cfg.Servers, replica.Peer{Name: p.Name, RaftAddr: p.RaftAddr})
	}
	if s.opt.TLS != nil {
		cfg.VerifyPeer = verifyPeer(s.opt.Cluster.Name)
	}
	if s.opt.Tune != nil {
		s.opt.Tune(&cfg)
	}
	return cfg
}

func (s *Server) masterConfig() master.Config {
	lock := &s.opt.Cluster.Lock
	backoff := fence.Backoff{First: lock.FenceRetryPause, Max: lock.FenceRetryPauseMax}
	cfg := master.Config{
		Server: s.opt.Name, Replica: s.replica, Machine: s.machine, Hub: s.hub, Fencer: s.opt.Fencer, Plan: s.opt.Cluster.FencePlan,
		// Backoff counts the rounds to come from 1.
		FencePause:    func(round int) time.Duration { return backoff.Pause(round + 2) },
		HeartbeatRate: lock.HeartbeatRate, Expiry: lock.Expiry(), Log: s.log,
		Limits: state.Limits{
			Locks: uint64(lock.MaxLocks), Resources: uint64(lock.MaxResources), Lockspaces: uint64(lock.MaxLockspaces),
			Sessions: uint64(lock.MaxSessions), InFlight: uint64(lock.MaxRequestsInFlight),
		},
	}
	cfg.HighLocks, cfg.ShedInterval = uint64(lock.HighLocks), lock.DropInterval
	cfg.TrustReboot = lock.TrustReboot
	cfg.Breaker = master.Breaker{Nodes: lock.BreakerNodes, Percent: lock.BreakerPercent, Window: lock.BreakerWindow}
	if lock.FenceServers {
		cfg.BootID, cfg.Container = s.opt.BootID, *s.opt.Container
	}
	if cfg.Fencer == nil {
		cfg.Fencer = &fence.Runner{Log: s.log}
	}
	cfg.RehearseInterval, cfg.FenceSettle = lock.FenceRehearsalInterval, lock.FenceSettleTime
	cfg.Rehearser, _ = cfg.Fencer.(fence.Rehearser)
	return cfg
}

func (s *Server) edgeConfig() rpc.Config {
	cfg := rpc.Config{
		Cluster: s.opt.Cluster, Server: s.opt.Name, Version: s.opt.Version, Replica: s.replica, Machine: s.machine, Hub: s.hub,
		Master: s.master, Leave: s.Leave, Insecure: s.opt.Insecure, Reflection: s.opt.Reflection, Log: s.log,
	}
	if s.opt.TLS != nil {
		cfg.TLS = credentials.NewTLS(TLSConfig(s.opt.TLS))
	}
	return cfg
}

// Done is closed when the server should be closed: it was asked to shut down, or
// cannot go on.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns, once Done is closed, why the server cannot go on; nil if it was
// asked to shut down.
func (s *Server) Err() error {
	<-s.done
	return s.err
}

func (s *Server) end(err error) {
	s.ending.Do(func() {
		s.err = err
		close(s.done)
	})
}

// fatal is called by the replica when this server must not go on.
func (s *Server) fatal(err error) {
	s.log.Error("server cannot go on", "server", s.opt.Name, "err", err)
	s.end(err)
}

// Serving reports whether this server is the master.
func (s *Server) Serving() bool { return s.master.Serving() }

// Role returns what the server is at the moment.
func (s *Server) Role() master.Role { return s.master.Role(s.replica.Status()) }

// Status returns the replicated log's status.
func (s *Server) Status() replica.Status { return s.replica.Status() }

// View calls f with the state; see machine.Machine.View.
func (s *Server) View(f func(*state.State)) { s.machine.View(f) }

// Leave logs this server out cleanly, so that its silence is no failure, hands
// the mastership over if it has it, and closes Done. Without force it is refused
// with ErrLastQuorum if nodes would be left without quorum, and with an error if
// no master can be told; with force it always succeeds.
func (s *Server) Leave(ctx context.Context, force bool) error {
	s.leaving.Store(true)
	err := s.tellMaster(ctx, force)
	if err != nil && !force {
		s.leaving.Store(false)
		return err
	}
	if err != nil {
		s.log.Warn("leaving without having told the master", "server", s.opt.Name, "err", err)
	}
	if s.master.Serving() {
		if err := s.replica.TransferLeadership(ctx); err != nil {
			s.log.Info("mastership is not handed over, the others elect", "server", s.opt.Name, "err", err)
		}
	}
	s.end(nil)
	return nil
}

func (s *Server) tellMaster(ctx context.Context, force bool) error {
	if s.master.Serving() {
		return s.edge.LetGo(ctx, s.opt.Name, force)
	}
	st := s.replica.Status()
	if st.Leading || st.Leader == "" {
		return gulmerr.New(gulmerr.ErrNoQuorum, "no master can be told that %s leaves: wait until there is one, or use --force", s.opt.Name)
	}
	return s.peers.leave(ctx, st.Leader, force)
}

// Close stops everything and waits for it. It does not log out: see Leave.
func (s *Server) Close(ctx context.Context) error {
	s.end(nil)
	s.cancel()
	s.edge.Close()
	err := s.replica.Close(ctx)
	s.wg.Wait()
	s.peers.close()
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the replicated log did not stop in time")
	}
	return err
}

// watchRole logs changes of the role and tells the health service.
func (s *Server) watchRole(ctx context.Context) {
	last := master.Role(-1)
	for {
		if role := s.Role(); role != last {
			st := s.replica.Status()
			s.log.Info("role changed", "server", s.opt.Name, "role", role.String(), "term", st.Term, "master", st.Leader)
			s.edge.SetServing(role == master.Serving)
			last = role
		}
		if !wait(ctx, rolePeriod) {
			return
		}
	}
}

// wait waits for d, and reports false if ctx ended meanwhile.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
