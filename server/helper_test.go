package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"lock_gulmd/client"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// expiry is the silence after which a simulated cluster expires a node, and look
// how often its master looks: heartbeat_rate / 4.
const (
	expiry = 6 * time.Second
	look   = 500 * time.Millisecond
)

// entry is one line of the log.
type entry struct {
	At      time.Time
	Message string
	Attrs   map[string]string
}

// logBook keeps what servers and nodes log, and calls hooks while they do.
type logBook struct {
	*logStore
	attrs []slog.Attr
}

type logStore struct {
	mu      sync.Mutex
	entries []entry
	hooks   []func(entry)
}

func newLogBook() *logBook { return &logBook{logStore: &logStore{}} }

// Enabled implements slog.Handler.
func (b *logBook) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (b *logBook) Handle(_ context.Context, r slog.Record) error {
	e := entry{At: time.Now(), Message: r.Message, Attrs: map[string]string{}}
	for _, a := range b.attrs {
		e.Attrs[a.Key] = a.Value.String()
	}
	r.Attrs(func(a slog.Attr) bool {
		e.Attrs[a.Key] = a.Value.String()
		return true
	})
	b.mu.Lock()
	b.entries = append(b.entries, e)
	hooks := slices.Clone(b.hooks)
	b.mu.Unlock()
	for _, hook := range hooks {
		hook(e)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (b *logBook) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logBook{b.logStore, append(slices.Clone(b.attrs), attrs...)}
}

// WithGroup implements slog.Handler; nobody uses groups.
func (b *logBook) WithGroup(string) slog.Handler { return b }

// on calls hook, in the goroutine that logs, for each later entry.
func (b *logBook) on(hook func(entry)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hooks = append(b.hooks, hook)
}

// find returns the entries with a message whose attributes include all of
// key=value.
func (b *logBook) find(message string, attrs ...string) []entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []entry
	for _, e := range b.entries {
		if e.is(message, attrs...) {
			out = append(out, e)
		}
	}
	return out
}

func (e entry) is(message string, attrs ...string) bool {
	if e.Message != message {
		return false
	}
	for _, a := range attrs {
		key, value, _ := strings.Cut(a, "=")
		if e.Attrs[key] != value {
			return false
		}
	}
	return true
}

// world is a simulated cluster, its log, and a network host for the operator.
type world struct {
	*gulmtest.Cluster
	t    *testing.T
	logs *logBook

	mu    sync.Mutex
	conns []*grpc.ClientConn
}

// bubble runs a test in a cluster that has a master already.
func bubble(t *testing.T, opt gulmtest.ClusterOptions, test func(t *testing.T, w *world)) {
	t.Helper()
	seeded(t, 1, opt, test)
}

func seeded(t *testing.T, seed uint64, opt gulmtest.ClusterOptions, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, logs: newLogBook()}
		opt.Log = slog.New(w.logs)
		w.Cluster = gulmtest.NewCluster(t, seed, opt)
		defer w.Close()
		defer w.hangUp()
		w.StartAll()
		w.AwaitMaster(time.Minute)
		test(t, w)
		w.Disk.Check(t)
	})
}

func (w *world) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
}

func (w *world) servers() []string { return w.Config.Lock.Servers }

// others returns the servers but for one.
func (w *world) others(server string) []string {
	return slices.DeleteFunc(slices.Clone(w.servers()), func(s string) bool { return s == server })
}

// conn returns a gRPC connection from a host of the network to a server.
func (w *world) conn(from, server string) *grpc.ClientConn {
	w.t.Helper()
	dial := w.Net.Host(from).Dialer()
	c, err := grpc.NewClient("passthrough:///"+server+":40040", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial), grpc.WithDisableServiceConfig())
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, c)
	return c
}

func (w *world) admin(server string) gulmv1.AdminServiceClient {
	return gulmv1.NewAdminServiceClient(w.conn("operator", server))
}

func (w *world) core(server string) gulmv1.CoreServiceClient {
	return gulmv1.NewCoreServiceClient(w.conn("operator", server))
}

// status asks a server for its status.
func (w *world) status(server string) *gulmv1.StatusReply {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	reply, err := w.admin(server).Status(ctx, &gulmv1.StatusRequest{})
	if err != nil {
		w.t.Fatalf("status of %s: %v", server, err)
	}
	return reply
}

// user is a node that has joined the lockspace "fs".
type user struct {
	*client.Lockspace
	w    *world
	name string
	node *client.Node

	mu     sync.Mutex
	events []client.Event
}

// boot switches a node on and joins; it waits until that is done.
func (w *world) boot(name string, change ...func(*client.Config)) *user {
	w.t.Helper()
	u := &user{w: w, name: name}
	ready := make(chan error, 1)
	w.Node(name).Boot(func(ctx context.Context, life *gulmtest.Life) {
		n, err := life.Dial(ctx, change...)
		if err == nil {
			u.node = n
			u.Lockspace, err = n.Join(ctx, "fs", client.JoinOptions{})
		}
		ready <- err
		if err != nil {
			return
		}
		u.listen(ctx)
	})
	if err := <-ready; err != nil {
		w.t.Fatalf("boot %s: %v", name, err)
	}
	return u
}

