package gulmtest

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// listener implements net.Listener. Network.mu guards its fields.
type listener struct {
	host    *Host
	addr    Addr
	backlog []*conn
	wake    signal
	closed  bool
}

// Accept implements net.Listener; it returns net.ErrClosed after Close, Crash
// and Network.Close.
func (l *listener) Accept() (net.Conn, error) {
	n := l.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, l.fault("accept")
		case !l.host.paused && len(l.backlog) > 0:
			c := l.backlog[0]
			l.backlog = l.backlog[1:]
			return c, nil
		}
		n.wait(&l.wake, time.Time{}, nil)
	}
}

// Close implements net.Listener. Connections that nobody has accepted are
// reset; the others stay.
func (l *listener) Close() error {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	if l.closed {
		return l.fault("close")
	}
	l.shut()
	l.host.net.prune()
	return nil
}

func (l *listener) shut() {
	l.closed = true
	delete(l.host.listeners, l.addr.Port)
	for _, c := range l.backlog {
		c.kill(l.host.off, time.Now())
	}
	l.backlog = nil
	l.wake.broadcast()
}

func (l *listener) fault(op string) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// StreamLayer listens on a port (see Listen) and returns what raft's network
// transport needs there. It belongs to the present life of the host. Closing it
// also closes all connections that came from it, which the transport leaves
// open.
func (h *Host) StreamLayer(port string) (raft.StreamLayer, error) {
	dial := h.Dialer()
	l, err := h.listen(port)
	if err != nil {
		return nil, err
	}
	return &streamLayer{listener: l, dial: dial, conns: map[net.Conn]struct{}{}}, nil
}

type streamLayer struct {
	*listener
	dial func(ctx context.Context, addr string) (net.Conn, error)

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// Accept implements net.Listener.
func (s *streamLayer) Accept() (net.Conn, error) { return s.keep(s.listener.Accept()) }

// Dial implements raft.StreamLayer; a timeout of 0 means ConnectTimeout.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 {
		timeout = ConnectTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.keep(s.dial(ctx, string(address)))
}

// keep remembers a connection until it is closed.
func (s *streamLayer) keep(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close() // nobody has seen it yet
		return nil, s.fault("accept")
	}
	kept := &layerConn{Conn: c, layer: s}
	s.conns[kept] = struct{}{}
	return kept, nil
}

// Close implements net.Listener.
func (s *streamLayer) Close() error {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		_ = c.Close() // a second Close is all that can fail
	}
	return s.listener.Close()
}

// layerConn is a connection that its stream layer remembers.
type layerConn struct {
	net.Conn
	layer *streamLayer
}

// Close implements net.Conn.
func (c *layerConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, net.Conn(c))
	c.layer.mu.Unlock()
	return c.Conn.Close()
}
