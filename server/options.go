package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"

	"lock_gulmd/ccs"
	"lock_gulmd/fence"
	"lock_gulmd/server/replica"
)

// Options say what a Server is made of.
type Options struct {
	// Cluster is the configuration; required.
	Cluster *ccs.Config
	// Name is this server's, one of the configured servers; required.
	Name string
	// Dir is the data folder. Memory replaces it in tests. One is required.
	Dir    string
	Memory *replica.Memory
	// Core is where nodes and tools come in, Raft carries connections between
	// the servers. Both are required and are closed by Close.
	Core net.Listener
	Raft replica.StreamLayer
	// Dial reaches other servers' core addresses; nil is TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// TLS holds this server's certificate and the CA of the cluster, for both
	// directions; see TLSConfig. Nil needs Insecure.
	TLS *tls.Config
	// Roots returns the CAs of the cluster as they are now, for checking the
	// servers that are called, so that a CA can be renewed without a restart. Nil
	// takes those of TLS. Those for callers are renewed by TLS.GetConfigForClient.
	Roots func() *x509.CertPool
	// Insecure serves plain text and believes everybody. Only for development
	// and tests, on loopback addresses.
	Insecure bool
	// Reflection offers gRPC reflection.
	Reflection bool
	// Fencer proves that nodes cannot write; nil runs the configured agents.
	Fencer fence.Fencer
	// Log may be nil.
	Log *slog.Logger
	// Version is shown by status.
	Version string
	// BootID is new with every life of this machine; empty means the kernel's. It
	// is of use only if servers are fenced like nodes.
	BootID string
	// Container says that this server runs in a container, whose boot id is that of
	// its host; nil looks for itself.
	Container *bool
	// Tune may change the replica's settings before it opens; may be nil.
	Tune func(*replica.Config)
}

func (o *Options) check() error {
	switch {
	case o.Cluster == nil || o.Core == nil || o.Raft == nil:
		return fmt.Errorf("server: Cluster, Core and Raft are required")
	case !o.Cluster.IsServer(o.Name):
		return fmt.Errorf("%q is not among the lock servers of cluster %q (%v): run lock_gulmd there, or give the name with --name",
			o.Name, o.Cluster.Name, o.Cluster.Lock.Servers)
	case o.TLS == nil && !o.Insecure:
		return fmt.Errorf("no certificate: set tls_cert, tls_key and tls_ca, or development mode on loopback addresses")
	case o.TLS != nil && o.Insecure:
		return fmt.Errorf("certificates and plain-text development mode exclude each other")
	}
	return nil
}

// roots returns the CAs that servers are checked with.
func (o *Options) roots() *x509.CertPool {
	if o.Roots != nil {
		return o.Roots()
	}
	return o.TLS.RootCAs
}

// TLSConfig returns the TLS configuration of a server: TLS 1.3, its own
// certificate shown in both directions, and a certificate of the cluster's CA
// demanded from whoever calls. Who is called is checked by role and name
// instead of by host name.
func TLSConfig(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.MinVersion = tls.VersionTLS13
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.ClientCAs = c.RootCAs
	return c
}
