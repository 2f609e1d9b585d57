package master

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// startLimit is how long after this server has verified that it is the master an
// agent may be started.
const startLimit = 5 * time.Second

// fence works the ledger off: one worker for each node whose fence is wanted and
// not proved, in parallel, so that a node that cannot be fenced holds up no
// other. Workers of fences that were settled otherwise (an operator acknowledged)
// are stopped.
func (t *term) fence(ctx context.Context) error {
	return t.tend(ctx, func(s *state.State) []member.Life { return s.Members().Pending() }, t.fenceNode)
}

// tend keeps one worker for each life that list names, as long as it does so.
func (t *term) tend(ctx context.Context, list func(*state.State) []member.Life, work func(context.Context, member.Life)) error {
	watcher := t.m.cfg.Hub.Watch()
	defer t.m.cfg.Hub.Unwatch(watcher)
	workers := map[member.Life]context.CancelFunc{}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		var lives []member.Life
		t.m.cfg.Machine.View(func(s *state.State) { lives = list(s) })
		reconcile(ctx, &wg, workers, lives, work)
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Wake():
		}
		if _, err := watcher.Take(); err != nil {
			return nil // closed: the term ends
		}
	}
}

// reconcile starts and stops workers so that there is one for each of lives.
func reconcile(
	ctx context.Context, wg *sync.WaitGroup, workers map[member.Life]context.CancelFunc, lives []member.Life,
	work func(context.Context, member.Life),
) {
	wanted := make(map[member.Life]bool, len(lives))
	for _, l := range lives {
		wanted[l] = true
		if workers[l] != nil {
			continue
		}
		workerCtx, stop := context.WithCancel(ctx)
		workers[l] = stop
		wg.Go(func() {
			defer stop()
			work(workerCtx, l)
		})
	}
	for l, stop := range workers {
		if !wanted[l] {
			stop()
			delete(workers, l)
		}
	}
}

// fenceNode runs the node's methods, round after round, until one of them
// proves the fence, for ever and loudly.
func (t *term) fenceNode(ctx context.Context, l member.Life) {
	log := t.log.With("node", l.Node, "incarnation", l.Incarnation)
	for round := 0; ctx.Err() == nil; round++ {
		if !t.mayFence(ctx, log, l) {
			return
		}
		proof, err := t.fenceOnce(ctx, log, l)
		if err == nil {
			t.settle(ctx, log, proof)
			return
		}
		if ctx.Err() != nil {
			return
		}
		pause := t.m.cfg.FencePause(round)
		log.Error("node is not fenced, its locks stay frozen", "attempt", round+1, "dur", pause, "err", err)
		sleep(ctx, pause)
	}
}

// fenceOnce makes one round over the node's methods and returns the proof.
func (t *term) fenceOnce(ctx context.Context, log *slog.Logger, l member.Life) (state.FenceProved, error) {
	proof := state.FenceProved{Term: t.number, Life: l}
	plan, ok := t.m.cfg.Plan(l.Node)
	if !ok {
		return proof, gulmerr.New(gulmerr.ErrUnknownNode,
			"node %s has no fence methods in the configuration: add them, or acknowledge with fence_ack_manual", l.Node)
	}
	// The intent is committed, and the leadership confirmed after that, before
	// any agent is started; and so it is for each agent.
	result, err := t.do(ctx, state.FenceBegin{Term: t.number, Life: l})
	if err != nil {
		return proof, err
	}
	if err := Refused(result.Reason, "fence of %s", l.Node); err != nil {
		return proof, err
	}
	if err := t.m.cfg.Replica.VerifyLeader(ctx); err != nil {
		return proof, translate(err)
	}
	t.m.cfg.Machine.View(func(s *state.State) {
		timeout, expiry := s.Members().Watchdog(l)
		plan.Watchdog, plan.Expiry = time.Duration(timeout)*time.Millisecond, time.Duration(expiry)*time.Millisecond
	})
	log.Info("fence begins", "methods", len(plan.Methods))
	var method string
	number := 0
	err = t.m.cfg.Fencer.Fence(ctx, plan, fence.Hooks{
		Begin: func(ctx context.Context, a fence.Attempt) (fence.Permit, error) {
			return t.beginAttempt(ctx, log, l, a)
		},
		End: func(a fence.Attempt) {
			number++
			if a.Outcome.OK() {
				method, proof.By = a.Method, a.Method+"/"+a.Device
			}
			log.Info("fence attempt", "method", a.Method, "device", a.Device, "agent", a.Agent, "action", a.Action, "attempt", number,
				"outcome", string(a.Outcome), "late", a.Late, "dur", a.Duration, "err", a.Reason)
			t.noteAttempt(ctx, log, l, a)
		},
		Seen:  func(x fence.Sighting) { t.noteSighting(ctx, log, x) },
		Trust: func(o fence.Outlet) fence.Trust { return t.m.Trust(l.Node, o) },
	})
	for _, m := range plan.Methods {
		proof.Power = proof.Power || m.Name == method && m.Power
	}
	return proof, err
}

