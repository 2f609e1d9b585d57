package master

import (
	"context"
	"fmt"
	"time"

	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

const (
	// looksPerRate is how often in a heartbeat period the master looks who is
	// late.
	looksPerRate = 4
	// minLook keeps the master from looking more often than is of use.
	minLook = 20 * time.Millisecond
	// lateFloor is how late the master's own loop may always be.
	lateFloor = 250 * time.Millisecond
)

// lookPeriod is how often a master looks who is late.
func (c *Config) lookPeriod() time.Duration { return max(c.HeartbeatRate/looksPerRate, minLook) }

// patience is how late this server's own goroutines may be.
func (c *Config) patience() time.Duration { return c.lookPeriod() + max(c.HeartbeatRate/2, lateFloor) }

// pulse notices when this server itself stood still. It waits for nothing but the
// clock, so a majority that takes long is not mistaken for that.
func (t *term) pulse(ctx context.Context) error {
	for sleep(ctx, t.m.cfg.lookPeriod()) {
		if gap := t.beats.tick(); gap > 0 {
			t.log.Warn("master was late, all nodes get a new period", "dur", gap)
		}
	}
	return nil
}

// expire declares nodes dead that were silent for too long.
func (t *term) expire(ctx context.Context) error {
	for sleep(ctx, t.m.cfg.lookPeriod()) {
		if err := t.judge(ctx); err != nil {
			return err
		}
	}
	return nil
}

// suspect is a node of which a session was silent for too long.
type suspect struct {
	node    member.Node
	session member.Session
	silent  time.Duration
	limit   time.Duration // of silence that the node was allowed
	seen    uint64        // log index of the last command in which session took part
	all     []uint64      // sessions of the node
}

func (t *term) judge(ctx context.Context) error {
	suspects := t.suspects()
	if len(suspects) == 0 {
		return nil
	}
	if err := t.m.cfg.Replica.VerifyLeader(ctx); err != nil {
		return translate(err)
	}
	for _, s := range suspects {
		// What arrived while a majority was asked counts; what arrives from now
		// on is not acknowledged, lest a node is told that it is safe and then
		// expired.
		if !t.beats.condemn(s.session.Number, s.limit, s.all) {
			continue
		}
		why := fmt.Sprintf("session %d (%s) was silent for %v", s.session.Number, s.session.Process, s.silent.Round(time.Millisecond))
		expired, err := t.expireNode(ctx, s, why)
		if err != nil {
			return err
		}
		if !expired {
			t.beats.pardon(s.all)
		}
	}
	return nil
}

// suspects returns the nodes that are late, each once, by name.
func (t *term) suspects() []suspect {
	var (
		sessions []member.Session
		nodes    []member.Node
	)
	seen := map[uint64]uint64{}
	t.m.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if !x.Frozen {
				sessions = append(sessions, x)
				seen[x.Number] = s.Seen(x.Number)
			}
		}
		nodes = append(nodes, s.Members().Nodes()...)
	})
	allowed := t.allowed(sessions)
	late := t.beats.keep(allowed)
	if len(late) == 0 {
		return nil
	}
	var out []suspect
	for _, n := range nodes {
		s := suspect{node: n}
		for _, x := range sessions {
			if x.Node != n.Name {
				continue
			}
			s.all = append(s.all, x.Number)
			if silent := late[x.Number]; silent > s.silent {
				s.session, s.silent, s.limit, s.seen = x, silent, allowed[x.Number], seen[x.Number]
			}
		}
		if s.silent > 0 {
			out = append(out, s)
		}
	}
	return out
}

// allowed returns the silence that each session is allowed: the expiry time, or
// the longest one that a session of its node was told at login. With a shorter
// one the node would be expired before all of them know.
func (t *term) allowed(sessions []member.Session) map[uint64]time.Duration {
	told := map[string]time.Duration{}
	for _, x := range sessions {
		told[x.Node] = max(told[x.Node], t.m.cfg.Expiry, time.Duration(x.Expiry)*time.Millisecond)
	}
	allowed := map[uint64]time.Duration{}
	for _, x := range sessions {
		allowed[x.Number] = told[x.Node]
	}
	return allowed
}

// expireNode proposes that a node is dead, and reports whether it is so. That the
// state refuses, because the suspected session gave a sign of life or is gone, is
// no error. What other sessions of the node do meanwhile does not matter: one
// silent session is a machine in doubt.
func (t *term) expireNode(ctx context.Context, s suspect, why string) (bool, error) {
	n := s.node
	result, err := t.do(ctx, state.Expire{
		Term: t.number, Life: member.Life{Node: n.Name, Incarnation: n.Incarnation}, Session: s.session.Number, Seen: s.seen,
		Silent: s.silent.Milliseconds(), Reason: why,
	})
	switch {
	case err != nil:
		return false, err
	case result.Reason == reason.StaleTerm:
		return false, fmt.Errorf("expiry is refused: %w", gulmerr.ErrStaleTerm)
	case result.Reason != reason.None:
		return false, nil
	}
	t.log.Info("node expired", "node", n.Name, "incarnation", n.Incarnation, "reason", why)
	return true, nil
}

// ForceExpire declares a logged-in node dead on an operator's word; it is then
// fenced. Errors as for Do, and ErrUnknownNode, ErrWrongState.
func (m *Master) ForceExpire(ctx context.Context, node, why string) error {
	t, err := m.master()
	if err != nil {
		return err
	}
	n, known := m.node(node)
	if !known {
		return gulmerr.New(gulmerr.ErrUnknownNode, "node %s has never logged in", node)
	}
	result, err := t.do(ctx, state.Expire{
		Term: t.number, Life: member.Life{Node: node, Incarnation: n.Incarnation}, Seen: ^uint64(0), Reason: "forced: " + why,
	})
	if err == nil {
		err = Refused(result.Reason, "node %s, which is %v", node, n.State)
	}
	if err == nil {
		m.cfg.Log.Info("node expired", "server", m.cfg.Server, "node", node, "incarnation", n.Incarnation, "reason", "forced: "+why)
	}
	return err
}

func (m *Master) node(name string) (n member.Node, known bool) {
	m.cfg.Machine.View(func(s *state.State) { n, known = s.Members().Node(name) })
	return n, known
}
