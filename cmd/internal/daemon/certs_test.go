package daemon

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lock_gulmd/ccs"
)

func farm7(t *testing.T) *ccs.Config {
	t.Helper()
	cluster, err := ccs.Load(filepath.Join(examples, "three"))
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// shake lets a caller and a server meet and returns what each says. One byte
// goes to and fro, since with TLS 1.3 the caller is through before it is checked.
func shake(t *testing.T, caller, callee *tls.Config) (state tls.ConnectionState, callerErr, calleeErr error) {
	t.Helper()
	a, b := connection(t)
	served := make(chan error, 1)
	go func() {
		s := tls.Server(b, callee)
		_, err := io.ReadFull(s, make([]byte, 1))
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		_ = b.Close()
		served <- err
	}()
	c := tls.Client(a, caller)
	_, callerErr = c.Write([]byte{1})
	if callerErr == nil {
		_, callerErr = io.ReadFull(c, make([]byte, 1))
	}
	state = c.ConnectionState()
	_ = a.Close()
	return state, callerErr, <-served
}

// connection returns the two ends of one. A net.Pipe would not do: in it both
// ends may write at once and wait for ever.
func connection(t *testing.T) (caller, callee net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if caller, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if callee, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return caller, callee
}

func TestCerts_refused(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	const mine = "gulm://farm7/server/lk1"
	good := ca.issue(mine)
	tests := []struct {
		name   string
		pair   tls.Certificate
		change func(files) error
		want   string // "" for none
	}{
		{"good", good, nil, ""},
		{"other server", ca.issue("gulm://farm7/server/lk2"), nil, "gulm://farm7/server/lk1"},
		{"a node's", ca.issue("gulm://farm7/node/lk1"), nil, `is for "gulm://farm7/node/lk1": this server needs`},
		{"other cluster", ca.issue("gulm://farm8/server/lk1"), nil, `is for cluster "farm8"`},
		{"two names", ca.issue(mine, func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "gulm", Host: "farm7", Path: "/admin/root"})
		}), nil, "exactly one gulm:// name"},
		{"other CA", other.issue(mine), nil, "unknown authority"},
		{"expired", ca.issue(mine, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }), nil, "expired"},
		{"for clients only", ca.issue(mine, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), nil, "for servers and clients"},
		{"key that everybody may read", good, func(f files) error { return os.Chmod(f.key, 0o644) }, "chmod 600"},
		{"key that a group may change", good, func(f files) error { return os.Chmod(f.key, 0o660) }, "chmod 600"},
		{"key that a group may read", good, func(f files) error { return os.Chmod(f.key, 0o640) }, ""},
		{"no key", good, func(f files) error { return os.Remove(f.key) }, "tls_key: open"},
		{"no certificate", good, func(f files) error { return os.Remove(f.cert) }, "tls_cert: open"},
		{"no CA", good, func(f files) error { return os.WriteFile(f.ca, []byte("x"), 0o600) }, "holds no certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := filesIn(t.TempDir())
			f.write(t, test.pair, ca)
			if test.change != nil {
				if err := test.change(f); err != nil {
					t.Fatal(err)
				}
			}
			_, err := newCerts(f.settings(), farm7(t), "lk1")
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestCerts_allFaults(t *testing.T) {
	_, err := newCerts(filesIn(t.TempDir()).settings(), farm7(t), "lk1")
	for _, key := range []string{"tls_cert: ", "tls_key: ", "tls_ca: "} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%q is not told: %v", key, err)
		}
	}
}

