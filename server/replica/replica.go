package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// logCache is how many of the newest entries are kept in memory for followers.
const logCache = 128

// quiesceLimit bounds how long Close waits for commands under way.
const quiesceLimit = 5 * time.Second

// Replica is one server's copy of the machine and its part in the cluster. All
// methods may be called from any goroutine.
type Replica struct {
	cfg       Config
	log       *slog.Logger
	disk      *disk
	id        *identity
	ledger    *ledger
	guard     *guard
	layer     *layer
	transport *transport
	fsm       *fsm
	raft      *raft.Raft

	failure   atomic.Pointer[error]
	fatalOnce sync.Once

	queue    chan *Future
	issued   chan *Future
	ops      opCount // what raft still owes an answer
	inflight admission
	stall    stallWatch

	transferMu   sync.Mutex
	transferTerm uint64 // the last term in which a hand-over was tried

	leadership chan Leadership
	notify     chan bool
	stop       chan struct{} // closed when Close begins
	gone       chan struct{} // closed when raft has stopped
	wg         sync.WaitGroup
	closeOnce  sync.Once
	closeErr   error
}

// Open starts this server's replica. It refuses, without changing anything, when
// the configuration is wrong, the folder is in use (ErrLocked), belongs to
// another server, or holds data that cannot be trusted (ErrDamaged). An empty
// folder becomes the disk of a new cluster's server: all servers with empty
// folders begin with the same configuration, and a server that joins others
// which knew it with another disk is refused by them.
func Open(cfg Config, m Machine) (*Replica, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("replica configuration: %w", err)
	}
	opened := false
	defer func() {
		if !opened {
			_ = cfg.Stream.Close()
		}
	}()
	rl := newRaftLogger(cfg.Log)
	d, err := openDisk(cfg, rl)
	if err != nil {
		return nil, err
	}
	r, err := open(cfg, m, d, rl)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	opened = true
	return r, nil
}

func open(cfg Config, m Machine, d *disk, rl *raftLogger) (*Replica, error) {
	if cfg.hooks.faults != nil {
		cfg.hooks.faults(d)
	}
	id, err := bindIdentity(cfg, d)
	if err != nil {
		return nil, err
	}
	if !cfg.hooks.noVerify {
		if err := d.verifyData(); err != nil {
			return nil, err
		}
	}
	peers, err := openLedger(d)
	if err != nil {
		return nil, err
	}
	r := &Replica{
		cfg:        cfg,
		log:        cfg.Log,
		disk:       d,
		id:         id,
		ledger:     peers,
		queue:      make(chan *Future, cfg.MaxInFlight+maxBarriers),
		issued:     make(chan *Future, cfg.MaxInFlight+maxBarriers),
		leadership: make(chan Leadership, 1),
		notify:     make(chan bool, 8),
		stop:       make(chan struct{}),
		gone:       make(chan struct{}),
	}
	r.ops.init()
	r.inflight = admission{maxCount: cfg.MaxInFlight, maxBytes: cfg.MaxInFlightBytes}
	r.guard = newGuard(cfg, r.Fail)
	r.fsm = &fsm{machine: m, noCRC: cfg.hooks.noCRC, failed: r.hasFailed, fail: r.Fail}
	if err := r.start(rl); err != nil {
		return nil, err
	}
	return r, nil
}

// start bootstraps an empty disk and sets raft going.
func (r *Replica) start(rl *raftLogger) error {
	conf := r.raftConfig(rl)
	stable := &guardedStable{r.guard, r.disk.stable}
	bare := &guardedLog{r.guard, r.disk.log, r.cfg.hooks.noCRC}
	snaps := raft.SnapshotStore(&snapStore{r.disk.snaps})
	if r.cfg.hooks.noVerify {
		snaps = r.disk.snaps
	}
	if err := r.bootstrap(conf, bare, stable, snaps); err != nil {
		return err
	}
	last, err := r.disk.log.LastIndex()
	if err != nil {
		return err
	}
	r.layer = newLayer(r.cfg, r.id, r.ledger, r.isFresh(last))
	r.transport = newTransport(r.cfg, r.layer, rl)
	logs, err := raft.NewLogCache(logCache, bare)
	if err == nil {
		r.raft, err = newRaft(conf, r.fsm, logs, stable, snaps, r.transport)
	}
	if err == nil {
		// From here on a fault calls Fatal; one that came before is reported here.
		r.guard.running.Store(true)
		err = r.guard.poisoned()
	}
	if r.hasFailed() {
		err = *r.failure.Load()
	}
	if err != nil {
		if r.raft != nil {
			_ = r.raft.Shutdown().Error()
		}
		_ = r.transport.Close()
		return fmt.Errorf("%s: %w", r.disk.name, err)
	}
	r.wg.Go(r.issue)
	r.wg.Go(r.finish)
	r.wg.Go(r.watchLeadership)
	r.log.Info("replica started", slog.String("server", r.cfg.Server), slog.Uint64("term", r.raft.CurrentTerm()), slog.Uint64("index", r.raft.LastIndex()))
	return nil
}

// newRaft turns the panics of raft.NewRaft into errors.
func newRaft(conf *raft.Config, f raft.FSM, logs raft.LogStore, stable raft.StableStore, snaps raft.SnapshotStore, t raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return raft.NewRaft(conf, f, logs, stable, snaps, t)
}

