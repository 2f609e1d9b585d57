package gulmtest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lock_gulmd/ccs"
	"lock_gulmd/client"
	"lock_gulmd/server"
	"lock_gulmd/server/codec"
	"lock_gulmd/server/member"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/state"
)

// Ports of every simulated server.
const (
	corePort = "40040"
	raftPort = "40041"
)

// ClusterOptions say what a simulated cluster is made of. Zero fields take the
// defaults named.
type ClusterOptions struct {
	// Servers is their number, 3 if 0.
	Servers int
	// Nodes is the number of file system nodes, 3 if 0.
	Nodes int
	// HeartbeatRate and AllowedMisses as in cluster.ccs: 2 s and 2 if 0.
	HeartbeatRate time.Duration
	AllowedMisses int
	// FenceServers lets servers be expired and fenced like nodes. By default they
	// are not, as most tests kill servers and count fences.
	FenceServers bool
	// Settings are further lines of the section lock_gulm.
	Settings string
	// Proves is what the fence device's success proves, "" for the default.
	Proves string
	// Log gets what servers and nodes log; nil discards it.
	Log *slog.Logger
	// OnStore is called when a server is about to put a command on its disk, and
	// again when it has (stored), in the goroutine that does.
	OnStore func(server string, stored bool, command state.Command)
	// Tune may change the replicas' settings.
	Tune func(*replica.Config)
}

// Cluster is a whole simulated cluster: real servers with real raft and gRPC on
// an in-memory Network, a PowerSwitch as their fencer, and a Disk that watches.
// It is meant for a testing/synctest bubble.
type Cluster struct {
	Net   *Network
	Disk  *Disk
	Power *PowerSwitch
	// Config is what all servers were started with.
	Config *ccs.Config

	t     testing.TB
	opt   ClusterOptions
	hosts map[string]string // host name by address

	mu      sync.Mutex
	servers map[string]*serverHost
	nodes   map[string]*Node
	dying   sync.WaitGroup // servers that were killed and still clean up
}

// serverHost is one machine with a lock server.
type serverHost struct {
	memory *replica.Memory // its disk
	server *server.Server  // nil while it is down
	boots  int             // lives of the machine, without the first
}

// NewCluster makes a cluster whose servers lk1, lk2, ... are not started yet and
// whose nodes n1, n2, ... are switched off.
func NewCluster(t testing.TB, seed uint64, opt ClusterOptions) *Cluster {
	t.Helper()
	defaultTo(&opt.Servers, 3)
	defaultTo(&opt.Nodes, 3)
	defaultTo(&opt.HeartbeatRate, 2*time.Second)
	defaultTo(&opt.AllowedMisses, 2)
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{
		Net: NewNetwork(seed), Disk: NewDisk(seed), t: t, opt: opt, hosts: map[string]string{},
		servers: map[string]*serverHost{}, nodes: map[string]*Node{},
	}
	c.Power = NewPowerSwitch(c.Net, c.Disk, c.incarnation)
	cut := c.Power.PowerOff
	c.Power.PowerOff = func(node string) {
		if c.Config.IsServer(node) {
			c.PowerOffServer(node)
			return
		}
		c.checkTold(node)
		c.Node(node).die()
		cut(node)
	}
	config, err := ccs.Parse(c.source())
	if err != nil {
		t.Fatalf("simulated cluster: %v", err)
	}
	c.Config = config
	for _, name := range config.Lock.Servers {
		c.servers[name] = &serverHost{memory: c.newMemory(name)}
	}
	return c
}

// newMemory returns an empty disk of a server.
func (c *Cluster) newMemory(name string) *replica.Memory {
	m := replica.NewMemory()
	if c.opt.OnStore != nil {
		m.Watch(func(stored bool, data []byte) {
			_, command, err := codec.Decode(data)
			if err != nil {
				c.t.Errorf("server %s stores what nobody can read: %v", name, err)
				return
			}
			c.opt.OnStore(name, stored, command)
		})
	}
	return m
}

