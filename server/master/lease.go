package master

import (
	"context"
	"sync"
	"time"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// leaseRetry is the pause after an end of a lease that was not committed, and between two
// looks whether more than the leases of an expired life is still waited for.
const leaseRetry = time.Second

// leases are since when expired lives have been silent, on the term's own clock (see
// beats.clock). What is not in there was expired in an earlier term, and counts from
// when this one saw it first.
type leases struct {
	mu    sync.Mutex
	began map[member.Life]time.Duration
}

// begin notes the last sign of life of a life that is to be expired: before that is
// proposed, so that whoever finds it expired knows.
func (l *leases) begin(life member.Life, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began[life] = at
}

// since returns since when a life counts as silent, which is now if that is not
// known.
func (l *leases) since(life member.Life, now time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, known := l.began[life]
	if !known {
		at = now
		l.began[life] = at
	}
	return at
}

func (l *leases) forget(life member.Life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.began, life)
}

// leaseBegun is for a life whose expiry was proposed: if the state refused, or it has no
// lease, nobody asks any more since when it was silent.
func (t *term) leaseBegun(life member.Life) {
	if _, waits := t.nextLease(life); waits == settledLease {
		t.leases.forget(life)
	}
}

// clock returns for how long this server has run in time since the term began: the
// time in which it stood still is not in there. It may go back by what turns out to
// have been part of such a time, at most patience.
func (b *beats) clock() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read(time.Now())
}

// read is clock; the caller holds mu.
func (b *beats) read(now time.Time) time.Duration {
	if running := now.Sub(b.pulse); running <= b.patience {
		return b.awake + running
	}
	return b.awake
}

// heardAt returns when any of the sessions of a node was last heard of, on clock.
func (b *beats) heardAt(all []uint64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	at := b.read(now)
	if now.Sub(b.pulse) > b.patience || len(all) == 0 {
		return at
	}
	silent := now.Sub(b.life(all[0]).last)
	for _, s := range all[1:] {
		silent = min(silent, now.Sub(b.life(s).last))
	}
	return max(at-max(silent, 0), 0)
}

// endLeases releases what expired nodes held under lock.PolicyLease, when its time has
// passed: one worker for each life that is in such a lockspace, until it is settled.
func (t *term) endLeases(ctx context.Context) error {
	return t.tend(ctx, func(s *state.State) []member.Life { return s.LeaseExpired() }, t.endLeasesOf)
}

// endLeasesOf ends the leases of one life, the shortest first.
func (t *term) endLeasesOf(ctx context.Context, l member.Life) {
	log := t.log.With("node", l.Node, "incarnation", l.Incarnation)
	defer t.leases.forget(l)
	since := t.leases.since(l, t.beats.clock())
	for ctx.Err() == nil {
		next, waits := t.nextLease(l)
		if waits == settledLease {
			return
		}
		if waits == idleLease {
			sleep(ctx, leaseRetry)
			continue
		}
		silent := t.beats.clock() - since
		if left := t.m.leaseLimit(next) - silent; left > 0 {
			sleep(ctx, left)
			continue
		}
		// Of the present term the state makes sure; but whoever was deposed while it
		// waited need not ask.
		err := t.m.cfg.Replica.VerifyLeader(ctx)
		var result state.Result
		if err == nil {
			// Not with the worker's own context, as for a proof: see settle.
			result, err = t.do(t.ctx, state.LeaseEnded{Term: t.number, Life: l, Silent: silent.Milliseconds()})
		}
		switch {
		case err != nil:
			log.Warn("lease has ended, which is not committed yet", "err", err)
			sleep(ctx, leaseRetry)
		case result.Reason != reason.None:
			sleep(ctx, leaseRetry) // settled meanwhile, or of a newer term
		case len(result.Ended) > 0:
			t.m.counters.leases.Add(1)
			log.Info("lease ended, the node is settled without a fence", "dur", silent)
		default:
			t.m.counters.leases.Add(1)
			log.Info("lease ended, locks are released without a fence", "dur", silent)
		}
	}
}

// waiting says what of a life waits for its leases.
type waiting int

const (
	// settledLease: nothing ever will, since the life is settled or has no lease.
	settledLease waiting = iota
	// idleLease: nothing now, but the end of the life may when what else it is fenced
	// for is gone.
	idleLease
	// pendingLease: its locks, or its end.
	pendingLease
)

// nextLease returns the lease of an expired life that ends next, if something waits for
// one.
func (t *term) nextLease(l member.Life) (next lock.Lease, waits waiting) {
	t.m.cfg.Machine.View(func(s *state.State) {
		if n, _ := s.Members().Node(l.Node); n.Incarnation != l.Incarnation || n.State != member.Expired || len(s.LeasesJoined(l.Node)) == 0 {
			return
		}
		waits = idleLease
		for _, x := range s.LeasesOf(l.Node) {
			if waits == idleLease || x.Time < next.Time {
				next, waits = x, pendingLease
			}
		}
	})
	return next, waits
}

// leaseLimit is how long a life must have been silent for a lease to end: its time,
// but no less than what every node is granted of a new master.
func (m *Master) leaseLimit(l lock.Lease) time.Duration {
	return max(time.Duration(l.Time)*time.Millisecond, m.cfg.Expiry)
}

// LeaseLeft returns how much of a lease of an expired life is left by the clock of this
// master, false if this server does not serve. Another master, or one that stood still,
// may take longer.
func (m *Master) LeaseLeft(life member.Life, l lock.Lease) (time.Duration, bool) {
	t := m.serving.Load()
	if t == nil {
		return 0, false
	}
	now := t.beats.clock()
	t.leases.mu.Lock()
	defer t.leases.mu.Unlock()
	since, known := t.leases.began[life]
	if !known {
		since = now
	}
	return max(m.leaseLimit(l)-(now-since), 0), true
}
