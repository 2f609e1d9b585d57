package tool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"lock_gulmd/proto/gulmerr"
)

const (
	// askLimit is how long one of several servers may take to answer, so that one
	// that hangs leaves time for the others.
	askLimit = 3 * time.Second
	// askParallel is how many servers are asked at once.
	askParallel = 8
	// maxReply bounds one message of a server.
	maxReply = 64 << 20
)

// Unreachable tells that a server gave no answer.
type Unreachable struct {
	// Server is who was called.
	Server Server
	// Why is the reason without names.
	Why error
	// Doubtful tells that the call may have been done; else it did not get there.
	Doubtful bool
}

// Error says who was not reached and why.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("lock server %s is unreachable: %v", u.Server.described(), u.Why)
}

// Unwrap returns gulmerr.ErrUnavailable and the reason.
func (u *Unreachable) Unwrap() []error { return []error{gulmerr.ErrUnavailable, u.Why} }

// Ask opens a connection to one server, makes the call on it, and closes it. Its
// error is an *Unreachable if there was no answer, else what the server refused
// with, for errors.Is. Ask may be called from several goroutines.
func (c *Cluster) Ask(ctx context.Context, s Server, call func(context.Context, *grpc.ClientConn) error) error {
	if err := c.mayAsk(s); err != nil {
		return err
	}
	d := &dialer{server: s, plain: c.credential == nil}
	creds := insecure.NewCredentials()
	if c.credential != nil {
		creds = &listening{c.credential.toServer(s.Name), d.note}
	}
	conn, err := grpc.NewClient("passthrough:///"+s.Address,
		grpc.WithTransportCredentials(creds), grpc.WithContextDialer(d.dial), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
	)
	if err != nil {
		return fmt.Errorf("lock server %s: %w", s.described(), err)
	}
	defer conn.Close()
	start := time.Now()
	return d.explain(call(ctx, conn), start)
}

// dialer opens the connections of one Ask and remembers why that failed.
type dialer struct {
	server Server
	plain  bool

	mu     sync.Mutex
	failed error
}

func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, "tcp", address)
	if err != nil {
		d.note(err)
	}
	return conn, err
}

func (d *dialer) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
}

// explain turns the error of a call into one for people.
func (d *dialer) explain(err error, start time.Time) error {
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err = gulmerr.FromStatus(err)
	late, broken := errors.Is(err, context.DeadlineExceeded), errors.Is(err, gulmerr.ErrUnavailable) && !answered(err)
	why, doubtful := err, true
	switch {
	case !late && !broken:
		return err
	case d.failed != nil:
		why, doubtful = shorten(d.failed), false
	case late:
		why = fmt.Errorf("no answer within %v", time.Since(start).Round(100*time.Millisecond))
	case d.plain:
		why = errors.New("it broke the connection; if it wants certificates, give --tls-cert, --tls-key and --tls-ca")
	}
	return &Unreachable{Server: d.server, Why: why, Doubtful: doubtful}
}

// answered tells whether an error comes from a server of ours.
func answered(err error) bool { return len(status.Convert(err).Details()) > 0 }

// shorten leaves out what the caller says anyway: who was called.
func shorten(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err
}

// Each asks all servers at once, each with a limit of its own within ctx. Visit
// gets the index of the server and must touch nothing that other calls touch.
func (c *Cluster) Each(ctx context.Context, servers []Server, visit func(ctx context.Context, i int, s Server)) {
	var group errgroup.Group
	group.SetLimit(askParallel)
	for i, s := range servers {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askLimit)
			defer cancel()
			visit(ctx, i, s)
			return nil
		})
	}
	_ = group.Wait() // visits return no errors
}
