package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"lock_gulmd/ccs"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/replica"
)

// authority is a CA.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, last: 1}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.make(template, template, nil)
	return a
}

func (a *authority) make(template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if key == nil {
		key = own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &own.PublicKey, key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, own
}

// issue makes a certificate with these names, valid for as long after now.
func (a *authority) issue(valid time.Duration, names ...string) tls.Certificate {
	a.t.Helper()
	a.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: fmt.Sprint(names)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		uri, err := url.Parse(name)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	cert, key := a.make(template, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// lone is one server on a network of its own.
type lone struct {
	t      *testing.T
	net    *gulmtest.Network
	server *server.Server
	ca     *authority
	logs   *logBook
}

const loneConfig = `cluster { name = "safe" lock_gulm { servers = ["lk1"] } }`

func parse(t *testing.T, cluster string) *ccs.Config {
	t.Helper()
	config, err := ccs.Parse(ccs.Source{
		Cluster: []byte(cluster),
		Nodes: []byte(`nodes {
			lk1 { ip_interfaces { eth0 = "127.0.1.1" } fence { power { switch { port = "lk1" } } } }
			n1 { ip_interfaces { eth0 = "127.0.2.1" } fence { power { switch { port = "n1" } } } }
			n2 { ip_interfaces { eth0 = "127.0.2.2" } fence { power { switch { port = "n2" } } } }
		}`),
		Fence: []byte(`fence_devices { switch { agent = "fence_sim" } }`),
	})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// single runs a test against a lone server; with certificates unless insecure.
func single(t *testing.T, change func(*server.Options), test func(t *testing.T, s *lone)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &lone{t: t, net: gulmtest.NewNetwork(1), logs: newLogBook()}
		defer s.net.Close()
		core, err := s.net.Host("lk1").Listen(":40040")
		if err != nil {
			t.Fatal(err)
		}
		raftListener, err := s.net.Host("lk1").Listen(":40041")
		if err != nil {
			t.Fatal(err)
		}
		s.ca = newAuthority(t)
		opt := server.Options{
			Cluster: parse(t, loneConfig), Name: "lk1", Memory: replica.NewMemory(), Core: core, Raft: alone{raftListener},
			TLS:    &tls.Config{Certificates: []tls.Certificate{s.ca.issue(time.Hour, "gulm://safe/server/lk1")}, RootCAs: s.ca.pool()},
			Fencer: gulmtest.NewPowerSwitch(s.net, gulmtest.NewDisk(1), func(string) uint64 { return 1 }), Log: slog.New(s.logs),
			Version: "test",
		}
		if change != nil {
			change(&opt)
		}
		if s.server, err = server.Open(opt); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.server.Close(context.Background()) }()
		for !s.server.Serving() {
			time.Sleep(100 * time.Millisecond)
		}
		test(t, s)
	})
}

// alone is a stream layer of a server without peers.
type alone struct{ net.Listener }

// Dial implements replica.StreamLayer.
func (alone) Dial(address string, _ time.Duration) (net.Conn, error) {
	return nil, fmt.Errorf("nobody is at %s", address)
}

func insecurely(o *server.Options) { o.TLS, o.Insecure = nil, true }

// dial connects with credentials.
func (s *lone) dial(creds credentials.TransportCredentials) *grpc.ClientConn {
	s.t.Helper()
	c, err := grpc.NewClient("passthrough:///lk1:40040", grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(s.net.Host("caller").Dialer()), grpc.WithDisableServiceConfig())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// as connects with certificates, if any.
func (s *lone) as(certs ...tls.Certificate) *grpc.ClientConn {
	s.t.Helper()
	return s.dial(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: certs, RootCAs: s.ca.pool(), InsecureSkipVerify: true,
	}))
}

// role is who may have called.
type role string

const (
	asNode     role = "node/n1"
	asServer   role = "server/lk1"
	asAdmin    role = "admin/alice"
	asObserver role = "observer/bob"
)

// everybody but nodes may look at locks, and so on: the table by hand, so that a
// change of the real one is noticed.
var allowed = map[string][]role{
	"/gulm.v1.LockService/Session":           {asNode},
	"/gulm.v1.CoreService/Locate":            {asNode, asServer, asAdmin, asObserver},
	"/gulm.v1.CoreService/Login":             {asNode},
	"/gulm.v1.CoreService/Logout":            {asNode},
	"/gulm.v1.CoreService/Nodes":             {asNode, asServer, asAdmin, asObserver},
	"/gulm.v1.CoreService/Watch":             {asNode, asServer, asAdmin, asObserver},
	"/gulm.v1.AdminService/Status":           {asNode, asServer, asAdmin, asObserver},
	"/gulm.v1.AdminService/Locks":            {asServer, asAdmin, asObserver},
	"/gulm.v1.AdminService/Shutdown":         {asAdmin},
	"/gulm.v1.AdminService/ForceExpire":      {asAdmin},
	"/gulm.v1.AdminService/AcknowledgeFence": {asAdmin},
	"/gulm.v1.PeerService/Settings":          {asServer},
	"/gulm.v1.PeerService/Enter":             {asServer},
	"/gulm.v1.PeerService/Leave":             {asServer},
	"/grpc.health.v1.Health/Check":           {asNode, asServer, asAdmin, asObserver},
	"/grpc.health.v1.Health/Watch":           {asNode, asServer, asAdmin, asObserver},
	"/grpc.health.v1.Health/List":            {asNode, asServer, asAdmin, asObserver},
}

