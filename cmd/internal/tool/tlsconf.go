package tool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"

	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/rpc"
)

// credential is who the operator is and whom they trust.
type credential struct {
	cert    tls.Certificate
	roots   *x509.CertPool
	cluster string
}

// loadCredential reads the three files, nil if none is named. A cluster that is
// not known is the one that the certificate is for.
func (e *Env) loadCredential(cluster string) (*credential, error) {
	if e.Cert == "" {
		return nil, nil
	}
	bad := func(format string, args ...any) error {
		return &Advised{gulmerr.New(gulmerr.ErrBadConfig, format, args...), "correct --tls-cert, --tls-key and --tls-ca"}
	}
	cert, err := tls.LoadX509KeyPair(e.Cert, e.Key)
	if err != nil {
		return nil, bad("certificate %s with key %s: %v", e.Cert, e.Key, err)
	}
	authorities, err := os.ReadFile(e.CA)
	if err != nil {
		return nil, bad("CA: %v", err)
	}
	c := &credential{cert: cert, roots: x509.NewCertPool(), cluster: cluster}
	if !c.roots.AppendCertsFromPEM(authorities) {
		return nil, bad("CA %s: holds no certificate", e.CA)
	}
	if cluster == "" && len(cert.Leaf.URIs) == 1 {
		c.cluster = cert.Leaf.URIs[0].Host
	}
	if _, err := rpc.IdentityOf(cert.Leaf, c.cluster); err != nil {
		return nil, bad("%s: %v", e.Cert, err)
	}
	return c, nil
}

// toServer returns the TLS side of connections to one server. It is believed if
// its certificate is of the CA and names it as a lock server of the cluster; an
// empty name stands for any.
func (c *credential) toServer(name string) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{c.cert},
		InsecureSkipVerify: true, // replaced by VerifyConnection: identity is in the URI, not in host names
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := rpc.VerifyChain(state, c.roots); err != nil {
				return err
			}
			id, err := rpc.PeerIdentity(state, c.cluster)
			switch {
			case err != nil:
				return err
			case id.Role != rpc.RoleServer:
				return fmt.Errorf("its certificate is not that of a lock server")
			case name != "" && id.Name != name:
				return fmt.Errorf("its certificate is that of lock server %q, not of %q", id.Name, name)
			}
			return nil
		},
	})
}

// listening are credentials that tell why a handshake failed.
type listening struct {
	credentials.TransportCredentials
	failed func(error)
}

// ClientHandshake passes the handshake's error on.
func (l *listening) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		l.failed(err)
	}
	return conn, info, err
}

// Clone keeps telling.
func (l *listening) Clone() credentials.TransportCredentials {
	return &listening{l.TransportCredentials.Clone(), l.failed}
}
