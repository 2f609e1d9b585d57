package rpc

import (
	"context"
	"path"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/fence"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/master"
	"lock_gulmd/server/replica"
)

// Timeouts tells what this server goes by.
func (e *Edge) Timeouts(context.Context, *gulmv1.TimeoutsRequest) (*gulmv1.TimeoutsReply, error) {
	reply := timeoutsOf(e.cfg.Cluster, e.cfg.Replica.MasterSilence(), e.cfg.Replica.Election(), e.cfg.Master.Trust)
	reply.Server, reply.RoundMs = e.cfg.Server, e.cfg.Master.SlowestRound().Milliseconds()
	return reply, nil
}

// TimeoutsOf returns what a server with this configuration goes by that knows
// nothing of any outlet; silence and election are those of package replica, 0 for
// its defaults.
func TimeoutsOf(c *ccs.Config, silence, election time.Duration) *gulmv1.TimeoutsReply {
	return timeoutsOf(c, silence, election, func(string, fence.Outlet) fence.Trust { return fence.TrustUnknown })
}

func timeoutsOf(c *ccs.Config, silence, election time.Duration, trust func(string, fence.Outlet) fence.Trust) *gulmv1.TimeoutsReply {
	if silence == 0 {
		silence = replica.DefaultHeartbeatTimeout
	}
	if election == 0 {
		election = max(silence, replica.DefaultElectionTimeout)
	}
	rate := c.Lock.HeartbeatRate
	reply := &gulmv1.TimeoutsReply{
		Cluster: c.Name, Servers: uint32(len(c.Lock.Servers)), HeartbeatRateMs: rate.Milliseconds(), ExpiryMs: c.Expiry().Milliseconds(),
		LookMs: master.LookPeriod(rate).Milliseconds(), LatenessMs: master.Lateness(rate).Milliseconds(),
		MasterSilenceMs: silence.Milliseconds(), ElectionMs: election.Milliseconds(),
		FencePauseMs: c.Lock.FenceRetryPause.Milliseconds(), FencePauseMaxMs: c.Lock.FenceRetryPauseMax.Milliseconds(),
	}
	for _, n := range c.Nodes {
		reply.Nodes = append(reply.Nodes, nodeTimeouts(c, n.Name, func(o fence.Outlet) fence.Trust { return trust(n.Name, o) }))
	}
	return reply
}

func nodeTimeouts(c *ccs.Config, node string, trust func(fence.Outlet) fence.Trust) *gulmv1.NodeTimeouts {
	out := &gulmv1.NodeTimeouts{Node: node}
	plan, _ := c.FencePlan(node)
	for i, steps := range plan.Runs(trust) {
		method := &gulmv1.MethodTimeouts{Method: plan.Methods[i].Name}
		for _, s := range steps {
			limit := s.Timeout
			if path.Base(s.Agent) == fence.WatchdogAgent {
				w := fence.WatchdogOf(s.Params)
				w.Expiry = max(w.Expiry, c.Expiry())
				limit = w.Wait() // and what the node tells of its watchdog
			}
			method.Steps = append(method.Steps, &gulmv1.StepTimeouts{
				Device: s.Device, Agent: s.Agent, Action: s.Action(), LimitMs: limit.Milliseconds(),
				Runs: s.Actions, Rounds: rounds(s),
			})
		}
		out.Methods = append(out.Methods, method)
	}
	return out
}

// rounds counts what the master commits and confirms for one step: before a cut,
// that it begins and that this still is the master; what an outlet said, and the
// end of each run but that for the metadata.
func rounds(s fence.StepRuns) uint32 {
	n, acted := uint32(0), false
	for _, a := range s.Actions {
		switch {
		case a == s.Action():
			n++
			acted = true
		case a == "status" && acted:
			n += 2
		case a == "status":
			n++
		}
	}
	if s.Cuts {
		n += 2
	}
	return n
}
