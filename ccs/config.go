package ccs

import (
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Config is a whole cluster configuration: typed, complete and checked. Treat
// it and everything in it as read-only.
type Config struct {
	// Name is the cluster's name, 1 to 16 characters.
	Name string
	// Lock holds the settings of the section lock_gulm.
	Lock LockGulm
	// Nodes are all machines of the cluster, servers included, in the order
	// of nodes.ccs.
	Nodes []Node
	// Devices are the fence devices in the order of fence.ccs.
	Devices []Device

	warnings []Fault
	settings []Setting
	digest   string
}

// LockGulm holds the settings of the lock servers. Durations are positive.
type LockGulm struct {
	// Servers are the names of the lock servers in rank order: 1, 3, 4 or 5.
	Servers []string
	// HeartbeatRate is the pause between two heartbeats of a node.
	HeartbeatRate time.Duration
	// AllowedMisses is how many heartbeats may be lost without a consequence.
	AllowedMisses int
	// CorePort is the TCP port of gRPC, RaftPort that of the replicated log.
	// A server's own section in nodes.ccs may set others: see [Config.Servers].
	CorePort, RaftPort int
	// Durability is always "disk": a reply means synced on a majority.
	Durability string
	// MaxLocks and MaxResources bound the lock table, MaxSessions the
	// logged-in sessions, MaxRequestsInFlight the unanswered requests of one
	// session, MaxLockspaces the lockspaces.
	MaxLocks, MaxResources, MaxSessions, MaxRequestsInFlight, MaxLockspaces int
	// HighLocks is the number of locks above which nodes are asked to give
	// back locks that they only cache. It is not above MaxLocks.
	HighLocks int
	// DropInterval is how often they are asked, while there are more.
	DropInterval time.Duration
	// FenceRetryPause is the pause after all methods of a node failed; it
	// doubles with each further round up to FenceRetryPauseMax.
	FenceRetryPause, FenceRetryPauseMax time.Duration
	// Automatic fencing is paused if, within BreakerWindow, more than BreakerNodes
	// nodes vanish (0 for no such limit), or more than BreakerPercent per cent of
	// those that are logged in, and at least three.
	BreakerNodes, BreakerPercent int
	BreakerWindow                time.Duration
	// TrustReboot: a new boot id proves that the node's earlier life is gone.
	TrustReboot bool
	// FenceServers: lock servers that vanish are expired and fenced like nodes.
	FenceServers bool
	// FenceRehearsalInterval is how often the fence devices of each live node are
	// asked how things are; 0 for never.
	FenceRehearsalInterval time.Duration
	// FenceSettleTime is how long a fence device may take to do what an agent
	// asked it for that was given up.
	FenceSettleTime time.Duration
}

// Node is one machine of the cluster.
type Node struct {
	// Name has 1 to 64 letters, digits, "_", "-" and ".".
	Name string
	// Interfaces are the node's addresses in file order, never empty.
	Interfaces []Interface
	// UseDev is the interface that "usedev" chooses; empty if it is not set.
	UseDev string
	// Addr is the address for lock traffic: that of UseDev, or the first.
	Addr netip.Addr
	// CorePort and RaftPort replace the ports of lock_gulm for a server; 0
	// where the node does not set them.
	CorePort, RaftPort int
	// Methods are tried in this order; empty only for a lock server if
	// FenceServers is not set.
	Methods []Method

	line int
	// fenceLine is where fence methods are missing, 0 if they are not.
	fenceLine int
}

// Interface is one network interface of a node.
type Interface struct {
	// Name is the interface's name, such as "eth1".
	Name string
	// Addr is its address, IPv4 or IPv6.
	Addr netip.Addr

	line int
}

// Method is one way to fence a node; it needs all its devices to succeed.
type Method struct {
	// Name is unique within the node.
	Name string
	// Uses run in file order and may name one device several times.
	Uses []Use

	line int
}

// Use is one use of a fence device within a method.
type Use struct {
	// Device is the name of a device in fence.ccs.
	Device string
	// Timeout replaces the device's one; 0 where the use does not set it.
	Timeout time.Duration
	// Params go before the device's own and win over them.
	Params []Param

	line int
}

// Device is a fence device: an agent and what it needs to know.
type Device struct {
	// Name is unique in fence.ccs.
	Name string
	// Agent is the program: a bare name to be found in PATH, or an absolute path.
	Agent string
	// Timeout bounds one run of the agent.
	Timeout time.Duration
	// Params are the agent's parameters without "agent", "timeout" and "proves".
	Params []Param
	// Power: when the agent succeeds the machine has lost its power, so that it
	// can come back only with another boot id. Otherwise it is only cut off.
	Power bool

	line      int
	provesSet bool
}

// Param is one parameter of a fence agent. Either Value or Secret holds its
// value.
type Param struct {
	// Key is spelled as in the file.
	Key string
	// Value is the value of a parameter that is no secret.
	Value string
	// Hidden tells that the value is a secret, which Secret then holds.
	Hidden bool
	// Secret is empty unless Hidden.
	Secret Secret
}

// text returns the value whether it is hidden or not.
func (p Param) text() string {
	if p.Hidden {
		return p.Secret.Reveal()
	}
	return p.Value
}

// Server is a lock server with the addresses that it listens on.
type Server struct {
	// Name is the server's name in nodes.ccs.
	Name string
	// Rank is its place in the list of servers, 1 for the first.
	Rank int
	// Addr is its address without a port.
	Addr string
	// CoreAddr is "host:port" of gRPC, RaftAddr that of the replicated log.
	CoreAddr, RaftAddr string
}

// Node returns the node of this name. The name is case-sensitive.
func (c *Config) Node(name string) (*Node, bool) {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i], true
		}
	}
	return nil, false
}

