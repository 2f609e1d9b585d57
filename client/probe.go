package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"lock_gulmd/proto/gulmerr"
)

// Defaults of Probe.
const (
	DefaultProbeEvery = 10 * time.Second
	DefaultProbeTry   = 10 * time.Second
	DefaultProbeBound = 30 * time.Second
)

// probeEnd is how long a probe is waited for after it was told to end.
const probeEnd = time.Second

// errHangs is the failure of a probe that has not answered in time.
var errHangs = errors.New("it does not end")

// errSick ends a stream since no more beats may be sent on it.
var errSick = gulmerr.New(ErrUnavailable, "a probe of this node has failed for too long, so it says nothing more to the servers")

// Probe makes sure, again and again, that the node can do work: a node that
// answers but cannot work would keep its locks for ever.
//
// A probe that fails for Bound stops the heartbeats and closes the stream, until
// it succeeds again: the state is jeopardy at once and lost in due time, and then
// the servers expire the node, with all its processes, and fence it.
type Probe struct {
	// Name says what is tried, for people: "start a process".
	Name string
	// Run tries it once and returns nil if the node can. ctx ends after Limit; a
	// Run that goes on nevertheless, since the kernel does not let it go, counts
	// as failing, and is not started again before it has returned.
	Run func(ctx context.Context, n *Node) error
	// Every is the pause between two tries, 0 for DefaultProbeEvery.
	Every time.Duration
	// Limit is how long a try may take, 0 for DefaultProbeTry.
	Limit time.Duration
	// Bound is for how long the probe may fail, counted from the beginning of
	// the first try that failed, 0 for DefaultProbeBound.
	Bound time.Duration
	// Doubt, if not 0, is after how long the probe gets the benefit of the doubt:
	// the beats go on, and it may fail for Bound once more. For what may also be
	// the servers' fault: those that work have expired the node by then. It is
	// not shorter than twice the expiry time.
	Doubt time.Duration
}

// withDefaults returns p with defaults filled in, or an error that wraps
// ErrInvalid.
func (p Probe) withDefaults() (Probe, error) {
	if p.Name == "" || p.Run == nil || p.Every < 0 || p.Limit < 0 || p.Bound < 0 || p.Doubt < 0 {
		return p, fmt.Errorf("client: probe %q in Config.Probes needs a Name and a Run, and no negative time: %w", p.Name, ErrInvalid)
	}
	setDefault(&p.Every, DefaultProbeEvery)
	setDefault(&p.Limit, DefaultProbeTry)
	setDefault(&p.Bound, DefaultProbeBound)
	return p, nil
}

// health knows which probes have failed for too long.
type health struct {
	mu   sync.Mutex
	ills map[string]error // by probe
	// well is closed while there are none.
	well chan struct{}
	// failing are the probes that fail at the moment, for too long or not.
	failing map[string]trouble
}

func newHealth() *health {
	h := &health{ills: map[string]error{}, well: make(chan struct{}), failing: map[string]trouble{}}
	close(h.well)
	return h
}