func (u *user) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-u.node.Events():
			if !ok {
				<-ctx.Done()
				return
			}
			u.mu.Lock()
			u.events = append(u.events, e)
			u.mu.Unlock()
		}
	}
}

// told returns the events of a kind so far.
func (u *user) told(kind client.EventKind) []client.Event {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(u.events), func(e client.Event) bool { return e.Kind != kind })
}

// take locks or fails the test.
func (u *user) take(resource string, mode client.Mode) *client.Lock {
	u.w.t.Helper()
	ctx, cancel := context.WithTimeout(u.w.t.Context(), time.Minute)
	defer cancel()
	l, err := u.Lock(ctx, resource, mode)
	if err != nil {
		u.w.t.Fatalf("node %s: %v", u.name, err)
	}
	return l
}

// waiter is a lock request on its way.
type waiter struct {
	u    *user
	done chan struct{}
	lock *client.Lock
	err  error
	at   time.Time
}

// ask queues a request and returns when the servers have it in their queue, or
// granted it.
func (u *user) ask(resource string, mode client.Mode) *waiter {
	before := u.w.counts()
	x := u.askBlind(resource, mode)
	u.w.Await(time.Minute, "a request in the queue", func() bool {
		now := u.w.counts()
		return now.Locks > before.Locks || x.over()
	})
	return x
}

// askBlind is ask without waiting for the servers.
func (u *user) askBlind(resource string, mode client.Mode) *waiter {
	x := &waiter{u: u, done: make(chan struct{})}
	go func() {
		defer close(x.done)
		x.lock, x.err = u.Lock(context.Background(), resource, mode)
		x.at = time.Now()
	}()
	return x
}

func (x *waiter) over() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// granted waits for the grant and returns when it came.
func (x *waiter) granted(limit time.Duration) time.Time {
	x.u.w.t.Helper()
	select {
	case <-x.done:
	case <-time.After(limit):
		x.u.w.t.Fatalf("node %s: no lock after %v; the master waits for %q", x.u.name, limit, x.u.w.status(x.u.w.Master()).GetWaitingFor())
	}
	if x.err != nil {
		x.u.w.t.Fatalf("node %s: %v", x.u.name, x.err)
	}
	return x.at
}

// cut separates a node from all servers.
func (w *world) cut(node string) { w.Net.Partition([]string{node}, w.servers()) }

// mend undoes cut.
func (w *world) mend(node string) {
	for _, s := range w.servers() {
		w.Net.Heal(node, s)
	}
}

// view looks into the state of the master, or of the given server.
func (w *world) view(server string, f func(*state.State)) {
	if s := w.Server(server); s != nil {
		s.View(f)
	}
}

func (w *world) counts() (c lock.Counts) {
	w.view(w.Master(), func(s *state.State) { c = s.Locks().Counts() })
	return c
}

// member returns what the master holds a node to be.
func (w *world) member(name string) (n member.Node) {
	w.view(w.Master(), func(s *state.State) {
		n, _ = s.Members().Node(name)
		n.Fence.Attempts = slices.Clone(n.Fence.Attempts)
		n.Ledger.Outlets = slices.Clone(n.Ledger.Outlets)
	})
	return n
}

// awaitState waits until the master holds a node to be in a state.
func (w *world) awaitState(name string, want member.State, limit time.Duration) {
	w.t.Helper()
	w.Await(limit, fmt.Sprintf("node %s %v", name, want), func() bool { return w.member(name).State == want })
}

// expiredAt returns when the master noted that it had expired a node; the test
// fails unless that happened exactly once.
func (w *world) expiredAt(node string) time.Time {
	w.t.Helper()
	time.Sleep(time.Millisecond) // what follows from the expiry may overtake the log line
	found := w.logs.find("node expired", "node="+node)
	if len(found) != 1 {
		w.t.Fatalf("node %s was expired %d times, want once", node, len(found))
	}
	return found[0].At
}

// nobodyDied fails the test if a node was expired or fenced.
func (w *world) nobodyDied() {
	w.t.Helper()
	for _, e := range w.logs.find("node expired") {
		w.t.Errorf("%s expired node %s: %s", e.Attrs["server"], e.Attrs["node"], e.Attrs["reason"])
	}
	for _, c := range w.Power.Calls() {
		w.t.Errorf("node %s was fenced", c.Plan.Node)
	}
}

// agree waits until all running servers have the same state.
func (w *world) agree() {
	w.t.Helper()
	w.Await(time.Minute, "equal servers", func() bool {
		type mark struct{ index, digest uint64 }
		var marks []mark
		for _, name := range w.servers() {
			w.view(name, func(s *state.State) { marks = append(marks, mark{s.Index(), s.Digest()}) })
		}
		return len(marks) > 0 && len(slices.Compact(marks)) == 1
	})
}