// TestS8_EveryMethodAsEveryRole calls each method with the certificate of each
// role and an empty request: who may not is refused before anything else.
func TestS8_EveryMethodAsEveryRole(t *testing.T) {
	single(t, nil, func(t *testing.T, s *lone) {
		for _, r := range []role{asNode, asServer, asAdmin, asObserver} {
			conn := s.as(s.ca.issue(time.Hour, "gulm://safe/"+string(r)))
			for method, roles := range allowed {
				if method == "/gulm.v1.AdminService/Shutdown" && slices.Contains(roles, r) {
					continue // it would work
				}
				err := call(t.Context(), conn, method)
				if refused := status.Code(err) == codes.PermissionDenied && is(err, gulmerr.ErrPermission); refused == slices.Contains(roles, r) {
					t.Errorf("%s as %s: %v", method, r, err)
				}
				if status.Code(err) == codes.Unimplemented {
					t.Errorf("%s does not exist", method)
				}
			}
		}
		if n := len(s.logs.find("call refused")); n < 20 {
			t.Errorf("only %d refusals are in the log", n)
		}
		conn := s.as(s.ca.issue(time.Hour, "gulm://safe/admin/alice"))
		if _, err := gulmv1.NewAdminServiceClient(conn).Shutdown(t.Context(), &gulmv1.ShutdownRequest{}); err != nil {
			t.Errorf("shutdown as admin: %v", err)
		}
	})
}

// call calls any method with an empty request and waits for its first answer, or
// for a moment.
func call(ctx context.Context, conn *grpc.ClientConn, method string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	_ = stream.SendMsg(&gulmv1.LocateRequest{}) // empty on the wire, as every empty message
	_ = stream.CloseSend()
	return stream.RecvMsg(&healthpb.HealthListResponse{})
}

// TestS8_StrangersAreRefused: without a certificate, in plain text, from another
// CA, expired, of another cluster, with no or several names, or an odd one.
func TestS8_StrangersAreRefused(t *testing.T) {
	single(t, nil, func(t *testing.T, s *lone) {
		other := newAuthority(t)
		for name, conn := range map[string]*grpc.ClientConn{
			"plain text":     s.dial(insecure.NewCredentials()),
			"no certificate": s.as(),
			"other CA":       s.as(other.issue(time.Hour, "gulm://safe/admin/alice")),
			"expired":        s.as(s.ca.issue(-time.Minute, "gulm://safe/admin/alice")),
			"other cluster":  s.as(s.ca.issue(time.Hour, "gulm://evil/admin/alice")),
			"no name":        s.as(s.ca.issue(time.Hour)),
			"two names":      s.as(s.ca.issue(time.Hour, "gulm://safe/node/n1", "gulm://safe/admin/alice")),
			"foreign scheme": s.as(s.ca.issue(time.Hour, "spiffe://safe/admin/alice")),
			"unknown role":   s.as(s.ca.issue(time.Hour, "gulm://safe/root/alice")),
			"role only":      s.as(s.ca.issue(time.Hour, "gulm://safe/admin")),
			"empty name":     s.as(s.ca.issue(time.Hour, "gulm://safe/admin/")),
			"long path":      s.as(s.ca.issue(time.Hour, "gulm://safe/admin/alice/node")),
		} {
			for method := range allowed {
				err := call(t.Context(), conn, method)
				if code := status.Code(err); code != codes.PermissionDenied && code != codes.Unavailable {
					t.Errorf("%s: %s: %v", name, method, err)
				}
			}
		}
		if !s.server.Serving() {
			t.Error("the server was disturbed")
		}
	})
}

