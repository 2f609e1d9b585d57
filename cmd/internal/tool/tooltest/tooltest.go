// Package tooltest has what tests of the operator's commands need: scripted lock
// servers on loopback addresses, their configuration, certificates, and golden
// files.
package tooltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// Script is what a Server answers. Tests change it with [Server.Set].
type Script struct {
	// Status is the answer to Status; Locate and Nodes follow from it. A server
	// whose role in it is not master refuses what only a master does.
	Status *gulmv1.StatusReply
	// Timeouts is the answer to Timeouts.
	Timeouts *gulmv1.TimeoutsReply
	// Locks are the messages that answer Locks.
	Locks []*gulmv1.LocksReply
	// Fences and Rehearsal are the answers to those calls; nil for empty ones.
	Fences    *gulmv1.FencesReply
	Rehearsal *gulmv1.RehearseFenceReply
	// Journals answers Journals; nil for none.
	Journals *gulmv1.JournalsReply
	// Refuse are the errors of calls by the name of the method, as in "ForceExpire".
	Refuse map[string]error
	// Before, if not nil, is called with the name of each method before it
	// answers; it must not call Set.
	Before func(method string, s *Script)
	// Hangs makes every call wait until the server stops.
	Hangs bool
}

// Server is one scripted lock server.
type Server struct {
	gulmv1.UnimplementedCoreServiceServer
	gulmv1.UnimplementedAdminServiceServer

	// Name and Address are as in the configuration.
	Name, Address string

	grpc    *grpc.Server
	serving sync.WaitGroup
	stop    func()
	stopped chan struct{}

	mu       sync.Mutex
	script   Script
	requests []string
}

// Cluster is a configuration and its servers.
type Cluster struct {
	// Dir is the folder of the configuration.
	Dir string
	// Servers are lk1, lk2 ...; lk1 is the master.
	Servers []*Server
}

// Start runs n scripted servers until the test ends, lk1 being the master of a
// quorate cluster "farm7" in term 4 with the node fs01 logged in. Creds may be
// nil for plain text; it gets the name of a server.
func Start(t testing.TB, n int, creds func(name string) credentials.TransportCredentials) *Cluster {
	t.Helper()
	c := &Cluster{}
	for i := range n {
		c.Servers = append(c.Servers, listen(t, fmt.Sprintf("lk%d", i+1), creds))
	}
	for i, s := range c.Servers {
		s.script.Status = c.status(i)
	}
	c.Dir = c.writeConfig(t)
	return c
}

