package master

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// breakerFloor is how many nodes must vanish together at least before a share of
// the cluster counts: one or two nodes are no storm, however small the cluster.
const breakerFloor = 3

// missingShare is which part of the silence that a node is allowed makes it count
// as missing. Nodes that vanish together are late within one heartbeat of each
// other: when the first is to be expired, the others have been silent for half.
const missingShare = 2

// Breaker says when automatic expiry and fencing are paused; see ccs.LockGulm.
// The zero value never pauses.
type Breaker struct {
	Nodes, Percent int
	Window         time.Duration
}

// trips reports whether so many missing nodes of so many that were logged in are
// too many.
func (b *Breaker) trips(missing, of int) bool {
	if missing < breakerFloor {
		return false
	}
	return b.Nodes > 0 && missing > b.Nodes || b.Percent > 0 && missing*100 > b.Percent*of
}

// breaker is what a term remembers for deciding on a pause. Who has vanished lately
// is in the state; when, only the master's clock knows, and a new one counts each
// from when it learned of it, as it does with silence.
type breaker struct {
	// gone are the lives that have vanished, by when this term learned of it.
	gone map[member.Life]time.Time
	// fine is since when few enough nodes are missing; zero while they are not.
	fine time.Time
}

// census counts the nodes of a look.
type census struct {
	// missing and known are names of nodes: known are all that are logged in or
	// were expired within the window.
	missing, known map[string]bool
	// vanished are the lives that the state lists, over those of them that vanished
	// before the window. back are those of which a newer life has logged in since, be
	// it that this one has logged out again.
	vanished, over []member.Life
	back           map[member.Life]bool
	breaker        state.Breaker
	// longest is the longest silence that any node is allowed.
	longest time.Duration
}

// count adds those that vanished within the window to a look. While fencing is
// paused because of them the window stands still: a pause waits for the nodes to
// come back, so one counts until a newer life of it has logged in.
func (t *term) count(c *census) {
	held := c.breaker.Paused && c.breaker.Operator == ""
	gone := make(map[member.Life]time.Time, len(c.vanished))
	for _, l := range c.vanished {
		at, known := t.breaker.gone[l]
		if !known {
			at = time.Now()
		}
		gone[l] = at
		if over := time.Since(at) > t.m.cfg.Breaker.Window; over && (!held || c.back[l]) {
			c.over = append(c.over, l)
			continue
		}
		c.missing[l.Node], c.known[l.Node] = true, true
	}
	t.breaker.gone = gone
	t.m.missing.Store(int64(len(c.missing)))
	t.m.loggedIn.Store(int64(len(c.known)))
}

// forget takes the lives that vanished before the window off the state's list, so
// that no later master counts them.
func (t *term) forget(ctx context.Context, over []member.Life) error {
	if len(over) == 0 {
		return nil
	}
	result, err := t.do(ctx, state.ForgetVanished{Term: t.number, Lives: over})
	if err == nil && result.Reason != reason.None {
		err = fmt.Errorf("change of the breaker is refused: %w", gulmerr.ErrStaleTerm)
	}
	return err
}

// mayExpire decides, with everything in view that is missing now, whether nodes
// may be expired: not while fencing is paused, nor if they are too many, which
// pauses it.
func (t *term) mayExpire(ctx context.Context, l *look) (bool, error) {
	c, b := &l.census, l.breaker
	stormy := t.m.cfg.Breaker.trips(len(c.missing), len(c.known))
	if stormy {
		t.breaker.fine = time.Time{}
	} else if t.breaker.fine.IsZero() {
		t.breaker.fine = time.Now()
	}
	// A new master has to wait until whoever is missing would be late.
	calm := !stormy && time.Since(t.breaker.fine) > max(c.longest, t.m.cfg.Expiry)
	switch {
	case b.Paused && b.Operator == "" && calm, b.Overridden && calm:
		text := fmt.Sprintf("%d of %d nodes are missing, few enough", len(c.missing), len(c.known))
		return true, t.command(ctx, state.ResumeFencing{Term: t.number, Reason: text}, "automatic fencing is resumed", text)
	case b.Paused:
		return false, nil
	case stormy && !b.Overridden && len(l.suspects) > 0:
		text := fmt.Sprintf("%d of %d nodes vanished within %v", len(c.missing), len(c.known), t.m.cfg.Breaker.Window)
		return false, t.command(ctx, state.PauseFencing{Term: t.number, Reason: text},
			"automatic fencing is paused: too many nodes vanished at once; look for a common cause, then run gulm_tool fence resume", text)
	}
	return true, nil
}

// unfenced leaves of late nodes those of which nothing would wait for a fence. They
// are expired also while fencing is paused, since nothing is done to them: their locks
// are under leases that end in any case.
func (t *term) unfenced(late []suspect) []suspect {
	t.m.cfg.Machine.View(func(s *state.State) {
		late = slices.DeleteFunc(late, func(x suspect) bool { return !s.Unfenced(x.node.Name) })
	})
	return late
}

// command commits a change of the breaker. That the state refuses, because
// somebody else was faster, is no error.
func (t *term) command(ctx context.Context, c state.Command, message, why string) error {
	result, err := t.do(ctx, c)
	switch {
	case err != nil:
		return err
	case result.Reason == reason.StaleTerm:
		return fmt.Errorf("change of the breaker is refused: %w", gulmerr.ErrStaleTerm)
	case result.Reason == reason.None:
		t.m.counters.breaker(c)
		t.log.Warn(message, "reason", why)
	}
	return nil
}

// Missing returns how many nodes were missing when this master last looked, and
// how many were logged in, those included; 0 and 0 if it does not serve.
func (m *Master) Missing() (missing, loggedIn int) {
	if !m.Serving() {
		return 0, 0
	}
	return int(m.missing.Load()), int(m.loggedIn.Load())
}

// PauseFencing pauses automatic expiry and fencing on an operator's word. Errors
// as for Do.
func (m *Master) PauseFencing(ctx context.Context, operator, why string) error {
	return m.direct(ctx, func(term uint64) state.Command {
		return state.PauseFencing{Term: term, Operator: operator, Reason: why}
	}, "automatic fencing is paused", operator, why)
}

// ResumeFencing ends a pause on an operator's word. Errors as for Do, and
// ErrNotPending if fencing is not paused.
func (m *Master) ResumeFencing(ctx context.Context, operator string) error {
	return m.direct(ctx, func(term uint64) state.Command {
		return state.ResumeFencing{Term: term, Operator: operator}
	}, "automatic fencing is resumed", operator, "")
}

func (m *Master) direct(ctx context.Context, command func(term uint64) state.Command, message, operator, why string) error {
	t, err := m.master()
	if err != nil {
		return err
	}
	result, err := t.do(ctx, command(t.number))
	switch {
	case err != nil:
		return err
	case result.Reason == reason.NotPending:
		return gulmerr.New(gulmerr.ErrNotPending, "automatic fencing is not paused")
	case result.Reason != reason.None:
		return Refused(result.Reason, "automatic fencing")
	}
	m.counters.breaker(command(t.number))
	m.cfg.Log.Warn(message, "server", m.cfg.Server, "operator", operator, "reason", why)
	return nil
}
