package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lock_gulmd/proto/life"
)

// Defaults and ranges of Config.
const (
	// DefaultMaxInFlight bounds the requests without an answer; the servers'
	// limit is kept too, if it is lower.
	DefaultMaxInFlight = 1024
	// DefaultBatchLimit bounds the requests in one message.
	DefaultBatchLimit = 512
	// DefaultPauseMin and DefaultPauseMax bound the pause between two tries to
	// reach a master. It doubles from try to try and is made uneven, so that
	// the nodes of a cluster do not come all at once.
	DefaultPauseMin = 50 * time.Millisecond
	DefaultPauseMax = time.Second
	// DefaultProbeLimit is how long a server has to say who is master.
	DefaultProbeLimit = time.Second
	// DefaultCallLimit is how long one try to log in or out may take.
	DefaultCallLimit = 3 * time.Second

	// maxBatchLimit keeps a message below the servers' limit of 1 MiB even if
	// all names are of the greatest length.
	maxBatchLimit = 2048
	// maxBootID and maxProcess are the contract's limits, bytes.
	maxBootID  = 64
	maxProcess = 64
)

// Config says who logs in where. Cluster, Node and Servers have no defaults.
type Config struct {
	// Cluster is the cluster's name; servers of another one refuse.
	Cluster string
	// Node is this node's name in nodes.ccs.
	Node string
	// Servers are host:port of lock servers, in any order. One that answers is
	// enough; the others are learned.
	Servers []string
	// BootID is new with every life of the node, 1 to 64 bytes. Empty means the
	// kernel's.
	BootID string
	// Process says what logs in, for people, up to 64 bytes. Empty means the
	// program's name.
	Process string
	// Unimportant: if this process goes silent only its own session ends, and the
	// node lives on, as long as it holds no locks and has joined no lockspace that
	// needs a fence. By default its silence fails the node.
	Unimportant bool
	// Locked: this service must be gone before the lock servers may be shut down
	// so that their quorum is lost, as a mounted file system.
	Locked bool
	// Container says that the node is a container, so that BootID is that of its
	// host and a new one does not prove that the node has booted. nil means to look
	// for the usual signs.
	Container *bool
	// TLS holds the node's certificate and the CA. nil means plain text, which
	// is refused unless every server address is a loopback address.
	TLS *tls.Config
	// Dialer opens connections; nil means TCP.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// Log gets changes of state; nil means none.
	Log *slog.Logger

	// MaxInFlight bounds the requests without an answer, 0 for
	// DefaultMaxInFlight.
	MaxInFlight int
	// BatchLimit bounds the requests in one message, 1 to 2048, 0 for
	// DefaultBatchLimit.
	BatchLimit int
	// PauseMin and PauseMax bound the pause between two tries to reach a
	// master, 0 for DefaultPauseMin and DefaultPauseMax.
	PauseMin, PauseMax time.Duration
	// ProbeLimit is how long a server has to say who is master, 0 for
	// DefaultProbeLimit.
	ProbeLimit time.Duration
	// CallLimit is how long one try to log in or out may take, 0 for
	// DefaultCallLimit.
	CallLimit time.Duration

	// Probes prove that the node can work, and stop its heartbeats if it cannot.
	// nil means DefaultProbes(), an empty slice none.
	Probes []Probe
	// Watchdog resets the machine when the locks are lost, and unless the node is
	// ended by Logout; none by default.
	Watchdog Watchdog

	// asleep and arm are for tests: see clock, armWatchdog.
	asleep func() time.Duration
	arm    func(path string, want time.Duration) (dog, time.Duration, error)
}

