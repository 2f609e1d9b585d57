package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// strangerLogPeriod is how often one kind of refused connection is logged.
const strangerLogPeriod = 10 * time.Second

// Mismatch tells why a peer and this server refuse each other.
type Mismatch struct {
	Peer   string // the other server's name as it gave it, or its address
	Field  string // "protocol", "cluster", "server", "config", "disk", or ""
	Ours   string // this server's value, for cluster and config
	Theirs string // the peer's value, for cluster and config
	Remote bool   // the peer refused this server, not the other way round
	Err    error
}

// layer is the stream layer that raft's transport sees. Each connection has
// passed the hello exchange; all are remembered, so that they can be cut.
type layer struct {
	cfg    Config
	id     *identity
	ledger *ledger
	fresh  func() bool // this disk holds nothing yet
	limit  *limiter
	log    *slog.Logger

	ready  chan net.Conn
	slots  chan struct{}
	closed chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	severed error
	barred  map[string]string // peers that know this server with another disk
}

var _ raft.StreamLayer = (*layer)(nil)

// advertised is the address that peers use, which may differ from the one that
// the listener is bound to.
type advertised string

func (advertised) Network() string  { return "raft" }
func (a advertised) String() string { return string(a) }

func newLayer(cfg Config, id *identity, l *ledger, fresh func() bool) *layer {
	s := &layer{
		cfg:    cfg,
		id:     id,
		ledger: l,
		fresh:  fresh,
		limit:  newLimiter(strangerLogPeriod),
		log:    cfg.Log,
		ready:  make(chan net.Conn),
		slots:  make(chan struct{}, cfg.MaxHandshakes),
		closed: make(chan struct{}),
		conns:  map[net.Conn]struct{}{},
		barred: map[string]string{},
	}
	s.wg.Go(s.listen)
	for _, p := range cfg.Servers {
		if p.Name != cfg.Server {
			s.wg.Go(func() { s.introduce(p) })
		}
	}
	return s
}

// introduce meets a peer once in each life, so that both write down the other's
// disk. Followers otherwise never talk to each other, and would take a wiped
// disk for the first one when their leader is gone.
func (s *layer) introduce(p Peer) {
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	for pause := shortest; ; pause = min(2*pause, longest) {
		conn, err := s.Dial(raft.ServerAddress(p.RaftAddr), s.cfg.HelloTimeout)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-s.closed:
			return
		case <-time.After(pause):
		}
	}
}

// trackedConn leaves the layer's list when it is closed.
type trackedConn struct {
	net.Conn
	layer *layer
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c.Conn)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

// untracked returns the connection as the stream layer made it, which knows its
// certificate.
func untracked(conn net.Conn) net.Conn {
	if t, ok := conn.(*trackedConn); ok {
		return t.Conn
	}
	return conn
}

// track takes conn into the list, or closes it when the layer is cut.
func (s *layer) track(conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.severed != nil {
		_ = conn.Close()
		return nil, s.severed
	}
	s.conns[conn] = struct{}{}
	return &trackedConn{conn, s}, nil
}

// sever cuts every connection and lets no new one be made.
func (s *layer) sever(cause error) {
	s.mu.Lock()
	if s.severed == nil {
		s.severed = cause
	}
	s.mu.Unlock()
	s.cut()
}

// cut closes all connections.
func (s *layer) cut() {
	s.mu.Lock()
	conns := s.conns
	s.conns = map[net.Conn]struct{}{}
	s.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

// Close implements net.Listener. It returns when nothing of the layer runs any more.
func (s *layer) Close() error {
	select {
	case <-s.closed:
		return nil
	default:
		close(s.closed)
	}
	s.sever(ErrStopped)
	err := s.cfg.Stream.Close()
	s.wg.Wait()
	return err
}

// Addr implements net.Listener.
func (s *layer) Addr() net.Addr {
	p, _ := s.cfg.peer(s.cfg.Server)
	return advertised(p.RaftAddr)
}

// Accept implements net.Listener.
func (s *layer) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// listen accepts connections and bounds how many of them are strangers.
func (s *layer) listen() {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		conn, err := s.cfg.Stream.Accept()
		if err != nil {
			select {
			case <-s.closed:
				return
			case <-time.After(pause):
			}
			s.complain("cannot accept connections from servers", "", err)
			pause = min(2*pause, longest)
			continue
		}
		pause = shortest
		select {
		case s.slots <- struct{}{}:
		default:
			_ = conn.Close()
			s.complain("too many unidentified connections to the raft port", "", nil)
			continue
		}
		tracked, err := s.track(conn)
		if err != nil {
			<-s.slots
			continue
		}
		s.wg.Go(func() { s.welcome(tracked) })
	}
}

