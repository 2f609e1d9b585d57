package gulmtest_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server/gulmtest"
)

func TestPowerSwitch_cutsHostAndDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		d := gulmtest.NewDisk(1)
		s := gulmtest.NewPowerSwitch(n, d, func(string) uint64 { return 4 })
		s.Set("b", sim.Behaviour{Delay: 7 * time.Second})
		a, b := pair(t, n)
		h := gulmtest.Holder{Node: "b", Incarnation: 4}
		d.Granted(h, "r", gulmtest.EX, 1)
		if err := s.Fence(t.Context(), sim.Plan("b"), fence.Hooks{}); err != nil {
			t.Fatal(err)
		}
		readFails(t, b, net.ErrClosed)
		silentFor(t, a, time.Minute)
		if err := n.Host("b").Await(t.Context()); !errors.Is(err, gulmtest.ErrHostDown) {
			t.Errorf("the host runs: %v", err)
		}
		if err := d.Write(write(h, gulmtest.EX, 1)); !errors.Is(err, gulmtest.ErrFenced) {
			t.Errorf("%v, want ErrFenced", err)
		}
		d.Granted(n2, "r", gulmtest.EX, 2)
		d.Check(t)
	})
}

func TestPowerSwitch_failureTellsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		d := gulmtest.NewDisk(1)
		s := gulmtest.NewPowerSwitch(n, d, func(string) uint64 { return 4 })
		s.Set("b", sim.Behaviour{Fail: 1})
		h := gulmtest.Holder{Node: "b", Incarnation: 4}
		d.Granted(h, "r", gulmtest.EX, 1)
		if err := s.Fence(t.Context(), sim.Plan("b"), fence.Hooks{}); !errors.Is(err, fence.ErrNotFenced) {
			t.Fatal(err)
		}
		if err := n.Host("b").Await(t.Context()); err != nil {
			t.Error(err)
		}
		mustWrite(t, d, write(h, gulmtest.EX, 1))
		d.Check(t)
	})
}

func TestPowerSwitch_lieIsFoundOut(t *testing.T) {
	inBubble(t, func(t *testing.T, n *gulmtest.Network) {
		d := gulmtest.NewDisk(1)
		s := gulmtest.NewPowerSwitch(n, d, func(string) uint64 { return 4 })
		s.Set("b", sim.Behaviour{Lie: true})
		h := gulmtest.Holder{Node: "b", Incarnation: 4}
		d.Granted(h, "r", gulmtest.EX, 1)
		if err := s.Fence(t.Context(), sim.Plan("b"), fence.Hooks{}); err != nil {
			t.Fatal(err)
		}
		if err := n.Host("b").Await(t.Context()); err != nil {
			t.Errorf("a lie cut the power: %v", err)
		}
		mustWrite(t, d, write(h, gulmtest.EX, 1))
		got := d.Violations()
		if len(got) != 1 || got[0].Kind != gulmtest.WriteAfterFence || got[0].Who != h {
			t.Errorf("got %v", got)
		}
	})
}
