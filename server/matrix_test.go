package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// A step is something that happens on the way from a node's failure to the
// release of its locks. At each of them the master can die.
type step struct {
	name string
	// when reports whether a command is the one; nil for a line of the log.
	when func(state.Command) bool
	// message is the line of the log, of the master, and later the time after it.
	message string
	later   time.Duration
}

// kind matches commands of a type.
func kind[T state.Command](c state.Command) bool {
	_, ok := c.(T)
	return ok
}

// asks matches batches that hold a request.
func asks(op state.Op) func(state.Command) bool {
	return func(c state.Command) bool {
		b, ok := c.(*state.Batch)
		return ok && slices.ContainsFunc(b.Groups, func(g state.Group) bool {
			return slices.ContainsFunc(g.Requests, func(r state.Request) bool { return r.Op == op })
		})
	}
}

// agentTime is how long the fence agent takes.
const agentTime = 300 * time.Millisecond

// recoverySteps are in the order in which they happen.
var recoverySteps = []step{
	{name: "expire", when: kind[state.Expire]},
	{name: "expired", message: "node expired"},
	{name: "fence-begin", when: kind[state.FenceBegin]},
	{name: "fence-begun", message: "fence begins"},
	{name: "agent-at-work", message: "fence begins", later: agentTime / 2},
	{name: "fence-attempt", when: kind[state.FenceAttempted]},
	{name: "fence-attempted", message: "fence attempt"},
	{name: "fence-proved", when: kind[state.FenceProved]},
	{name: "proof-applied", message: "fence proved"},
	{name: "recovered", when: asks(state.OpRecovered)},
}

// moment is when, at a step, the master dies.
type moment struct {
	step
	// at: just before the master stores the command, just after it has, or just
	// after a standby has; "said" for a line of the log.
	at string
}

func (m moment) String() string { return m.name + "/" + m.at }

func moments() []moment {
	var all []moment
	for _, s := range recoverySteps {
		if s.when == nil {
			all = append(all, moment{s, "said"})
			continue
		}
		for _, at := range []string{"before", "stored", "copied"} {
			all = append(all, moment{s, at})
		}
	}
	return all
}

// assassin kills the master once, at its moment.
type assassin struct {
	w      *world
	moment moment

	mu     sync.Mutex
	armed  bool
	victim string
}

func (a *assassin) onStore(server string, stored bool, c state.Command) {
	if a.moment.when == nil || !a.moment.when(c) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.armed {
		return
	}
	master := a.w.Master()
	mine := server == master
	if a.moment.at == "before" && mine && !stored || a.moment.at == "stored" && mine && stored ||
		a.moment.at == "copied" && !mine && stored {
		a.kill(master)
	}
}

func (a *assassin) onLog(e entry) {
	if a.moment.message != e.Message || e.Attrs["host"] == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if master := e.Attrs["host"]; a.armed && master == a.w.Master() {
		if a.moment.later == 0 {
			a.kill(master)
			return
		}
		a.armed = false
		time.AfterFunc(a.moment.later, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.kill(master)
		})
	}
}

func (a *assassin) kill(master string) {
	a.armed, a.victim = false, master
	a.w.KillServer(master)
}

// surgeon is a node with the file system mounted, which recovers journals.
type surgeon struct {
	*user
	mount *client.Mount
	// dies: its first recovery is its end.
	dies bool
	log  *surgery
}

// surgery remembers all recoveries.
type surgery struct {
	mu   sync.Mutex
	list []*operation
	dead map[string]bool // nodes that failed
}

// operation is one recovery of one journal.
type operation struct {
	jid        int
	of, by     string
	begun      time.Time
	ended      time.Time // zero if it never did
	wholeNever bool
}

