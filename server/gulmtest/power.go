package gulmtest

import (
	"context"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/fence/sim"
)

// agentLimit bounds one call of the switch, as the time limit of a real agent
// does.
const agentLimit = time.Minute

// PowerSwitch is a fencer whose outlets are the hosts of a Network and whose
// doings the Disk learns. How it behaves (delay, failure, hanging, lying) is
// set per node by the sim.Switch inside.
type PowerSwitch struct {
	*sim.Switch

	net         *Network
	disk        *Disk
	incarnation func(node string) uint64
}

var _ fence.Fencer = (*PowerSwitch)(nil)

// NewPowerSwitch returns a switch that, when it cuts a node's power, powers off
// the host of the same name and then tells the disk. The test says by
// incarnation which life of the node runs at that time; it is called without any
// lock held.
func NewPowerSwitch(net *Network, disk *Disk, incarnation func(node string) uint64) *PowerSwitch {
	s := &PowerSwitch{net: net, disk: disk, incarnation: incarnation}
	s.Switch = &sim.Switch{PowerOff: s.cut}
	return s
}

// Fence implements fence.Fencer. When it succeeds, truly or not, the disk is
// told, so that a later write of that incarnation is flagged.
func (s *PowerSwitch) Fence(ctx context.Context, plan fence.Plan, hooks fence.Hooks) error {
	// Asked before, since what boots meanwhile is not what is being fenced.
	victim := s.incarnation(plan.Node)
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	if err := s.Switch.Fence(ctx, plan, hooks); err != nil {
		return err
	}
	s.disk.FenceReported(plan.Node, victim)
	return nil
}

func (s *PowerSwitch) cut(node string) {
	s.net.Host(node).PowerOff()
	s.disk.Fenced(node, s.incarnation(node))
}
