package master

import (
	"slices"
	"sync"
	"time"

	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// Trouble is a probe of a node that fails, as the node told with its newest beat.
type Trouble struct {
	// Probe is what is tried, Text what went wrong.
	Probe, Text string
	// Since is when it began to fail, and Stops when the node stops its heartbeats
	// if that goes on, by this server's clock.
	Since, Stops time.Time
}

// troubles are what the sessions said of their probes. They are for people, so
// only the master that heard of them knows, and the next one with the next beat.
type troubles struct {
	mu sync.Mutex
	by map[uint64][]Trouble
}

// set takes what a session says now, and returns which probes began to fail and
// which fail no more.
func (x *troubles) set(session uint64, now []Trouble) (began, ended []Trouble) {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.by[session]
	missing := func(in []Trouble) func(Trouble) bool {
		return func(t Trouble) bool {
			return slices.ContainsFunc(in, func(o Trouble) bool { return o.Probe == t.Probe })
		}
	}
	if len(now) > 0 {
		x.by[session] = now
	} else {
		delete(x.by, session)
	}
	return slices.DeleteFunc(slices.Clone(now), missing(before)), slices.DeleteFunc(slices.Clone(before), missing(now))
}

// of returns what a session said last.
func (x *troubles) of(session uint64) []Trouble {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.by[session]
}

// keep forgets the sessions that are gone.
func (x *troubles) keep(lives func(session uint64) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for session := range x.by {
		if !lives(session) {
			delete(x.by, session)
		}
	}
}

// Troubled notes which probes of a session fail, as its beat told: none if the
// list is empty. What begins and what ends is logged once.
func (m *Master) Troubled(session uint64, now []Trouble) {
	t := m.serving.Load()
	if t == nil {
		return
	}
	began, ended := t.troubles.set(session, now)
	if len(began) == 0 && len(ended) == 0 {
		return
	}
	var x member.Session
	m.cfg.Machine.View(func(s *state.State) { x, _ = s.Members().Session(session) })
	log := t.log.With("node", x.Node, "incarnation", x.Incarnation, "session", session, "process", x.Process)
	for _, p := range began {
		log.Warn("probe of a node fails", "probe", p.Probe, "dur", time.Since(p.Since), "stops_in", time.Until(p.Stops), "err", p.Text)
	}
	for _, p := range ended {
		log.Info("probe of a node succeeds again", "probe", p.Probe, "dur", time.Since(p.Since))
	}
}

// Troubles returns which probes of a session fail, as it told last, for reading
// only; none if this server does not serve.
func (m *Master) Troubles(session uint64) []Trouble {
	if t := m.serving.Load(); t != nil {
		return t.troubles.of(session)
	}
	return nil
}
