package state_test

import (
	"fmt"
	"slices"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// The small world of the search: machines that use one resource, masters that
// may die at any moment, and what is true of the machines whatever the servers
// believe.
const (
	machines = 3
	maxTerm  = 2
	maxBoots = 2
	maxLives = 2
)

var machineNames = [machines]string{"a", "b", "c"}

// machine is the truth about one node.
type machine struct {
	boot    byte
	session uint64 // that the running life has, 0 for none
	// uses is the mode that the running life takes for granted.
	uses lock.Mode
	// begun and done are the terms in which a fence of the owed life was begun,
	// and in which an agent has switched the machine off; 0 for never.
	begun, done uint64
	// owed is the expired life whose fence was never settled, 0 for none.
	owed uint64
	// claim is what was granted to the session `of` and neither given back nor
	// released by a fence.
	claim lock.Mode
	of    uint64
}

// world is one state of the search.
type world struct {
	state    *state.State
	machines [machines]machine
	// lease, if not 0, is the time-to-live of the lockspace, which then is under
	// PolicyLease. Whoever loses what it has by that is kept out by tokens.
	lease uint32
}

// apply is State.Apply, or something that should be found out. It owns s.
type apply func(s *state.State, index uint64, c state.Command) (*state.State, state.Result)

func realApply(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	r := s.Apply(index, 0, c)
	return s, r
}

// saved is a state as values, much smaller than one that can be changed.
type saved struct {
	image    state.Image
	journals journal.Ledger
	resource lock.ResourceState
	exists   bool
}

// save takes a state apart.
func save(s *state.State) *saved {
	img := s.Image()
	img.Nodes, img.Left, img.Vanished = slices.Clone(img.Nodes), slices.Clone(img.Left), slices.Clone(img.Vanished)
	for i := range img.Nodes {
		img.Nodes[i].Fence.Attempts = slices.Clone(img.Nodes[i].Fence.Attempts)
		img.Nodes[i].Ledger.Outlets = slices.Clone(img.Nodes[i].Ledger.Outlets)
	}
	v := &saved{image: img, journals: s.Journals().Clone()}
	v.resource, v.exists = s.Locks().Resource(1, []byte("r"))
	return v
}

// state makes a state that can be changed.
func (v *saved) state() *state.State {
	img, left := v.image, v.exists
	img.Nodes, img.Left, img.Journals = slices.Clone(img.Nodes), slices.Clone(img.Left), v.journals.Copy()
	img.Vanished = slices.Clone(img.Vanished)
	again, ok := state.FromImage(img, func(r *lock.ResourceState) bool {
		now := left
		*r, left = v.resource, false
		return now
	})
	if !ok {
		panic("a state of the search cannot be copied")
	}
	return again
}

// move is one thing that can happen; do changes a copy of the world.
type move struct {
	name string
	do   func(*world, apply) error
}

func newWorld() *world {
	w := &world{state: state.New()}
	w.state.Apply(1, 0, state.BeginTerm{Term: 1, Server: "s1"})
	for i := range w.machines {
		w.machines[i].boot = 1
	}
	return w
}

// send applies a command and follows what machines are told.
func (w *world) send(ap apply, c state.Command) state.Result {
	var r state.Result
	w.state, r = ap(w.state, w.state.Index()+1, c)
	for _, p := range r.Replies {
		switch m := w.owner(p.Session); p.Outcome {
		case lock.Granted:
			w.granted(m, p.Session, p.Mode)
		case lock.Unlocked:
			m.claim, m.of = lock.NL, 0
		default:
		}
	}
	for _, e := range r.Events {
		if e.Kind == lock.EventGranted {
			w.granted(w.owner(uint64(e.Session)), uint64(e.Session), e.Mode)
		}
	}
	return r
}

// owner returns the machine of a session.
func (w *world) owner(session uint64) *machine {
	s, _ := w.state.Members().Session(session)
	if i := slices.Index(machineNames[:], s.Node); i >= 0 {
		return &w.machines[i]
	}
	return &machine{}
}

func (w *world) granted(m *machine, session uint64, mode lock.Mode) {
	m.claim, m.of = mode, session
	if m.session == session {
		m.uses = mode
	}
}

// moves lists what can happen in the world.
func (w *world) moves() []move {
	var out []move
	if t := w.state.Term(); t < maxTerm {
		out = append(out, move{"the master dies, another begins", func(w *world, ap apply) error {
			w.send(ap, state.BeginTerm{Term: t + 1, Server: "s2"})
			return nil
		}})
	}
	for i := range w.machines {
		out = append(out, w.machineMoves(i)...)
		out = append(out, w.masterMoves(i)...)
	}
	return out
}

func (w *world) machineMoves(i int) []move {
	m, name := &w.machines[i], machineNames[i]
	n, _ := w.state.Members().Node(name)
	var out []move
	if m.boot < maxBoots {
		out = append(out, move{name + " reboots", func(w *world, _ apply) error {
			w.machines[i].reboot()
			return nil
		}})
	}
	if m.session == 0 {
		if n.Incarnation < maxLives || n.State == member.LoggedIn {
			out = append(out, move{name + " logs in", func(w *world, ap apply) error { return w.logIn(ap, i) }})
		}
		return out
	}
	request := func(what string, req state.Request, uses lock.Mode) {
		out = append(out, move{name + what, func(w *world, ap apply) error {
			m := &w.machines[i]
			m.uses = min(m.uses, uses) // it gives way before it says so
			req.Seq, req.Lockspace, req.Lock, req.Name = w.state.Applied(m.session)+1, 1, 1, []byte("r")
			w.send(ap, batch(group(m.session, req.Seq-1, req)))
			return nil
		}})
	}
	request(" asks for EX", state.Request{Op: state.OpLock, Mode: lock.EX}, lock.EX)
	request(" asks for PR", state.Request{Op: state.OpLock, Mode: lock.PR}, lock.EX)
	request(" converts to EX", state.Request{Op: state.OpConvert, Mode: lock.EX}, lock.EX)
	request(" converts to PR", state.Request{Op: state.OpConvert, Mode: lock.PR}, lock.PR)
	request(" unlocks", state.Request{Op: state.OpUnlock}, lock.NL)
	return append(out, move{name + " logs out", func(w *world, ap apply) error {
		m := &w.machines[i]
		m.uses = lock.NL
		if r := w.send(ap, state.Logout{Session: m.session}); r.Reason == reason.None {
			m.claim, m.of, m.session = lock.NL, 0, 0
		}
		return nil
	}})
}

func (m *machine) reboot() { m.boot, m.session, m.uses = min(m.boot+1, maxBoots), 0, lock.NL }

func (w *world) logIn(ap apply, i int) error {
	m := &w.machines[i]
	r := w.send(ap, login(machineNames[i], fmt.Sprint("boot", m.boot), m.boot))
	switch {
	case m.owed != 0 && r.Reason != reason.NotFenced:
		return fmt.Errorf("%s may log in while its fence is owed: %v", machineNames[i], r.Reason)
	case r.Reason == reason.None:
		m.session = r.Login.Number
		w.send(ap, batch(group(m.session, 0, w.joining())))
	}
	return nil
}

// masterMoves are what the master decides about a node, and what comes in from
// the master before it.
func (w *world) masterMoves(i int) []move {
	m, name := &w.machines[i], machineNames[i]
	n, _ := w.state.Members().Node(name)
	now := w.state.Term()
	var out []move
	for term := uint64(1); term <= now; term++ {
		life := member.Life{Node: name, Incarnation: n.Incarnation}
		late := ""
		if term < now {
			late = " (of the dead master)"
		}
		if n.State == member.LoggedIn {
			out = append(out, move{name + " is expired" + late, func(w *world, ap apply) error {
				r := w.send(ap, state.Expire{Term: term, Life: life, Seen: ^uint64(0)})
				if r.Reason == reason.None {
					w.machines[i].owed, w.machines[i].begun, w.machines[i].done = life.Incarnation, 0, 0
				}
				return onlyNow(term == now, r)
			}})
		}
		if m.owed != 0 {
			out = append(out, move{name + "'s fence is begun" + late, func(w *world, ap apply) error {
				r := w.send(ap, state.FenceBegin{Term: term, Life: life})
				if r.Reason == reason.None {
					w.machines[i].begun = term
				}
				return onlyNow(term == now, r)
			}})
		}
		if m.owed != 0 && w.lease > 0 {
			out = append(out, w.leaseEnds(i, term, late, true), w.leaseEnds(i, term, late, false))
		}
		if m.done != 0 && m.done == term || m.owed > 1 {
			out = append(out, w.proof(i, m, term, late))
		}
	}
	if m.begun != 0 && m.done != m.begun {
		out = append(out, move{name + " is switched off and on", func(w *world, _ apply) error {
			w.machines[i].reboot()
			w.machines[i].done = m.begun
			return nil
		}})
	}
	return out
}

// proof is of the owed life if an agent succeeded in that term, and else of the
// life before it, which was fenced then.
func (w *world) proof(i int, m *machine, term uint64, late string) move {
	life, due := member.Life{Node: machineNames[i], Incarnation: m.owed}, m.done == term
	what := "'s fence is proved"
	if !due {
		life.Incarnation--
		what = "'s earlier fence is proved again"
	}
	return move{life.Node + what + late, func(w *world, ap apply) error {
		now := w.state.Term()
		r := w.send(ap, state.FenceProved{Term: term, Life: life, By: "m/d"})
		if r.Reason == reason.None {
			m := &w.machines[i]
			m.owed, m.begun, m.done, m.claim, m.of = 0, 0, 0, lock.NL, 0
		}
		return onlyNow(due && term == now, r)
	}}
}

// onlyNow: a decision is carried out if it is one of the present term, and only
// then.
func onlyNow(now bool, r state.Result) error {
	if now != (r.Reason == reason.None) {
		return fmt.Errorf("of the present term: %v, answered with %q", now, r.Reason)
	}
	return nil
}

// check returns which promise the world breaks.
func (w *world) check() error {
	if err := w.state.Check(); err != nil {
		return err
	}
	for i := range w.machines {
		m := &w.machines[i]
		for j := range i {
			o := &w.machines[j]
			switch {
			case !lock.Compatible(m.uses, o.uses):
				return fmt.Errorf("%s uses the resource in %v while %s does in %v", machineNames[i], m.uses, machineNames[j], o.uses)
			case !lock.Compatible(m.claim, o.claim):
				return fmt.Errorf("%s is granted %v while %s, live or not fenced, has %v", machineNames[i], m.claim, machineNames[j], o.claim)
			}
		}
		if err := w.checkLedger(i); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) checkLedger(i int) error {
	m, name := &w.machines[i], machineNames[i]
	n, _ := w.state.Members().Node(name)
	pending := slices.Contains(w.state.Members().Pending(), member.Life{Node: name, Incarnation: m.owed})
	if m.owed != 0 && (!pending || n.Fence.State != member.FenceWanted || n.Fence.Incarnation != m.owed) {
		return fmt.Errorf("the fence of %s's life %d is owed and forgotten: %+v", name, m.owed, n)
	}
	if m.owed == 0 && n.State == member.Expired {
		return fmt.Errorf("%s is expired by nobody", name)
	}
	held := lock.NL
	if r, ok := w.state.Locks().Resource(1, []byte("r")); ok {
		for _, l := range r.Locks {
			if l.Session == lock.Session(m.of) && m.of != 0 {
				held = l.Granted
			}
		}
	}
	if held != m.claim {
		return fmt.Errorf("%s was granted %v and has %v", name, m.claim, held)
	}
	return nil
}