// TestS8_NodesSpeakForThemselvesOnly: neither with the name nor with the session
// of another one, even if the login id leaked.
func TestS8_NodesSpeakForThemselvesOnly(t *testing.T) {
	single(t, nil, func(t *testing.T, s *lone) {
		ctx := t.Context()
		own, foreign := s.as(s.ca.issue(time.Hour, "gulm://safe/node/n1")), s.as(s.ca.issue(time.Hour, "gulm://safe/node/n2"))
		login := &gulmv1.LoginRequest{Cluster: "safe", Node: "n1", BootId: "b", LoginId: slices.Repeat([]byte{1}, 16)}
		if _, err := gulmv1.NewCoreServiceClient(foreign).Login(ctx, login); !is(err, gulmerr.ErrPermission) {
			t.Errorf("n2 logged in as n1: %v", err)
		}
		reply, err := gulmv1.NewCoreServiceClient(own).Login(ctx, login)
		if err != nil {
			t.Fatal(err)
		}
		thief := gulmv1.NewCoreServiceClient(foreign)
		if _, err := thief.Logout(ctx, &gulmv1.LogoutRequest{Session: reply.GetSession(), LoginId: login.GetLoginId()}); !is(err, gulmerr.ErrPermission) {
			t.Errorf("logout: %v", err)
		}
		r := &raw{t: t, conn: foreign}
		first := &gulmv1.SessionRequest{Attach: &gulmv1.Attach{Session: reply.GetSession(), LoginId: login.GetLoginId()}}
		if _, err := r.open(ctx, first); !is(err, gulmerr.ErrPermission) {
			t.Errorf("attach: %v", err)
		}
		r.conn = own
		if _, err := r.open(ctx, first); err != nil {
			t.Errorf("own attach: %v", err)
		}
		peer := gulmv1.NewPeerServiceClient(s.as(s.ca.issue(time.Hour, "gulm://safe/server/lk2")))
		if _, err := peer.Leave(ctx, &gulmv1.LeaveRequest{Server: "lk1", Force: true}); !is(err, gulmerr.ErrPermission) {
			t.Errorf("lk2 logged lk1 out: %v", err)
		}
		if _, err := gulmv1.NewAdminServiceClient(s.as(s.ca.issue(time.Hour, "gulm://safe/admin/alice"))).ForceExpire(ctx,
			&gulmv1.ForceExpireRequest{Node: "n1", Reason: "test"}); err != nil {
			t.Errorf("admin: %v", err)
		}
	})
}

// TestS8_TheRecordNamesTheCertificate: an admin cannot acknowledge a fence in
// somebody else's name.
func TestS8_TheRecordNamesTheCertificate(t *testing.T) {
	stuck := func(o *server.Options) {
		p := gulmtest.NewPowerSwitch(gulmtest.NewNetwork(2), gulmtest.NewDisk(1), func(string) uint64 { return 1 })
		p.Set("n1", behaviourHang)
		o.Fencer = p
	}
	single(t, stuck, func(t *testing.T, s *lone) {
		ctx := t.Context()
		node := gulmv1.NewCoreServiceClient(s.as(s.ca.issue(time.Hour, "gulm://safe/node/n1")))
		if _, err := node.Login(ctx, &gulmv1.LoginRequest{Cluster: "safe", Node: "n1", BootId: "b", LoginId: slices.Repeat([]byte{1}, 16)}); err != nil {
			t.Fatal(err)
		}
		admin := gulmv1.NewAdminServiceClient(s.as(s.ca.issue(time.Hour, "gulm://safe/admin/alice")))
		if _, err := admin.ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: "n1", Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.AcknowledgeFence(ctx, &gulmv1.AcknowledgeFenceRequest{Node: "n1", Operator: "bob"}); err != nil {
			t.Fatal(err)
		}
		if len(s.logs.find("fence acknowledged", "operator=alice")) != 1 {
			t.Errorf("the log has %v", s.logs.find("fence acknowledged"))
		}
	})
}

// TestS8_DevelopmentMode believes everybody, and is never mixed with
// certificates.
func TestS8_DevelopmentMode(t *testing.T) {
	single(t, insecurely, func(t *testing.T, s *lone) {
		conn := s.dial(insecure.NewCredentials())
		for method := range allowed {
			if method == "/gulm.v1.AdminService/Shutdown" {
				continue
			}
			if err := call(t.Context(), conn, method); is(err, gulmerr.ErrPermission) {
				t.Errorf("%s: %v", method, err)
			}
		}
	})
	core := alone{&net.TCPListener{}}
	for _, opt := range []server.Options{
		{},
		{Cluster: parse(t, loneConfig), Core: core, Raft: core, Name: "lk1"},
		{Cluster: parse(t, loneConfig), Core: core, Raft: core, Name: "lk1", TLS: &tls.Config{}, Insecure: true},
		{Cluster: parse(t, loneConfig), Core: core, Raft: core, Name: "n1", Insecure: true},
	} {
		if s, err := server.Open(opt); err == nil {
			_ = s.Close(t.Context())
			t.Errorf("opened with %+v", opt)
		}
	}
}
