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

// breaker is what a term remembers for deciding on a pause: it begins anew with
// every master, as the grace of the nodes does.
type breaker struct {
	// gone are the lives that this term has expired, and when.
	gone map[member.Life]time.Time
	// fine is since when few enough nodes are missing; zero while they are not.
	fine time.Time
}

// census counts the nodes of a look.
type census struct {
	missing map[member.Life]bool
	// loggedIn are all nodes that are logged in or were expired within the window.
	loggedIn int
	// longest is the longest silence that any node is allowed.
	longest time.Duration
}

// count adds what the term remembers of the window to a look.
func (t *term) count(c *census) {
	for l, at := range t.breaker.gone {
		if time.Since(at) > t.m.cfg.Breaker.Window {
			delete(t.breaker.gone, l)
			continue
		}
		if !c.missing[l] {
			c.missing[l] = true
			c.loggedIn++
		}
	}
	t.m.missing.Store(int64(len(c.missing)))
	t.m.loggedIn.Store(int64(c.loggedIn))
}

// mayExpire decides, with everything in view that is missing now, whether nodes
// may be expired: not while fencing is paused, nor if they are too many, which
// pauses it.
func (t *term) mayExpire(ctx context.Context, l *look) (bool, error) {
	c := &l.census
	var b state.Breaker
	t.m.cfg.Machine.View(func(s *state.State) { b = s.Breaker() })
	stormy := t.m.cfg.Breaker.trips(len(c.missing), c.loggedIn)
	if stormy {
		t.breaker.fine = time.Time{}
	} else if t.breaker.fine.IsZero() {
		t.breaker.fine = time.Now()
	}
	// A new master has to wait until whoever is missing would be late.
	calm := !stormy && time.Since(t.breaker.fine) > max(c.longest, t.m.cfg.Expiry)
	switch {
	case b.Paused && b.Operator == "" && calm, b.Overridden && calm:
		text := fmt.Sprintf("%d of %d nodes are missing, few enough", len(c.missing), c.loggedIn)
		return true, t.command(ctx, state.ResumeFencing{Term: t.number, Reason: text}, "automatic fencing is resumed", text)
	case b.Paused:
		return false, nil
	case stormy && !b.Overridden && len(l.suspects) > 0:
		text := fmt.Sprintf("%d of %d nodes vanished within %v", len(c.missing), c.loggedIn, t.m.cfg.Breaker.Window)
		return false, t.command(ctx, state.PauseFencing{Term: t.number, Reason: text},
			"automatic fencing is paused: too many nodes vanished at once; look for a common cause, then run gulm_tool fence resume", text)
	}
	return true, nil
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
