package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// fakeCluster is an honest little set of lock servers in memory: one state that
// all of them see, and one of them master. Its queues are strictly first come,
// first served.
type fakeCluster struct {
	tb testing.TB

	mu       sync.Mutex
	servers  map[string]*fakeServer
	master   string // address
	rate     time.Duration
	expiry   time.Duration
	inFlight uint32
	index    uint64
	token    uint64
	spaces   map[string]uint32
	sessions map[uint64]*fakeSession
	queues   map[string]*fakeQueue
	sets     []*fakeSet // that wait
	faults   faults

	messages, requests int // that came, with at least one request
	largest            int // requests in one message
	applied            map[string]int
	last               map[gulmv1.Op]*gulmv1.Request
	logouts            int
}

// faults are what goes wrong, guarded by the cluster's lock.
type faults struct {
	login       error                                 // refuses logins
	loginLost   bool                                  // logs in but does not answer
	attach      error                                 // refuses streams
	mute        bool                                  // no beat is acknowledged
	cutAfter    func(*gulmv1.Request) bool            // the stream ends after this request is applied, without the replies
	deaf        bool                                  // beats are acknowledged, requests are thrown away
	holdReplies bool                                  // replies and events stay in the outbox
	locate      func(addr string) *gulmv1.LocateReply // another answer
}

// fakeServer is one server of the cluster.
type fakeServer struct {
	gulmv1.UnimplementedCoreServiceServer
	gulmv1.UnimplementedLockServiceServer
	cluster *fakeCluster
	addr    string
	lis     *listener
	grpc    *grpc.Server
	hang    bool // connections are neither made nor refused
}

type fakeSession struct {
	number  uint64
	loginID string
	node    string
	over    error
	applied uint64
	seen    uint64 // confirmed
	replies map[uint64]*gulmv1.Reply
	locks   map[uint64]*fakeLock
	ended   map[uint64]error // waiting requests that were denied and not acknowledged
	spaces  map[uint32]bool
	stream  *fakeStream
	beat    time.Time // receipt of the newest
	// troubles are what it said of the probes.
	troubles []*gulmv1.ProbeTrouble

	watchdog int64
}

// fakeStream is the outbox of one stream.
type fakeStream struct {
	out  gulmv1.SessionReply
	err  error
	full bool // there is something to send
	wake chan struct{}
}

const fakeClusterName = "alpha"

// newFake starts so many servers; the first is master. The servers stop when
// the test ends.
func newFake(tb testing.TB, servers int) *fakeCluster {
	c := &fakeCluster{
		tb: tb, servers: map[string]*fakeServer{}, rate: 2 * time.Second, expiry: 6 * time.Second, inFlight: 1024,
		spaces: map[string]uint32{}, sessions: map[uint64]*fakeSession{}, queues: map[string]*fakeQueue{}, applied: map[string]int{},
		last: map[gulmv1.Op]*gulmv1.Request{},
	}
	for i := range servers {
		c.start(fmt.Sprintf("127.0.0.%d:40040", i+1))
	}
	c.master = c.addr(0)
	tb.Cleanup(func() {
		for _, addr := range c.addrs() {
			c.stop(addr)
		}
	})
	return c
}

func (c *fakeCluster) addr(i int) string { return fmt.Sprintf("127.0.0.%d:40040", i+1) }

func (c *fakeCluster) addrs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for addr := range c.servers {
		all = append(all, addr)
	}
	slices.Sort(all)
	return all
}

// start starts a server.
func (c *fakeCluster) start(addr string) {
	s := &fakeServer{cluster: c, addr: addr, lis: listen()}
	s.grpc = grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}))
	gulmv1.RegisterCoreServiceServer(s.grpc, s)
	gulmv1.RegisterLockServiceServer(s.grpc, s)
	c.mu.Lock()
	c.servers[addr] = s
	c.mu.Unlock()
	go func() { _ = s.grpc.Serve(s.lis) }()
}

// stop kills a server: its connections break.
func (c *fakeCluster) stop(addr string) {
	c.mu.Lock()
	s := c.servers[addr]
	delete(c.servers, addr)
	c.mu.Unlock()
	if s == nil {
		return
	}
	s.grpc.Stop()
	_ = s.lis.Close()
}

// dial is the Dialer of clients.
func (c *fakeCluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	s := c.servers[addr]
	hang := s != nil && s.hang
	c.mu.Unlock()
	switch {
	case s == nil:
		return nil, errors.New("connection refused")
	case hang:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.lis.dial(ctx)
}

func (c *fakeCluster) config(node string) Config {
	return Config{Cluster: fakeClusterName, Node: node, Servers: c.addrs(), BootID: "boot-" + node, Dialer: c.dial, Probes: []Probe{}}
}

// with changes the faults.
func (c *fakeCluster) with(change func(*faults)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.faults)
	for _, s := range c.sessions {
		if s.stream != nil {
			s.stream.signal()
		}
	}
}

