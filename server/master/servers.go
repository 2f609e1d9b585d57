package master

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// serverSlack is how much longer than a node a lock server may be silent: what is
// heard of it is the answers to the replicated log, which come at the log's pace.
// Each is taken as that much newer than it is.
const serverSlack = time.Second

// entryPeriod is between two looks whether this server is logged in like a node.
const entryPeriod = 2 * time.Second

// enterServers logs this server in like a node, or, if servers are not to be
// fenced, all of them out again.
func (t *term) enterServers() error {
	if t.m.cfg.BootID != "" {
		return t.enterSelf()
	}
	var servers []string
	t.m.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if x.Flags.Has(member.Server) && !x.Frozen {
				servers = append(servers, x.Node)
			}
		}
	})
	for _, server := range servers {
		if _, err := t.do(t.ctx, state.ServerEntered{Server: server}); err != nil {
			return err
		}
	}
	return nil
}

// stayIn logs this server in like a node as soon as it may be, if it was not when
// its term began: its machine was held.
func (t *term) stayIn(ctx context.Context) error {
	for t.m.cfg.BootID != "" && sleep(ctx, entryPeriod) {
		if !t.mayEnter() {
			continue
		}
		if err := t.enterSelf(); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// mayEnter reports whether this server is not logged in like a node although
// nothing known speaks against it: it does not leave, and its machine is neither to
// be fenced nor held, nor has its fence been a lie.
func (t *term) mayEnter() (may bool) {
	self := t.m.cfg.Server
	t.m.cfg.Machine.View(func(s *state.State) {
		n, _ := s.Members().Node(self)
		_, in := s.Members().ServerSession(self)
		lied := n.State == member.Fenced && n.Fence.Power && n.BootID == t.m.cfg.BootID
		may = !in && n.State != member.Expired && !n.Ledger.Held && !lied && !slices.Contains(s.ServersLeft(), self)
	})
	return may
}

// enterSelf logs this server in. That its machine is expired does not keep it
// from serving: it is one of a majority, and whoever is master next fences it.
func (t *term) enterSelf() error {
	c := t.m.enterCommand(t.m.cfg.Server, t.m.cfg.BootID, t.m.cfg.Container)
	for range 2 {
		result, err := t.do(t.ctx, c)
		switch {
		case err != nil:
			return err
		case result.Reason == reason.None:
			return nil
		case c.Replaces == 0 && (result.Reason == reason.NotFenced || result.Reason == reason.StaleIncarnation) && t.m.cfg.TrustReboot:
			// Nobody knows better than this server that its earlier life is gone.
			n, _ := t.m.node(t.m.cfg.Server)
			c.Replaces = n.Incarnation
		default:
			t.log.Warn("this server is not logged in like a node", "reason", result.Reason.String())
			return nil
		}
	}
	return nil
}

func (m *Master) enterCommand(server, bootID string, container bool) state.ServerEntered {
	c := state.ServerEntered{Server: server, BootID: bootID}
	if container {
		c.Flags |= member.Container
	}
	return c
}

// hear takes the answers of the other servers to the replicated log as signs of
// life of their sessions.
func (t *term) hear(sessions []member.Session) {
	var peers map[string]time.Duration
	now := time.Now()
	for _, x := range sessions {
		if !x.Flags.Has(member.Server) {
			continue
		}
		if peers == nil {
			peers = t.contacts()
		}
		if ago, ok := peers[x.Node]; ok {
			t.beats.heard(x.Number, now.Add(serverSlack-ago))
		}
	}
}

// contacts returns how long ago each server was heard of in this term; this one
// is heard of now.
func (t *term) contacts() map[string]time.Duration {
	contacts := map[string]time.Duration{}
	for _, p := range t.m.cfg.Replica.Status().Peers {
		switch {
		case p.Self:
			contacts[p.Name] = 0
		case p.LastContact >= 0:
			contacts[p.Name] = p.LastContact
		}
	}
	return contacts
}

// heard notes a sign of life of some time ago.
func (b *beats) heard(session uint64, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.life(session); at.After(l.last) {
		l.last = at
	}
}

// describe names a session for people.
func describe(x *member.Session) string { return fmt.Sprintf("session %d (%s)", x.Number, x.Process) }
