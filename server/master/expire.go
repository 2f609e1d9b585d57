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

// LookPeriod is how often a master looks who is late.
func LookPeriod(heartbeatRate time.Duration) time.Duration {
	return max(heartbeatRate/looksPerRate, minLook)
}

// Lateness is how much later than that a look of a master may come. If it comes
// later, the master doubts itself, and every node gets its full time anew.
func Lateness(heartbeatRate time.Duration) time.Duration { return max(heartbeatRate/2, lateFloor) }

func (c *Config) lookPeriod() time.Duration { return LookPeriod(c.HeartbeatRate) }

// patience is how late this server's own goroutines may be.
func (c *Config) patience() time.Duration { return c.lookPeriod() + Lateness(c.HeartbeatRate) }

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
	t.look() // the grace of all begins now, not with the first look
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

// look is what the master sees when it looks who is late.
type look struct {
	census
	sessions []member.Session
	// alone are the sessions whose silence ends only themselves.
	alone map[uint64]bool
	// leases are the longest times-to-live of those: their locks are not anybody
	// else's before.
	leases   map[uint64]time.Duration
	seen     map[uint64]uint64
	suspects []suspect // late nodes, each once, by name
	ended    []suspect // late sessions that end alone
}

func (t *term) judge(ctx context.Context) error {
	l := t.look()
	if err := t.endAlone(ctx, l.ended); err != nil {
		return err
	}
	if err := t.forget(ctx, l.over); err != nil {
		return err
	}
	may, err := t.mayExpire(ctx, l)
	if !may {
		l.suspects = t.unfenced(l.suspects)
	}
	if err != nil || len(l.suspects) == 0 {
		return err
	}
	if err := t.m.cfg.Replica.VerifyLeader(ctx); err != nil {
		return translate(err)
	}
	t.hear(l.sessions)
	for _, s := range l.suspects {
		// What arrived while a majority was asked counts; what arrives from now
		// on is not acknowledged, lest a node is told that it is safe and then
		// expired.
		if !t.beats.condemn(s.session.Number, s.limit, s.all) {
			continue
		}
		why := fmt.Sprintf("%s was silent for %v", describe(&s.session), s.silent.Round(time.Millisecond))
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

// look returns who is late.
func (t *term) look() *look {
	l := &look{
		alone: map[uint64]bool{}, leases: map[uint64]time.Duration{}, seen: map[uint64]uint64{},
		census: census{missing: map[string]bool{}, known: map[string]bool{}, back: map[member.Life]bool{}},
	}
	var nodes []member.Node
	t.m.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if !x.Frozen {
				l.sessions = append(l.sessions, x)
				l.seen[x.Number] = s.Seen(x.Number)
				if l.alone[x.Number] = s.EndsAlone(x); l.alone[x.Number] {
					l.leases[x.Number] = time.Duration(s.LeaseOf(x.Number)) * time.Millisecond
				}
			}
		}
		nodes = append(nodes, s.Members().Nodes()...)
		t.troubles.keep(func(session uint64) bool {
			_, known := s.Members().Session(session)
			return known
		})
		l.vanished, l.breaker = append(l.vanished, s.Vanished()...), s.Breaker()
		for _, x := range l.vanished {
			if n, _ := s.Members().Node(x.Node); n.Incarnation > x.Incarnation {
				l.back[x] = true
			}
		}
	})
	t.hear(l.sessions)
	t.beats.counts(l.alone)
	allowed := t.allowed(l.sessions)
	for session, lease := range l.leases {
		allowed[session] = max(allowed[session], lease)
	}
	late := t.beats.keep(allowed)
	silent := t.beats.silent(allowed)
	for _, n := range nodes {
		l.judge(n, allowed, late, silent)
	}
	t.count(&l.census)
	return l
}

// judge adds a node to what it belongs to.
func (l *look) judge(n member.Node, allowed, late, silent map[uint64]time.Duration) {
	s := suspect{node: n}
	for _, x := range l.sessions {
		if x.Node != n.Name {
			continue
		}
		s.all = append(s.all, x.Number)
		if l.alone[x.Number] {
			if d := late[x.Number]; d > 0 {
				l.ended = append(l.ended, suspect{node: n, session: x, silent: d, limit: allowed[x.Number], seen: l.seen[x.Number]})
			}
			continue
		}
		l.known[n.Name] = true
		l.longest = max(l.longest, allowed[x.Number])
		if silent[x.Number] > allowed[x.Number]/missingShare {
			l.missing[n.Name] = true
		}
		if d := late[x.Number]; d > s.silent {
			s.session, s.silent, s.limit, s.seen = x, d, allowed[x.Number], l.seen[x.Number]
		}
	}
	if s.silent > 0 {
		l.suspects = append(l.suspects, s)
	}
}