// TestCerts_renewed: renewed files are used at the next handshake, in both
// directions; files that are not good are not.
func TestCerts_renewed(t *testing.T) {
	ca, next := newAuthority(t), newAuthority(t)
	const mine = "gulm://farm7/server/lk1"
	f := filesIn(t.TempDir())
	first := ca.issue(mine)
	f.write(t, first, ca)
	c, err := newCerts(f.settings(), farm7(t), "lk1")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c.log = slog.New(slog.NewTextHandler(&log, nil))
	core := c.core()
	shown := func(ca *authority) string {
		t.Helper()
		state, err, _ := shake(t, ca.dialer(ca.issue("gulm://farm7/node/fs01")), core)
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.String()
	}
	if got := shown(ca); got != first.Leaf.SerialNumber.String() {
		t.Errorf("certificate %s is shown, want the first", got)
	}
	second := ca.issue(mine)
	f.write(t, second, ca)
	if got := shown(ca); got != second.Leaf.SerialNumber.String() {
		t.Errorf("certificate %s is shown, want the second", got)
	}
	pair, err := core.GetClientCertificate(nil)
	if err != nil || !pair.Leaf.Equal(second.Leaf) {
		t.Errorf("calling with certificate %v (%v), want the second", pair.Leaf.SerialNumber, err)
	}

	f.write(t, ca.issue("gulm://farm7/server/lk2"), ca)
	for range 3 {
		if got := shown(ca); got != second.Leaf.SerialNumber.String() {
			t.Errorf("another server's certificate %s is shown", got)
		}
	}
	if n := strings.Count(log.String(), "changed certificate files are not used"); n != 1 {
		t.Errorf("the bad file was told %d times:\n%s", n, &log)
	}
	if err := c.reload(); err == nil {
		t.Error("reload took another server's certificate")
	}

	if _, err, _ := shake(t, ca.dialer(next.issue("gulm://farm7/node/fs01")), core); err == nil {
		t.Error("a node of the next CA is let in before its time")
	}
	third := next.issue(mine)
	f.write(t, third, next)
	if got := shown(next); got != third.Leaf.SerialNumber.String() {
		t.Errorf("certificate %s is shown, want the third", got)
	}
	if _, err, _ := shake(t, next.dialer(ca.issue("gulm://farm7/node/fs01")), core); err == nil {
		t.Error("a node of the old CA is still let in")
	}
	if !c.current().roots.Equal(rootsOf(next)) {
		t.Error("called servers are not checked with the next CA")
	}
}

func rootsOf(a *authority) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// TestCerts_raft: only lock servers of the cluster get through, whichever side
// they are on.
func TestCerts_raft(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	f := filesIn(t.TempDir())
	f.write(t, ca.issue("gulm://farm7/server/lk1"), ca)
	c, err := newCerts(f.settings(), farm7(t), "lk1")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		pair tls.Certificate
		ok   bool
	}{
		{"server", ca.issue("gulm://farm7/server/lk2"), true},
		{"node", ca.issue("gulm://farm7/node/fs01"), false},
		{"admin", ca.issue("gulm://farm7/admin/root"), false},
		{"node with a server's name", ca.issue("gulm://farm7/node/lk2"), false},
		{"server of another cluster", ca.issue("gulm://farm8/server/lk2"), false},
		{"node that calls itself a server", ca.issue("gulm://farm7/server/fs01"), false},
		{"other CA", other.issue("gulm://farm7/server/lk2"), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, callerErr, calleeErr := shake(t, ca.dialer(test.pair), c.raft())
			if test.ok != (calleeErr == nil) || test.ok != (callerErr == nil) {
				t.Errorf("calling this server: %v, it says %v", callerErr, calleeErr)
			}
			theirs := ca.dialer(test.pair)
			theirs.ClientAuth, theirs.ClientCAs = tls.RequireAndVerifyClientCert, theirs.RootCAs
			_, callerErr, calleeErr = shake(t, c.raft(), theirs)
			if test.ok != (callerErr == nil) {
				t.Errorf("called by this server: %v, it says %v", calleeErr, callerErr)
			}
		})
	}
	anonymous := ca.dialer(tls.Certificate{})
	anonymous.Certificates = nil
	if _, _, err := shake(t, anonymous, c.raft()); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a caller without a certificate: %v", err)
	}
}
