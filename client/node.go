package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// loginIDBytes is the length of a login id.
const loginIDBytes = 16

// giveUpLimit bounds the try to log out of a session that Dial cannot use.
const giveUpLimit = 2 * time.Second

// Node is one logged-in process of a node. It ends with Logout or Close.
type Node struct {
	cfg         Config
	log         *slog.Logger
	servers     *locator
	loginID     []byte
	session     uint64
	replaces    uint64 // while logging in: the life of this machine that was in the way
	incarnation uint64
	expiry      time.Duration

	live   *liveness
	health *health
	guard  *guard // of the watchdog, nil if there is none
	// cut ends the present stream, nil if there is none.
	cut    atomic.Pointer[context.CancelCauseFunc]
	events *eventQueue
	master atomic.Pointer[string]

	// ctx ends everything that runs; running waits for it.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	// replays waits for the callers' recoveries of journals.
	replays sync.WaitGroup
	// dead is closed when err is set.
	dead chan struct{}

	mu       sync.Mutex
	err      error // why nothing can be asked for any more
	pipe     pipeline
	seen     uint64 // the greatest index that the servers have told
	applied  uint64 // requests up to this were applied when the stream began
	lastLock uint64
	// lastOwner numbers the owners of NewRangeOwner.
	lastOwner uint64
	locks     map[uint64]*Lock
	ranges    map[uint64]*rangeCall // that wait
	sets      map[uint64]*setCall   // that are not whole
	spaces    map[string]*Lockspace
	hints     hintQueue
	tripping  chan struct{} // closed when the round trip that is under way is answered
}

// Dial logs in and returns when a master has acknowledged the first heartbeat.
// It tries until ctx ends as long as the reason may pass: no server answers, no
// quorum (ErrNoQuorum), an earlier life of the node that is not fenced yet
// (ErrNotFenced, ErrNodeExpired) or still logged in (ErrStaleIncarnation). The
// error then wraps ctx's and the last reason.
//
// Other errors are final: ErrInvalid for a faulty Config, ErrWrongCluster,
// ErrUnknownNode, ErrLimit (too many sessions), and those of package gulmerr
// for version and permission.
//
// ctx only bounds Dial; the node lives until Logout or Close. A Dial that fails
// after it was logged in tries for a moment to log out again; if that fails
// too, the servers expire and fence the node.
func Dial(ctx context.Context, cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Log.With("node", cfg.Node), servers: &locator{cfg: &cfg, servers: cfg.Servers},
		loginID: make([]byte, loginIDBytes), events: newEventQueue(), dead: make(chan struct{}),
		locks: map[uint64]*Lock{}, ranges: map[uint64]*rangeCall{}, sets: map[uint64]*setCall{}, spaces: map[string]*Lockspace{},
		hints: newHintQueue(), health: newHealth(),
	}
	if _, err := rand.Read(n.loginID); err != nil {
		return nil, fmt.Errorf("client: choose a login id: %w", err)
	}
	addr, reply, err := n.login(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.begin(ctx, addr, reply); err != nil {
		return nil, fmt.Errorf("node %s: %w", cfg.Node, err)
	}
	return n, nil
}

// login logs in, trying as long as it makes sense.
func (n *Node) login(ctx context.Context) (addr string, reply *gulmv1.LoginReply, err error) {
	unsure := false // a try may have logged in without our knowing
	addr, err = n.servers.withMaster(ctx, "log in node "+n.cfg.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
		var err error
		reply, err = gulmv1.NewCoreServiceClient(conn).Login(ctx, n.loginRequest())
		unsure = unsure || ctx.Err() != nil
		n.replaces = inTheWay(err)
		return err
	})
	if err != nil && unsure {
		n.giveUp(ctx)
	}
	return addr, reply, err
}

func (n *Node) loginRequest() *gulmv1.LoginRequest {
	return &gulmv1.LoginRequest{
		Cluster: n.cfg.Cluster, Node: n.cfg.Node, BootId: n.cfg.BootID, LoginId: n.loginID, Process: n.cfg.Process,
		Unimportant: n.cfg.Unimportant, Locked: n.cfg.Locked, Container: n.cfg.Container != nil && *n.cfg.Container,
		Replaces: n.replaces,
	}
}

// giveUp logs out of a session that may exist. Logging in again with the same
// login id finds it, or makes one that goes at once.
func (n *Node) giveUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpLimit)
	defer cancel()
	_, err := n.servers.withMaster(ctx, "log out", func(ctx context.Context, conn *grpc.ClientConn) error {
		core := gulmv1.NewCoreServiceClient(conn)
		reply, err := core.Login(ctx, n.loginRequest())
		if err == nil {
			_, err = core.Logout(ctx, &gulmv1.LogoutRequest{Session: reply.GetSession(), LoginId: n.loginID})
		}
		return err
	})
	if err != nil {
		n.log.Warn("could not log out of a login that was given up", "err", err)
	}
}