// Device returns the fence device of this name.
func (c *Config) Device(name string) (*Device, bool) {
	for i := range c.Devices {
		if c.Devices[i].Name == name {
			return &c.Devices[i], true
		}
	}
	return nil, false
}

// IsServer tells whether the node is one of the lock servers.
func (c *Config) IsServer(name string) bool {
	for _, server := range c.Lock.Servers {
		if server == name {
			return true
		}
	}
	return false
}

// Servers returns the lock servers in rank order, with default ports filled in.
func (c *Config) Servers() []Server {
	servers := make([]Server, 0, len(c.Lock.Servers))
	for i, name := range c.Lock.Servers {
		n, ok := c.Node(name)
		if !ok {
			continue // only while a configuration is being checked
		}
		core, raft := c.ports(n)
		servers = append(servers, Server{
			Name:     name,
			Rank:     i + 1,
			Addr:     n.Addr.String(),
			CoreAddr: net.JoinHostPort(n.Addr.String(), strconv.Itoa(core)),
			RaftAddr: net.JoinHostPort(n.Addr.String(), strconv.Itoa(raft)),
		})
	}
	return servers
}

// ports returns the ports that a server listens on.
func (c *Config) ports(n *Node) (core, raft int) {
	core, raft = c.Lock.CorePort, c.Lock.RaftPort
	if n.CorePort != 0 {
		core = n.CorePort
	}
	if n.RaftPort != 0 {
		raft = n.RaftPort
	}
	return core, raft
}

// Quorum is how many servers must agree: more than half of the configured ones.
func (c *Config) Quorum() int { return len(c.Lock.Servers)/2 + 1 }

// Expiry is how long after its last heartbeat a node is expired:
// heartbeat_rate x (allowed_misses + 1).
func (c *Config) Expiry() time.Duration { return c.Lock.Expiry() }

// Expiry is how long after its last heartbeat a node is expired.
func (g LockGulm) Expiry() time.Duration {
	return g.HeartbeatRate * time.Duration(g.AllowedMisses+1)
}

// FenceTimeout is how long one run of this device's agent may take before it
// is killed; ok is false if fence.ccs knows no such device.
func (c *Config) FenceTimeout(device string) (limit time.Duration, ok bool) {
	d, ok := c.Device(device)
	if !ok {
		return 0, false
	}
	return d.Timeout, true
}

// Warnings lists what works but is probably not meant, sorted as faults are.
// A server should log them at its start; ccs_tool shows them.
func (c *Config) Warnings() []Fault { return c.warnings }
