package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// TestCluster takes three servers through a working life.
func TestCluster(t *testing.T) {
	f := newFarm(t)
	f.args = append(f.args, "--development")
	master := f.startAll()

	t.Log("a second daemon on the same folder is refused")
	again := f.run(nil, append([]string{
		"--name", master, "--data-dir", filepath.Join(f.dir, "data", master),
		"--core-listen", "127.0.0.1:" + freePort(t), "--raft-listen", "127.0.0.1:" + freePort(t),
	}, f.args...)...)
	f.exits(again, ExitFailed)
	if !strings.Contains(again.log.String(), "data folder is in use") {
		t.Errorf("it says:\n%s", again.log)
	}
	t.Log("and one on the same address")
	same := f.run(nil, append([]string{"--name", master, "--data-dir", filepath.Join(f.dir, "data", "other")}, f.args...)...)
	f.exits(same, ExitFailed)
	if !strings.Contains(same.log.String(), "is lock_gulmd running already?") {
		t.Errorf("it says:\n%s", same.log)
	}

	t.Log("a standby that is stopped logs out")
	standby := f.standbys(master)[0]
	f.signal(f.procs[standby], syscall.SIGTERM)
	f.exits(f.procs[standby], ExitOK)
	f.entry(master, standby, func(s *gulmv1.ServerStatus) bool { return s.GetLoggedOut() })

	t.Log("and is back when it is started")
	f.start(standby)
	f.entry(master, standby, func(s *gulmv1.ServerStatus) bool { return !s.GetLoggedOut() && s.GetReachable() })
	if got := f.master(); got != master {
		t.Fatalf("the master was %s, now it is %s", master, got)
	}

	t.Log("a master that is killed is replaced")
	f.signal(f.procs[master], syscall.SIGKILL)
	f.exits(f.procs[master], -1)
	next := f.master()
	if next == master {
		t.Fatalf("the dead server %s is master", master)
	}
	t.Log("and follows when it is back")
	f.start(master)
	f.entry(next, master, func(s *gulmv1.ServerStatus) bool { return s.GetReachable() && !s.GetLoggedOut() })
	if got := f.master(); got != next {
		t.Errorf("the master was %s, now it is %s", next, got)
	}

	t.Log("an operator may shut a server down")
	standby = f.standbys(next)[0]
	if _, err := f.admin(standby).Shutdown(t.Context(), &gulmv1.ShutdownRequest{}); err != nil {
		t.Error(err)
	}
	f.exits(f.procs[standby], ExitOK)
	f.entry(next, standby, func(s *gulmv1.ServerStatus) bool { return s.GetLoggedOut() })
}

func freePort(t *testing.T) string {
	t.Helper()
	port, _ := freePorts(t, "127.0.0.1")
	return fmt.Sprint(port)
}

// TestFence: the master runs the agents of agent_path.
func TestFence(t *testing.T) {
	f := newFarm(t)
	f.args = append(f.args, "--development")
	master := f.startAll()
	conn := f.dial(master, nil)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	_, err := gulmv1.NewCoreServiceClient(conn).Login(ctx, &gulmv1.LoginRequest{
		Cluster: "farm", Node: "fs01", BootId: "boot", LoginId: []byte("0123456789abcdef"),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = gulmv1.NewAdminServiceClient(conn).ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: "fs01", Reason: "test"})
	if err != nil {
		t.Fatal(err)
	}
	f.eventually(func() string {
		s, err := f.status(master)
		if err != nil {
			return err.Error()
		}
		for _, n := range s.GetNodes() {
			if n.GetName() == "fs01" && n.GetState() == gulmv1.NodeState_NODE_STATE_FENCED {
				return ""
			}
		}
		return fmt.Sprint(s.GetNodes())
	})
	if !strings.Contains(f.procs[master].log.String(), "agent=fence_nothing") {
		t.Error("the log does not say that the agent ran")
	}
}

// TestSystemd: systemd is told of the start and of the end.
func TestSystemd(t *testing.T) {
	f := newFarm(t)
	path := filepath.Join(f.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		buf := make([]byte, 256)
		n, err := conn.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("%q, %v, want %q", buf[:n], err, want)
		}
	}
	p := f.run([]string{notifyEnv + "=" + path, "GULM_DEVELOPMENT=true", "GULM_NAME=lk1", "GULM_LOG_FORMAT=json"},
		append(f.args, "--data-dir", filepath.Join(f.dir, "data"))...)
	next("READY=1")
	f.signal(p, syscall.SIGHUP)
	f.eventually(func() string {
		if strings.Contains(p.log.String(), "nothing to reload") {
			return ""
		}
		return "SIGHUP is not answered"
	})
	f.signal(p, syscall.SIGTERM)
	next("STOPPING=1")
	f.exits(p, ExitOK)
	for _, want := range []string{`"msg":"starting"`, `"server":"lk1"`, `"cluster":"farm"`, `"rank":1`, `"core":"` + f.core["lk1"] + `"`, `"msg":"stopped"`} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log does not have %s", want)
		}
	}
}

