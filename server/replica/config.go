package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"
)

// Defaults of the settings in Config that are zero.
const (
	DefaultHeartbeatTimeout   = time.Second
	DefaultElectionTimeout    = time.Second
	DefaultLeaderLease        = 500 * time.Millisecond
	DefaultCommitTimeout      = 50 * time.Millisecond
	DefaultRPCTimeout         = 10 * time.Second
	DefaultHelloTimeout       = 5 * time.Second
	DefaultStoreStallLimit    = 10 * time.Second
	DefaultTransferContact    = 500 * time.Millisecond
	DefaultTransferStallLimit = 5 * time.Second
	DefaultSnapshotInterval   = 30 * time.Second
	DefaultSnapshotThreshold  = 8192
	DefaultTrailingLogs       = 10240
	DefaultMaxAppendEntries   = 512
	DefaultMaxInFlight        = 4096
	DefaultMaxInFlightBytes   = 64 << 20
	DefaultMaxCommand         = 1 << 20
	DefaultMaxHandshakes      = 32
	DefaultMinFree            = 128 << 20
	DefaultWarnFree           = 1 << 30
)

// The log stores that Config.LogStore may name.
const (
	LogStoreWAL  = "wal"  // hashicorp/raft-wal: one sync per append
	LogStoreBolt = "bolt" // BoltDB: slower, one file
)

// Limits of names and of the configuration digest, in bytes.
const (
	maxName   = 255
	maxDigest = 1024
)

// Peer is one server of the cluster as configured.
type Peer struct {
	Name     string // the server's name, 1 to 255 bytes; its identity in the log
	RaftAddr string // where the other servers reach it, host:port
}

// StreamLayer carries connections between servers. Its connections must be
// authenticated by whoever hands it in (mutual TLS, server certificates only):
// who can open one can commit commands.
type StreamLayer interface {
	net.Listener
	// Dial connects to the server at address within timeout.
	Dial(address string, timeout time.Duration) (net.Conn, error)
}

// Config says which server this is, who the others are and where its data lies.
// Zero settings take their defaults; Cluster, Server, Servers, Stream, Fatal and
// either Dir or Memory are required.
type Config struct {
	Cluster string // the cluster's name; a server of another cluster is refused
	Server  string // this server's name, one of Servers
	Servers []Peer // all servers, the same list on each of them
	Dir     string // data folder; locked while the replica is open
	// Stream is taken over by Open and closed by Close, or when Open fails.
	Stream StreamLayer
	Log    *slog.Logger // default: discard

	// LogStore is "wal" (default) or "bolt". A folder keeps the one it began with.
	LogStore string
	// Memory, when set, replaces Dir: everything is kept in memory. For tests.
	Memory *Memory

	// ConfigDigest is compared with every peer's; a peer that differs is refused.
	// At most 1024 bytes. It is opaque here: give each section its own part if
	// OnMismatch shall be able to say which one differs.
	ConfigDigest string
	// OnMismatch, when set, is told of every peer that is refused or refuses us.
	// It may be called often and from many goroutines, and must not block.
	OnMismatch func(Mismatch)
	// VerifyPeer, when set, compares the name that the other end of conn claims
	// with what its certificate proves. conn is the one that Stream has made. An
	// error refuses the connection.
	VerifyPeer func(conn net.Conn, server string) error

	// Fatal is called once when the process must stop: the disk failed or
	// stalled, a stored command is damaged, the machine found itself diverged.
	// It should log and exit. It runs on the goroutine that found the fault and
	// must not call Close. When it returns, the replica stays cut off from its
	// peers and refuses everything.
	Fatal func(error)

	HeartbeatTimeout time.Duration // silence of the leader before an election is tried
	ElectionTimeout  time.Duration // length of one election, >= HeartbeatTimeout
	LeaderLease      time.Duration // a leader without a majority for so long steps down, <= HeartbeatTimeout
	CommitTimeout    time.Duration // followers of an idle leader learn the commit index within about twice this
	RPCTimeout       time.Duration // limit of one request between servers
	HelloTimeout     time.Duration // limit of the exchange that opens a connection
	MaxHandshakes    int           // connections that have not yet said who they are

	StoreStallLimit    time.Duration // a store call that takes longer is fatal
	TransferContact    time.Duration // leadership goes only to a server heard from so recently
	TransferStallLimit time.Duration // a leader that refuses commands for a hand-over for so long is fatal

	SnapshotInterval  time.Duration // how often it is checked whether a snapshot is due (up to twice this)
	SnapshotThreshold uint64        // entries since the last snapshot that make one due
	TrailingLogs      uint64        // entries kept behind a snapshot; >= 2 x MaxInFlight
	MaxAppendEntries  int           // entries per request to a follower and per local write, 1 to 1024
	MaxInFlight       int           // commands proposed and not yet applied, and the longest uncommitted tail that may grow
	MaxInFlightBytes  int64         // bytes of these commands
	MaxCommand        int           // bytes of one command

	MinFree  uint64 // bytes that must be free in Dir for Open to succeed
	WarnFree uint64 // bytes below which Open warns

	hooks hooks
}

