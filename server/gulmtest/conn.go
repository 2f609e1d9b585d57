package gulmtest

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Addr is the address of a listener or of one end of a connection.
type Addr struct {
	// Host is the name of a host.
	Host string
	// Port is a number by custom, but any word will do.
	Port string
}

// Network returns "sim".
func (a Addr) Network() string { return "sim" }

// String returns host:port, as Host.Dial takes it.
func (a Addr) String() string { return net.JoinHostPort(a.Host, a.Port) }

// conn is one end of a connection. Network.mu guards its fields.
type conn struct {
	net           *Network
	host          *Host
	local, remote Addr
	in, out       *pipe
	wake          signal

	readBy, writeBy time.Time // deadlines, zero for none
	writing         bool      // somebody is inside of Write, whose bytes must stay together

	// closed: local calls fail. gone: the machine knows nothing of this end any
	// more. They differ while the host is paused, since a stopped process cannot
	// tell its peer that it closes.
	closed, gone bool
	// resetAt is when this end learns that the connection is broken, zero for
	// never; resetHeld means that a cut keeps it from learning that.
	resetAt   time.Time
	resetHeld bool
}

// connect makes the two ends of a new connection.
func (n *Network) connect(from, to *Host, local, remote Addr) (client, server *conn) {
	client = &conn{net: n, host: from, local: local, remote: remote}
	server = &conn{net: n, host: to, local: remote, remote: local}
	there, back := n.link(from.name, to.name), n.link(to.name, from.name)
	client.out = &pipe{from: client, to: server, fwd: there, back: back}
	server.out = &pipe{from: server, to: client, fwd: back, back: there}
	client.in, server.in = server.out, client.out
	n.pipes = append(n.pipes, client.out, server.out)
	return client, server
}

// Read implements net.Conn. It returns io.EOF after the peer has closed and
// everything was read, and syscall.ECONNRESET when the connection broke.
func (c *conn) Read(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for {
		now := time.Now()
		if err := c.refused(c.readBy, now); err != nil {
			return 0, c.fault("read", err)
		}
		if c.host.paused {
			c.net.wait(&c.wake, time.Time{}, nil)
			continue
		}
		n, eof := c.in.take(b, now)
		switch {
		case n > 0 || len(b) == 0:
			return n, nil
		case eof:
			return 0, io.EOF
		case c.broken(now):
			return 0, c.fault("read", syscall.ECONNRESET)
		}
		until := earliest(earliest(c.readBy, c.resetAt), c.in.nextArrival())
		c.net.wait(&c.wake, until, nil)
	}
}

// Write implements net.Conn. It blocks while BufferSize bytes are on the way.
// That it returns without an error does not mean that the peer got anything.
func (c *conn) Write(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if err := c.ready(func() bool { return !c.writing }); err != nil {
		return 0, c.fault("write", err)
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.wake.broadcast()
	}()
	written := 0
	for {
		if err := c.ready(func() bool { return c.out.used < BufferSize }); err != nil {
			return written, c.fault("write", err)
		}
		k := min(len(b)-written, BufferSize-c.out.used)
		if k == 0 {
			return written, nil
		}
		part := append([]byte(nil), b[written:written+k]...)
		c.out.send(chunk{data: part}, time.Now())
		if written += k; written == len(b) {
			return written, nil
		}
	}
}

// ready waits until this end may write and cond holds.
func (c *conn) ready(cond func() bool) error {
	for {
		now := time.Now()
		if err := c.refused(c.writeBy, now); err != nil {
			return err
		}
		until := time.Time{}
		if !c.host.paused {
			if c.broken(now) {
				return syscall.ECONNRESET
			}
			if cond() {
				return nil
			}
			until = earliest(c.writeBy, c.resetAt)
		}
		c.net.wait(&c.wake, until, nil)
	}
}

// refused says why a call fails whatever the peer does. Deadlines of a paused
// host do not pass: its process is stopped.
func (c *conn) refused(deadline, now time.Time) error {
	switch {
	case c.closed || c.net.closed:
		return net.ErrClosed
	case !c.host.paused && !deadline.IsZero() && !deadline.After(now):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) broken(now time.Time) bool {
	return !c.resetAt.IsZero() && !c.resetAt.After(now)
}

func (c *conn) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// Close implements net.Conn. The peer reads what was written, then io.EOF. The
// second call returns net.ErrClosed.
func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.fault("close", net.ErrClosed)
	}
	c.closed = true
	c.wake.broadcast()
	if !c.host.paused {
		c.hangUp(time.Now())
	}
	return nil
}

// hangUp tells the peer that this end is closed.
func (c *conn) hangUp(now time.Time) {
	c.gone = true
	if !c.broken(now) {
		c.out.send(chunk{fin: true}, now)
	}
	c.in.settle(now)
	c.net.prune()
}

// kill ends this end together with its process; with the power off, nobody is
// left to tell the peer.
func (c *conn) kill(off bool, now time.Time) {
	dead := c.gone
	c.closed, c.gone = true, true
	c.wake.broadcast()
	switch {
	case off:
		c.out.lose()
	case !dead:
		c.out.reset(now)
		c.in.settle(now)
	}
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn; calls that wait already obey it.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadlines(&t, &t) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&t, nil) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *conn) setDeadlines(read, write *time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.fault("set", net.ErrClosed)
	}
	if read != nil {
		c.readBy = *read
	}
	if write != nil {
		c.writeBy = *write
	}
	c.wake.broadcast()
	return nil
}