// elect makes another server master; the streams of the old one end.
func (c *fakeCluster) elect(addr string) {
	c.mu.Lock()
	c.master = addr
	c.mu.Unlock()
	c.cut(c.notMaster())
}

func (c *fakeCluster) notMaster() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.master == "" {
		return gulmerr.NotMaster("", "")
	}
	return gulmerr.NotMaster("lk"+c.master, c.master)
}

// cut ends all streams with err.
func (c *fakeCluster) cut(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		s.end(err)
	}
}

// expireNode declares a node dead.
func (c *fakeCluster) expireNode(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		if s.node == node && s.over == nil {
			s.over = gulmerr.ErrNodeExpired
			s.end(s.over)
		}
	}
}

func (s *fakeSession) end(err error) {
	if s.stream != nil {
		s.stream.err = err
		s.stream.signal()
		s.stream = nil
	}
}

func (st *fakeStream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

func (c *fakeCluster) attach(a *gulmv1.Attach) (*fakeSession, *fakeStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults.attach != nil {
		return nil, nil, c.faults.attach
	}
	session := c.sessions[a.GetSession()]
	switch {
	case session == nil || session.loginID != string(a.GetLoginId()):
		return nil, nil, gulmerr.ErrNoSession
	case session.over != nil:
		return nil, nil, session.over
	}
	session.end(gulmerr.ErrSessionTaken)
	out := &fakeStream{wake: make(chan struct{}, 1), full: true}
	out.out.Attached = &gulmv1.Attached{Applied: session.applied}
	session.confirm(a.GetConfirmed())
	for _, l := range session.locks {
		if l.changed <= a.GetSeenIndex() {
			continue
		}
		if l.denied != nil {
			out.out.Events = append(out.out.Events, l.deniedEvent(l.denied))
		} else if l.held && l.mode == l.want {
			out.out.Events = append(out.out.Events, l.event(gulmv1.EventKind_EVENT_KIND_GRANTED, l.mode))
		}
		if l.blocked {
			out.out.Events = append(out.out.Events, l.event(gulmv1.EventKind_EVENT_KIND_BLOCKING, l.blocking))
		}
	}
	for number, why := range session.ended {
		out.out.Events = append(out.out.Events, (&fakeLock{number: number}).deniedEvent(why))
	}
	session.stream = out
	out.signal()
	return session, out, nil
}

func (c *fakeCluster) detach(session *fakeSession, out *fakeStream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if session.stream == out {
		session.stream = nil
	}
}

func (s *fakeSession) confirm(seq uint64) {
	for ; s.seen < min(seq, s.applied); s.seen++ {
		delete(s.replies, s.seen+1)
	}
}

// receive applies one message. It returns false if the stream has ended.
func (c *fakeCluster) receive(session *fakeSession, out *fakeStream, msg *gulmv1.SessionRequest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if session.stream != out {
		return false
	}
	if msg.GetBeat() != 0 && !c.faults.mute {
		session.beat, session.troubles = time.Now(), msg.GetTroubles()
		out.out.Beat = msg.GetBeat()
		out.full = true
		out.signal()
	}
	session.confirm(msg.GetConfirmed())
	if c.faults.deaf {
		return true
	}
	if n := len(msg.GetRequests()); n > 0 {
		c.messages++
		c.requests += n
		c.largest = max(c.largest, n)
		c.index++
	}
	for _, req := range msg.GetRequests() {
		reply := c.once(session, req)
		if session.stream != out {
			return false
		}
		out.out.Replies = append(out.out.Replies, reply)
		out.full = true
		if cut := c.faults.cutAfter; cut != nil && cut(req) {
			session.end(gulmerr.ErrUnavailable)
			return false
		}
	}
	out.signal()
	return true
}

// once applies a request unless that was done.
func (c *fakeCluster) once(session *fakeSession, req *gulmv1.Request) *gulmv1.Reply {
	seq := req.GetSeq()
	switch {
	case seq <= session.seen:
		c.tb.Errorf("session %d sent request %d again after it confirmed %d", session.number, seq, session.seen)
		return &gulmv1.Reply{Seq: seq, Reason: "INVALID"}
	case seq <= session.applied:
		return session.replies[seq]
	case seq != session.applied+1:
		c.tb.Errorf("session %d sent request %d after %d", session.number, seq, session.applied)
		return &gulmv1.Reply{Seq: seq, Reason: reasonOutOfOrder}
	case uint32(len(session.replies)) >= c.inFlight:
		c.tb.Errorf("session %d has %d unconfirmed requests", session.number, len(session.replies)+1)
	}
	reply := c.apply(session, req)
	reply.Seq = seq
	session.applied = seq
	session.replies[seq] = reply
	return reply
}

func refused(err error) *gulmv1.Reply {
	row, _ := gulmerr.Lookup(err)
	return &gulmv1.Reply{Reason: row.Reason}
}

// left returns how many locks the servers have, in all queues.
func (c *fakeCluster) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.sets)
	for _, s := range c.sessions {
		n += len(s.locks)
	}
	return n
}
