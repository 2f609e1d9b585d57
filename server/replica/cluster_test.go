package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// tape is a machine that remembers every command.
type tape struct {
	mu       sync.Mutex
	entries  []string
	restores int
	faultOn  string // Apply returns a Fault for this command
}

func (m *tape) Apply(_, _ uint64, command []byte) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.faultOn != "" && string(command) == m.faultOn {
		return Fault{errors.New("digest differs")}
	}
	m.entries = append(m.entries, string(command))
	return "did " + string(command)
}

type tapeImage []string

func (m *tape) Snapshot() (Image, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return tapeImage(slices.Clone(m.entries)), nil
}

func (i tapeImage) Persist(w io.Writer) error {
	for _, e := range i {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(e)))
		if _, err := w.Write(append(b, e...)); err != nil {
			return err
		}
	}
	return nil
}

func (tapeImage) Release() {}

func (m *tape) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries, m.restores = nil, m.restores+1
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint32(b))
		if len(b) < 4+n {
			return errors.New("image cut short")
		}
		m.entries = append(m.entries, string(b[4:4+n]))
		b = b[4+n:]
	}
	return nil
}

func (m *tape) got() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.entries)
}

// wire is an in-memory network. A cut direction holds bytes back, as TCP does,
// until it is healed or the connection's deadline passes.
type wire struct {
	mu     sync.Mutex
	cut    map[[2]string]chan struct{} // closed when healed
	layers map[string]*wireLayer
}

func newWire() *wire {
	return &wire{cut: map[[2]string]chan struct{}{}, layers: map[string]*wireLayer{}}
}

func (w *wire) block(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut[[2]string{from, to}] == nil {
		w.cut[[2]string{from, to}] = make(chan struct{})
	}
}

func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.cut {
		close(c)
	}
	clear(w.cut)
}

// rejoin heals both ways between two servers.
func (w *wire) rejoin(a, b string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range [][2]string{{a, b}, {b, a}} {
		if c := w.cut[k]; c != nil {
			close(c)
			delete(w.cut, k)
		}
	}
}

// isolate cuts name from all others, both ways.
func (w *wire) isolate(name string, others ...string) {
	for _, o := range others {
		if o != name {
			w.block(name, o)
			w.block(o, name)
		}
	}
}

// gate returns nil when the way is free.
func (w *wire) gate(from, to string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[[2]string{from, to}]
}

type wireLayer struct {
	w      *wire
	name   string
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	conns  []net.Conn
}

func (w *wire) listen(name string) *wireLayer {
	l := &wireLayer{w: w, name: name, accept: make(chan net.Conn), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.layers[name] = l
	return l
}

func (l *wireLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *wireLayer) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	return nil
}

func (l *wireLayer) Addr() net.Addr { return advertised(l.name) }

func (l *wireLayer) keep(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
}

var errNoRoute = errors.New("connection timed out")

