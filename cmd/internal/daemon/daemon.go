// Package daemon is the program lock_gulmd: it reads the configuration, starts a
// server and stops it when asked to. It is a package so that other programs can
// carry it.
package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/server"
	"lock_gulmd/server/replica"
)

// Exit statuses of Main.
const (
	ExitOK     = 0 // stopped as asked, or showed what was asked for
	ExitFailed = 1 // the server could not start or go on
	ExitConfig = 2 // wrong usage or an unusable configuration
)

// Limits of stopping.
const (
	leaveLimit = 5 * time.Second
	closeLimit = 10 * time.Second
)

// Main is the whole program: args are those after the program's name, logs go
// to stderr. The program must have called fence.Supervise before: agents run under
// another process of it. It returns the exit status, one of the Exit constants,
// and handles SIGTERM, SIGINT and SIGHUP meanwhile. The caller should exit when it returns:
// after a second signal or a disk that does not answer, parts of the server may
// still run.
func Main(args []string, stdout, stderr io.Writer) int {
	cmd, err := parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "lock_gulmd: %v\nlock_gulmd --help shows the options\n", err)
		return ExitConfig
	case cmd.help:
		fmt.Fprint(stdout, usage)
		return ExitOK
	case cmd.version:
		fmt.Fprintf(stdout, "lock_gulmd %s\n", version())
		return ExitOK
	}
	c, faults := configure(cmd)
	if len(faults) > 0 {
		for _, fault := range faults {
			fmt.Fprintf(stderr, "lock_gulmd: %s\n", fault)
		}
		return ExitConfig
	}
	if cmd.check {
		if err := c.print(stdout); err != nil {
			fmt.Fprintf(stderr, "lock_gulmd: %v\n", err)
			return ExitFailed
		}
		for _, w := range c.cluster.Warnings() {
			fmt.Fprintf(stderr, "lock_gulmd: warning: %v\n", w)
		}
		return ExitOK
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	d := &daemon{configuration: c, signals: signals, log: c.logger(stderr)}
	return d.run()
}

// version is that of the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown version)"
	}
	return info.Main.Version
}

func (c *configuration) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: levels[c.settings.LogLevel]}
	if c.settings.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// daemon is one run of a server.
type daemon struct {
	*configuration
	signals <-chan os.Signal
	log     *slog.Logger
	server  instance
}

// instance is a server.Server.
type instance interface {
	Done() <-chan struct{}
	Err() error
	Leave(ctx context.Context, force bool) error
	Close(ctx context.Context) error
}

func (d *daemon) run() int {
	s := &d.settings
	for _, w := range d.cluster.Warnings() {
		d.log.Warn("configuration", "warning", w.String())
	}
	if s.Development {
		d.log.Warn("development mode: no certificates, everybody on this machine is believed", "server", d.self.Name)
	}
	d.log.Info("starting", "version", version(), "server", d.self.Name, "cluster", d.cluster.Name, "rank", d.self.Rank,
		"servers", len(d.cluster.Lock.Servers), "core", s.CoreListen, "raft", s.RaftListen, "dir", s.DataDir, "config", d.dir)
	opened := make(chan error, 1)
	// Checking a long log takes time, and cannot be interrupted: if a signal comes
	// meanwhile, the goroutine is left to the end of the process.
	go func() { opened <- d.open() }()
	for {
		select {
		case err := <-opened:
			if err != nil {
				d.log.Error("cannot start", "server", d.self.Name, "err", err)
				return ExitFailed
			}
			d.notify("READY=1")
			return d.wait()
		case sig := <-d.signals:
			if sig == syscall.SIGHUP {
				continue
			}
			d.log.Info("stopped while starting", "server", d.self.Name, "signal", sig.String())
			return ExitOK
		}
	}
}

