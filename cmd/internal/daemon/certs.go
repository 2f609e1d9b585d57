package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/server/rpc"
)

// certs holds this server's certificate and the cluster's CA. It looks at the
// files at each handshake, so that renewed ones are used without a restart;
// files that are not good are reported once and the ones in use are kept.
type certs struct {
	cert, key, ca string
	cluster       *ccs.Config
	name          string
	log           *slog.Logger

	mu     sync.Mutex
	stamps [3]stamp // of what was read last, good or not
	now    bundle
}

// bundle is what belongs together.
type bundle struct {
	cert  *tls.Certificate
	roots *x509.CertPool
}

// stamp tells one version of a file from the next.
type stamp struct {
	time  time.Time
	size  int64
	inode uint64
}

// newCerts reads the files; the error says everything that is wrong with them.
func newCerts(s *Settings, cluster *ccs.Config, name string) (*certs, error) {
	c := &certs{cert: s.TLSCert, key: s.TLSKey, ca: s.TLSCA, cluster: cluster, name: name, log: slog.New(slog.DiscardHandler)}
	return c, c.reload()
}

// reload reads the files again. After an error those in use stay.
func (c *certs) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamps = c.look()
	return c.load()
}

// current returns what is to be used for a handshake.
func (c *certs) current() bundle {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stamps := c.look(); stamps != c.stamps {
		c.stamps = stamps
		if err := c.load(); err != nil {
			c.log.Error("changed certificate files are not used", "err", err)
		} else {
			c.log.Info("certificates changed", "expires", c.now.cert.Leaf.NotAfter)
		}
	}
	return c.now
}

// expires is the end of the certificate in use.
func (c *certs) expires() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.cert.Leaf.NotAfter
}

func (c *certs) look() (out [3]stamp) {
	for i, path := range []string{c.cert, c.key, c.ca} {
		info, err := os.Stat(path)
		if err != nil {
			continue // load says why
		}
		out[i] = stamp{time: info.ModTime(), size: info.Size()}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			out[i].inode = st.Ino
		}
	}
	return out
}

func (c *certs) load() error {
	roots, caErr := readCA(c.ca)
	pair, pairErr := c.readPair()
	if err := errors.Join(pairErr, caErr); err != nil {
		return err
	}
	if err := c.checkLeaf(pair, roots); err != nil {
		return fmt.Errorf("tls_cert: %s: %w", c.cert, err)
	}
	c.now = bundle{cert: pair, roots: roots}
	return nil
}

func readCA(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tls_ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("tls_ca: %s holds no certificate in PEM form", path)
	}
	return roots, nil
}

func (c *certs) readPair() (*tls.Certificate, error) {
	cert, certErr := os.ReadFile(c.cert)
	if certErr != nil {
		certErr = fmt.Errorf("tls_cert: %w", certErr)
	}
	key, keyErr := os.ReadFile(c.key)
	if keyErr != nil {
		keyErr = fmt.Errorf("tls_key: %w", keyErr)
	} else {
		keyErr = private(c.key)
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls_cert %s and tls_key %s: %w", c.cert, c.key, err)
	}
	return &pair, nil
}

// private refuses a key that everybody on the machine may read. A group may, as
// that of a service's user.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("tls_key: %w", err)
	}
	const others = fs.FileMode(0o027)
	if info.Mode().Perm()&others != 0 {
		return fmt.Errorf("tls_key: %s has mode %#o, others could use or replace it: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// checkLeaf checks that the certificate is this server's, of this CA, and valid
// now.
func (c *certs) checkLeaf(pair *tls.Certificate, roots *x509.CertPool) error {
	var errs []error
	want := fmt.Sprintf("gulm://%s/server/%s", c.cluster.Name, c.name)
	id, err := rpc.IdentityOf(pair.Leaf, c.cluster.Name)
	if err == nil && (id.Role != rpc.RoleServer || id.Name != c.name) {
		err = fmt.Errorf("certificate is for %q", pair.Leaf.URIs[0])
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("%w: this server needs one with the URI %s", err, want))
	}
	between := x509.NewCertPool()
	for _, raw := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(raw); err == nil {
			between.AddCert(cert)
		}
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use}})
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: it must be valid now, signed by a CA of %s, and be for servers and clients", err, c.ca))
			break
		}
	}
	return errors.Join(errs...)
}

// config returns what both ports have in common: the newest certificate is shown
// in both directions, and callers need one of the newest CA. Sessions are not
// resumed, since that would skip the check of a renewed CA.
func (c *certs) config(protocols []string, verify func(tls.ConnectionState) error) *tls.Config {
	now := c.current()
	base := &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    now.roots,
		NextProtos: protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current().cert, nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.current().cert, nil
		},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              now.roots,
		SessionTicketsDisabled: true,
		VerifyConnection:       verify,
	}
	accepting := base.Clone()
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		fresh := accepting.Clone()
		fresh.ClientCAs = c.current().roots
		return fresh, nil
	}
	return base
}

// core is for nodes and tools: package server checks whom it calls, package rpc
// who calls.
func (c *certs) core() *tls.Config { return c.config([]string{"h2"}, nil) }

// raft is for connections between servers: whoever is at the other end must be a
// lock server of this cluster. Host names do not matter, so the usual check of
// them is replaced by that of chain and identity.
func (c *certs) raft() *tls.Config {
	conf := c.config(nil, c.verifyServer)
	conf.InsecureSkipVerify = true
	return conf
}

func (c *certs) verifyServer(state tls.ConnectionState) error {
	if err := rpc.VerifyChain(state, c.current().roots); err != nil {
		return err
	}
	id, err := rpc.PeerIdentity(state, c.cluster.Name)
	if err != nil {
		return err
	}
	if id.Role != rpc.RoleServer || !c.cluster.IsServer(id.Name) {
		return fmt.Errorf("certificate of %q is not that of a lock server of cluster %q", id.Name, c.cluster.Name)
	}
	return nil
}