// endAlone ends sessions whose silence does not fail their node.
func (t *term) endAlone(ctx context.Context, ended []suspect) error {
	if len(ended) == 0 {
		return nil
	}
	if err := t.m.cfg.Replica.VerifyLeader(ctx); err != nil {
		return translate(err)
	}
	for _, s := range ended {
		number := []uint64{s.session.Number}
		if !t.beats.condemn(s.session.Number, s.limit, number) {
			continue
		}
		result, err := t.do(ctx, state.EndSession{Term: t.number, Session: s.session.Number, Seen: s.seen, Silent: s.silent.Milliseconds()})
		switch {
		case err != nil:
			return err
		case result.Reason == reason.StaleTerm:
			return fmt.Errorf("end of a session is refused: %w", gulmerr.ErrStaleTerm)
		case result.Reason != reason.None:
			t.beats.pardon(number)
			continue
		}
		t.m.counters.ended.Add(1)
		t.log.Info("unimportant session ended", "node", s.node.Name, "incarnation", s.node.Incarnation, "session", s.session.Number,
			"process", s.session.Process, "dur", s.silent)
	}
	return nil
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
	life := member.Life{Node: n.Name, Incarnation: n.Incarnation}
	t.leases.begin(life, t.beats.heardAt(s.all))
	defer t.leaseBegun(life)
	result, err := t.do(ctx, state.Expire{
		Term: t.number, Life: life, Session: s.session.Number, Seen: s.seen, Silent: s.silent.Milliseconds(), Reason: why,
	})
	switch {
	case err != nil:
		return false, err
	case result.Reason == reason.StaleTerm:
		return false, fmt.Errorf("expiry is refused: %w", gulmerr.ErrStaleTerm)
	case result.Reason != reason.None:
		return false, nil
	}
	t.m.counters.expired.Add(1)
	t.log.Info("node expired", "node", n.Name, "incarnation", n.Incarnation, "reason", why)
	return true, nil
}

// ForceExpire declares a logged-in node dead on an operator's word, also while
// automatic fencing is paused; it is then fenced, if anything of it waits for that.
// From here on no beat of it is acknowledged, unless the state refuses. Errors as for
// Do, and ErrInvalid without an operator or a reason, ErrUnknownNode, ErrWrongState.
func (m *Master) ForceExpire(ctx context.Context, node, operator, why string) error {
	t, err := m.master()
	if err != nil {
		return err
	}
	if operator == "" || why == "" {
		return gulmerr.New(gulmerr.ErrInvalid, "who expires node %s by force, and why, is required: it goes into the record", node)
	}
	n, known := m.node(node)
	if !known {
		return gulmerr.New(gulmerr.ErrUnknownNode, "node %s has never logged in", node)
	}
	all := m.sessions(node)
	life := member.Life{Node: node, Incarnation: n.Incarnation}
	t.beats.doom(all)
	t.leases.begin(life, t.beats.heardAt(all))
	defer t.leaseBegun(life)
	result, err := t.do(ctx, state.Expire{
		Term: t.number, Life: life, Seen: ^uint64(0), Reason: "forced: " + why, Operator: operator,
	})
	if err == nil {
		err = Refused(result.Reason, "node %s, which is %v", node, n.State)
	}
	if err != nil {
		// If its outcome is not known the term ends soon, and all deadlines with it.
		t.beats.pardon(all)
		return err
	}
	m.counters.forced.Add(1)
	m.cfg.Log.Warn("node expired", "server", m.cfg.Server, "node", node, "incarnation", n.Incarnation, "operator", operator,
		"reason", "forced: "+why)
	return nil
}

// sessions returns the numbers of a node's sessions.
func (m *Master) sessions(node string) (all []uint64) {
	m.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if x.Node == node {
				all = append(all, x.Number)
			}
		}
	})
	return all
}

func (m *Master) node(name string) (n member.Node, known bool) {
	m.cfg.Machine.View(func(s *state.State) { n, known = s.Members().Node(name) })
	return n, known
}
