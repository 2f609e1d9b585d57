package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"lock_gulmd/ccs"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/rpc"
)

const (
	// peerTimeout bounds one call to another server.
	peerTimeout = 5 * time.Second
	// announcePeriod is between two tries to tell the master that this server
	// has started.
	announcePeriod = time.Second
	// mismatchQueue is how many refusals may wait to be explained.
	mismatchQueue = 8
	// explainPeriod is between two explanations of the same refusal.
	explainPeriod = 30 * time.Second
)

// peers calls the other servers' gRPC services.
type peers struct {
	opt        *Options
	mismatches chan replica.Mismatch

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func newPeers(opt *Options) *peers {
	return &peers{opt: opt, mismatches: make(chan replica.Mismatch, mismatchQueue), conns: map[string]*grpc.ClientConn{}}
}

// client returns the peer service of another server.
func (p *peers) client(name string) (gulmv1.PeerServiceClient, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn := p.conns[name]; conn != nil {
		return gulmv1.NewPeerServiceClient(conn), nil
	}
	for _, server := range p.opt.Cluster.Servers() {
		if server.Name != name {
			continue
		}
		conn, err := grpc.NewClient("passthrough:///"+server.CoreAddr, p.dialOptions(name)...)
		if err != nil {
			return nil, err
		}
		p.conns[name] = conn
		return gulmv1.NewPeerServiceClient(conn), nil
	}
	return nil, fmt.Errorf("%q is no lock server", name)
}

func (p *peers) dialOptions(name string) []grpc.DialOption {
	creds := insecure.NewCredentials()
	if p.opt.TLS != nil {
		c := TLSConfig(p.opt.TLS)
		c.InsecureSkipVerify = true // replaced by the check of chain, role and name
		c.VerifyConnection = verifyServer(p.opt.Cluster.Name, name, p.opt.roots)
		creds = credentials.NewTLS(c)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds), grpc.WithDisableServiceConfig()}
	if p.opt.Dial != nil {
		options = append(options, grpc.WithContextDialer(p.opt.Dial))
	}
	return options
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close() // nothing is under way any more
	}
}

// enter tells the master that this server has started; replaces is the life of
// this machine that an earlier refusal named.
func (p *peers) enter(ctx context.Context, master string, replaces uint64) error {
	c, err := p.client(master)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	_, err = c.Enter(ctx, &gulmv1.EnterRequest{
		Server: p.opt.Name, Digest: p.opt.Cluster.Digest(), BootId: p.opt.BootID, Container: *p.opt.Container, Replaces: replaces,
	})
	return gulmerr.FromStatus(err)
}

// leave tells the master that this server logs out.
func (p *peers) leave(ctx context.Context, master string, force bool) error {
	c, err := p.client(master)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	_, err = c.Leave(ctx, &gulmv1.LeaveRequest{Server: p.opt.Name, Force: force})
	return gulmerr.FromStatus(err)
}

// mismatch takes note of a peer that was refused or refused this server; when
// too many wait to be explained, it is dropped.
func (p *peers) mismatch(m replica.Mismatch) {
	select {
	case p.mismatches <- m:
	default:
	}
}

// explain says in the log why servers refuse each other; if their
// configurations differ, which keys.
func (s *Server) explain(ctx context.Context) {
	told := map[string]time.Time{}
	for {
		var m replica.Mismatch
		select {
		case <-ctx.Done():
			return
		case m = <-s.peers.mismatches:
		}
		key := m.Peer + "/" + m.Field
		if at, ok := told[key]; ok && time.Since(at) < explainPeriod {
			continue
		}
		told[key] = time.Now()
		attrs := []any{"server", s.opt.Name, "peer", m.Peer, "reason", m.Field, "err", m.Err}
		if m.Field == "config" {
			attrs = append(attrs, "keys", s.peers.diff(ctx, m.Peer))
		}
		s.log.Error("servers refuse each other", attrs...)
	}
}

// diff returns the keys in which this server's configuration differs from a
// peer's, or why they are not known.
func (p *peers) diff(ctx context.Context, peer string) []string {
	c, err := p.client(peer)
	if err != nil {
		return []string{err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	reply, err := c.Settings(ctx, &gulmv1.SettingsRequest{})
	if err != nil {
		return []string{"not known: " + gulmerr.FromStatus(err).Error()}
	}
	return ccs.Diff(p.opt.Cluster.Settings(), rpc.SettingsFromWire(reply))
}

// verifyServer checks that the called one has a certificate of the cluster's CA
// for the server of that name.
func verifyServer(cluster, name string, roots func() *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if err := rpc.VerifyChain(state, roots()); err != nil {
			return err
		}
		return beServer(state, cluster, name)
	}
}

func beServer(state tls.ConnectionState, cluster, name string) error {
	id, err := rpc.PeerIdentity(state, cluster)
	if err != nil {
		return err
	}
	if id.Role != rpc.RoleServer || id.Name != name {
		return fmt.Errorf("certificate is not that of lock server %s", name)
	}
	return nil
}

// verifyPeer checks that a connection of the replicated log comes from the
// server that it claims to be.
func verifyPeer(cluster string) func(net.Conn, string) error {
	return func(conn net.Conn, name string) error {
		t, ok := conn.(*tls.Conn)
		if !ok {
			return errors.New("connection is not encrypted")
		}
		return beServer(t.ConnectionState(), cluster, name)
	}
}