// welcome lets one accepted connection through, or closes it.
func (s *layer) welcome(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(s.cfg.HelloTimeout))
	peer, err := s.answer(conn)
	<-s.slots
	if err != nil {
		_ = conn.Close()
		s.complain("connection to the raft port refused", peer, err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	select {
	case s.ready <- conn:
	case <-s.closed:
		_ = conn.Close()
	}
}

// complain logs at a bounded rate.
func (s *layer) complain(msg, peer string, err error) {
	suppressed, ok := s.limit.allow(msg + peer)
	if !ok {
		return
	}
	attrs := []any{slog.String("server", peer)}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("suppressed", suppressed))
	}
	s.log.Warn(msg, attrs...)
}

func (s *layer) hello(target string) hello {
	return hello{
		Cluster:    s.cfg.Cluster,
		Server:     s.cfg.Server,
		Target:     target,
		Generation: s.id.generation(),
		Starts:     s.id.Starts,
		Lives:      s.id.lives(),
		Digest:     s.cfg.ConfigDigest,
	}
}

// answer is the acceptor's side of the exchange.
func (s *layer) answer(conn net.Conn) (peer string, err error) {
	h, err := readHello(conn)
	if err != nil {
		return "", fmt.Errorf("%s: %w", conn.RemoteAddr(), err)
	}
	v := s.judge(conn, h, "")
	msg := append(encodeMessage(kindHello, s.hello(h.Server).encode()), encodeMessage(kindVerdict, v.encode())...)
	if _, err := conn.Write(msg); err != nil {
		return h.Server, err
	}
	if v.Code != verdictOK {
		return h.Server, fmt.Errorf("%w: %s", ErrRefused, v.Text)
	}
	theirs, err := readVerdict(conn)
	if err != nil {
		return h.Server, err
	}
	return h.Server, s.accept(h, theirs)
}

// Dial implements raft.StreamLayer.
func (s *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	want, err := s.nameOf(string(address))
	if err != nil {
		return nil, err
	}
	if err := s.cutOff(); err != nil {
		return nil, err
	}
	timeout = min(timeout, s.cfg.HelloTimeout)
	conn, err := s.cfg.Stream.Dial(string(address), timeout)
	if err != nil {
		return nil, err
	}
	tracked, err := s.track(conn)
	if err != nil {
		return nil, err
	}
	_ = tracked.SetDeadline(time.Now().Add(timeout))
	if err := s.ask(tracked, want); err != nil {
		_ = tracked.Close()
		if errors.Is(err, ErrRefused) {
			s.complain("connection to server refused", want, err)
		}
		return nil, err
	}
	_ = tracked.SetDeadline(time.Time{})
	return tracked, nil
}

func (s *layer) nameOf(address string) (string, error) {
	for _, p := range s.cfg.Servers {
		if p.RaftAddr == address {
			return p.Name, nil
		}
	}
	return "", fmt.Errorf("no server is configured at %s", address)
}

func (s *layer) cutOff() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.severed
}

// ask is the dialer's side of the exchange.
func (s *layer) ask(conn net.Conn, want string) error {
	if _, err := conn.Write(encodeMessage(kindHello, s.hello(want).encode())); err != nil {
		return err
	}
	h, err := readHello(conn)
	if err != nil {
		return err
	}
	theirs, err := readVerdict(conn)
	if err != nil {
		return err
	}
	v := s.judge(conn, h, want)
	if theirs.Code == verdictOK {
		if _, err := conn.Write(encodeMessage(kindVerdict, v.encode())); err != nil {
			return err
		}
	}
	if err := s.accept(h, theirs); err != nil {
		return err
	}
	if v.Code != verdictOK {
		return fmt.Errorf("%w: %s", ErrRefused, v.Text)
	}
	return nil
}

