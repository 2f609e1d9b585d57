package demo

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"lock_gulmd/fence/process"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

const (
	clusterName   = "demo"
	lockspaceName = "demo"
	// The demo's timings: a node is expired after 1 s x (2 + 1) of silence.
	heartbeatRate = 1.0
	allowedMisses = 2
	// fenceDelay makes the fence slow enough to be interrupted in its middle.
	fenceDelay = 1
	// pollPeriod is how often the demo looks at the servers.
	pollPeriod = 20 * time.Millisecond
)

// cluster is the demo's processes and their folder.
type cluster struct {
	dir     string
	servers []string // names
	setup
	address map[string]string // core address by server

	mu    sync.Mutex
	procs map[string]*child // the newest of each name
	lives map[string]int
	conns map[string]*grpc.ClientConn
}

// setup is what the stories' clusters differ in.
type setup struct {
	nodes []string
	// fences are the fence methods of nodes that have others than the switch.
	fences map[string]string
	// journals makes the disk a folder with a file system of so many journals; it
	// is one file with 0.
	journals int
	// settings are added to the section lock_gulm.
	settings string
}

// newCluster makes the folder with the configuration and the links to this
// executable.
func newCluster(dir string, with setup) (*cluster, error) {
	c := &cluster{
		dir: dir, servers: []string{"lk1", "lk2", "lk3"}, setup: with, address: map[string]string{},
		procs: map[string]*child{}, lives: map[string]int{}, conns: map[string]*grpc.ClientConn{},
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	folders := []string{"bin", "etc", "run", "log"}
	if with.journals > 0 {
		folders = append(folders, filepath.Base(c.disk()))
	}
	for _, sub := range folders {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{AsServer, AsAgent, AsNode} {
		if err := os.Symlink(self, filepath.Join(dir, "bin", name)); err != nil {
			return nil, err
		}
	}
	return c, c.configure()
}

// configure writes the three .ccs files. Servers are not fenced: the demo kills
// them to show a takeover, and its power switch knows nodes only.
func (c *cluster) configure() error {
	corePort, raftPort, err := freePorts(c.servers)
	if err != nil {
		return err
	}
	var nodes strings.Builder
	for i, name := range append(slices.Clone(c.servers), c.nodes...) {
		methods := cmp.Or(c.fences[name], "power { switch { } }")
		fmt.Fprintf(&nodes, "  %s { ip_interfaces { lo = %q } fence { %s } }\n", name, loopback(i), methods)
		if i < len(c.servers) {
			c.address[name] = net.JoinHostPort(loopback(i), corePort)
		}
	}
	files := map[string]string{
		"cluster.ccs": fmt.Sprintf("cluster {\n  name = %q\n  lock_gulm {\n    servers = [%q, %q, %q]\n    heartbeat_rate = %.1f\n"+
			"    allowed_misses = %d\n    core_port = %s\n    raft_port = %s\n    fence_servers = \"no\"\n    %s\n  }\n}\n",
			clusterName, c.servers[0], c.servers[1], c.servers[2], heartbeatRate, allowedMisses, corePort, raftPort, c.settings),
		"nodes.ccs": "nodes {\n" + nodes.String() + "}\n",
		// The broken one never succeeds.
		"fence.ccs": fmt.Sprintf("fence_devices {\n  switch { agent = %[1]q action = \"off\" pidfile_dir = %[2]q delay = %[3]d }\n"+
			"  broken { agent = %[1]q action = \"off\" pidfile_dir = %[2]q fail_first = 1000000 }\n}\n",
			AsAgent, filepath.Join(c.dir, "run"), fenceDelay),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(c.dir, "etc", name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func loopback(i int) string { return fmt.Sprintf("127.0.0.%d", 11+i) }

// freePorts returns two ports that are free on the addresses of all servers.
func freePorts(servers []string) (core, raft string, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	var ports []string
	for tries := 0; len(ports) < 2 && tries < 100; tries++ {
		port := "0"
		for i := range servers {
			l, listenErr := net.Listen("tcp", net.JoinHostPort(loopback(i), port))
			if err = listenErr; err != nil {
				break
			}
			held = append(held, l)
			_, port, _ = net.SplitHostPort(l.Addr().String())
		}
		if err == nil {
			ports = append(ports, port)
		}
	}
	if len(ports) < 2 {
		return "", "", fmt.Errorf("no free ports on loopback addresses: %w", err)
	}
	return ports[0], ports[1], nil
}

func (c *cluster) keep(p *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.procs[p.name] = p
}

func (c *cluster) proc(name string) *child {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.procs[name]
}

func (c *cluster) bin(name string) string { return filepath.Join(c.dir, "bin", name) }
func (c *cluster) log(name string) string { return filepath.Join(c.dir, "log", name+".log") }
func (c *cluster) disk() string           { return filepath.Join(c.dir, "disk") }

// startServer starts a real lock_gulmd on its data folder.
func (c *cluster) startServer(name string) error {
	p, err := start(name, c.bin(AsServer), c.log(name), false, "--config", filepath.Join(c.dir, "etc"), "--name", name,
		"--data-dir", filepath.Join(c.dir, "data-"+name), "--development", "--agent-path", filepath.Join(c.dir, "bin"))
	if err == nil {
		c.keep(p)
	}
	return err
}

// startNode starts the next life of a node, and tells the power switch which
// process it is.
func (c *cluster) startNode(name string) (*child, error) {
	c.lives[name]++
	var servers []string
	for _, s := range c.servers {
		servers = append(servers, c.address[s])
	}
	p, err := start(name, c.bin(AsNode), c.log(name), true, "--name", name, "--life", fmt.Sprint(c.lives[name]),
		"--disk", c.disk(), "--servers", strings.Join(servers, ","), "--journals", fmt.Sprint(c.journals))
	if err != nil {
		return nil, err
	}
	c.keep(p)
	return p, process.WritePidfile(filepath.Join(c.dir, "run"), name, p.cmd.Process.Pid)
}

// status asks one server.
func (c *cluster) status(ctx context.Context, server string) (*gulmv1.StatusReply, error) {
	conn := c.conns[server]
	if conn == nil {
		var err error
		conn, err = grpc.NewClient("passthrough:///"+c.address[server], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		c.conns[server] = conn
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return gulmv1.NewAdminServiceClient(conn).Status(ctx, &gulmv1.StatusRequest{})
}

// master returns the master's view; nil if none serves.
func (c *cluster) master(ctx context.Context) *gulmv1.StatusReply {
	for _, name := range c.servers {
		if p := c.proc(name); p == nil || !p.alive() {
			continue
		}
		if s, err := c.status(ctx, name); err == nil && s.GetRole() == gulmv1.ServerRole_SERVER_ROLE_MASTER {
			return s
		}
	}
	return nil
}

// await looks at the master's view until ok.
func (c *cluster) await(ctx context.Context, limit time.Duration, what string, ok func(*gulmv1.StatusReply) bool) (*gulmv1.StatusReply, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if s := c.master(ctx); s != nil && ok(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waited %v in vain for %s; the logs are in %s", limit, what, filepath.Join(c.dir, "log"))
		case <-time.After(pollPeriod):
		}
	}
}

// nodeOf returns a node of the master's view.
func nodeOf(s *gulmv1.StatusReply, name string) *gulmv1.Node {
	for _, n := range s.GetNodes() {
		if n.GetName() == name {
			return n
		}
	}
	return &gulmv1.Node{}
}

// stopServers stops all servers as an operator does and reports who did not end
// well.
func (c *cluster) stopServers() error {
	var bad []string
	for _, name := range c.servers {
		p := c.proc(name)
		if p == nil || !p.alive() {
			continue
		}
		_ = p.signal(syscall.SIGTERM)
		if err := p.ended(15 * time.Second); err != nil || p.err != nil {
			bad = append(bad, name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("servers %v did not stop cleanly; the logs are in %s", bad, filepath.Join(c.dir, "log"))
	}
	return nil
}

// close ends whatever still runs.
func (c *cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.procs {
		p.kill()
	}
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}
