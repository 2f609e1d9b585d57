package client

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// listener takes connections in memory. Package bufconn would do, but for its
// timers of duration 0: in a bubble those crash the race detector of Go 1.26
// (golang.org/issue/78156).
type listener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func listen() *listener { return &listener{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	up, down := newHalf(), newHalf()
	select {
	case l.conns <- &conn{in: up, out: down}:
		return &conn{in: down, out: up}, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.IPAddr{} }

// half is one direction. It takes any number of bytes: gRPC's own windows bound
// them.
type half struct {
	mu     sync.Mutex
	more   *sync.Cond
	data   []byte
	closed bool
}

func newHalf() *half {
	h := &half{}
	h.more = sync.NewCond(&h.mu)
	return h
}

func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.more.Broadcast()
}

// conn is one end. Deadlines do nothing.
type conn struct{ in, out *half }

func (c *conn) Read(b []byte) (int, error) {
	h := c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.data) == 0 && !h.closed {
		h.more.Wait()
	}
	if len(h.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, h.data)
	h.data = h.data[n:]
	return n, nil
}

func (c *conn) Write(b []byte) (int, error) {
	h := c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, io.ErrClosedPipe
	}
	h.data = append(h.data, b...)
	h.more.Broadcast()
	return len(b), nil
}

func (c *conn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

func (c *conn) LocalAddr() net.Addr              { return &net.IPAddr{} }
func (c *conn) RemoteAddr() net.Addr             { return &net.IPAddr{} }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
