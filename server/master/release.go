package master

import (
	"context"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// holdTries is how often the devices of a held node are asked before the node is
// let in although one of them does not answer: it may be gone for good.
const holdTries = 3

// hold lets fenced nodes that are held log in again, once nothing that was given
// up can be done to them any more.
func (t *term) hold(ctx context.Context) error {
	return t.tend(ctx, func(s *state.State) []member.Life { return s.Members().Held() }, t.holdNode)
}

// holdNode waits until the settle time of a node is over, on this master's own
// clock from when it learned of it, asks the devices whether they still answer,
// and releases the node.
func (t *term) holdNode(ctx context.Context, l member.Life) {
	log := t.log.With("node", l.Node, "incarnation", l.Incarnation)
	wait, late := t.m.settleTime(l.Node)
	for try := 1; ; try++ {
		t.held.Store(l.Node, time.Now().Add(wait))
		log.Warn("node is fenced, but may still be cut off by an attempt that was given up: it may not log in yet", "dur", wait, "attempt", try)
		if !sleep(ctx, wait) {
			return
		}
		if t.answer(ctx, l.Node, late) {
			break
		}
		if try == holdTries {
			log.Error("fence device does not answer, the node is let in nevertheless", "attempt", try)
			break
		}
	}
	for ctx.Err() == nil {
		result, err := t.do(ctx, state.FenceReleased{Term: t.number, Life: l})
		if err == nil {
			if result.Reason == reason.None {
				log.Info("node may log in again")
			}
			break
		}
		log.Warn("release of the node is not committed yet", "err", err)
		sleep(ctx, time.Second)
	}
	t.held.Delete(l.Node)
}

// settleTime returns for how long a node is held, and the devices by which
// something may still be done to it. Of an agent whose end was not reported, all
// the time that it may run counts, too.
func (m *Master) settleTime(node string) (wait time.Duration, late map[string]bool) {
	late = map[string]bool{}
	cut := false
	m.cfg.Machine.View(func(s *state.State) {
		n, _ := s.Members().Node(node)
		cut = n.Fence.Cut
		for _, a := range n.Fence.Attempts {
			if a.Late {
				late[a.Device] = true
			}
		}
	})
	wait = m.cfg.FenceSettle
	if !cut {
		return wait, late
	}
	limit := time.Duration(0)
	if plan, ok := m.cfg.Plan(node); ok {
		for _, method := range plan.Methods {
			for _, s := range method.Steps {
				limit = max(limit, s.Timeout)
			}
		}
	}
	return wait + startLimit + limit, late
}

// answer asks the given devices of a node whether they answer; a device that does
// has no command left that it has not carried out.
func (t *term) answer(ctx context.Context, node string, devices map[string]bool) bool {
	plan, ok := t.m.cfg.Plan(node)
	if !ok || t.m.cfg.Rehearser == nil {
		return true
	}
	all := true
	err := t.m.cfg.Rehearser.Rehearse(ctx, plan, func(x fence.Sighting) {
		all = all && (!devices[x.Outlet.Device] || x.Power != fence.PowerNone)
		t.noteSighting(ctx, t.log, x)
	})
	return all && err == nil
}

// HeldFor returns for how long at least a fenced node may not log in yet, false
// if this server does not serve or holds no such node.
func (m *Master) HeldFor(node string) (time.Duration, bool) {
	t := m.serving.Load()
	if t == nil {
		return 0, false
	}
	until, ok := t.held.Load(node)
	if !ok {
		return 0, false
	}
	return max(time.Until(until.(time.Time)), 0), true
}
