package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// certificate makes one that is its own CA, for servers and nodes alike.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// serveTCP starts one server of the fake on a real port.
func serveTCP(t *testing.T, c *fakeCluster, opts ...grpc.ServerOption) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{cluster: c, addr: lis.Addr().String(), lis: listen(), grpc: grpc.NewServer(opts...)}
	gulmv1.RegisterCoreServiceServer(s.grpc, s)
	gulmv1.RegisterLockServiceServer(s.grpc, s)
	c.servers[s.addr] = s
	c.master = s.addr
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.grpc.Serve(lis)
	}()
	t.Cleanup(func() {
		s.grpc.Stop()
		<-served
	})
	return s.addr
}

// TestNode_RealSocketsAndTLS runs outside of a bubble: real connections with
// mutual authentication, and no goroutine is left.
func TestNode_RealSocketsAndTLS(t *testing.T) {
	before := goleak.IgnoreCurrent()
	cert, pool := certificate(t)
	c := newFake(t, 0)
	addr := serveTCP(t, c, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	})))
	cfg := Config{
		Cluster: fakeClusterName, Node: "n1", Servers: []string{addr}, BootID: "b",
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS13},
	}
	n, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ls := joinSpace(t, n)
	l := mustLock(t, ls, "r", EX)
	if err := l.UnlockWait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}

	cfg.TLS = nil // the server does not take it
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = Dial(ctx, cfg)
	wantErr(t, err, ErrUnavailable)
	for _, s := range c.servers {
		s.grpc.Stop()
	}
	goleak.VerifyNone(t, before)
}

// benchmarkLocks takes and gives back locks from so many goroutines. What it
// measures beside the client is the fake, over a connection in memory.
func benchmarkLocks(b *testing.B, callers int) {
	c := newFake(b, 1)
	n, err := Dial(b.Context(), c.config("n1"))
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	ls, err := n.Join(b.Context(), "bench", JoinOptions{})
	if err != nil {
		b.Fatal(err)
	}
	messages := c.messages
	b.ReportAllocs()
	share := make(chan struct{}, b.N)
	for range b.N {
		share <- struct{}{}
	}
	close(share)
	failed := make(chan error, callers)
	b.ResetTimer()
	for i := range callers {
		go func() {
			name := string(rune('a' + i))
			for range share {
				l, err := ls.Lock(b.Context(), name, EX)
				if err != nil {
					failed <- err
					return
				}
				_ = l.Unlock()
			}
			failed <- nil
		}()
	}
	for range callers {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(c.requests)/float64(c.messages-messages), "requests/message")
}

func BenchmarkLock_1(b *testing.B)   { benchmarkLocks(b, 1) }
func BenchmarkLock_16(b *testing.B)  { benchmarkLocks(b, 16) }
func BenchmarkLock_256(b *testing.B) { benchmarkLocks(b, 256) }

// BenchmarkValid is the check before every write.
func BenchmarkValid(b *testing.B) {
	n := dialNode(b, newFake(b, 1), "n1")
	l := mustLock(b, joinSpace(b, n), "r", EX)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Valid(); err != nil {
			b.Fatal(err)
		}
	}
}
