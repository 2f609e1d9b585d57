package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// DefaultWatchdogTimeout is after how long without a feed the watchdog resets the
// machine.
const DefaultWatchdogTimeout = 10 * time.Second

const (
	// feedsPerTimeout is how often the watchdog is fed in its timeout.
	feedsPerTimeout = 4
	// minWatchdogTimeout is what devices can count.
	minWatchdogTimeout = time.Second
	// maxWatchdogTimeout is half of what the servers take.
	maxWatchdogTimeout = 12 * time.Hour
)

// Watchdog says which watchdog resets the machine when the node's locks are lost.
// The zero value is none.
//
// It is armed once the node is logged in, and then fed only while the locks are
// held and no probe has failed for too long. So the machine is reset at the latest
// twice the timeout after its locks are lost: the kernel may delay a feed that was
// decided on in time by almost one timeout. The servers are told, and may take
// that time as proof that the node can no longer write.
//
// Only Logout disarms it, and only if the servers have confirmed it while the
// locks were still held. After Close, a crash, an expiry, or a Logout that comes
// too late, the machine is reset, as the servers rely on.
//
// A machine that is suspended, or a virtual one that its host stops, must not use
// it: its watchdog stands still as well, and the servers do not know.
type Watchdog struct {
	// Path is the device, as a rule /dev/watchdog; empty means none. Nobody else
	// may have it open, as systemd has with RuntimeWatchdogSec.
	Path string
	// Timeout is for how long it may stay without a feed, 1 s to 12 h, rounded up
	// to seconds; 0 means DefaultWatchdogTimeout. A device that counts otherwise
	// keeps its own.
	Timeout time.Duration
}

// dog is an armed watchdog.
type dog interface {
	feed() error
	// disarm makes it stop, leave lets go of it without that.
	disarm() error
	leave() error
}

// guard feeds the node's watchdog.
type guard struct {
	node    *Node
	log     *slog.Logger
	timeout time.Duration

	mu     sync.Mutex
	dog    dog // nil at the end
	hungry bool
}

// fed says whether the watchdog may be fed at this moment. A node that is logging
// out keeps the time that it had then.
func (l *liveness) fed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.tickLocked(now)
	until := l.until.Load()
	if l.state == StateClosed {
		until = l.rest
	}
	return l.sick == nil && until != 0 && int64(now.Sub(l.base)) < until
}

// guardUp arms the watchdog of a node that is safe, and tells the servers. They
// may rely on it from when they are told, so it is armed before.
func (n *Node) guardUp(ctx context.Context) error {
	w := n.cfg.Watchdog
	if w.Path == "" {
		return nil
	}
	arm := n.cfg.arm
	if arm == nil {
		arm = armWatchdog
	}
	d, timeout, err := arm(w.Path, w.Timeout)
	if err != nil {
		return fmt.Errorf("watchdog %s: %w", w.Path, err)
	}
	n.guard = &guard{node: n, log: n.log.With("device", w.Path), timeout: timeout, dog: d}
	n.guard.log.Info("watchdog is armed", "dur", timeout)
	n.running.Go(func() { n.guard.run(n.ctx) })
	if err := n.claim(ctx, timeout); err != nil {
		return fmt.Errorf("tell the servers of the watchdog: %w", err)
	}
	return nil
}

// claim tells the servers for how long the machine can outlive its locks.
func (n *Node) claim(ctx context.Context, timeout time.Duration) error {
	req := n.loginRequest()
	req.WatchdogMs = 2 * timeout.Milliseconds()
	var reply *gulmv1.LoginReply
	_, err := n.servers.withMaster(ctx, "log in node "+n.cfg.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
		var err error
		reply, err = gulmv1.NewCoreServiceClient(conn).Login(ctx, req)
		return err
	})
	if err == nil && reply.GetSession() != n.session {
		n.giveUp(ctx) // of the session that this has begun: ours is over
		err = ErrNoSession
		n.expire(err)
	}
	return err
}

// run feeds the watchdog until ctx ends.
func (g *guard) run(ctx context.Context) {
	ticker := time.NewTicker(g.timeout / feedsPerTimeout)
	defer ticker.Stop()
	for {
		g.feed()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// feed feeds the watchdog if the node is good.
func (g *guard) feed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dog == nil {
		return
	}
	var err error
	good := g.node.live.fed()
	if good {
		err = g.dog.feed()
	}
	switch hungry := !good || err != nil; {
	case hungry == g.hungry:
	case hungry:
		g.log.Error("watchdog is not fed: it will reset this machine", "dur", g.timeout, "err", err)
	default:
		g.log.Warn("watchdog is fed again")
	}
	g.hungry = !good || err != nil
}

// end disarms the watchdog if the servers have confirmed the logout in time; else
// it leaves it armed.
func (g *guard) end(confirmed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dog == nil {
		return
	}
	d := g.dog
	g.dog = nil
	if confirmed && g.node.live.fed() {
		if err := d.disarm(); err != nil {
			g.log.Error("cannot disarm the watchdog: it may reset this machine", "dur", g.timeout, "err", err)
			return
		}
		g.log.Info("watchdog is disarmed")
		return
	}
	g.log.Error("watchdog stays armed: it will reset this machine", "dur", g.timeout, "err", d.leave())
}

// check returns the fault of a Watchdog.
func (w *Watchdog) check() error {
	if w.Path == "" || w.Timeout >= minWatchdogTimeout && w.Timeout <= maxWatchdogTimeout {
		return nil
	}
	return fmt.Errorf("client: Config.Watchdog.Timeout is %v, %v to %v: %w", w.Timeout, minWatchdogTimeout, maxWatchdogTimeout, ErrInvalid)
}

// errNoDog refuses a device that cannot be relied upon.
var errNoDog = errors.New("this watchdog is disarmed when its process dies, so it proves nothing; use one that knows magic close")
