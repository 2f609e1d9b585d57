package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/codec"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// term is one stretch of leadership, from takeover to loss.
type term struct {
	m      *Master
	number uint64
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	batches *batcher
	beats   *beats
	// breaker belongs to the loop that expires.
	breaker breaker
	held    sync.Map // node: when it may log in at the earliest
	// troubles are what nodes say of their probes.
	troubles troubles
	stirs    stirs
	leases   leases
}

// begin starts the takeover of a term.
func (m *Master) begin(parent context.Context, number uint64) *term {
	t := &term{m: m, number: number, log: m.cfg.Log.With("server", m.cfg.Server, "term", number), done: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(parent)
	t.batches = newBatcher(t)
	t.beats = newBeats(m.cfg.patience())
	t.breaker.gone = map[member.Life]time.Time{}
	t.stirs = newStirs()
	t.troubles.by = map[uint64][]Trouble{}
	t.leases.began = map[member.Life]time.Duration{}
	go func() {
		defer close(t.done)
		if err := t.run(); err != nil && t.ctx.Err() == nil {
			t.log.Warn("term ended early", "err", err)
			t.pause(termPause)
		}
	}()
	return t
}

// run takes over and serves until the context ends or something fails.
func (t *term) run() error {
	if err := t.takeover(); err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	t.beats.tick() // that the takeover took its time is no lateness
	g, ctx := errgroup.WithContext(t.ctx)
	for _, loop := range []func(context.Context) error{
		t.batches.propose, t.batches.finish, t.acknowledge, t.pulse, t.expire, t.fence, t.hold, t.rehearse, t.check, t.deadlines,
		t.deadlocks, t.shed, t.stayIn, t.endLeases,
	} {
		g.Go(func() error { return loop(ctx) })
	}
	t.m.serving.Store(t)
	t.log.Info("master")
	err := g.Wait()
	// Streams must end: what they had under way is lost or in doubt.
	t.m.serving.CompareAndSwap(t, nil)
	t.m.cfg.Hub.CloseAll(gulmerr.NotMaster("", ""))
	if t.ctx.Err() != nil {
		return nil
	}
	return err
}

// takeover brings the state up to date and begins the term in it. The grace of
// all nodes starts when it is done.
func (t *term) takeover() error {
	if err := t.m.cfg.Replica.Barrier(t.ctx); err != nil {
		return err
	}
	result, err := t.do(t.ctx, state.BeginTerm{Term: t.number, Server: t.m.cfg.Server, Limits: t.m.cfg.Limits})
	if err != nil {
		return err
	}
	if result.Reason != reason.None {
		return fmt.Errorf("term %d is refused: %v", t.number, result.Reason)
	}
	return t.enterServers()
}

// do commits one command.
func (t *term) do(ctx context.Context, c state.Command) (state.Result, error) {
	result, _, err := t.commit(ctx, c)
	return result, err
}

// commit commits one command and returns its place in the log.
func (t *term) commit(ctx context.Context, c state.Command) (state.Result, uint64, error) {
	began := time.Now()
	f, err := t.batches.write(ctx, codec.Encode(began.UnixMilli(), c))
	if err != nil {
		return state.Result{}, 0, translate(err)
	}
	value, index, err := f.Wait(ctx)
	if err != nil {
		return state.Result{}, 0, translate(err)
	}
	t.m.rounds.note(time.Since(began))
	t.stirs.applied(value)
	result, ok := value.(state.Result)
	if !ok {
		return state.Result{}, 0, errors.New("the state did not answer")
	}
	return result, index, nil
}

// pause waits, and reports false if the term ended meanwhile.
func (t *term) pause(d time.Duration) bool { return sleep(t.ctx, d) }

// sleep waits for d, and reports false if ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// check lets the replicas compare their digests from time to time, as long as
// there is something new to compare.
func (t *term) check(ctx context.Context) error {
	var last uint64
	for sleep(ctx, t.m.cfg.CheckInterval) {
		var c state.Check
		t.m.cfg.Machine.View(func(s *state.State) { c = state.Check{Index: s.Index(), Digest: s.Digest()} })
		if c.Index == last {
			continue
		}
		_, index, err := t.commit(ctx, c)
		if err != nil {
			return err
		}
		last = index
	}
	return nil
}