// judge decides about a peer that has said who it is. want is the name that the
// peer must have, or "".
func (s *layer) judge(conn net.Conn, h hello, want string) verdict {
	if s.cfg.hooks.noHello {
		return verdict{}
	}
	v := s.examine(conn, h, want)
	if v.Code != verdictOK {
		s.report(h, v, false)
	}
	return v
}

func (s *layer) examine(conn net.Conn, h hello, want string) verdict {
	refuse := func(code verdictCode, format string, args ...any) verdict {
		return verdict{code, fmt.Sprintf(format, args...)}
	}
	_, known := s.cfg.peer(h.Server)
	switch {
	case h.Cluster != s.cfg.Cluster:
		return refuse(verdictCluster, "server %s belongs to cluster %s, server %s to cluster %s", h.Server, h.Cluster, s.cfg.Server, s.cfg.Cluster)
	case !known:
		return refuse(verdictServer, "server %s does not know a server called %s", s.cfg.Server, h.Server)
	case h.Server == s.cfg.Server:
		return refuse(verdictServer, "two servers call themselves %s", h.Server)
	case want != "" && h.Server != want:
		return refuse(verdictServer, "server %s answers at the address of server %s", h.Server, want)
	case h.Target != s.cfg.Server:
		return refuse(verdictServer, "server %s answers at the address where server %s looks for %s", s.cfg.Server, h.Server, h.Target)
	}
	if s.cfg.VerifyPeer != nil {
		if err := s.cfg.VerifyPeer(untracked(conn), h.Server); err != nil {
			return refuse(verdictServer, "server %s has not proved its name: %v", h.Server, err)
		}
	}
	if h.Digest != s.cfg.ConfigDigest {
		return refuse(verdictConfig, "the configurations of servers %s and %s differ", s.cfg.Server, h.Server)
	}
	if by := s.barredBy(h.Server); by != "" {
		return refuse(verdictBarred, "server %s has a new or replaced disk, server %s says", s.cfg.Server, by)
	}
	v, err := s.ledger.admit(h)
	if err != nil {
		return refuse(verdictBusy, "server %s cannot write down who server %s is: %v", s.cfg.Server, h.Server, err)
	}
	return v
}

// accept takes the peer's verdict about this server.
func (s *layer) accept(h hello, v verdict) error {
	if v.Code == verdictOK {
		s.mu.Lock()
		delete(s.barred, h.Server)
		s.mu.Unlock()
		return nil
	}
	s.report(h, v, true)
	if v.Code == verdictNewDisk && s.fresh() {
		s.bar(h.Server, v.Text)
	}
	return fmt.Errorf("%w by server %s: %s", ErrRefused, h.Server, v.Text)
}

// bar keeps a server with an empty disk out of the cluster once a peer has
// known it with another one: together with other wiped servers it would found
// the cluster anew and grant what is already granted.
func (s *layer) bar(by, text string) {
	s.mu.Lock()
	_, before := s.barred[by]
	s.barred[by] = text
	s.mu.Unlock()
	if !before {
		s.log.Error("this server's disk is new to the cluster, it takes no part until it is re-admitted", slog.String("server", by), slog.String("err", text))
		s.cut()
	}
}

// barredBy names a peer other than the given one that has barred this server.
func (s *layer) barredBy(except string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.barred {
		if p != except {
			return p
		}
	}
	return ""
}

func (s *layer) report(h hello, v verdict, remote bool) {
	if s.cfg.OnMismatch == nil {
		return
	}
	m := Mismatch{Peer: h.Server, Field: verdictFields[v.Code], Remote: remote, Err: fmt.Errorf("%w: %s", ErrRefused, v.Text)}
	switch v.Code {
	case verdictCluster:
		m.Ours, m.Theirs = s.cfg.Cluster, h.Cluster
	case verdictConfig:
		m.Ours, m.Theirs = s.cfg.ConfigDigest, h.Digest
	}
	s.cfg.OnMismatch(m)
}