func defaultTo[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// source writes the .ccs files, and makes the hosts.
func (c *Cluster) source() ccs.Source {
	var nodes strings.Builder
	var servers []string
	add := func(name, address string) {
		c.hosts[address] = name
		c.Net.Host(name)
		fmt.Fprintf(&nodes, "  %s { ip_interfaces { eth0 = %q } fence { power { switch { port = %q } } } }\n", name, address, name)
	}
	for i := range c.opt.Servers {
		name := fmt.Sprintf("lk%d", i+1)
		servers = append(servers, fmt.Sprintf("%q", name))
		add(name, fmt.Sprintf("127.0.1.%d", i+1))
	}
	for i := range c.opt.Nodes {
		name := fmt.Sprintf("n%d", i+1)
		c.nodes[name] = newNode(c, name)
		add(name, fmt.Sprintf("127.0.2.%d", i+1))
	}
	fenceServers, proves := "no", ""
	if c.opt.Proves != "" {
		proves = fmt.Sprintf(" proves = %q", c.opt.Proves)
	}
	if c.opt.FenceServers {
		fenceServers = "yes"
	}
	cluster := fmt.Sprintf("cluster { name = \"sim\" lock_gulm { servers = [%s] heartbeat_rate = %.3f allowed_misses = %d fence_servers = %q\n%s\n} }\n",
		strings.Join(servers, ", "), c.opt.HeartbeatRate.Seconds(), c.opt.AllowedMisses, fenceServers, c.opt.Settings)
	return ccs.Source{
		Cluster: []byte(cluster), Nodes: []byte("nodes {\n" + nodes.String() + "}\n"),
		Fence: []byte("fence_devices { switch { agent = \"fence_sim\"" + proves + " } }\n"),
	}
}

// translate turns the address of the configuration into one of the Network.
func (c *Cluster) translate(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || c.hosts[host] == "" {
		return address
	}
	return net.JoinHostPort(c.hosts[host], port)
}

// dialer dials as the present life of a host does.
func (c *Cluster) dialer(host string) func(context.Context, string) (net.Conn, error) {
	dial := c.Net.Host(host).Dialer()
	return func(ctx context.Context, address string) (net.Conn, error) { return dial(ctx, c.translate(address)) }
}

// translated is a raft stream layer that dials addresses of the configuration.
type translated struct {
	raft.StreamLayer
	c *Cluster
}

// Dial implements raft.StreamLayer.
func (l translated) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return l.StreamLayer.Dial(raft.ServerAddress(l.c.translate(string(address))), timeout)
}

// stream makes a raft stream layer a replica's.
type stream struct{ translated }

// Dial implements replica.StreamLayer.
func (s stream) Dial(address string, timeout time.Duration) (net.Conn, error) {
	return s.translated.Dial(raft.ServerAddress(address), timeout)
}

// StartAll starts all servers.
func (c *Cluster) StartAll() {
	for _, name := range c.Config.Lock.Servers {
		c.StartServer(name)
	}
}

// StartServer starts a server that is down, on the disk that it had.
func (c *Cluster) StartServer(name string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.servers[name]
	if h.server != nil {
		c.t.Fatalf("server %s runs already", name)
	}
	host := c.Net.Host(name)
	host.Start()
	core, err := host.Listen(":" + corePort)
	if err != nil {
		c.t.Fatalf("server %s: %v", name, err)
	}
	layer, err := host.StreamLayer(":" + raftPort)
	if err != nil {
		c.t.Fatalf("server %s: %v", name, err)
	}
	s, err := server.Open(server.Options{
		Cluster: c.Config, Name: name, Memory: h.memory, Core: core, Raft: stream{translated{layer, c}}, Dial: c.dialer(name),
		Insecure: true, Fencer: c.Power, Log: c.opt.Log.With("host", name), Version: "sim", Tune: c.opt.Tune,
		BootID: fmt.Sprintf("boot-%s-%d", name, h.boots), Container: new(bool),
	})
	if err != nil {
		c.t.Fatalf("server %s: %v", name, err)
	}
	h.server = s
}

