package gulmtest

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// BufferSize is how many bytes one direction of a connection takes that the
	// other end has not read; then the writer blocks.
	BufferSize = 256 << 10
	// Backlog is how many connections a listener keeps that nobody has
	// accepted; further attempts hang until there is room.
	Backlog = 128
	// ConnectTimeout ends an attempt to connect whose context has no earlier
	// end, as a kernel gives up after its last repetition.
	ConnectTimeout = 127 * time.Second

	// synRetry is the time after which an attempt that found the backlog full
	// knocks again.
	synRetry = time.Second
	// firstPort is the first one given to whoever does not ask for a port.
	firstPort = 40000
)

// CutOption changes what a cut does.
type CutOption uint8

// Reset makes a cut break connections at both ends, and refuse new ones at
// once, as a firewall does that answers instead of dropping.
const Reset CutOption = 1

// Network is a set of hosts and a directed link between any two of them. At
// first every link is up and takes no time. The zero value is of no use, see
// NewNetwork. All methods may be called from any goroutine.
type Network struct {
	seed uint64

	mu       sync.Mutex // guards everything below, and all that hosts, listeners and connections hold
	hosts    map[string]*Host
	links    map[route]*link
	pipes    []*pipe // two for each connection, until both of its ends are gone
	nextPort int
	blocked  int // callers inside of wait
	closed   bool
	idle     signal // wakes Close
}

// route names a link.
type route struct{ from, to string }

// link is one direction between two hosts.
type link struct {
	base, jitter time.Duration
	cut          bool
	reset        bool // with cut: refuse instead of dropping
	rand         *rand.Rand
}

// delay draws the time that the next bytes take.
func (l *link) delay() time.Duration {
	if l.jitter <= 0 {
		return l.base
	}
	return l.base + time.Duration(l.rand.Int64N(int64(l.jitter)+1))
}

// NewNetwork returns a network without hosts. The jitter of each link is drawn
// from a source of its own, made from seed and the names of the two hosts, so
// that traffic elsewhere does not disturb it.
func NewNetwork(seed uint64) *Network {
	return &Network{
		seed:     seed,
		hosts:    map[string]*Host{},
		links:    map[route]*link{},
		nextPort: firstPort,
	}
}

// Host returns the host of this name, which is up and connected to all others;
// it is made when it is asked for the first time. The name must not hold a
// colon.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		h = &Host{net: n, name: name, listeners: map[string]*listener{}}
		n.hosts[name] = h
	}
	return h
}

// SetDelay makes bytes that are written from now on take base and up to jitter
// more to get from one host to the other. Bytes of one connection keep their
// order. The way back has a delay of its own.
func (n *Network) SetDelay(from, to string, base, jitter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	l.base, l.jitter = base, jitter
}

// CutOneWay stops everything that goes from one host to the other; the way back
// stays open. Bytes under way are held, not lost: they arrive after Heal, as TCP
// repeats them. Since acknowledgements do not come back over a cut link, the
// other side can send at most BufferSize more on each connection. Connecting
// over it, in either direction, hangs. With Reset, connections break instead.
func (n *Network) CutOneWay(from, to string, opts ...CutOption) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut(from, to, opts)
	n.wakeAll()
}

// Partition cuts, in both directions, every link between a host of one group
// and a host of the other. Links within a group stay as they are, and a host
// named in both keeps the link to itself.
func (n *Network) Partition(groupA, groupB []string, opts ...CutOption) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range groupA {
		for _, b := range groupB {
			if a == b {
				continue
			}
			n.cut(a, b, opts)
			n.cut(b, a, opts)
		}
	}
	n.wakeAll()
}

// HealOneWay undoes a cut of one link. What was held arrives after the link's
// delay.
func (n *Network) HealOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heal(n.link(from, to))
	n.wakeAll()
}

// Heal undoes the cuts between two hosts, in both directions.
func (n *Network) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heal(n.link(a, b))
	n.heal(n.link(b, a))
	n.wakeAll()
}

// HealAll undoes every cut. Delays stay, and so do hosts that are paused or
// down.
func (n *Network) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		n.heal(l)
	}
	n.wakeAll()
}

// Close breaks every connection and listener and returns when no goroutine
// waits inside the network any more. After it every call fails with
// net.ErrClosed.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, h := range n.hosts {
		h.closeListeners()
	}
	for _, p := range n.pipes {
		p.from.closed, p.from.gone = true, true
	}
	n.wakeAll() // before the pipes, and with them whom to wake, are forgotten
	n.pipes = nil
	for n.blocked > 0 {
		ch := n.idle.channel()
		n.mu.Unlock()
		<-ch
		n.mu.Lock()
	}
}

// link returns the link of a route. The caller holds mu, as everywhere below.
func (n *Network) link(from, to string) *link {
	r := route{from, to}
	l := n.links[r]
	if l == nil {
		l = &link{rand: rand.New(rand.NewPCG(n.seed, hashOf(from+">"+to)))}
		n.links[r] = l
	}
	return l
}

func (n *Network) cut(from, to string, opts []CutOption) {
	l := n.link(from, to)
	l.cut = true
	l.reset = slices.Contains(opts, Reset)
	now := time.Now()
	for _, p := range n.pipes {
		switch {
		case l.reset && (p.fwd == l || p.back == l):
			p.abort(now)
		case p.fwd == l:
			p.hold(now)
		}
	}
}

func (n *Network) heal(l *link) {
	if !l.cut {
		return
	}
	l.cut, l.reset = false, false
	now := time.Now()
	for _, p := range n.pipes {
		if p.fwd == l {
			p.release(now)
		}
		if p.back == l {
			p.used -= p.unacked
			p.unacked = 0
		}
	}
	// Only now, since what an end that is gone answers needs both directions.
	for _, p := range n.pipes {
		p.settle(now)
	}
}

// prune forgets connections that nobody can use any more.
func (n *Network) prune() {
	n.pipes = slices.DeleteFunc(n.pipes, func(p *pipe) bool { return p.from.gone && p.to.gone })
}

// wakeAll lets every waiting caller look again.
func (n *Network) wakeAll() {
	for _, h := range n.hosts {
		h.wake.broadcast()
		for _, l := range h.listeners {
			l.wake.broadcast()
		}
	}
	for _, p := range n.pipes {
		p.from.wake.broadcast()
		p.to.wake.broadcast()
	}
}

// wait gives mu up until s is broadcast, until the given time (zero: never) or
// until done is closed, whichever comes first.
func (n *Network) wait(s *signal, until time.Time, done <-chan struct{}) {
	ch := s.channel()
	var expired <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		expired = timer.C
	}
	n.blocked++
	n.mu.Unlock()
	select {
	case <-ch:
	case <-expired:
	case <-done:
	}
	n.mu.Lock()
	n.blocked--
	if n.closed && n.blocked == 0 {
		n.idle.broadcast()
	}
}

// signal is a condition to wait for beside a timer: a sync.Cond that works in
// a select. Network.mu guards it.
type signal struct{ ch chan struct{} }

// channel is closed by the next broadcast.
func (s *signal) channel() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) broadcast() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// earliest returns the earlier of two times, where zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func hashOf(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s)) // never fails
	return h.Sum64()
}
