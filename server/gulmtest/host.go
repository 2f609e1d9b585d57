package gulmtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrHostDown is returned to whoever acts on a host that has crashed or has no
// power, and by dialers and stream layers of an earlier life of the host.
var ErrHostDown = errors.New("host is down")

// Host is one machine on a Network, see Network.Host.
type Host struct {
	net  *Network
	name string

	// Guarded by net.mu.
	listeners map[string]*listener // by port
	wake      signal               // for those who dial or await
	life      int                  // grows with every Crash and PowerOff
	paused    bool
	down      bool // no process runs
	off       bool // nor does the kernel: nobody answers
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Listen waits for connections to a port, given as "4000", ":4000" or
// "name:4000"; "0" picks a free one. It fails if the port is in use or the host
// is down.
func (h *Host) Listen(addr string) (net.Listener, error) {
	l, err := h.listen(addr)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (h *Host) listen(addr string) (*listener, error) {
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if port == "0" || port == "" {
		port = h.net.freePort()
	}
	at := Addr{Host: h.name, Port: port}
	var err error
	switch {
	case h.net.closed:
		err = net.ErrClosed
	case h.down:
		err = ErrHostDown
	case h.listeners[port] != nil:
		err = syscall.EADDRINUSE
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: at.Network(), Addr: at, Err: err}
	}
	l := &listener{host: h, addr: at}
	h.listeners[port] = l
	return l, nil
}

func (n *Network) freePort() string {
	n.nextPort++
	return strconv.Itoa(n.nextPort)
}

// Dial connects to host:port, which takes one round trip of the links. Over a
// cut link it hangs until the link is healed, ctx ends or ConnectTimeout has
// passed. It is refused at once (syscall.ECONNREFUSED) if the other host is
// down or does not listen, fails with a *net.DNSError if there is no such host,
// and with ErrHostDown if this host is down.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return h.Dialer()(ctx, addr)
}

// Dialer returns Dial for the present life of the host: once the host has
// crashed the function fails with ErrHostDown for ever, even after Start, so
// that what is left of the old process cannot speak for the new one.
func (h *Host) Dialer() func(ctx context.Context, addr string) (net.Conn, error) {
	h.net.mu.Lock()
	life := h.life
	h.net.mu.Unlock()
	return func(ctx context.Context, addr string) (net.Conn, error) {
		to := Addr{}
		var err error
		var c *conn
		if to.Host, to.Port, err = net.SplitHostPort(addr); err == nil {
			c, err = h.dial(ctx, life, to)
		}
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: to.Network(), Addr: to, Err: err}
		}
		return c, nil
	}
}

func (h *Host) dial(ctx context.Context, life int, to Addr) (*conn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	peer := h.net.hosts[to.Host]
	if peer == nil {
		return nil, &net.DNSError{Err: "no such host", Name: to.Host, IsNotFound: true}
	}
	there, back := h.net.link(h.name, peer.name), h.net.link(peer.name, h.name)
	giveUp := time.Now().Add(ConnectTimeout)
	var arrival time.Time // of the answer; zero while the attempt gets nowhere
	for {
		now := time.Now()
		if err := h.mayDial(ctx, life, now, giveUp); err != nil {
			return nil, err
		}
		switch {
		case !h.paused && (there.reset || back.reset):
			return nil, syscall.ECONNREFUSED
		case h.paused || there.cut || back.cut:
			arrival = time.Time{}
		case arrival.IsZero():
			arrival = now.Add(there.delay() + back.delay())
		}
		if !arrival.IsZero() && !arrival.After(now) {
			c, err := h.knock(peer, to)
			if c != nil || err != nil {
				return c, err
			}
			arrival = now.Add(synRetry)
		}
		h.net.wait(&h.wake, earliest(giveUp, arrival), ctx.Done())
	}
}

// mayDial says why an attempt has to end.
func (h *Host) mayDial(ctx context.Context, life int, now, giveUp time.Time) error {
	switch {
	case h.net.closed:
		return net.ErrClosed
	case h.down || h.life != life:
		return ErrHostDown
	case ctx.Err() != nil:
		return ctx.Err()
	case !giveUp.After(now):
		return syscall.ETIMEDOUT
	}
	return nil
}

// knock connects if somebody listens; nil and no error means that the backlog
// is full.
func (h *Host) knock(peer *Host, to Addr) (*conn, error) {
	l := peer.listeners[to.Port]
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	if len(l.backlog) >= Backlog {
		return nil, nil
	}
	from := Addr{Host: h.name, Port: h.net.freePort()}
	client, server := h.net.connect(h, peer, from, to)
	l.backlog = append(l.backlog, server)
	l.wake.broadcast()
	return client, nil
}

// Pause stops the host's processes as SIGSTOP does, seen from outside: the
// kernel still takes connections and bytes, up to Backlog and BufferSize, but
// nobody reads, writes, accepts or closes, and no deadline of a connection
// passes. Goroutines that stand for the host run on until they touch the
// network or Await. It does nothing to a host that is down.
func (h *Host) Pause() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.paused = !h.down
}

// Resume ends a Pause. What the host closed meanwhile is closed for its peers
// now.
func (h *Host) Resume() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if !h.paused {
		return
	}
	h.paused = false
	now := time.Now()
	for _, c := range h.conns() {
		if c.closed && !c.gone {
			c.hangUp(now)
		}
	}
	h.net.wakeAll()
}

// Await blocks while the host is paused, so that actors which do not use the
// network can stand still too. It returns ErrHostDown if the host is down, the
// context's error if that ends first, net.ErrClosed after Network.Close.
func (h *Host) Await(ctx context.Context) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for {
		switch {
		case h.net.closed:
			return net.ErrClosed
		case h.down:
			return fmt.Errorf("%s: %w", h.name, ErrHostDown)
		case ctx.Err() != nil:
			return ctx.Err()
		case !h.paused:
			return nil
		}
		h.net.wait(&h.wake, time.Time{}, ctx.Done())
	}
}

// Crash kills the host's processes: listeners and connections die at once, the
// kernel resets the connections for the peers that it can reach, and nobody
// answers until Start. The host's own calls return net.ErrClosed.
func (h *Host) Crash() { h.stop(false) }

// PowerOff is Crash without a kernel left to tell the peers: they notice only
// that nobody answers. What was held by a cut is lost. After Start they are
// reset as soon as they have something to send.
func (h *Host) PowerOff() { h.stop(true) }

func (h *Host) stop(off bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.life++
	h.down, h.paused = true, false
	h.off = h.off || off
	h.closeListeners()
	now := time.Now()
	for _, c := range h.conns() {
		c.kill(h.off, now)
	}
	h.net.wakeAll() // before prune forgets whom to wake
	h.net.prune()
}

// Start boots a host that is down; nothing listens on it yet. It does nothing
// to a host that is up.
func (h *Host) Start() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down, h.off = false, false
	now := time.Now()
	for _, p := range h.net.pipes {
		p.settle(now)
	}
	h.net.wakeAll()
}

// conns returns the host's ends of all connections.
func (h *Host) conns() []*conn {
	var all []*conn
	for _, p := range h.net.pipes {
		if p.from.host == h {
			all = append(all, p.from)
		}
	}
	return all
}

func (h *Host) closeListeners() {
	for _, l := range h.listeners {
		l.shut()
	}
}
