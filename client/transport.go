package client

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"lock_gulmd/proto/gulmerr"
)

// What a connection is made with.
const (
	// maxReplyBytes bounds one message from a server.
	maxReplyBytes = 16 << 20
	// windowBytes is the flow-control window of a stream and of a connection,
	// set so that it does not depend on what gRPC measures.
	windowBytes = 1 << 20
	// keepaliveTime is the silence after which the connection is probed. The
	// servers allow a probe every 5 seconds. It only frees what a dead
	// connection holds; life is judged by heartbeats.
	keepaliveTime = 10 * time.Second
	// keepaliveTimeout is how long a probe may take.
	keepaliveTimeout = 5 * time.Second
	// connectLimit bounds one try to connect.
	connectLimit = 2 * time.Second
)

// newConn returns a connection to one server, which is opened when it is first
// used. Nothing is retried in it: requests carry numbers for that.
func newConn(cfg *Config, addr string) (*grpc.ClientConn, error) {
	if cfg.TLS == nil && !isLoopback(addr) {
		return nil, gulmerr.New(ErrInvalid, "server %s is not a loopback address, and Config.TLS is nil: set Config.TLS", addr)
	}
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = credentials.NewTLS(cfg.TLS)
	}
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(cfg.Dialer),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReplyBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: cfg.PauseMin, Multiplier: 2, Jitter: 0.5, MaxDelay: cfg.PauseMax},
			MinConnectTimeout: connectLimit,
		}),
	)
}
