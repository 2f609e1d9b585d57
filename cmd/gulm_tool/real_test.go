package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/cmd/internal/tool/tooltest"
	"lock_gulmd/proto/gulmerr"
)

// patience is how long a real cluster may take for anything.
const patience = time.Minute

// eventually runs a command line until it satisfies; a real server takes its time.
func eventually(t *testing.T, what string, good func(tooltest.Result) bool, args ...string) tooltest.Result {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for {
		r := run(args...)
		if good(r) {
			return r
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within %v: %+v", what, patience, r)
		}
	}
}

// freePorts returns ports of 127.0.0.1 that nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// realServer starts lock_gulmd as a process of its own; it returns the folder of
// the configuration, the address, and a function that waits for its end.
func realServer(t *testing.T) (dir, address string, wait func() error) {
	t.Helper()
	return realServerWith(t, t.TempDir(), `people { agent = "fence_manual" }`)
}

// realServerWith has another device than people to fence with, and a folder for
// its configuration.
func realServerWith(t *testing.T, dir, device string, args ...string) (_, address string, wait func() error) {
	t.Helper()
	ports := freePorts(t, 2)
	for name, text := range map[string]string{
		"cluster.ccs": "cluster { name = \"farm7\" lock_gulm { servers = [\"lk1\"] } }\n",
		"nodes.ccs": fmt.Sprintf(`nodes {
  lk1  { ip_interfaces { lo = "127.0.0.1" } core_port = %[1]d raft_port = %[2]d fence { m { %[3]s { } } } }
  fs01 { ip_interfaces { lo = "127.0.0.21" } fence { m { %[3]s { } } } }
  fs02 { ip_interfaces { lo = "127.0.0.22" } fence { m { %[3]s { } } } }
}`, ports[0], ports[1], strings.Fields(device)[0]),
		"fence.ccs": "fence_devices { " + device + " }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("lock_gulmd", append([]string{
		"--config", dir, "--name", "lk1", "--data-dir", filepath.Join(dir, "data"), "--development",
	}, args...)...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait = sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = wait()
		if t.Failed() {
			text, err := os.ReadFile(log.Name())
			t.Logf("lock_gulmd: %v\n%s", err, text)
		}
	})
	return dir, fmt.Sprintf("127.0.0.1:%d", ports[0]), wait
}

// login logs a node in and joins the lockspace.
func login(ctx context.Context, t *testing.T, node string, addresses ...string) *client.Lockspace {
	t.Helper()
	n, err := client.Dial(ctx, client.Config{Cluster: "farm7", Node: node, Servers: addresses, BootID: node + "-boot-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	ls, err := n.Join(ctx, "farm7:data", client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

// TestRealServer goes through the life of a lock whose holder is given up, with
// a real lock_gulmd.
func TestRealServer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	dir, address, wait := realServer(t)
	flags := []string{"--config", dir}
	args := func(more ...string) []string { return append(flags[:len(flags):len(flags)], more...) }
	ok := func(r tooltest.Result) bool { return r.Code == 0 }
	eventually(t, "a master", ok, args("status")...)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	holder, waiter := login(ctx, t, "fs01", address), login(ctx, t, "fs02", address)
	if _, err := holder.Lock(ctx, "inode\x00\x07", client.EX); err != nil {
		t.Fatal(err)
	}
	granted := make(chan error, 1)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() {
		_, err := waiter.Lock(ctx, "inode\x00\x07", client.PR)
		granted <- err
	})

	r := eventually(t, "the waiter", func(r tooltest.Result) bool { return strings.Contains(r.Stdout, "blocked by") }, args("locks", "--contended")...)
	if !strings.Contains(r.Stdout, `farm7:data "inode\x00\a"`) || !strings.Contains(r.Stdout, "(EX)") {
		t.Errorf("locks:\n%s", r.Stdout)
	}
	if r := run(args("ack", "fs01", "--yes")...); r.Code != gulmerr.ExitNotFound || !strings.Contains(r.Stderr, "it is logged in") {
		t.Errorf("nothing to acknowledge yet: %+v", r)
	}
	if r := run(args("expire", "fs01", "--reason", "test")...); r.Code != 0 {
		t.Fatalf("expire: %+v", r)
	}
	if r := run(args("expire", "fs01", "--reason", "test")...); r.Code != gulmerr.ExitRefused {
		t.Errorf("expired twice: %+v", r)
	}
	if r := run(args("expire", "fs09", "--reason", "test")...); r.Code != gulmerr.ExitNotFound {
		t.Errorf("expire an unknown node: %+v", r)
	}
	eventually(t, "the fence", func(r tooltest.Result) bool {
		return r.Code == 0 && strings.Contains(r.Stdout, "forced: test") && strings.Contains(r.Stdout, "fence_ack_manual fs01")
	}, args("status")...)
	select {
	case err := <-granted:
		t.Fatalf("the lock was granted before the fence: %v", err)
	default:
	}
	if r := run(args("locks")...); !strings.Contains(r.Stdout, "frozen until fs01 is fenced") || !strings.Contains(r.Stdout, "(EX, frozen)") {
		t.Errorf("locks:\n%s%s", r.Stdout, r.Stderr)
	}
	if r := tooltest.Run(Main, "fs01\n", args("ack", "fs01")...); r.Code != 0 {
		t.Fatalf("ack: %+v", r)
	}
	if err := <-granted; err != nil {
		t.Errorf("the waiter after the acknowledgement: %v", err)
	}
	if r := run(args("nodeinfo", "fs01")...); r.Code != 0 || !strings.Contains(r.Stdout, "acknowledged by ") {
		t.Errorf("%+v", r)
	}

	// The only server is the quorum.
	if r := run(args("shutdown", "lk1")...); r.Code != gulmerr.ExitRefused || !strings.Contains(r.Stderr, "--force") {
		t.Errorf("shutdown with a node logged in: %+v", r)
	}
	if err := waiter.Node().Logout(ctx); err != nil {
		t.Error(err)
	}
	var status statusJSON
	if err := json.Unmarshal([]byte(run(args("status", "--json")...).Stdout), &status); err != nil || status.Sessions != 0 || status.Locks != 0 {
		t.Errorf("%v: %+v", err, status)
	}
	if r := run(args("shutdown", "lk1")...); r.Code != 0 {
		t.Fatalf("shutdown: %+v", r)
	}
	if err := wait(); err != nil {
		t.Errorf("lock_gulmd ended with %v", err)
	}
	if r := run(args("status")...); r.Code != gulmerr.ExitNoQuorum {
		t.Errorf("after the shutdown: %+v", r)
	}
}