// begin starts the node's goroutines and waits for the first proof of life.
func (n *Node) begin(ctx context.Context, addr string, reply *gulmv1.LoginReply) error {
	d, err := deadlinesOf(reply)
	if err != nil {
		n.giveUp(ctx)
		return err
	}
	n.session, n.incarnation = reply.GetSession(), reply.GetIncarnation()
	n.expiry = time.Duration(reply.GetExpiryMs()) * time.Millisecond
	n.servers.learn(reply.GetServers()...)
	limit := n.cfg.MaxInFlight
	if most := reply.GetMaxInFlight(); most > 0 {
		limit = min(limit, int(most))
	}
	n.pipe = newPipeline(limit, n.cfg.BatchLimit)
	n.live = newLiveness(d, newClock(n.cfg.asleep), n.tell)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.running.Go(func() { n.live.run(n.ctx) })
	n.running.Go(func() { n.keep(n.ctx, addr) })
	n.running.Go(func() { n.deliver(n.ctx) })
	for _, p := range n.cfg.Probes {
		n.running.Go(func() { n.watch(n.ctx, p) })
	}
	if err := n.live.wait(ctx); err != nil {
		if ctx.Err() != nil {
			n.giveUp(ctx)
		}
		_ = n.Close()
		return fmt.Errorf("logged in, but no heartbeat was acknowledged: %w", err)
	}
	if err := n.guardUp(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpLimit)
		defer cancel()
		return errors.Join(err, n.Logout(ctx))
	}
	n.log.Info("node logged in", "server", addr, "incarnation", n.incarnation)
	return nil
}

// tell passes on an event of the node's life.
func (n *Node) tell(e Event) {
	n.events.put(e)
	switch e.Kind {
	case EventSafe:
		n.log.Info("locks are safe")
	case EventJeopardy:
		n.log.Warn("no proof of life lately", "err", e.Err)
	case EventLost:
		n.log.Error("locks are in doubt", "err", e.Err)
	case EventExpired:
		n.log.Error("session is over", "err", e.Err)
	}
}

// Name returns the node's name.
func (n *Node) Name() string { return n.cfg.Node }

// Session returns the number of the session.
func (n *Node) Session() uint64 { return n.session }

// Incarnation returns the number of this life of the node.
func (n *Node) Incarnation() uint64 { return n.incarnation }

// Expiry returns the silence after which the servers expire the node.
func (n *Node) Expiry() time.Duration { return n.expiry }

// Master returns the address of the server that the stream goes to, or "" if
// there is no stream at the moment.
func (n *Node) Master() string {
	if addr := n.master.Load(); addr != nil {
		return *addr
	}
	return ""
}

// State returns what the node knows about its own life, at this moment.
func (n *Node) State() State {
	state, _ := n.live.current()
	return state
}

// Err returns why nothing can be asked for any more: ErrClosed, or what ended
// the session. It returns nil while the session goes on, be it safe or lost.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Valid returns nil if the node's locks are held at this moment, ErrLost if
// they are in doubt, or why the session is over. It costs no message.
func (n *Node) Valid() error { return n.live.good() }

// Lost returns a channel that is closed when the locks are in doubt, or the
// session is over. After EventSafe there is a fresh one.
func (n *Node) Lost() <-chan struct{} {
	_, alive := n.live.current()
	return alive.Done()
}

// Events returns the channel of the node's events, always the same one. It is
// closed by Logout and Close. Up to 64 events wait to be read; then the oldest
// are thrown away.
func (n *Node) Events() <-chan Event { return n.events.ch }

// Logout ends the session: whatever the node holds is released, and nobody is
// fenced. The caller has stopped using its locks. All calls that wait return
// ErrClosed, and all contexts of locks end, before the servers are asked. A file
// system that is still mounted is given up as by Mount.Withdraw.
//
// Logout waits for the servers' answer until ctx ends. Then, or if the session
// was over already, it returns an error, and the node ends like by Close. When
// it returns, no goroutine of the node is left. Logout after Logout or Close
// returns ErrClosed.
func (n *Node) Logout(ctx context.Context) error {
	if err := n.finish(ErrClosed); err != nil {
		n.stop()
		return err
	}
	n.replays.Wait() // nobody writes any more
	_, err := n.servers.withMaster(ctx, "log out node "+n.cfg.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := gulmv1.NewCoreServiceClient(conn).Logout(ctx, &gulmv1.LogoutRequest{Session: n.session, LoginId: n.loginID})
		return err
	})
	if n.guard != nil {
		n.guard.end(err == nil)
	}
	n.stop()
	if err == nil {
		n.log.Info("node logged out")
	}
	return err
}

// Close ends the node without a word to the servers, as a crash would: they
// expire the node after its expiry time, with all its other processes, keep its
// locks frozen, and fence it. Use Logout where that is not wanted. When Close
// returns, no goroutine of the node is left. It always returns nil, also when it is
// repeated.
func (n *Node) Close() error {
	_ = n.finish(ErrClosed)
	n.stop()
	return nil
}

// stop ends all goroutines.
func (n *Node) stop() {
	n.cancel()
	n.replays.Wait()
	n.running.Wait()
	if n.guard != nil {
		n.guard.end(false) // unless Logout has ended it
	}
	n.events.close()
}

// finish fails everything that waits. It returns an error if that was done
// before.
func (n *Node) finish(why error) error {
	n.live.end(StateClosed, why)
	return n.failAll(why)
}

// expire ends the node since the servers have ended its session.
func (n *Node) expire(why error) {
	n.live.end(StateExpired, why)
	_ = n.failAll(why)
	n.cancel()
}

// failAll ends all requests and locks with err. It returns the earlier error if
// that was done before.
func (n *Node) failAll(err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	n.err = err
	close(n.dead)
	n.pipe.fail(err)
	for _, l := range n.locks {
		l.failed(err)
	}
	clear(n.locks)
	for _, c := range n.ranges {
		c.finish(0, err)
	}
	for _, ls := range n.spaces {
		ls.failed(err)
	}
	clear(n.spaces)
	return nil
}
