package master

import (
	"context"
	"log/slog"
	"time"

	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// holdPeriod is how often a held-up fence looks whether it may begin.
const holdPeriod = 500 * time.Millisecond

// needsAgents reports whether an expired node is to be fenced by agents; that does
// not change until it is settled.
func (t *term) needsAgents(l member.Life) (needs bool) {
	t.m.cfg.Machine.View(func(s *state.State) { needs = s.NeedsAgents(l.Node) })
	return needs
}

// waitUnfenced waits as long as the worker of a node's fence runs: the node is not
// fenced by agents.
func (t *term) waitUnfenced(ctx context.Context, log *slog.Logger, l member.Life) {
	leases := false
	t.m.cfg.Machine.View(func(s *state.State) { leases = s.Unfenced(l.Node) })
	if leases {
		log.Warn("node is not fenced by agents: its locks stay frozen until its lease ends")
	} else {
		log.Warn("node is not fenced by agents: its locks stay frozen until an operator acknowledges with fence_ack_manual")
	}
	<-ctx.Done()
}

// mayFence waits while a fence must not begin: while automatic fencing is paused,
// unless an operator expired the node; while the quorum needs the node's lock
// server; and on this server's own machine, which another master has to fence. For ever,
// if all of the node waits for something else. It reports false if ctx ended meanwhile.
func (t *term) mayFence(ctx context.Context, log *slog.Logger, l member.Life) bool {
	if !t.needsAgents(l) {
		t.waitUnfenced(ctx, log, l)
		return false
	}
	if l.Node == t.m.cfg.Server && !t.handOver(ctx, log) {
		return false
	}
	for told := ""; ctx.Err() == nil; sleep(ctx, holdPeriod) {
		why := t.heldUp(l)
		if why == "" {
			return true
		}
		if why != told {
			told = why
			log.Warn("fence waits", "reason", why)
		}
	}
	return false
}

// handOver gives the mastership away, so that another server fences this one's
// machine: a fence that this one began would end it before the proof is committed.
// It tries until the term ends, and so returns false.
func (t *term) handOver(ctx context.Context, log *slog.Logger) bool {
	for round := 0; ctx.Err() == nil; round++ {
		err := t.m.cfg.Replica.TransferLeadership(ctx)
		if err == nil {
			log.Warn("this server's own machine is to be fenced, the mastership is handed over")
		} else if ctx.Err() == nil {
			log.Error("this server's own machine is to be fenced and no other server can take over: restart it, or run fence_ack_manual",
				"err", err)
		}
		sleep(ctx, t.m.cfg.FencePause(round))
	}
	return false
}