// secure gives all servers certificates and the test that of an operator.
func (f *farm) secure(ca *authority) {
	f.t.Helper()
	for _, name := range []string{"lk1", "lk2", "lk3"} {
		dir := filepath.Join(f.dir, "tls", name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			f.t.Fatal(err)
		}
		filesIn(dir).write(f.t, ca.issue("gulm://farm/server/"+name), ca)
	}
	f.tls = ca.dialer(ca.issue("gulm://farm/admin/root"))
}

// startSecure starts a server with its certificate.
func (f *farm) startSecure(name string) *process {
	files := filesIn(filepath.Join(f.dir, "tls", name))
	return f.start(name, "--tls-cert", files.cert, "--tls-key", files.key, "--tls-ca", files.ca)
}

// TestCertificates takes three servers with certificates through who may do
// what, and through new certificates.
func TestCertificates(t *testing.T) {
	f := newFarm(t)
	ca := newAuthority(t)
	f.secure(ca)
	for _, name := range []string{"lk1", "lk2", "lk3"} {
		f.startSecure(name)
	}
	master := f.master()
	node := ca.dialer(ca.issue("gulm://farm/node/fs01"))

	t.Log("a node is no operator")
	admin := gulmv1.NewAdminServiceClient(f.dial(master, node))
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if _, err := admin.Status(ctx, &gulmv1.StatusRequest{}); err != nil {
		t.Errorf("status: %v", err)
	}
	if _, err := admin.Shutdown(ctx, &gulmv1.ShutdownRequest{Force: true}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := admin.ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: "fs01", Reason: "test"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("force expire: %v", err)
	}

	t.Log("a node, an operator or nobody cannot enter the replicated log")
	for who, conf := range map[string]*tls.Config{"node": node, "operator": f.tls} {
		if err := knock(f.raft[master], conf); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a %s at the raft port: %v", who, err)
		}
	}
	stranger := newAuthority(t)
	if err := knock(f.raft[master], ca.dialer(stranger.issue("gulm://farm/server/lk2"))); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a server of another CA at the raft port: %v", err)
	}

	t.Log("a renewed certificate is used without a restart")
	renewed := ca.issue("gulm://farm/server/" + master)
	filesIn(filepath.Join(f.dir, "tls", master)).write(t, renewed, ca)
	f.signal(f.procs[master], syscall.SIGHUP)
	f.eventually(func() string {
		if strings.Contains(f.procs[master].log.String(), "certificates reloaded") {
			return ""
		}
		return "SIGHUP is not answered"
	})
	conn, err := tls.Dial("tcp", f.core[master], withProtocol(f.tls))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if shown := conn.ConnectionState().PeerCertificates[0]; !shown.Equal(renewed.Leaf) {
		t.Errorf("certificate %v is shown, want %v", shown.SerialNumber, renewed.Leaf.SerialNumber)
	}

	t.Log("a standby tells the master that it leaves")
	standby := f.standbys(master)[0]
	f.signal(f.procs[standby], syscall.SIGTERM)
	f.exits(f.procs[standby], ExitOK)
	f.entry(master, standby, func(s *gulmv1.ServerStatus) bool { return s.GetLoggedOut() })
}

// TestCertificates_newCA moves a running cluster to another CA without a restart.
func TestCertificates_newCA(t *testing.T) {
	f := newFarm(t)
	old, next := newAuthority(t), newAuthority(t)
	f.secure(old)
	names := []string{"lk1", "lk2", "lk3"}
	for _, name := range names {
		f.startSecure(name)
	}
	master := f.master()
	dir := func(name string) files { return filesIn(filepath.Join(f.dir, "tls", name)) }
	for _, name := range names { // everybody trusts both
		dir(name).write(t, old.issue("gulm://farm/server/"+name), old, next)
	}
	for _, name := range names { // everybody is of the new one
		dir(name).write(t, next.issue("gulm://farm/server/"+name), old, next)
	}
	for _, name := range names { // the old one is gone
		dir(name).write(t, next.issue("gulm://farm/server/"+name), next)
	}
	f.tls = next.dialer(next.issue("gulm://farm/admin/root"))

	f.signal(f.procs[master], syscall.SIGKILL)
	f.exits(f.procs[master], -1)
	second := f.master()
	t.Log("a server that starts with the new CA is let in")
	f.startSecure(master)
	if got := f.master(); got != second {
		t.Fatalf("the master was %s, now it is %s", second, got)
	}
	t.Log("a server that started with the old CA believes the new master")
	for _, standby := range f.standbys(second) {
		if standby == master {
			continue
		}
		f.signal(f.procs[standby], syscall.SIGTERM)
		f.exits(f.procs[standby], ExitOK)
		f.entry(second, standby, func(s *gulmv1.ServerStatus) bool { return s.GetLoggedOut() })
	}
}

func withProtocol(conf *tls.Config) *tls.Config {
	conf = conf.Clone()
	conf.NextProtos = []string{"h2"}
	return conf
}

// knock connects and waits for what the other end says.
func knock(addr string, conf *tls.Config) error {
	conn, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return err
	}
	defer conn.Close()
	// A peer that lets us in waits for our hello, for 5 s.
	if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}
