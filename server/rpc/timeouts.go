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
	reply := TimeoutsOf(e.cfg.Cluster, e.cfg.Replica.MasterSilence(), e.cfg.Replica.Election())
	reply.Server = e.cfg.Server
	return reply, nil
}

// TimeoutsOf returns what a server with this configuration goes by; silence and
// election are those of package replica, 0 for its defaults.
func TimeoutsOf(c *ccs.Config, silence, election time.Duration) *gulmv1.TimeoutsReply {
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
		reply.Nodes = append(reply.Nodes, nodeTimeouts(c, n.Name))
	}
	return reply
}

func nodeTimeouts(c *ccs.Config, node string) *gulmv1.NodeTimeouts {
	out := &gulmv1.NodeTimeouts{Node: node}
	plan, _ := c.FencePlan(node)
	for _, m := range plan.Methods {
		method := &gulmv1.MethodTimeouts{Method: m.Name}
		for _, s := range m.Expand() {
			limit := s.Timeout
			if path.Base(s.Agent) == fence.WatchdogAgent {
				w := fence.WatchdogOf(s.Params)
				w.Expiry = max(w.Expiry, c.Expiry())
				limit = w.Wait() // and what the node tells of its watchdog
			}
			method.Steps = append(method.Steps, &gulmv1.StepTimeouts{
				Device: s.Device, Agent: s.Agent, Action: s.Action(), LimitMs: limit.Milliseconds(),
			})
		}
		out.Methods = append(out.Methods, method)
	}
	return out
}
