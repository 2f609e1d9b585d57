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

// expire declares nodes dead that were silent for too long. If this loop itself
// was late, everybody gets a full period anew: what looks like their silence may
// have been ours.
func (t *term) expire(ctx context.Context) error {
	look := max(t.m.cfg.HeartbeatRate/looksPerRate, minLook)
	lateness := max(t.m.cfg.HeartbeatRate/2, lateFloor)
	before := time.Now()
	for sleep(ctx, look) {
		if gap := time.Since(before); gap > look+lateness {
			t.log.Warn("master was late, all nodes get a new period", "dur", gap)
			t.beats.restart()
		}
		before = time.Now()
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
}

func (t *term) judge(ctx context.Context) error {
	suspects := t.suspects()
	if len(suspects) == 0 {
		return nil
	}
	began := time.Now()
	if err := t.m.cfg.Replica.VerifyLeader(ctx); err != nil {
		return translate(err)
	}
	if time.Since(began) > lateFloor {
		return nil // the confirmation took long: look again
	}
	for _, s := range suspects {
		why := fmt.Sprintf("session %d (%s) was silent for %v", s.session.Number, s.session.Process, s.silent.Round(time.Millisecond))
		if err := t.expireNode(ctx, s.node, s.node.Seen, s.silent, why); err != nil {
			return err
		}
	}
	return nil
}

// suspects returns the nodes that are late, each once, by name.
func (t *term) suspects() []suspect {
	var (
		live     []uint64
		sessions []member.Session
		nodes    []member.Node
	)
	t.m.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if !x.Frozen {
				live = append(live, x.Number)
				sessions = append(sessions, x)
			}
		}
		nodes = append(nodes, s.Members().Nodes()...)
	})
	late := t.beats.keep(live, t.m.cfg.Expiry)
	if len(late) == 0 {
		return nil
	}
	var out []suspect
	for _, n := range nodes {
		for _, x := range sessions {
			if silent, ok := late[x.Number]; ok && x.Node == n.Name {
				out = append(out, suspect{n, x, silent})
				break
			}
		}
	}
	return out
}

// expireNode proposes that a node is dead. That the state refuses, because the
// node gave a sign of life or is gone, is no error.
func (t *term) expireNode(ctx context.Context, n member.Node, seen uint64, silent time.Duration, why string) error {
	result, err := t.do(ctx, state.Expire{
		Term: t.number, Life: member.Life{Node: n.Name, Incarnation: n.Incarnation}, Seen: seen,
		Silent: silent.Milliseconds(), Reason: why,
	})
	if err != nil {
		return err
	}
	if result.Reason == reason.StaleTerm {
		return fmt.Errorf("expiry is refused: %w", gulmerr.ErrStaleTerm)
	}
	if result.Reason == reason.None {
		t.log.Info("node expired", "node", n.Name, "incarnation", n.Incarnation, "reason", why)
	}
	return nil
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