func (l *wireLayer) Dial(address string, timeout time.Duration) (net.Conn, error) {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	for _, way := range [][2]string{{l.name, address}, {address, l.name}} {
		if g := l.w.gate(way[0], way[1]); g != nil {
			select {
			case <-g:
			case <-limit.C:
				return nil, errNoRoute
			case <-l.closed:
				return nil, net.ErrClosed
			}
		}
	}
	l.w.mu.Lock()
	peer := l.w.layers[address]
	l.w.mu.Unlock()
	if peer == nil {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	near := &wireConn{Conn: a, w: l.w, from: l.name, to: address, closed: make(chan struct{})}
	far := &wireConn{Conn: b, w: l.w, from: address, to: l.name, closed: make(chan struct{})}
	select {
	case peer.accept <- far:
		l.keep(near)
		peer.keep(far)
		return near, nil
	case <-peer.closed:
		return nil, errors.New("connection refused")
	case <-limit.C:
		return nil, errNoRoute
	}
}

type wireConn struct {
	net.Conn
	w        *wire
	from, to string
	closed   chan struct{}
	once     sync.Once
	mu       sync.Mutex
	until    time.Time
}

func (c *wireConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.until = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

func (c *wireConn) Write(p []byte) (int, error) {
	if g := c.w.gate(c.from, c.to); g != nil {
		c.mu.Lock()
		until := c.until
		c.mu.Unlock()
		var timeout <-chan time.Time
		if !until.IsZero() {
			timeout = time.After(time.Until(until))
		}
		select {
		case <-g:
		case <-timeout:
			return 0, os.ErrDeadlineExceeded
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(p)
}

func (c *wireConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// member is one server of a test cluster.
type member struct {
	name  string
	disk  *Memory
	tape  *tape
	r     *Replica
	fatal chan error
}

// cluster runs replicas over one wire.
type cluster struct {
	t       *testing.T
	wire    *wire
	peers   []Peer
	members map[string]*member
	tune    func(*Config)
}

func newCluster(t *testing.T, n int, tune func(*Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, wire: newWire(), members: map[string]*member{}, tune: tune}
	for i := range n {
		name := fmt.Sprintf("lk%d", i+1)
		c.peers = append(c.peers, Peer{Name: name, RaftAddr: name})
		c.members[name] = &member{name: name, disk: NewMemory()}
	}
	for _, p := range c.peers {
		c.start(p.Name)
	}
	return c
}

func (c *cluster) config(name string) Config {
	m := c.members[name]
	cfg := Config{
		Cluster: "alpha",
		Server:  name,
		Servers: c.peers,
		Memory:  m.disk,
		Stream:  c.wire.listen(name),
		Fatal: func(err error) {
			select {
			case m.fatal <- err:
			default:
			}
		},
	}
	if os.Getenv("REPLICA_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", name)
	}
	if c.tune != nil {
		c.tune(&cfg)
	}
	return cfg
}

func (c *cluster) start(name string) *Replica {
	c.t.Helper()
	r, err := c.open(name)
	if err != nil {
		c.t.Fatalf("open %s: %v", name, err)
	}
	return r
}

func (c *cluster) open(name string) (*Replica, error) {
	m := c.members[name]
	m.tape, m.fatal = &tape{}, make(chan error, 1)
	r, err := Open(c.config(name), m.tape)
	m.r = r
	return r, err
}

func (c *cluster) stop(name string) {
	c.t.Helper()
	m := c.members[name]
	if m.r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.r.Close(ctx); err != nil {
		c.t.Errorf("close %s: %v", name, err)
	}
	m.r = nil
}

// kill stops a server as a power cut would.
func (c *cluster) kill(name string) {
	c.t.Helper()
	m := c.members[name]
	m.disk = m.disk.Crash()
	m.r.layer.sever(errors.New("killed"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = m.r.Close(ctx)
	m.r = nil
}

func (c *cluster) close() {
	c.wire.heal()
	for _, p := range c.peers {
		c.stop(p.Name)
	}
}

// leader waits until exactly one live server leads and another confirms it.
func (c *cluster) leader() *member { return c.leaderBut(nil) }

// leaderBut is leader with one server left out.
func (c *cluster) leaderBut(not *member) *member {
	c.t.Helper()
	for range 6000 {
		for _, m := range c.members {
			if m == not || m.r == nil || !m.r.Status().Leading {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			err := m.r.Barrier(ctx)
			cancel()
			if err == nil {
				return m
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatal("no leader")
	return nil
}

// others returns the live servers but m.
func (c *cluster) others(m *member) []*member {
	var out []*member
	for _, p := range c.peers {
		if o := c.members[p.Name]; o != m && o.r != nil {
			out = append(out, o)
		}
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// propose commits one command at m.
func (c *cluster) propose(m *member, command string) {
	c.t.Helper()
	f, err := m.r.Propose([]byte(command))
	must(c.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, index, err := f.Wait(ctx)
	must(c.t, err)
	if res != "did "+command || index == 0 {
		c.t.Fatalf("proposing %q gave %v at %d", command, res, index)
	}
}

// agree waits until all live machines hold exactly want.
func (c *cluster) agree(want []string) {
	c.t.Helper()
	for range 3000 {
		same := true
		for _, m := range c.members {
			same = same && (m.r == nil || slices.Equal(m.tape.got(), want))
		}
		if same {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, p := range c.peers {
		m := c.members[p.Name]
		if m.r != nil {
			c.t.Errorf("%s holds %d commands %.200q, want %d", p.Name, len(m.tape.got()), m.tape.got(), len(want))
		}
	}
	c.t.FailNow()
}

func isHeartbeat(rpc any) bool {
	a, ok := rpc.(*raft.AppendEntriesRequest)
	return ok && a.PrevLogEntry == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

func (m *tape) restored() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restores
}
