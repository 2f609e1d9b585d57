package gulmtest_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"lock_gulmd/server/gulmtest"
)

// serveHealth runs a grpc server on host s.
func serveHealth(t *testing.T, n *gulmtest.Network) (*grpc.Server, *health.Server) {
	t.Helper()
	l, err := n.Host("s").Listen("4000")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second}))
	h := health.NewServer()
	healthpb.RegisterHealthServer(s, h)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
	return s, h
}

// watchHealth opens a stream from host c to the server.
func watchHealth(t *testing.T, n *gulmtest.Network) healthpb.Health_WatchClient {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///s:4000",
		grpc.WithContextDialer(n.Host("c").Dialer()),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	watch, err := healthpb.NewHealthClient(cc).Watch(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return watch
}

func expectStatus(t *testing.T, watch healthpb.Health_WatchClient, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	r, err := watch.Recv()
	if err != nil || r.Status != want {
		t.Fatalf("%v, %v, want %v", r, err, want)
	}
}

// inCarryBubble is inBubble with a network that outlives the test's cleanups.
func inCarryBubble(t *testing.T, f func(t *testing.T, n *gulmtest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := gulmtest.NewNetwork(1)
		t.Cleanup(n.Close)
		f(t, n)
	})
}

func TestNetwork_carriesGRPC(t *testing.T) {
	inCarryBubble(t, func(t *testing.T, n *gulmtest.Network) {
		n.SetDelay("s", "c", 20*time.Millisecond, 10*time.Millisecond)
		_, h := serveHealth(t, n)
		watch := watchHealth(t, n)
		expectStatus(t, watch, healthpb.HealthCheckResponse_SERVING)
		for range 100 {
			time.Sleep(10 * time.Minute) // idle, but for keepalives
			h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
			expectStatus(t, watch, healthpb.HealthCheckResponse_NOT_SERVING)
			h.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
			expectStatus(t, watch, healthpb.HealthCheckResponse_SERVING)
		}
	})
}

func TestNetwork_grpcNoticesSilence(t *testing.T) {
	faults := map[string]struct {
		begin, end func(n *gulmtest.Network)
	}{
		"partition": {
			begin: func(n *gulmtest.Network) { n.Partition([]string{"s"}, []string{"c"}) },
			end:   func(n *gulmtest.Network) { n.HealAll() },
		},
		"one way": {
			begin: func(n *gulmtest.Network) { n.CutOneWay("s", "c") },
			end:   func(n *gulmtest.Network) { n.HealAll() },
		},
		"pause": {
			begin: func(n *gulmtest.Network) { n.Host("s").Pause() },
			end:   func(n *gulmtest.Network) { n.Host("s").Resume() },
		},
		"power off": {
			begin: func(n *gulmtest.Network) { n.Host("s").PowerOff() },
			end:   func(n *gulmtest.Network) { n.Host("s").Start() },
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			inCarryBubble(t, func(t *testing.T, n *gulmtest.Network) {
				serveHealth(t, n)
				watch := watchHealth(t, n)
				expectStatus(t, watch, healthpb.HealthCheckResponse_SERVING)
				fault.begin(n)
				start := time.Now()
				_, err := watch.Recv()
				// A ping goes out 10 s after the last sign of life, 5 s later
				// the connection is given up.
				if d := time.Since(start); status.Code(err) != codes.Unavailable || d != 15*time.Second {
					t.Errorf("%v after %v, want Unavailable after 15s", err, d)
				}
				fault.end(n)
				if name == "power off" {
					serveHealth(t, n)
				}
				expectStatus(t, watchHealth(t, n), healthpb.HealthCheckResponse_SERVING)
			})
		})
	}
}

func TestNetwork_grpcNoticesACrashAtOnce(t *testing.T) {
	inCarryBubble(t, func(t *testing.T, n *gulmtest.Network) {
		serveHealth(t, n)
		watch := watchHealth(t, n)
		expectStatus(t, watch, healthpb.HealthCheckResponse_SERVING)
		start := time.Now()
		n.Host("s").Crash()
		if _, err := watch.Recv(); status.Code(err) != codes.Unavailable || time.Since(start) != 0 {
			t.Errorf("%v after %v, want Unavailable at once", err, time.Since(start))
		}
	})
}

// words is a raft FSM that gathers what is committed.
type words struct {
	mu  sync.Mutex
	all []string
}

func (w *words) Apply(l *raft.Log) any {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, string(l.Data))
	return nil
}

func (w *words) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

func (w *words) Snapshot() (raft.FSMSnapshot, error) { return nil, fmt.Errorf("not in this test") }
func (w *words) Restore(io.ReadCloser) error         { return fmt.Errorf("not in this test") }

type raftNode struct {
	host *gulmtest.Host
	raft *raft.Raft
	fsm  *words
}

