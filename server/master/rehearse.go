package master

import (
	"context"
	"fmt"
	"sync"
	"time"

	"lock_gulmd/fence"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

const (
	// firstRehearsal is how long after its login, or the beginning of a term, a
	// node is rehearsed first, unless the interval is shorter.
	firstRehearsal = 10 * time.Second
	// maxRehearsals is how many nodes are rehearsed at once.
	maxRehearsals = 4
)

// Rehearsal is what one outlet of a node said.
type Rehearsal struct {
	member.Life
	fence.Sighting
	// Live says that the node gave a sign of life after the outlet was asked.
	Live bool
	// Alarm says what is wrong, empty if nothing is: the node could not be fenced
	// by this outlet if it failed now.
	Alarm string
}

// rehearse asks the fence devices of each live node from time to time how things
// are, so that a fault is known before the day it matters.
func (t *term) rehearse(ctx context.Context) error {
	if t.m.cfg.Rehearser == nil || t.m.cfg.RehearseInterval <= 0 {
		<-ctx.Done()
		return nil
	}
	slots := make(chan struct{}, maxRehearsals)
	return t.tend(ctx, loggedIn, func(ctx context.Context, l member.Life) {
		pause := min(firstRehearsal, t.m.cfg.RehearseInterval)
		for sleep(ctx, pause) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			_, _ = t.rehearseNode(ctx, l) // it has been logged
			<-slots
			pause = t.m.cfg.RehearseInterval
		}
	})
}

func loggedIn(s *state.State) []member.Life {
	var lives []member.Life
	for _, n := range s.Members().Nodes() {
		if n.State == member.LoggedIn {
			lives = append(lives, member.Life{Node: n.Name, Incarnation: n.Incarnation})
		}
	}
	return lives
}

// rehearseNode asks all outlets of a node, and notes in the ledger what they said.
func (t *term) rehearseNode(ctx context.Context, l member.Life) ([]Rehearsal, error) {
	log := t.log.With("node", l.Node, "incarnation", l.Incarnation)
	plan, ok := t.m.cfg.Plan(l.Node)
	if !ok {
		log.Error("fence rehearsal: node has no fence methods in the configuration")
		return nil, gulmerr.New(gulmerr.ErrUnknownNode, "node %s has no fence methods in the configuration", l.Node)
	}
	var said []Rehearsal
	note := state.FenceSeen{Term: t.number, Node: l.Node}
	if err := t.m.cfg.Rehearser.Rehearse(ctx, plan, func(x fence.Sighting) {
		said = append(said, Rehearsal{Life: l, Sighting: x})
		note.Outlets = append(note.Outlets, outletOf(x))
	}); err != nil {
		return nil, err
	}
	live := t.awaitSign(ctx, l, time.Now())
	if live {
		note.Alive = l.Incarnation
	}
	for i := range said {
		x := &said[i]
		x.Live = live
		if x.Alarm = alarm(x); x.Alarm == "" {
			log.Info("fence rehearsal", "method", x.Method, "device", x.Outlet.Device, "agent", x.Agent, "outcome", string(x.Power), "dur", x.Duration)
			continue
		}
		log.Error("fence rehearsal alarm", "method", x.Method, "device", x.Outlet.Device, "agent", x.Agent, "outcome", string(x.Power),
			"dur", x.Duration, "err", x.Alarm)
	}
	if len(said) == 0 {
		return nil, nil
	}
	if _, err := t.do(ctx, note); err != nil {
		if ctx.Err() == nil {
			log.Warn("fence rehearsal is not in the ledger", "err", err)
		}
		return said, err
	}
	return said, nil
}

// alarm says what is wrong with what an outlet said.
func alarm(x *Rehearsal) string {
	switch {
	case x.Power == fence.PowerNone:
		return fmt.Sprintf("outlet %v gives no answer: %s", x.Outlet, x.Reason)
	case x.Power == fence.PowerOff && x.Live:
		return fmt.Sprintf("outlet %v says off, and the node lives: it is another machine's, or not the node's only feed; "+
			"it is not used until it says on", x.Outlet)
	}
	return ""
}

// awaitSign waits until the life gave a sign of life after the given moment, and
// reports false if it did not within the expiry time. That a device says off is
// only then a fault of the device: a node without power is not expired at once.
func (t *term) awaitSign(ctx context.Context, l member.Life, after time.Time) bool {
	for until := after.Add(t.m.cfg.Expiry); ; {
		if t.m.heardOf(l, after) {
			return true
		}
		if time.Now().After(until) || !sleep(ctx, t.m.cfg.lookPeriod()) {
			return false
		}
	}
}

// heardOf tells whether the life gave a sign of life after the given moment.
func (m *Master) heardOf(l member.Life, after time.Time) bool {
	heard := false
	m.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			if x.Node != l.Node || x.Incarnation != l.Incarnation || x.Frozen {
				continue
			}
			at, ok := m.LastAlive(x.Number)
			heard = heard || ok && at.After(after)
		}
	})
	return heard
}

// Rehearse asks the fence devices of a node, or with "" of all nodes that are
// logged in, and returns what they said, by node. Errors: ErrNotMaster,
// ErrUnknownNode, ErrUnavailable if there is nothing that can be asked.
func (m *Master) Rehearse(ctx context.Context, node string) ([]Rehearsal, error) {
	t, err := m.master()
	if err != nil {
		return nil, err
	}
	if m.cfg.Rehearser == nil {
		return nil, gulmerr.New(gulmerr.ErrUnavailable, "this server cannot rehearse")
	}
	var lives []member.Life
	if node != "" {
		n, _ := m.node(node) // one that never logged in has outlets as well
		lives = []member.Life{{Node: node, Incarnation: n.Incarnation}}
	} else {
		m.cfg.Machine.View(func(s *state.State) { lives = loggedIn(s) })
	}
	said, errs := make([][]Rehearsal, len(lives)), make([]error, len(lives))
	slots := make(chan struct{}, maxRehearsals)
	var wg sync.WaitGroup
	for i, l := range lives {
		wg.Go(func() {
			slots <- struct{}{}
			said[i], errs[i] = t.rehearseNode(ctx, l)
			<-slots
		})
	}
	wg.Wait()
	var all []Rehearsal
	for i := range lives {
		if errs[i] != nil {
			return nil, errs[i]
		}
		all = append(all, said[i]...)
	}
	return all, nil
}

// NoteManual writes a fence that an operator ran by hand into the ledger. Errors
// as for Do, and ErrUnknownNode.
func (m *Master) NoteManual(ctx context.Context, node string, f member.ManualFence) error {
	result, err := m.Do(ctx, state.FenceManual{Node: node, ManualFence: f})
	if err == nil {
		err = Refused(result.Reason, "node %s", node)
	}
	if err == nil {
		m.cfg.Log.Info("fence by hand", "server", m.cfg.Server, "node", node, "operator", f.Operator, "fenced", f.Fenced, "by", f.By)
	}
	return err
}
