package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// deadline is for anything to happen among real processes; it is generous, since
// nothing may depend on the speed of the machine.
const deadline = 60 * time.Second

// farm is a cluster of real processes on loopback addresses.
type farm struct {
	t   *testing.T
	dir string
	// core and raft are addresses by server name.
	core, raft map[string]string
	// args are given to every server.
	args []string
	// tls is what this test calls with; nil for plain text.
	tls   *tls.Config
	procs map[string]*process
}

// process is one lock_gulmd.
type process struct {
	cmd    *exec.Cmd
	log    *syncBuffer
	exited chan struct{} // closed when cmd.Wait has returned
}

// syncBuffer may be read while a process writes to it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newFarm writes the configuration of three servers, lk1 to lk3, and one node.
func newFarm(t *testing.T) *farm {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	f := &farm{t: t, dir: t.TempDir(), core: map[string]string{}, raft: map[string]string{}, procs: map[string]*process{}}
	var nodes strings.Builder
	for i, name := range []string{"lk1", "lk2", "lk3", "fs01"} {
		ip := fmt.Sprintf("127.0.0.%d", 11+i)
		core, raft := freePorts(t, ip)
		f.core[name], f.raft[name] = fmt.Sprintf("%s:%d", ip, core), fmt.Sprintf("%s:%d", ip, raft)
		fmt.Fprintf(&nodes, "  %s {\n    ip_interfaces { lo = %q }\n    fence { off { pdu { } } }\n", name, ip)
		if name != "fs01" {
			fmt.Fprintf(&nodes, "    core_port = %d\n    raft_port = %d\n", core, raft)
		}
		nodes.WriteString("  }\n")
	}
	agent := "#!/bin/sh\n# An agent that can do everything and has nothing to do.\ncat >/dev/null\n"
	for name, text := range map[string]string{
		"cluster.ccs": "cluster {\n  name = \"farm\"\n  lock_gulm { servers = [\"lk1\", \"lk2\", \"lk3\"] }\n}\n",
		"nodes.ccs":   "nodes {\n" + nodes.String() + "}\n",
		"fence.ccs":   "fence_devices {\n  pdu { agent = \"fence_nothing\" action = \"off\" verify = \"no\" }\n}\n",
	} {
		f.write(name, text, 0o600)
	}
	f.write("bin/fence_nothing", agent, 0o700)
	f.args = []string{"--config", f.dir, "--agent-path", filepath.Join(f.dir, "bin") + ":/usr/bin:/bin"}
	return f
}

// freePorts returns two ports that nobody uses on an address.
func freePorts(t *testing.T, ip string) (int, int) {
	t.Helper()
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", ip+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports[0], ports[1]
}

func (f *farm) write(name, text string, mode os.FileMode) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		f.t.Fatal(err)
	}
}

// start runs a server with its own data folder; more arguments win over the
// usual ones. env are additions to the environment.
func (f *farm) start(name string, more ...string) *process {
	f.t.Helper()
	args := append(append([]string{"--name", name, "--data-dir", filepath.Join(f.dir, "data", name)}, f.args...), more...)
	p := f.run(nil, args...)
	f.procs[name] = p
	return p
}

func (f *farm) run(env []string, args ...string) *process {
	f.t.Helper()
	p := &process{cmd: exec.Command("lock_gulmd", args...), log: &syncBuffer{}, exited: make(chan struct{})}
	p.cmd.Stderr = p.log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the status is in ProcessState
		close(p.exited)
	}()
	f.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended long ago
		<-p.exited
		if f.t.Failed() {
			f.t.Logf("%v:\n%s", args, p.log)
		}
	})
	return p
}

// startAll starts all servers and returns their master.
func (f *farm) startAll() string {
	f.t.Helper()
	for _, name := range []string{"lk1", "lk2", "lk3"} {
		f.start(name)
	}
	return f.master()
}

// eventually waits until ask returns "" and fails with what it returned last.
func (f *farm) eventually(ask func() string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), deadline)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		why := ask()
		if why == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.t.Fatalf("still after %v: %s", deadline, why)
		}
	}
}

// dial connects to a server as the holder of the configured certificate.
func (f *farm) dial(name string, conf *tls.Config) *grpc.ClientConn {
	f.t.Helper()
	creds := insecure.NewCredentials()
	if conf != nil {
		creds = credentials.NewTLS(conf)
	}
	conn, err := grpc.NewClient("passthrough:///"+f.core[name], grpc.WithTransportCredentials(creds))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (f *farm) admin(name string) gulmv1.AdminServiceClient {
	f.t.Helper()
	return gulmv1.NewAdminServiceClient(f.dial(name, f.tls))
}

func (f *farm) status(name string) (*gulmv1.StatusReply, error) {
	creds := insecure.NewCredentials()
	if f.tls != nil {
		creds = credentials.NewTLS(f.tls)
	}
	conn, err := grpc.NewClient("passthrough:///"+f.core[name], grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Second)
	defer cancel()
	return gulmv1.NewAdminServiceClient(conn).Status(ctx, &gulmv1.StatusRequest{})
}

// master waits until all running servers name the same master and it serves.
func (f *farm) master() string {
	f.t.Helper()
	var master string
	f.eventually(func() string {
		master = ""
		for name, p := range f.procs {
			if p.hasExited() {
				continue
			}
			s, err := f.status(name)
			switch {
			case err != nil:
				return fmt.Sprintf("%s: %v", name, err)
			case s.GetMaster() == "" || master != "" && master != s.GetMaster():
				return fmt.Sprintf("%s names master %q, another %q", name, s.GetMaster(), master)
			case s.GetMaster() == name && s.GetRole() != gulmv1.ServerRole_SERVER_ROLE_MASTER:
				return fmt.Sprintf("%s is %v", name, s.GetRole())
			}
			master = s.GetMaster()
		}
		if p := f.procs[master]; p == nil || p.hasExited() {
			return master + " is no running server"
		}
		return ""
	})
	return master
}

// standbys are the running servers but the master.
func (f *farm) standbys(master string) []string {
	var out []string
	for _, name := range []string{"lk1", "lk2", "lk3"} {
		if p := f.procs[name]; name != master && p != nil && !p.hasExited() {
			out = append(out, name)
		}
	}
	return out
}

// entry waits until what one server says about another fits.
func (f *farm) entry(of, about string, want func(*gulmv1.ServerStatus) bool) {
	f.t.Helper()
	f.eventually(func() string {
		s, err := f.status(of)
		if err != nil {
			return err.Error()
		}
		for _, server := range s.GetServers() {
			if server.GetName() == about && want(server) {
				return ""
			}
		}
		return fmt.Sprintf("%s says %v", of, s.GetServers())
	})
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// signal sends a signal to the process.
func (f *farm) signal(p *process, sig syscall.Signal) {
	f.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		f.t.Fatal(err)
	}
}

// exits waits for the process and checks its exit status; -1 is a signal.
func (f *farm) exits(p *process, code int) {
	f.t.Helper()
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		f.t.Fatalf("still running after %v", deadline)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		f.t.Errorf("exit status %d, want %d", got, code)
	}
}