// startRaft boots three raft nodes on hosts of their own.
func startRaft(t *testing.T, n *gulmtest.Network) []raftNode {
	t.Helper()
	names := []string{"r0", "r1", "r2"}
	var members raft.Configuration
	for _, name := range names {
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name + ":7000")})
	}
	var nodes []raftNode
	for _, name := range names {
		host := n.Host(name)
		layer, err := host.StreamLayer("7000")
		if err != nil {
			t.Fatal(err)
		}
		log := hclog.NewNullLogger()
		transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: layer, MaxPool: 3, Timeout: 2 * time.Second, Logger: log,
		})
		config := raft.DefaultConfig()
		config.LocalID = raft.ServerID(name)
		config.Logger = log
		store, snapshots, fsm := raft.NewInmemStore(), raft.NewInmemSnapshotStore(), &words{}
		if err := raft.BootstrapCluster(config, store, store, snapshots, transport, members); err != nil {
			t.Fatal(err)
		}
		r, err := raft.NewRaft(config, fsm, store, store, snapshots, transport)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Shutdown().Error(); err != nil {
				t.Error(err)
			}
			_ = transport.Close()
		})
		nodes = append(nodes, raftNode{host: host, raft: r, fsm: fsm})
	}
	return nodes
}

// leader waits until one of the nodes leads.
func leader(t *testing.T, among ...raftNode) raftNode {
	t.Helper()
	for range 600 {
		for _, node := range among {
			if node.raft.State() == raft.Leader && node.raft.VerifyLeader().Error() == nil {
				return node
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("nobody was elected within a minute")
	return raftNode{}
}

func apply(t *testing.T, node raftNode, word string) {
	t.Helper()
	if err := node.raft.Apply([]byte(word), 10*time.Second).Error(); err != nil {
		t.Fatalf("apply %q: %v", word, err)
	}
}

func TestNetwork_carriesRaft(t *testing.T) {
	inCarryBubble(t, func(t *testing.T, n *gulmtest.Network) {
		for _, from := range []string{"r0", "r1", "r2"} {
			for _, to := range []string{"r0", "r1", "r2"} {
				n.SetDelay(from, to, 5*time.Millisecond, 5*time.Millisecond)
			}
		}
		nodes := startRaft(t, n)
		old := leader(t, nodes...)
		apply(t, old, "before")

		var rest []raftNode
		var restNames []string
		for _, node := range nodes {
			if node.host != old.host {
				rest = append(rest, node)
				restNames = append(restNames, node.host.Name())
			}
		}
		n.Partition([]string{old.host.Name()}, restNames)
		next := leader(t, rest...)
		apply(t, next, "during")
		if got := old.fsm.list(); !slices.Equal(got, []string{"before"}) {
			t.Errorf("the node that was cut off has %q", got)
		}
		if old.raft.Apply([]byte("lost"), time.Second).Error() == nil {
			t.Error("the node that was cut off has committed")
		}

		n.HealAll()
		apply(t, leader(t, nodes...), "after")
		time.Sleep(time.Minute)
		for _, node := range nodes {
			if got := node.fsm.list(); !slices.Equal(got, []string{"before", "during", "after"}) {
				t.Errorf("%s has %q", node.host.Name(), got)
			}
		}
	})
}

// TestNetwork_raftSurvivesPauses stops each node in turn, as SIGSTOP would, for
// longer than an election takes.
func TestNetwork_raftSurvivesPauses(t *testing.T) {
	inCarryBubble(t, func(t *testing.T, n *gulmtest.Network) {
		nodes := startRaft(t, n)
		var want []string
		for i := range nodes {
			nodes[i].host.Pause()
			time.Sleep(20 * time.Second)
			others := slices.Concat(nodes[:i], nodes[i+1:])
			word := fmt.Sprint("without ", i)
			apply(t, leader(t, others...), word)
			want = append(want, word)
			nodes[i].host.Resume()
			time.Sleep(20 * time.Second)
		}
		for _, node := range nodes {
			if got := node.fsm.list(); !slices.Equal(got, want) {
				t.Errorf("%s has %q, want %q", node.host.Name(), got, want)
			}
		}
	})
}

func TestStreamLayer_closesItsConnections(t *testing.T) {
	inCarryBubble(t, func(t *testing.T, n *gulmtest.Network) {
		a, err := n.Host("a").StreamLayer("1")
		if err != nil {
			t.Fatal(err)
		}
		b, err := n.Host("b").StreamLayer("1")
		if err != nil {
			t.Fatal(err)
		}
		out, err := a.Dial("b:1", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		in, err := b.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil { // closes what it accepted
			t.Fatal(err)
		}
		if got, err := io.ReadAll(out); len(got) != 0 || err != nil {
			t.Errorf("%q, %v, want EOF", got, err)
		}
		if _, err := in.Write(bytes.Repeat([]byte("x"), 10)); err == nil {
			t.Error("an accepted connection is still open")
		}
		if _, err := b.Accept(); err == nil {
			t.Error("accepted after Close")
		}
		if _, err := a.Dial("b:1", time.Second); err == nil {
			t.Error("connected to a closed layer")
		}
		if err := a.Close(); err != nil { // closes what it dialled
			t.Fatal(err)
		}
		if _, err := out.Write([]byte("x")); err == nil {
			t.Error("a dialled connection is still open")
		}
	})
}