func (r *Replica) raftConfig(rl *raftLogger) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(r.cfg.Server)
	conf.Logger = rl
	conf.HeartbeatTimeout = r.cfg.HeartbeatTimeout
	conf.ElectionTimeout = r.cfg.ElectionTimeout
	conf.LeaderLeaseTimeout = r.cfg.LeaderLease
	conf.CommitTimeout = r.cfg.CommitTimeout
	conf.SnapshotInterval = r.cfg.SnapshotInterval
	conf.SnapshotThreshold = r.cfg.SnapshotThreshold
	conf.TrailingLogs = r.cfg.TrailingLogs
	conf.MaxAppendEntries = r.cfg.MaxAppendEntries
	conf.BatchApplyCh = true
	conf.ShutdownOnRemove = true
	conf.PreVoteDisabled = false // a server that was away must not depose a leader that serves
	conf.NoLegacyTelemetry = true
	conf.NotifyCh = r.notify
	return conf
}

// bootstrap writes the first entry, the list of servers, to an empty disk. Every
// server writes the same one.
func (r *Replica) bootstrap(conf *raft.Config, logs raft.LogStore, stable raft.StableStore, snaps raft.SnapshotStore) error {
	if r.id.Bootstrapped {
		return nil
	}
	var servers raft.Configuration
	for _, p := range r.cfg.Servers {
		servers.Servers = append(servers.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(p.Name), Address: raft.ServerAddress(p.RaftAddr)})
	}
	err := raft.BootstrapCluster(conf, logs, stable, snaps, nil, servers)
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("%s: %w", r.disk.name, err)
	}
	// BootstrapCluster notes the term first and the entry second: cut short in
	// between, the disk would count as used and hold nothing.
	first, err := r.disk.log.FirstIndex()
	if err != nil {
		return err
	}
	if first == 0 {
		if err := logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers)}); err != nil {
			return err
		}
	}
	r.id.Bootstrapped = true
	r.log.Info("empty data folder initialised", slog.String("server", r.cfg.Server))
	return r.id.save(r.disk.files)
}

// isFresh reports, later, whether the disk still holds nothing but the first entry.
func (r *Replica) isFresh(last uint64) func() bool {
	if last > 1 {
		return func() bool { return false }
	}
	return func() bool {
		select {
		case <-r.stop:
			return false
		default:
		}
		i, err := r.disk.log.LastIndex()
		return err == nil && i <= 1
	}
}

func (r *Replica) hasFailed() bool { return r.failure.Load() != nil }

// Fail ends this replica's part in the cluster for good: it is cut off from its
// peers, nothing more is applied or proposed, and Config.Fatal is called. Only
// the first call counts. It returns when Fatal returns.
func (r *Replica) Fail(cause error) {
	r.fatalOnce.Do(func() {
		r.failure.Store(&cause)
		if r.layer != nil {
			r.layer.sever(fmt.Errorf("%w: %w", ErrStopped, cause))
		}
		if !r.guard.running.Load() {
			return // Open reports it
		}
		r.log.Error("replica failed, the process must stop", slog.String("server", r.cfg.Server), slog.Any("err", cause))
		r.cfg.Fatal(cause)
	})
}

// Readmit forgets which disk the server called name had, so that the next one it
// shows is taken for its own. Other servers must forget it too. It is safe only
// when the old disk is gone for good and Remove has been committed before,
// see DESIGN.md.
func (r *Replica) Readmit(name string) error {
	if _, ok := r.cfg.peer(name); !ok || name == r.cfg.Server {
		return fmt.Errorf("server %s cannot be re-admitted by server %s: give the name of another server of the cluster", name, r.cfg.Server)
	}
	if err := r.ledger.forget(name); err != nil {
		return err
	}
	r.log.Info("server may come with a new disk", slog.String("server", name))
	return nil
}

// Close stops the replica: commands under way get a few seconds to finish, then
// connections are cut, everything is stopped and the folder is unlocked. An error
// says that something still runs because the disk does not answer, or ctx ended.
func (r *Replica) Close(ctx context.Context) error {
	r.closeOnce.Do(func() { r.closeErr = r.close(ctx) })
	return r.closeErr
}

func (r *Replica) close(ctx context.Context) error {
	close(r.stop)
	r.inflight.close()
	r.guard.release()
	quiesce, cancel := context.WithTimeout(ctx, quiesceLimit)
	defer cancel()
	if r.raft.State() != raft.Shutdown {
		_ = r.ops.wait(quiesce)
	}
	r.layer.sever(ErrStopped)
	done := make(chan error, 1)
	go func() { done <- r.shutdown() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("replica not stopped: %w; end the process", ctx.Err())
	}
}

func (r *Replica) shutdown() error {
	err := r.raft.Shutdown().Error()
	close(r.queue)
	err = errors.Join(err, r.transport.Close(), r.layer.Close())
	// What raft has not answered by now it never will: it forgets what waits in
	// its queues when it stops by itself.
	settled, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	unanswered := r.ops.wait(settled)
	close(r.gone)
	if unanswered != nil {
		return errors.Join(err, r.disk.close(), errors.New("raft left commands unanswered"))
	}
	r.wg.Wait()
	return errors.Join(err, r.disk.close())
}