// wait waits until no probe has failed for too long; false if ctx ends first.
func (h *health) wait(ctx context.Context) bool {
	h.mu.Lock()
	well := h.well
	h.mu.Unlock()
	select {
	case <-well:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// ill stops the beats for a probe.
func (n *Node) ill(probe string, why error) {
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	if len(n.health.ills) == 0 {
		n.health.well = make(chan struct{})
	}
	n.health.ills[probe] = why
	n.live.setSick(n.health.first())
	n.cutStream(errSick)
}

// cured lets the beats go on, as far as this probe is concerned.
func (n *Node) cured(probe string) {
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	if _, ok := n.health.ills[probe]; !ok {
		return
	}
	delete(n.health.ills, probe)
	n.live.setSick(n.health.first())
	if len(n.health.ills) == 0 {
		close(n.health.well)
	}
}

// sick is first for those who do not hold mu.
func (h *health) sick() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.first()
}

// first returns why the beats are stopped, nil if they are not.
func (h *health) first() error {
	for _, probe := range slices.Sorted(maps.Keys(h.ills)) {
		return h.ills[probe]
	}
	return nil
}

// patient is a probe as it is going on.
type patient struct {
	Probe
	node *Node
	// done gets the result of the try that is under way, nil if there is none;
	// began is when it started, and stop ends it.
	done  chan error
	began time.Time
	stop  context.CancelFunc
	// since is when it started to fail, and ill when that stopped the beats.
	since, ill time.Time
}

// watch runs a probe until ctx ends.
func (n *Node) watch(ctx context.Context, p Probe) {
	x := patient{Probe: p, node: n}
	if x.Doubt != 0 {
		x.Doubt = max(x.Doubt, 2*n.expiry)
	}
	for ctx.Err() == nil {
		x.try(ctx)
		x.judge(ctx)
	}
	x.end()
}

// try waits for a try to end, and starts one if none is under way.
func (x *patient) try(ctx context.Context) {
	if x.done == nil {
		var limit context.Context
		limit, x.stop = context.WithTimeout(ctx, x.Limit)
		done := make(chan error, 1)
		x.done, x.began = done, time.Now()
		// Not waited for at any cost: the kernel may never let it go.
		go func() { done <- x.Run(limit, x.node) }()
	}
	timer := time.NewTimer(x.Limit + probeEnd) // time to say that it was too slow
	defer timer.Stop()
	select {
	case err := <-x.done:
		x.result(err)
	case <-ctx.Done():
	case <-timer.C:
		select {
		case err := <-x.done: // in time, but this process was stopped
			x.result(err)
		default:
			x.failed(fmt.Errorf("%w since %v", errHangs, time.Since(x.began).Round(time.Millisecond)))
		}
	}
}

func (x *patient) result(err error) {
	x.done = nil
	x.stop()
	if err != nil {
		x.failed(err)
		return
	}
	if !x.since.IsZero() {
		x.node.log.Info("probe succeeds again", "probe", x.Name, "dur", time.Since(x.since))
	}
	x.since, x.ill = time.Time{}, time.Time{}
	x.node.health.fine(x.Name)
	x.node.cured(x.Name)
}

// failed notes a failure, and stops the beats if that goes on for too long.
func (x *patient) failed(err error) {
	if x.node.ctx.Err() != nil {
		return
	}
	now := time.Now()
	if x.since.IsZero() {
		x.since = x.began
		x.node.log.Warn("probe fails", "probe", x.Name, "limit", x.Bound, "err", err)
	}
	why := err
	err = fmt.Errorf("probe %q fails since %s: %w", x.Name, x.since.UTC().Format(time.RFC3339), err)
	x.node.health.note(x.Name, trouble{err, why, x.since, x.since.Add(x.Bound)})
	switch {
	case !x.ill.IsZero() && x.Doubt != 0 && now.Sub(x.ill) >= x.Doubt:
		x.node.log.Warn("probe fails, but the servers have not expired the node: heartbeats go on", "probe", x.Name, "err", err)
		x.since, x.ill, x.began = now, time.Time{}, now
		x.node.health.note(x.Name, trouble{err, why, x.since, x.since.Add(x.Bound)})
		x.node.cured(x.Name)
	case x.ill.IsZero() && now.Sub(x.since) >= x.Bound:
		x.node.log.Error("probe has failed for too long: heartbeats stop", "probe", x.Name, "err", err)
		x.ill = now
		x.node.ill(x.Name, err)
	}
}

// judge pauses until the next try.
func (x *patient) judge(ctx context.Context) {
	if x.done != nil {
		return // it has been waited for long enough
	}
	pause := x.Every
	if !x.since.IsZero() {
		pause = min(pause, max(x.Bound/4, time.Second))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// end waits for a try that is under way, but not for ever.
func (x *patient) end() {
	if x.done == nil {
		return
	}
	x.stop()
	timer := time.NewTimer(probeEnd)
	defer timer.Stop()
	select {
	case <-x.done:
	case <-timer.C:
		x.node.log.Warn("probe does not end and is left behind", "probe", x.Name)
	}
}