// hooks lets tests of this package take guards away and put faults in.
type hooks struct {
	fastPath     bool                           // hand raft's heartbeat handler to the transport
	noStallWatch bool                           // do not time store calls
	noPoison     bool                           // let store errors pass and forget them
	noTailCap    bool                           // accept any MaxInFlight
	noCRC        bool                           // accept damaged commands
	noVerify     bool                           // start from a damaged snapshot or log
	noHello      bool                           // accept any peer
	send         func(to string, rpc any) error // called before each request to a peer; an error drops it
	faults       func(*disk)                    // replace stores beneath the guards
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (c Config) withDefaults() Config {
	setDefault(&c.LogStore, LogStoreWAL)
	setDefault(&c.HeartbeatTimeout, DefaultHeartbeatTimeout)
	setDefault(&c.ElectionTimeout, max(DefaultElectionTimeout, c.HeartbeatTimeout))
	setDefault(&c.LeaderLease, min(DefaultLeaderLease, c.HeartbeatTimeout))
	setDefault(&c.CommitTimeout, DefaultCommitTimeout)
	setDefault(&c.RPCTimeout, DefaultRPCTimeout)
	setDefault(&c.HelloTimeout, DefaultHelloTimeout)
	setDefault(&c.MaxHandshakes, DefaultMaxHandshakes)
	setDefault(&c.StoreStallLimit, DefaultStoreStallLimit)
	setDefault(&c.TransferContact, DefaultTransferContact)
	setDefault(&c.TransferStallLimit, DefaultTransferStallLimit)
	setDefault(&c.SnapshotInterval, DefaultSnapshotInterval)
	setDefault(&c.SnapshotThreshold, DefaultSnapshotThreshold)
	setDefault(&c.TrailingLogs, DefaultTrailingLogs)
	setDefault(&c.MaxAppendEntries, DefaultMaxAppendEntries)
	setDefault(&c.MaxInFlight, DefaultMaxInFlight)
	setDefault(&c.MaxInFlightBytes, DefaultMaxInFlightBytes)
	setDefault(&c.MaxCommand, DefaultMaxCommand)
	setDefault(&c.MinFree, DefaultMinFree)
	setDefault(&c.WarnFree, DefaultWarnFree)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports every fault of a configuration with its defaults filled in.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Cluster == "" || len(c.Cluster) > maxName {
		bad("the cluster's name must have 1 to %d bytes", maxName)
	}
	if len(c.ConfigDigest) > maxDigest {
		bad("the configuration digest has %d bytes, at most %d are allowed", len(c.ConfigDigest), maxDigest)
	}
	if c.Stream == nil {
		bad("no stream layer given")
	}
	if c.Fatal == nil {
		bad("no Fatal function given")
	}
	if (c.Dir == "") == (c.Memory == nil) {
		bad("give either a data folder or memory stores")
	}
	if c.LogStore != LogStoreWAL && c.LogStore != LogStoreBolt {
		bad("unknown log store %q: use %q or %q", c.LogStore, LogStoreWAL, LogStoreBolt)
	}
	errs = append(errs, c.validateServers()...)
	errs = append(errs, c.validateLimits()...)
	return errors.Join(errs...)
}

func (c Config) validateServers() []error {
	var errs []error
	names, addrs := map[string]bool{}, map[string]bool{}
	for _, p := range c.Servers {
		switch {
		case p.Name == "" || len(p.Name) > maxName:
			errs = append(errs, fmt.Errorf("server name %q must have 1 to %d bytes", p.Name, maxName))
		case names[p.Name]:
			errs = append(errs, fmt.Errorf("server %s is listed twice", p.Name))
		case p.RaftAddr == "":
			errs = append(errs, fmt.Errorf("server %s has no address", p.Name))
		case addrs[p.RaftAddr]:
			errs = append(errs, fmt.Errorf("address %s of server %s belongs to another server too", p.RaftAddr, p.Name))
		}
		names[p.Name], addrs[p.RaftAddr] = true, true
	}
	if !names[c.Server] {
		errs = append(errs, fmt.Errorf("this server, %q, is not in the list of servers", c.Server))
	}
	return errs
}

func (c Config) validateLimits() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.MaxAppendEntries < 1 || c.MaxAppendEntries > 1024 {
		bad("MaxAppendEntries is %d, allowed are 1 to 1024", c.MaxAppendEntries)
	}
	if c.MaxInFlight < 1 || c.MaxCommand < 1 || c.MaxInFlightBytes < int64(c.MaxCommand) || c.MaxHandshakes < 1 {
		bad("MaxInFlight, MaxCommand and MaxHandshakes must be positive and MaxInFlightBytes at least MaxCommand")
	}
	// A tail of uncommitted entries may reach twice MaxInFlight, see admit.
	if !c.hooks.noTailCap && 2*uint64(max(c.MaxInFlight, 0)) > c.TrailingLogs {
		bad("MaxInFlight is %d, more than half of TrailingLogs (%d): a divergent server could be sent snapshots for ever", c.MaxInFlight, c.TrailingLogs)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"RPCTimeout", c.RPCTimeout},
		{"HelloTimeout", c.HelloTimeout},
		{"StoreStallLimit", c.StoreStallLimit},
		{"TransferContact", c.TransferContact},
		{"TransferStallLimit", c.TransferStallLimit},
	} {
		if d.v < time.Millisecond {
			bad("%s is %v, at least 1ms is needed", d.name, d.v)
		}
	}
	return errs
}

// peer returns the configured server called name.
func (c Config) peer(name string) (Peer, bool) {
	i := slices.IndexFunc(c.Servers, func(p Peer) bool { return p.Name == name })
	if i < 0 {
		return Peer{}, false
	}
	return c.Servers[i], true
}