// beginAttempt writes down that an agent is about to be started, and then
// verifies once more that this server is the master. A server that stands still
// after that does not start the agent when it goes on: see fence.Permit.
func (t *term) beginAttempt(ctx context.Context, log *slog.Logger, l member.Life, a fence.Attempt) (fence.Permit, error) {
	if why := t.heldUp(l); why != "" {
		return fence.Permit{}, errors.New(why)
	}
	result, err := t.do(ctx, state.FenceStarted{
		Term: t.number, Life: l, Method: a.Method, Device: a.Device, Agent: agentText(a), Start: a.Start.UnixMilli(),
	})
	if err == nil {
		err = Refused(result.Reason, "fence of %s", l.Node)
	}
	if err != nil {
		return fence.Permit{}, err
	}
	permit := fence.PermitFor(startLimit)
	if err := t.m.cfg.Replica.VerifyLeader(ctx); err != nil {
		return fence.Permit{}, translate(err)
	}
	log.Info("fence agent starts", "method", a.Method, "device", a.Device, "agent", a.Agent, "action", a.Action)
	return permit, nil
}

func agentText(a fence.Attempt) string { return a.Agent + " " + a.Action }

// noteAttempt writes the end of an attempt into the ledger; that it fails changes
// nothing about the fence.
func (t *term) noteAttempt(ctx context.Context, log *slog.Logger, l member.Life, a fence.Attempt) {
	_, err := t.do(ctx, state.FenceAttempted{Term: t.number, Life: l, Attempt: member.Attempt{
		Method: a.Method, Device: a.Device, Agent: agentText(a), Outcome: string(a.Outcome), Output: attemptText(a),
		Start: a.Start.UnixMilli(), Duration: a.Duration.Milliseconds(), Late: a.Late,
	}})
	if err != nil && ctx.Err() == nil {
		log.Warn("fence attempt is not in the ledger", "err", err)
	}
}

// noteSighting writes what an outlet said in the course of a fence into the
// ledger. The node gives no sign of life then.
func (t *term) noteSighting(ctx context.Context, log *slog.Logger, x fence.Sighting) {
	_, err := t.do(ctx, state.FenceSeen{Term: t.number, Node: x.Node, Outlets: []member.Outlet{outletOf(x)}})
	if err != nil && ctx.Err() == nil {
		log.Warn("answer of a fence device is not in the ledger", "device", x.Outlet.Device, "err", err)
	}
}

// outletOf is a sighting as the ledger has it.
func outletOf(x fence.Sighting) member.Outlet {
	return member.Outlet{
		Device: x.Outlet.Device, Plug: x.Outlet.Plug, Print: x.Outlet.Print, Power: string(x.Power),
		Stamp: x.Start.UnixMilli(), Reason: x.Reason,
	}
}

// Trust says what the ledger knows of an outlet of a node.
func (m *Master) Trust(node string, o fence.Outlet) fence.Trust {
	trust := fence.TrustUnknown
	m.cfg.Machine.View(func(s *state.State) {
		n, _ := s.Members().Node(node)
		for _, known := range n.Ledger.Outlets {
			switch {
			case known.Device != o.Device || known.Print != o.Print:
			case known.Wrong:
				trust = fence.TrustWrong
			case known.On:
				trust = fence.TrustSeen
			}
		}
	})
	return trust
}

func attemptText(a fence.Attempt) string {
	if a.Reason == "" {
		return a.Tail
	}
	return a.Reason + "\n" + a.Tail
}

// settle commits the proof of a fence. A master that loses its place first
// leaves the fence pending, and the next one fences again: twice is better than
// never.
func (t *term) settle(ctx context.Context, log *slog.Logger, proof state.FenceProved) {
	for {
		// Not with the worker's own context: the worker is stopped as soon as the
		// proof is applied, which may be before it has been told so.
		result, err := t.do(t.ctx, proof)
		if err == nil {
			if result.Reason == reason.None {
				log.Info("fence proved", "by", proof.By)
			}
			return
		}
		log.Warn("fence succeeded but is not committed yet", "err", err)
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// Acknowledge settles the pending fence of a node on an operator's word, of the
// given incarnation, or of whichever is pending with 0; or it ends what waits for
// that word although the fence is proved (lock.PolicyManual). Errors
// as for Do, and ErrUnknownNode, ErrNotPending.
func (m *Master) Acknowledge(ctx context.Context, node string, incarnation uint64, operator string) error {
	t, err := m.master()
	if err != nil {
		return err
	}
	n, known := m.node(node)
	if !known {
		return gulmerr.New(gulmerr.ErrUnknownNode, "node %s has never logged in", node)
	}
	if incarnation == 0 {
		incarnation = n.Incarnation
		if n.State != member.Expired && n.Fence.State != member.FenceNone {
			incarnation = n.Fence.Incarnation // what waits for a word beyond the proof
		}
	}
	result, err := t.do(ctx, state.FenceAcknowledged{
		Term: t.number, Life: member.Life{Node: node, Incarnation: incarnation}, Operator: operator,
	})
	if err == nil {
		err = Refused(result.Reason, "node %s, which is %v", node, n.State)
	}
	if err == nil {
		m.cfg.Log.Info("fence acknowledged", "server", m.cfg.Server, "node", node, "incarnation", incarnation, "operator", operator)
	}
	return err
}
