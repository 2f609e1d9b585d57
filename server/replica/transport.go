package replica

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// connPool is how many idle connections are kept per peer: one each for
// heartbeats, entries and votes.
const connPool = 3

// transport is raft's network transport without its heartbeat fast path, and
// with a note of what each follower has answered.
type transport struct {
	*raft.NetworkTransport
	hooks hooks

	mu       sync.Mutex
	contacts map[raft.ServerID]contact
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

// contact is what a leader knows of a follower.
type contact struct {
	term  uint64    // the leader's term in which this was learnt
	when  time.Time // last answer
	asked time.Time // when the newest request was begun that has been answered
	match uint64    // the follower's log agrees with the leader's up to here
}

// addresses finds servers by the configuration, not by what the log once held.
type addresses struct{ cfg Config }

// ServerAddr implements raft.ServerAddressProvider.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if p, ok := a.cfg.peer(string(id)); ok {
		return raft.ServerAddress(p.RaftAddr), nil
	}
	return "", ErrRefused
}

func newTransport(cfg Config, s *layer, rl hclog.Logger) *transport {
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			ServerAddressProvider: addresses{cfg},
			Logger:                rl,
			Stream:                s,
			MaxPool:               connPool,
			// One request at a time to each follower: with pipelining a leader was
			// seen to stop feeding one follower (raft issue 612), the gain is within
			// noise, and this way every answer passes through AppendEntries below.
			MaxRPCsInFlight: 1,
			Timeout:         cfg.RPCTimeout,
		}),
		hooks:    cfg.hooks,
		contacts: map[raft.ServerID]contact{},
	}
}

// SetHeartbeatHandler does nothing. With the handler, a heartbeat of a newer
// term raises the term on the connection's goroutine while the deposed leader's
// loop may still write a command, which then carries the new leader's term and
// passes for its entry: the machines differ for ever (raft issue 695).
func (t *transport) SetHeartbeatHandler(h func(raft.RPC)) {
	if t.hooks.fastPath {
		t.NetworkTransport.SetHeartbeatHandler(h)
	}
}

func (t *transport) before(id raft.ServerID, rpc any) error {
	if t.hooks.send == nil {
		return nil
	}
	return t.hooks.send(string(id), rpc)
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := t.before(id, args); err != nil {
		return err
	}
	begun := time.Now()
	if err := t.NetworkTransport.AppendEntries(id, target, args, resp); err != nil {
		return err
	}
	t.note(id, args, resp, begun)
	return nil
}

func (t *transport) note(id raft.ServerID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, begun time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.contacts[id]
	if c.term > args.Term || resp.Term > args.Term {
		return
	}
	if c.term < args.Term {
		c = contact{term: args.Term}
	}
	c.when = time.Now()
	if begun.After(c.asked) {
		c.asked = begun
	}
	if resp.Success {
		// A heartbeat carries no previous entry and proves no match.
		c.match = max(c.match, args.PrevLogEntry+uint64(len(args.Entries)))
	}
	t.contacts[id] = c
}

// askedSince counts the followers among peers that have accepted, in the given
// term, a request begun at `since` or later.
func (t *transport) askedSince(peers []Peer, term uint64, since time.Time) int {
	n := 0
	for _, p := range peers {
		if c, ok := t.contact(p.Name, term); ok && !c.asked.Before(since) {
			n++
		}
	}
	return n
}

// contact returns what is known of a follower in the given term.
func (t *transport) contact(name string, term uint64) (contact, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.contacts[raft.ServerID(name)]
	return c, ok && c.term == term
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := t.before(id, args); err != nil {
		return err
	}
	return t.NetworkTransport.RequestVote(id, target, args, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := t.before(id, args); err != nil {
		return err
	}
	return t.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	if err := t.before(id, args); err != nil {
		return err
	}
	return t.NetworkTransport.TimeoutNow(id, target, args, resp)
}

// forget drops what is known of a follower until it answers again.
func (t *transport) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.contacts, raft.ServerID(name))
}