// JoinOptions says how a lockspace is joined. The zero value is good.
type JoinOptions struct {
	// Policy is what must happen before the locks of a failed node are
	// released; all that join must say the same.
	Policy Policy
	// Lease is the time-to-live of a lockspace under PolicyLease, which asks for one
	// and is the only one that has one: not shorter than Node.Expiry, at most a day,
	// rounded up to milliseconds. 0 means that of a lockspace that exists.
	Lease time.Duration
	// Exclusive refuses a lockspace that exists (ErrExists), Existing one that
	// does not (ErrNoLockspace). Not both.
	Exclusive, Existing bool
	// KeepValues keeps value blocks although nobody has a lock on their resource.
	// It is decided by who makes the lockspace.
	KeepValues bool
	// ValueLen is the length of value blocks in bytes, 1 to 255; 0 means that of
	// the lockspace, or 32 for a new one.
	ValueLen int
	// OnBlocking, if not nil, is called when somebody waits for a lock of the
	// lockspace to give way to a mode. Calls come one at a time from a goroutine
	// that all lockspaces of the node share, never before the lock is granted,
	// but maybe before Lock has returned it. Several waiters make one call with
	// a mode that covers them all. The locks of the lockspace then do not need
	// Lock.Blocking. It may call Unlock; Convert in it delays the callbacks of
	// other locks; Close and Logout must not be called in it.
	OnBlocking func(l *Lock, wanted Mode)
}

// withDefaults returns c with defaults filled in, or an error that wraps
// ErrInvalid.
func (c Config) withDefaults() (Config, error) {
	if c.Process == "" {
		c.Process = filepath.Base(os.Args[0])
	}
	c.Process = c.Process[:min(len(c.Process), maxProcess)]
	if c.BootID == "" {
		id, err := life.BootID()
		if err != nil {
			return c, fmt.Errorf("client: cannot tell this life of the node from an earlier one; set Config.BootID: %w", err)
		}
		c.BootID = id
	}
	if c.Container == nil {
		in := life.InContainer()
		c.Container = &in
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dialer == nil {
		c.Dialer = dialTCP
	}
	setDefault(&c.MaxInFlight, DefaultMaxInFlight)
	setDefault(&c.BatchLimit, DefaultBatchLimit)
	setDefault(&c.PauseMin, DefaultPauseMin)
	setDefault(&c.PauseMax, max(DefaultPauseMax, c.PauseMin))
	setDefault(&c.ProbeLimit, DefaultProbeLimit)
	setDefault(&c.CallLimit, DefaultCallLimit)
	setDefault(&c.Watchdog.Timeout, DefaultWatchdogTimeout)
	c.Servers = append([]string(nil), c.Servers...)
	if c.Probes == nil {
		c.Probes = DefaultProbes()
	}
	c.Probes = slices.Clone(c.Probes)
	for i := range c.Probes {
		var err error
		if c.Probes[i], err = c.Probes[i].withDefaults(); err != nil {
			return c, err
		}
	}
	return c, c.check()
}

// setDefault puts value where zero is.
func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// check returns the first fault of a configuration whose defaults are set.
func (c Config) check() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("client: "+format+": %w", append(args, ErrInvalid)...)
	}
	switch {
	case c.Cluster == "":
		return invalid("Config.Cluster is empty; give the name in cluster.ccs")
	case c.Node == "":
		return invalid("Config.Node is empty; give this node's name in nodes.ccs")
	case len(c.Servers) == 0:
		return invalid("Config.Servers is empty; give host:port of the lock servers")
	case len(c.BootID) > maxBootID:
		return invalid("Config.BootID has %d bytes, at most %d", len(c.BootID), maxBootID)
	case c.MaxInFlight < 1:
		return invalid("Config.MaxInFlight is %d, at least 1", c.MaxInFlight)
	case c.BatchLimit < 1 || c.BatchLimit > maxBatchLimit:
		return invalid("Config.BatchLimit is %d, 1 to %d", c.BatchLimit, maxBatchLimit)
	case c.PauseMin < 0 || c.PauseMax < c.PauseMin || c.ProbeLimit < 0 || c.CallLimit < 0:
		return invalid("pauses and limits must not be negative, and PauseMin not above PauseMax")
	}
	if err := c.Watchdog.check(); err != nil {
		return err
	}
	for _, addr := range c.Servers {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return invalid("server address %q is not host:port", addr)
		}
		if c.TLS == nil && !isLoopback(addr) {
			return invalid("server %s is not a loopback address, and Config.TLS is nil: "+
				"plain text is for one machine only; set Config.TLS", addr)
		}
	}
	return nil
}

// isLoopback says whether host:port names this very machine.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// dialTCP is the default Dialer.
func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}