// open starts the server. After an error nothing is left running.
func (d *daemon) open() error {
	s := &d.settings
	opt := server.Options{
		Cluster: d.cluster, Name: d.self.Name, Dir: s.DataDir, Insecure: s.Development, Reflection: s.Development,
		Fencer: &fence.Runner{Log: d.log, Path: s.AgentPath, Supervisor: fence.SelfSupervisor}, Log: d.log, Version: version(), Tune: s.tune,
	}
	var raft *tls.Config
	if d.certs != nil {
		d.certs.log = d.log
		opt.TLS, raft = d.certs.core(), d.certs.raft()
		opt.Roots = func() *x509.CertPool { return d.certs.current().roots }
		d.log.Info("certificate read", "server", d.self.Name, "expires", d.certs.expires())
	}
	var err error
	if opt.Core, err = net.Listen("tcp", s.CoreListen); err != nil {
		return explainListen("core_listen", err)
	}
	if opt.Raft, err = replica.Listen(s.RaftListen, raft); err != nil {
		_ = opt.Core.Close()
		return explainListen("raft_listen", err)
	}
	opened, err := server.Open(opt)
	if err != nil {
		// Open may have closed one of them already.
		_ = opt.Core.Close()
		_ = opt.Raft.Close()
		return err
	}
	d.server = opened
	return nil
}

func (s *Settings) tune(cfg *replica.Config) {
	cfg.LogStore = s.LogStore
	cfg.HeartbeatTimeout = s.HeartbeatTimeout
	cfg.ElectionTimeout = s.ElectionTimeout
	cfg.LeaderLease = s.RaftLease // raft's word
}

func explainListen(key string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: is lock_gulmd running already? Otherwise choose another port in nodes.ccs or %s", err, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine does not have the address; correct nodes.ccs, or set %s", err, key)
	}
	return err
}

// wait serves until a signal, an operator or a fault ends it, and returns the
// exit status.
func (d *daemon) wait() int {
	for {
		select {
		case <-d.server.Done():
			return d.stop()
		case sig := <-d.signals:
			if sig == syscall.SIGHUP {
				d.reload()
				continue
			}
			d.log.Info("stopping", "server", d.self.Name, "signal", sig.String())
			return d.stop()
		}
	}
}

// reload reads the certificates again.
func (d *daemon) reload() {
	if d.certs == nil {
		d.log.Info("nothing to reload: development mode has no certificates", "server", d.self.Name)
		return
	}
	if err := d.certs.reload(); err != nil {
		d.log.Error("certificates not reloaded, the old ones stay in use", "server", d.self.Name, "err", err)
		return
	}
	d.log.Info("certificates reloaded; all other settings need a restart", "server", d.self.Name, "expires", d.certs.expires())
}

// stop logs the server out if it still serves, closes it, and returns the exit
// status. A second signal ends the wait.
func (d *daemon) stop() int {
	d.notify("STOPPING=1")
	closed := make(chan error, 1)
	// On a second signal the goroutine is left to the end of the process.
	go func() { closed <- d.close() }()
	for {
		select {
		case err := <-closed:
			return d.ended(err)
		case sig := <-d.signals:
			if sig == syscall.SIGHUP {
				continue
			}
			d.log.Error("stopping at once, without logging out", "server", d.self.Name, "signal", sig.String())
			return ExitFailed
		}
	}
}

// close logs out, unless the server has ended by itself, and closes it. It
// returns why the server could not go on or could not be closed.
func (d *daemon) close() error {
	select {
	case <-d.server.Done():
	default:
		ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
		defer cancel()
		// By force it always succeeds; the server logs what it could not do.
		_ = d.server.Leave(ctx, true)
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	err := d.server.Close(ctx)
	return errors.Join(d.server.Err(), err)
}

func (d *daemon) ended(err error) int {
	if err != nil {
		d.log.Error("stopped", "server", d.self.Name, "err", err)
		return ExitFailed
	}
	d.log.Info("stopped", "server", d.self.Name)
	return ExitOK
}

func (d *daemon) notify(state string) {
	if err := notify(state); err != nil {
		d.log.Warn("systemd is not told", "state", state, "err", err)
	}
}