// KillServer ends a server's process at once, as SIGKILL does: what it has
// written stays on its disk.
func (c *Cluster) KillServer(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killServer(name)
}

// killServer is KillServer for who holds mu.
func (c *Cluster) killServer(name string) {
	h := c.servers[name]
	if h.server == nil {
		return
	}
	s := h.server
	h.server = nil
	h.memory = h.memory.Crash()
	c.Net.Host(name).Crash()
	c.dying.Go(func() { c.closeServer(s) })
}

// PowerOffServer ends a server's machine: its next start is another boot.
func (c *Cluster) PowerOffServer(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killServer(name)
	c.servers[name].boots++
	c.Net.Host(name).PowerOff()
}

// incarnation returns the newest life of a node, 0 for a server, which has no
// locks.
func (c *Cluster) incarnation(name string) uint64 {
	if n := c.Node(name); n != nil {
		return n.Incarnation()
	}
	return 0
}

func (c *Cluster) closeServer(s *server.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = s.Close(ctx) // a killed server need not end well
}

// ShutdownServer logs a server out cleanly and stops it.
func (c *Cluster) ShutdownServer(ctx context.Context, name string, force bool) error {
	s := c.Server(name)
	if err := s.Leave(ctx, force); err != nil {
		return err
	}
	c.mu.Lock()
	c.servers[name].server = nil
	c.mu.Unlock()
	c.closeServer(s)
	c.Net.Host(name).Crash()
	return nil
}

// Server returns a running server, nil if it is down or there is none of that
// name.
func (c *Cluster) Server(name string) *server.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.servers[name]; h != nil {
		return h.server
	}
	return nil
}

// Master returns the name of the serving master with the highest term, "" if
// there is none.
func (c *Cluster) Master() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, term := "", uint64(0)
	for _, n := range c.Config.Lock.Servers {
		if s := c.servers[n].server; s != nil && s.Serving() && s.Status().Term >= term {
			name, term = n, s.Status().Term
		}
	}
	return name
}

// AwaitMaster waits until a server serves and returns its name; it fails the
// test after limit.
func (c *Cluster) AwaitMaster(limit time.Duration) string {
	c.t.Helper()
	var name string
	c.Await(limit, "a master", func() bool {
		name = c.Master()
		return name != ""
	})
	return name
}

// checkTold fails the test if the library of a node that is being fenced because
// it expired still says that its locks are good (S5).
func (c *Cluster) checkTold(name string) {
	s := c.Server(c.Master())
	if s == nil {
		return
	}
	var expired uint64
	s.View(func(st *state.State) {
		if n, _ := st.Members().Node(name); n.State == member.Expired {
			expired = n.Incarnation
		}
	})
	for _, cl := range c.Node(name).clients() {
		if told := cl.State(); cl.Incarnation() == expired && told < client.StateLost {
			c.t.Errorf("S5: incarnation %d of %s is expired and its library says %v", expired, name, told)
		}
	}
}

// Await waits until ok, looking ten times a second; it fails the test after
// limit.
func (c *Cluster) Await(limit time.Duration, what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %v in vain for %s", limit, what)
		}
	}
}

// Node returns a node by name.
func (c *Cluster) Node(name string) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[name]
}

// NodeNames returns the names of the file system nodes.
func (c *Cluster) NodeNames() []string {
	var names []string
	for i := range c.opt.Nodes {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	return names
}

// Close ends everything and waits for it.
func (c *Cluster) Close() {
	for _, name := range c.NodeNames() {
		c.Node(name).die()
	}
	for _, name := range c.NodeNames() {
		c.Node(name).wait()
	}
	var closing sync.WaitGroup
	for _, name := range c.Config.Lock.Servers {
		if s := c.Server(name); s != nil {
			closing.Go(func() { c.closeServer(s) })
		}
	}
	closing.Wait()
	c.dying.Wait()
	c.Net.Close()
}