func (s *surgeon) recover(ctx context.Context, r client.Recovery) error {
	o := &operation{jid: r.JID, of: r.Node, by: s.name, begun: time.Now()}
	s.log.mu.Lock()
	s.log.list = append(s.log.list, o)
	dies := s.dies
	s.dies = false
	if dies {
		s.log.dead[s.name] = true
		o.wholeNever = true
	}
	s.log.mu.Unlock()
	if dies {
		s.w.Node(s.name).Kill()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	l, err := s.Lock(ctx, "data-"+r.Node, client.EX, client.DuringRecovery)
	if err != nil {
		return err
	}
	select {
	case <-time.After(500 * time.Millisecond): // the replay
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := l.Unlock(); err != nil {
		return err
	}
	s.log.mu.Lock()
	o.ended = time.Now()
	s.log.mu.Unlock()
	return nil
}

// mountAs boots a node that mounts the file system.
func (w *world) mountAs(name string, log *surgery, dies bool) *surgeon {
	w.t.Helper()
	s := &surgeon{user: w.boot(name), log: log, dies: dies}
	var err error
	s.mount, err = s.Mount(w.t.Context(), client.MountOptions{Journals: 4, OnRecover: s.recover})
	if err == nil && s.mount.First() {
		err = s.mount.OthersMayMount(w.t.Context())
	}
	if err != nil {
		w.t.Fatalf("node %s: %v", name, err)
	}
	return s
}

// TestMasterDiesHere kills the master at every step of the recovery of one node
// and of two, and with the node that recovers dying as well. Whatever happens:
// no lock of a dead node is granted before its fence and its recovery (S1, S2),
// nobody is expired or fenced who has not failed (S3), and it all comes to its end.
func TestMasterDiesHere(t *testing.T) {
	for _, failed := range [][]string{{"n1"}, {"n1", "n2"}} {
		for _, stumbles := range []bool{false, true} {
			for i, m := range moments() {
				if testing.Short() && (i+len(failed))%3 != 0 {
					continue // a third of them
				}
				name := fmt.Sprintf("%d failed/%v", len(failed), m)
				if stumbles {
					name = fmt.Sprintf("%d failed and who recovers/%v", len(failed), m)
				}
				t.Run(name, func(t *testing.T) { masterDies(t, m, failed, stumbles) })
			}
		}
	}
}

func masterDies(t *testing.T, m moment, failed []string, stumbles bool) {
	a := &assassin{moment: m}
	opt := gulmtest.ClusterOptions{Nodes: 5, OnStore: a.onStore, Settings: "breaker_percent = 100"}
	bubble(t, opt, func(t *testing.T, w *world) {
		a.w = w
		w.logs.on(a.onLog)
		log := &surgery{dead: map[string]bool{}}
		var nodes []*surgeon
		for _, name := range []string{"n1", "n2", "n3", "n4"} {
			nodes = append(nodes, w.mountAs(name, log, stumbles && name == "n3"))
		}
		bystander := w.boot("n5")
		waiters := map[string]*waiter{}
		for i, name := range failed {
			nodes[i].take("data-"+name, client.EX)
			w.Power.Set(name, sim.Behaviour{Delay: agentTime})
			waiters[name] = bystander.ask("data-"+name, client.EX)
		}
		a.mu.Lock()
		a.armed = true
		a.mu.Unlock()
		for _, name := range failed {
			log.dead[name] = true
			w.Node(name).Kill()
		}
		w.Await(3*time.Minute, "the death of the master", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.victim != ""
		})
		time.Sleep(30 * time.Second)
		w.StartServer(a.victim)
		for _, name := range failed {
			log.check(t, w, name, waiters[name].granted(5*time.Minute))
		}
		w.agree()
		log.checkDead(t, w)
	})
}

// check looks at how the locks of a dead node came free.
func (s *surgery) check(t *testing.T, w *world, node string, granted time.Time) {
	t.Helper()
	fenced := time.Time{}
	for _, c := range w.Power.CallsFor(node) {
		if c.Cut && fenced.IsZero() {
			fenced = c.Start.Add(c.Dur)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	whole := 0
	for i, o := range s.list {
		if o.of != node {
			continue
		}
		if fenced.IsZero() || o.begun.Before(fenced) {
			t.Errorf("recovery %d of %s began before its fence", i, node)
		}
		if !o.ended.IsZero() && !o.ended.After(granted) {
			whole++
		}
		for j, p := range s.list[:i] {
			if p.jid == o.jid && p.by != o.by && p.wholeNever && w.fenceOf(p.by).IsZero() {
				t.Errorf("recovery %d of journal %d began while %d by %s, which is not fenced, was under way", i, o.jid, j, p.by)
			}
		}
	}
	if whole != 1 {
		t.Errorf("the journal of %s was replayed to its end %d times before its lock was granted, want once; %v", node, whole, s)
	}
}

// fenceOf returns when a node's power was cut first.
func (w *world) fenceOf(node string) time.Time {
	for _, c := range w.Power.CallsFor(node) {
		if c.Cut {
			return c.Start.Add(c.Dur)
		}
	}
	return time.Time{}
}

// checkDead demands that exactly those were expired and fenced who had died, and
// that no journal has anything left.
func (s *surgery) checkDead(t *testing.T, w *world) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range w.logs.find("node expired") {
		if !s.dead[e.Attrs["node"]] {
			t.Errorf("%s was expired and had not failed: %s", e.Attrs["node"], e.Attrs["reason"])
		}
	}
	for _, c := range w.Power.Calls() {
		if !s.dead[c.Plan.Node] {
			t.Errorf("%s was fenced and had not failed", c.Plan.Node)
		}
	}
	for _, n := range []string{"n1", "n2", "n3", "n4", "n5"} {
		want := member.LoggedIn
		if s.dead[n] {
			want = member.Fenced
		}
		if got := w.member(n).State; got != want {
			t.Errorf("%s is %v in the end, want %v", n, got, want)
		}
	}
	w.view(w.Master(), func(st *state.State) {
		for _, sp := range st.Journals().Spaces() {
			for jid := range sp.Journals {
				if j := &sp.Journals[jid]; j.Dirty() {
					t.Errorf("journal %d is dirty in the end: %+v", jid, j)
				}
			}
		}
	})
}

// String lists the recoveries.
func (s *surgery) String() string {
	var b strings.Builder
	for _, o := range s.list {
		fmt.Fprintf(&b, "journal %d of %s by %s at %v to %v; ", o.jid, o.of, o.by, o.begun.Format(time.TimeOnly), o.ended.Format(time.TimeOnly))
	}
	return b.String()
}
