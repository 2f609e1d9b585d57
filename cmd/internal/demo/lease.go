package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// leaseTime is how long a lease lasts; about what lease-based services use.
	leaseTime = 3 * time.Second
	// leaseRenewal is how often its holder renews it.
	leaseRenewal = leaseTime / 3
)

// leaseServer hands one lock out as a lease, as services without fencing do: who
// does not renew in time has lost it, and the next in line gets it, whatever the
// old holder's machine may still be about to write.
type leaseServer struct {
	listener net.Listener
	conns    sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	holder string
	token  uint64
	until  time.Time
	timer  *time.Timer
	queue  []*leaseWaiter
}

type leaseWaiter struct {
	node    string
	granted chan uint64
}

func newLeaseServer() (*leaseServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &leaseServer{listener: l, open: map[net.Conn]struct{}{}}
	s.conns.Go(s.accept)
	return s, nil
}

func (s *leaseServer) address() string { return s.listener.Addr().String() }

func (s *leaseServer) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.conns.Wait()
}

func (s *leaseServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[conn] = struct{}{}
		s.mu.Unlock()
		s.conns.Go(func() { s.serve(conn) })
	}
}

// serve answers "lock NODE" with "granted TOKEN" when it is so, and "renew NODE"
// and "unlock NODE" with "ok" or "no".
func (s *leaseServer) serve(conn net.Conn) {
	defer conn.Close()
	for scanner := bufio.NewScanner(conn); scanner.Scan(); {
		var verb, node string
		if _, err := fmt.Sscan(scanner.Text(), &verb, &node); err != nil {
			return
		}
		answer := "no"
		switch verb {
		case "lock":
			w := s.enqueue(node)
			answer = fmt.Sprintf("granted %d", <-w.granted)
		case "renew", "unlock":
			if s.touch(node, verb == "unlock") {
				answer = "ok"
			}
		}
		if _, err := fmt.Fprintln(conn, answer); err != nil {
			return
		}
	}
}

func (s *leaseServer) enqueue(node string) *leaseWaiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &leaseWaiter{node, make(chan uint64, 1)}
	s.queue = append(s.queue, w)
	if s.holder == "" {
		s.next()
	}
	return w
}

// touch renews or ends the lease of its holder.
func (s *leaseServer) touch(node string, end bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder != node {
		return false
	}
	if end {
		s.next()
		return true
	}
	s.extend()
	return true
}

// next grants the lease to the first in line. The caller holds mu.
func (s *leaseServer) next() {
	s.holder = ""
	if len(s.queue) == 0 {
		return
	}
	w := s.queue[0]
	s.queue = s.queue[1:]
	s.token++
	s.holder = w.node
	s.extend()
	w.granted <- s.token
}

func (s *leaseServer) extend() {
	s.until = time.Now().Add(leaseTime)
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(leaseTime, s.expire)
}

// expire hands the lease on because its time is over: no fence, no proof.
func (s *leaseServer) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder != "" && !time.Now().Before(s.until) {
		s.next()
	}
}

// leaseLocker is the node's side.
type leaseLocker struct{ address, node string }

func (l *leaseLocker) close() error { return nil }

func (l *leaseLocker) lock(context.Context) (held, error) {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	h := &leaseHeld{conn: conn, in: bufio.NewScanner(conn), node: l.node}
	answer, err := h.ask("lock")
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscanf(answer, "granted %d", &h.number); err != nil {
		return nil, err
	}
	h.until = time.Now().Add(leaseTime)
	return h, nil
}

// leaseHeld is a lease that its holder renews, and that it stops to believe in
// when its own clock says that it is over, as a careful client does.
type leaseHeld struct {
	conn   net.Conn
	in     *bufio.Scanner
	node   string
	number uint64
	until  time.Time
	asked  time.Time
}

func (h *leaseHeld) ask(verb string) (string, error) {
	if _, err := fmt.Fprintln(h.conn, verb, h.node); err != nil {
		return "", err
	}
	if !h.in.Scan() {
		return "", errors.New("lease server has gone")
	}
	return h.in.Text(), nil
}

func (h *leaseHeld) valid() error {
	if time.Since(h.asked) > leaseRenewal {
		h.asked = time.Now()
		answer, err := h.ask("renew")
		if err != nil {
			return err
		}
		if answer != "ok" {
			return errors.New("lease was handed on")
		}
		h.until = h.asked.Add(leaseTime)
	}
	if time.Now().After(h.until) {
		return errors.New("lease is over")
	}
	return nil
}

func (h *leaseHeld) token() uint64 { return h.number }

func (h *leaseHeld) unlock() error {
	defer h.conn.Close()
	_, err := h.ask("unlock")
	return err
}
