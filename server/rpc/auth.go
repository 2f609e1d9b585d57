package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// Role is what a certificate makes its holder.
type Role uint8

// The roles. A caller has exactly one; All is for plain-text development mode.
const (
	RoleNode Role = 1 << iota
	RoleServer
	RoleAdmin
	RoleObserver

	RoleAll = RoleNode | RoleServer | RoleAdmin | RoleObserver
)

// roleWords are the words in certificates.
var roleWords = map[string]Role{"node": RoleNode, "server": RoleServer, "admin": RoleAdmin, "observer": RoleObserver}

// permissions says who may call what. What is not in it, nobody may.
var permissions = map[string]Role{
	gulmv1.LockService_Session_FullMethodName:           RoleNode,
	gulmv1.CoreService_Locate_FullMethodName:            RoleAll,
	gulmv1.CoreService_Login_FullMethodName:             RoleNode,
	gulmv1.CoreService_Logout_FullMethodName:            RoleNode,
	gulmv1.CoreService_Nodes_FullMethodName:             RoleAll,
	gulmv1.CoreService_Watch_FullMethodName:             RoleAll,
	gulmv1.AdminService_Status_FullMethodName:           RoleAll,
	gulmv1.AdminService_Locks_FullMethodName:            RoleServer | RoleAdmin | RoleObserver,
	gulmv1.AdminService_Journals_FullMethodName:         RoleServer | RoleAdmin | RoleObserver,
	gulmv1.AdminService_Timeouts_FullMethodName:         RoleAll,
	gulmv1.AdminService_Shutdown_FullMethodName:         RoleAdmin,
	gulmv1.AdminService_ForceExpire_FullMethodName:      RoleAdmin,
	gulmv1.AdminService_AcknowledgeFence_FullMethodName: RoleAdmin,
	gulmv1.AdminService_Fences_FullMethodName:           RoleServer | RoleAdmin | RoleObserver,
	gulmv1.AdminService_RehearseFence_FullMethodName:    RoleAdmin,
	gulmv1.AdminService_RecordFence_FullMethodName:      RoleAdmin,
	gulmv1.AdminService_PauseFencing_FullMethodName:     RoleAdmin,
	gulmv1.AdminService_ResumeFencing_FullMethodName:    RoleAdmin,
	gulmv1.PeerService_Settings_FullMethodName:          RoleServer,
	gulmv1.PeerService_Enter_FullMethodName:             RoleServer,
	gulmv1.PeerService_Leave_FullMethodName:             RoleServer,
	"/grpc.health.v1.Health/Check":                      RoleAll,
	"/grpc.health.v1.Health/Watch":                      RoleAll,
	"/grpc.health.v1.Health/List":                       RoleAll,
	reflectionV1:                                        RoleAll,
	reflectionV1Alpha:                                   RoleAll,
}

// Reflection is registered in development mode only.
const (
	reflectionV1      = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	reflectionV1Alpha = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
)

// Identity is who calls.
type Identity struct {
	Role Role
	// Name is the node's, server's or person's; empty in development mode, where
	// everybody is believed.
	Name string
}

// IdentityOf reads the one URI "gulm://CLUSTER/ROLE/NAME" of a certificate.
func IdentityOf(cert *x509.Certificate, cluster string) (Identity, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "gulm" {
		return Identity{}, fmt.Errorf("certificate %q has not exactly one gulm:// name", cert.Subject.CommonName)
	}
	uri := cert.URIs[0]
	if uri.Host != cluster {
		return Identity{}, fmt.Errorf("certificate is for cluster %q, this is %q", uri.Host, cluster)
	}
	word, name, ok := strings.Cut(strings.TrimPrefix(uri.Path, "/"), "/")
	role := roleWords[word]
	exact := "gulm://" + cluster + "/" + word + "/" + name // nothing before, between or after that
	if !ok || role == 0 || name == "" || strings.Contains(name, "/") || uri.String() != exact {
		return Identity{}, fmt.Errorf("certificate names %q: want gulm://%s/ROLE/NAME with role node, server, admin or observer", uri, cluster)
	}
	return Identity{role, name}, nil
}

// PeerIdentity reads the identity of an established TLS connection.
func PeerIdentity(state tls.ConnectionState, cluster string) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, fmt.Errorf("caller showed no certificate")
	}
	return IdentityOf(state.PeerCertificates[0], cluster)
}

type identityKey struct{}

// caller returns the identity that the interceptor has established.
func caller(ctx context.Context) Identity {
	id, _ := ctx.Value(identityKey{}).(Identity)
	return id
}

// authorize finds out who calls and whether they may.
func (e *Edge) authorize(ctx context.Context, method string) (context.Context, error) {
	id := Identity{Role: RoleAll}
	if !e.cfg.Insecure {
		var err error
		if id, err = e.certificate(ctx); err != nil {
			e.log.Warn("call refused", "call", method, "err", err)
			return nil, gulmerr.ToStatus(gulmerr.New(gulmerr.ErrPermission, "%v", err))
		}
	}
	if permissions[method]&id.Role == 0 {
		e.log.Warn("call refused", "call", method, "caller", id.Name)
		return nil, gulmerr.ToStatus(gulmerr.New(gulmerr.ErrPermission, "%s may not be called by %q", method, id.Name))
	}
	return context.WithValue(ctx, identityKey{}, id), nil
}

func (e *Edge) certificate(ctx context.Context) (Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}, fmt.Errorf("caller is unknown")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return Identity{}, fmt.Errorf("connection is not encrypted")
	}
	return PeerIdentity(info.State, e.cfg.Cluster.Name)
}

// mayBe refuses a caller who speaks for another name than its own.
func mayBe(ctx context.Context, name string) error {
	if id := caller(ctx); id.Name != "" && id.Role != RoleAdmin && id.Name != name {
		return gulmerr.New(gulmerr.ErrPermission, "certificate of %q cannot speak for %q", id.Name, name)
	}
	return nil
}

func (e *Edge) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := e.authorize(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	reply, err := handler(ctx, req)
	return reply, e.status(info.FullMethod, err)
}

func (e *Edge) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := e.authorize(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return e.status(info.FullMethod, handler(srv, &authorized{ss, ctx}))
}

// authorized is a stream that knows its caller.
type authorized struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the stream's context with the caller's identity.
func (a *authorized) Context() context.Context { return a.ctx }

// VerifyChain checks that the other end's certificate comes from one of the
// cluster's CAs and is valid now. Its host names do not matter: identity is in
// the URI.
func VerifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}