func listen(t testing.TB, name string, creds func(string) credentials.TransportCredentials) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	if creds != nil {
		options = append(options, grpc.Creds(creds(name)))
	}
	s := &Server{Name: name, Address: l.Addr().String(), grpc: grpc.NewServer(options...), stopped: make(chan struct{})}
	s.stop = sync.OnceFunc(func() {
		close(s.stopped)
		s.grpc.Stop()
		s.serving.Wait()
	})
	gulmv1.RegisterCoreServiceServer(s.grpc, s)
	gulmv1.RegisterAdminServiceServer(s.grpc, s)
	s.serving.Go(func() {
		if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("server %s: %v", name, err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// Stop ends the server: connections to it are refused once it has returned.
func (s *Server) Stop() { s.stop() }

// Set changes the script.
func (s *Server) Set(change func(*Script)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.script)
}

// Requests returns what was changed or asked to be changed, oldest first: the
// method and the request as text.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// begin is the start of every call: it returns a copy of the script.
func (s *Server) begin(method string) (Script, error) {
	s.mu.Lock()
	if s.script.Before != nil {
		s.script.Before(method, &s.script)
	}
	now := s.script
	now.Status = proto.Clone(s.script.Status).(*gulmv1.StatusReply)
	refusal := s.script.Refuse[method]
	s.mu.Unlock()
	if now.Hangs {
		<-s.stopped // not ctx, after which an answer might still be in time
		return now, gulmerr.ToStatus(gulmerr.ErrShuttingDown)
	}
	return now, gulmerr.ToStatus(refusal)
}

// serve is begin for calls that only a master answers.
func (s *Server) serve(method string, req proto.Message) error {
	now, err := s.begin(method)
	if err != nil {
		return err
	}
	if st := now.Status; st.GetRole() != gulmv1.ServerRole_SERVER_ROLE_MASTER {
		return gulmerr.ToStatus(gulmerr.NotMaster(st.GetMaster(), addressOf(st, st.GetMaster())))
	}
	s.record(method, req)
	return nil
}

func (s *Server) record(method string, req proto.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprint(req)
	s.requests = append(s.requests, strings.TrimSpace(method+" "+strings.Join(strings.Fields(text), " ")))
}

func addressOf(st *gulmv1.StatusReply, name string) string {
	for _, x := range st.GetServers() {
		if x.GetName() == name {
			return x.GetAddress()
		}
	}
	return ""
}

// Status implements AdminService.
func (s *Server) Status(_ context.Context, _ *gulmv1.StatusRequest) (*gulmv1.StatusReply, error) {
	now, err := s.begin("Status")
	return now.Status, err
}

// Timeouts implements AdminService.
func (s *Server) Timeouts(context.Context, *gulmv1.TimeoutsRequest) (*gulmv1.TimeoutsReply, error) {
	now, err := s.begin("Timeouts")
	return now.Timeouts, err
}

// Locate implements CoreService.
func (s *Server) Locate(_ context.Context, _ *gulmv1.LocateRequest) (*gulmv1.LocateReply, error) {
	now, err := s.begin("Locate")
	if err != nil {
		return nil, err
	}
	st := now.Status
	reply := &gulmv1.LocateReply{Cluster: st.GetCluster(), Server: st.GetServer(), Role: st.GetRole()}
	for _, x := range st.GetServers() {
		a := &gulmv1.ServerAddress{Name: x.GetName(), Address: x.GetAddress()}
		reply.Servers = append(reply.Servers, a)
		if x.GetName() == st.GetMaster() {
			reply.Master = a
		}
	}
	return reply, nil
}

// Nodes implements CoreService.
func (s *Server) Nodes(_ context.Context, _ *gulmv1.NodesRequest) (*gulmv1.NodesReply, error) {
	now, err := s.begin("Nodes")
	return &gulmv1.NodesReply{Nodes: now.Status.GetNodes()}, err
}

// Journals implements AdminService.
func (s *Server) Journals(_ context.Context, req *gulmv1.JournalsRequest) (*gulmv1.JournalsReply, error) {
	if err := s.serve("Journals", req); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.script.Journals == nil {
		return &gulmv1.JournalsReply{}, nil
	}
	return s.script.Journals, nil
}

// Locks implements AdminService.
func (s *Server) Locks(req *gulmv1.LocksRequest, stream grpc.ServerStreamingServer[gulmv1.LocksReply]) error {
	if err := s.serve("Locks", req); err != nil {
		return err
	}
	s.mu.Lock()
	messages := s.script.Locks
	s.mu.Unlock()
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// Shutdown implements AdminService.
func (s *Server) Shutdown(_ context.Context, req *gulmv1.ShutdownRequest) (*gulmv1.ShutdownReply, error) {
	if _, err := s.begin("Shutdown"); err != nil {
		return nil, err
	}
	s.record("Shutdown", req)
	return &gulmv1.ShutdownReply{}, nil
}

// ForceExpire implements AdminService.
func (s *Server) ForceExpire(_ context.Context, req *gulmv1.ForceExpireRequest) (*gulmv1.ForceExpireReply, error) {
	return &gulmv1.ForceExpireReply{}, s.serve("ForceExpire", req)
}

// PauseFencing implements AdminService.
func (s *Server) PauseFencing(_ context.Context, req *gulmv1.PauseFencingRequest) (*gulmv1.PauseFencingReply, error) {
	return &gulmv1.PauseFencingReply{}, s.serve("PauseFencing", req)
}

// ResumeFencing implements AdminService.
func (s *Server) ResumeFencing(_ context.Context, req *gulmv1.ResumeFencingRequest) (*gulmv1.ResumeFencingReply, error) {
	return &gulmv1.ResumeFencingReply{}, s.serve("ResumeFencing", req)
}

// AcknowledgeFence implements AdminService.
func (s *Server) AcknowledgeFence(_ context.Context, req *gulmv1.AcknowledgeFenceRequest) (*gulmv1.AcknowledgeFenceReply, error) {
	return &gulmv1.AcknowledgeFenceReply{}, s.serve("AcknowledgeFence", req)
}

// status is what server i says at first.
func (c *Cluster) status(i int) *gulmv1.StatusReply {
	s := &gulmv1.StatusReply{
		Cluster: "farm7", Server: c.Servers[i].Name, Role: gulmv1.ServerRole_SERVER_ROLE_STANDBY, Term: 4, Master: "lk1", Quorate: true,
		Quorum: uint32(len(c.Servers)/2 + 1), CommitIndex: 1207, AppliedIndex: 1207, Digest: 0xfeedc0de12345678,
		Locks: 3, Waiters: 0, Resources: 2, Lockspaces: 1, Sessions: 1, UptimeMs: 11_520_000, Version: "v0.9.0", Durability: "disk",
	}
	if i == 0 {
		s.Role = gulmv1.ServerRole_SERVER_ROLE_MASTER
	}
	for _, x := range c.Servers {
		s.Servers = append(s.Servers, &gulmv1.ServerStatus{Name: x.Name, Address: x.Address, Reachable: true, LastContactMs: 40})
		s.Nodes = append(s.Nodes, &gulmv1.Node{Name: x.Name, Address: "127.0.0.1", LastBeatMs: -1, Server: true})
	}
	s.Nodes = append(s.Nodes, &gulmv1.Node{
		Name: "fs01", Address: "127.0.0.21", State: gulmv1.NodeState_NODE_STATE_LOGGED_IN, Incarnation: 3,
		BootId: "5d9e6f0c-1111-2222-3333-444455556666", SinceMs: 1_790_000_000_000, LastBeatMs: 1240, Locks: 3,
		Sessions: []*gulmv1.Session{{Session: 12, Process: "mount.gfs", Locks: 3, Attached: true}},
	})
	return s
}

// Expire makes the node expired in every server's answer, with a pending fence
// that has failed once.
func (c *Cluster) Expire(node string) {
	fence := &gulmv1.Fence{
		Node: node, Incarnation: 3, State: gulmv1.FenceState_FENCE_STATE_WANTED, Reason: "missed 3 heartbeats",
		WantedMs: 1_790_000_100_000, Rounds: 2,
		Attempts: []*gulmv1.FenceAttempt{{
			Method: "power", Device: "rackpdu", Agent: "fence_apc_snmp", Outcome: "failed: exit status 1",
			StartMs: 1_790_000_101_000, DurationMs: 5250, Output: "Connection timed out\n\x1b[2JUnable to connect\n",
		}},
	}
	for _, s := range c.Servers {
		s.Set(func(script *Script) {
			st := script.Status
			for _, n := range st.GetNodes() {
				if n.GetName() == node {
					n.State, n.Fence, n.LastBeatMs, n.SinceMs = gulmv1.NodeState_NODE_STATE_EXPIRED, fence, -1, fence.GetWantedMs()
				}
			}
			st.PendingFences = []*gulmv1.Fence{fence}
			st.WaitingFor = []string{"fence of node " + node + " (incarnation 3, 3 locks frozen): round 2"}
		})
	}
}

func (c *Cluster) writeConfig(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	var names []string
	nodes := ""
	for i, s := range c.Servers {
		names = append(names, fmt.Sprintf("%q", s.Name))
		_, port, _ := net.SplitHostPort(s.Address)
		nodes += fmt.Sprintf("  %s { ip_interfaces { lo = \"127.0.0.1\" } core_port = %s raft_port = %d fence { m { people { } } } }\n", s.Name, port, 1000+i)
	}
	nodes += "  fs01 { ip_interfaces { lo = \"127.0.0.21\" } fence { m { people { } } } }\n"
	for name, text := range map[string]string{
		"cluster.ccs": "cluster { name = \"farm7\" lock_gulm { servers = [" + strings.Join(names, ", ") + "] } }\n",
		"nodes.ccs":   "nodes {\n" + nodes + "}\n",
		"fence.ccs":   "fence_devices { people { agent = \"fence_manual\" } }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
