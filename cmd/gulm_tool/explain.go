package main

import (
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/fence"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

const (
	// roundLimit is what a round to a majority is taken to need at worst, unless a
	// slower one was measured: a message there and back and a sync of the disks.
	roundLimit = 250 * time.Millisecond
	// killLimit is for how long a fence agent that was killed is waited for.
	killLimit = 7 * time.Second
	// unbounded is a time without a bound, or one that nobody knows.
	unbounded = time.Duration(-1)
	// manualAgent waits for a person.
	manualAgent = "fence_manual"
)

// term is one part of a time.
type term struct {
	// Key names it, Text says what it is, Settings what it follows from.
	Key, Text, Settings string
	// best and worst are its bounds, unbounded if there is none; usual is the
	// worst with rounds and agents as slow as they were lately, unbounded if an
	// agent was not measured.
	best, usual, worst time.Duration
}

// total is a sum of terms.
type total struct{ best, usual, worst time.Duration }

// explanation is the time between the failure of a node and the grant of its
// locks.
type explanation struct {
	// nodes are those for which it is the same.
	nodes []string
	// grant are the terms if nothing else fails, one after the other.
	grant []term
	sum   total
	// methods are the terms of the other fence methods, which come on top if the
	// first one fails, sumMethods is all of it then.
	methods    []term
	sumMethods total
	// takeover are the terms that come instead of the first one if the master dies
	// with the node, sumTakeover is all of it then, and sumMoment if it dies at
	// whatever moment between the failure and the grant.
	takeover               []term
	sumTakeover, sumMoment total
	// extra may come on top; own are the node's deadlines.
	extra, own []term
	// leases come instead of the fence, one for each lockspace under the policy lease
	// that the node has joined.
	leases []term
}

// equal reports whether two explanations differ at most in their nodes.
func (e *explanation) equal(o *explanation) bool {
	a, b := *e, *o
	a.nodes, b.nodes = nil, nil
	return reflect.DeepEqual(a, b)
}

// ran are the times that an agent has taken when it succeeded.
type ran struct{ fastest, slowest time.Duration }

// measure returns how long agents took lately, by device, agent and action.
func measure(nodes []*gulmv1.Node) map[string]ran {
	seen := map[string]ran{}
	for _, n := range nodes {
		for _, a := range n.GetFence().GetAttempts() {
			if a.GetOutcome() != "ok" {
				continue
			}
			key, took := a.GetDevice()+" "+a.GetAgent(), ms(a.GetDurationMs()) // the ledger's agent has the action behind it
			r, ok := seen[key]
			if !ok {
				r = ran{took, took}
			}
			seen[key] = ran{min(r.fastest, took), max(r.slowest, took)}
		}
	}
	return seen
}

// explain computes the times for one node; now is what the master knows of it,
// nil for nothing.
func explain(s *gulmv1.TimeoutsReply, n *gulmv1.NodeTimeouts, now *gulmv1.Node, seen map[string]ran) (*explanation, error) {
	// Processes that logged in when it was longer were promised that.
	expiry, watchdog := ms(s.GetExpiryMs()), time.Duration(0)
	for _, x := range now.GetSessions() {
		expiry, watchdog = max(expiry, ms(x.GetExpiryMs())), max(watchdog, ms(x.GetWatchdogMs()))
	}
	own, err := client.DeadlinesFor(ms(s.GetHeartbeatRateMs()), ms(s.GetExpiryMs()))
	if err != nil {
		return nil, err
	}
	x := &explainer{settings: s, expiry: expiry, seen: seen, armed: expiry - ms(s.GetExpiryMs()) + watchdog}
	x.slow = cmp.Or(ms(s.GetRoundMs()), roundLimit)
	x.limit = max(roundLimit, x.slow)
	e := &explanation{nodes: []string{n.GetNode()}}
	silence := term{
		"silence", "until the node was silent for so long, from its last heartbeat: that may be just about to be followed by another one, " +
			"or still on its way", settingExpiry, expiry - own.Beat, expiry + x.slow/2, expiry + x.limit/2,
	}
	e.grant = append([]term{silence}, x.afterSilence(n)...)
	e.sum = add(e.grant)
	for i := 1; i < len(n.GetMethods()); i++ {
		failed, m := n.GetMethods()[i-1], n.GetMethods()[i]
		e.methods = append(e.methods, term{
			"stop " + failed.GetMethod(), "an agent that has used up its time is killed", "-", 0, killLimit, killLimit,
		})
		e.methods = append(e.methods, x.method(m)...)
		e.methods = append(e.methods, x.ledger(m))
	}
	if e.sumMethods = add(append(slices.Clone(e.grant), e.methods...)); len(e.methods) > 0 {
		e.sumMethods.best = e.sum.best
	}
	if s.GetServers() > 1 {
		x.masterDies(e)
	}
	e.extra = x.extra()
	e.own = ownTerms(own, expiry, watchdog)
	e.leases = x.leases(now, own.Beat)
	return e, nil
}

// Settings that terms follow from.
const (
	settingExpiry = "heartbeat_rate, allowed_misses"
	settingRate   = "heartbeat_rate"
	settingRounds = "disks, network"
)

// explainer has what the terms of one node are made of.
type explainer struct {
	settings *gulmv1.TimeoutsReply
	expiry   time.Duration
	seen     map[string]ran
	// slow is the slowest round lately, limit what a round is taken to need.
	slow, limit time.Duration
	// armed is what the node's own watchdog adds to a wait for it.
	armed time.Duration
}

// rounds is a term of n rounds to a majority.
func (x *explainer) rounds(key, text string, n int) term {
	return term{
		key, fmt.Sprintf("%s (%s to a majority, each taken to be at most %v)", text, tool.Count(uint64(n), "round"), x.limit), settingRounds,
		0, time.Duration(n) * x.slow, time.Duration(n) * x.limit,
	}
}

// afterSilence are the terms from when the node is late to the grant.
func (x *explainer) afterSilence(n *gulmv1.NodeTimeouts) []term {
	look := ms(x.settings.GetLookMs())
	terms := []term{
		{"look", "until the master looks who is late", settingRate, 0, look, look},
		x.rounds("expire", "a majority confirms the master, and the expiry is committed", 2),
		x.rounds("intent", "the begin of the fence is committed, and the master confirmed once more", 2),
	}
	if len(n.GetMethods()) > 0 {
		first := n.GetMethods()[0]
		terms = append(terms, x.method(first)...)
		terms = append(terms, x.ledger(first))
	}
	return append(terms,
		x.rounds("proof", "the proof is committed: that releases the locks", 1),
		term{"tell", "the grant reaches the node that waits", settingRounds, 0, x.slow / 2, x.limit / 2})
}

// ledger is what the master commits and confirms for the steps of a method.
func (x *explainer) ledger(m *gulmv1.MethodTimeouts) term {
	n := 0
	for _, s := range m.GetSteps() {
		n += int(s.GetRounds())
	}
	return x.rounds("ledger", "leave to start each agent, and the record of its run", n)
}

// method are the runs of the agents of one method.
func (x *explainer) method(m *gulmv1.MethodTimeouts) []term {
	var terms []term
	for _, s := range m.GetSteps() {
		terms = append(terms, x.step(m.GetMethod(), s))
	}
	return terms
}

// step are the runs of the agent of one step. What is usual of it is not known if
// its action was not measured; of questions, those that were asked lately count.
func (x *explainer) step(method string, s *gulmv1.StepTimeouts) term {
	limit := ms(s.GetLimitMs())
	t := term{
		Key: "fence " + method + "/" + s.GetDevice(), worst: limit * time.Duration(max(1, len(s.GetRuns()))),
		Text:     fmt.Sprintf("%s %s, each run at most %v", s.GetAgent(), strings.Join(s.GetRuns(), ", "), limit),
		Settings: "timeout, verify of " + s.GetDevice(),
	}
	r, ok := x.seen[s.GetDevice()+" "+s.GetAgent()+" "+s.GetAction()]
	t.usual = unbounded
	if ok {
		t.Text += fmt.Sprintf("; measured: %v to %v", r.fastest, r.slowest)
		t.usual = r.slowest // the next run may be quicker than all before
		for _, action := range s.GetRuns() {
			if action != s.GetAction() {
				t.usual += x.seen[s.GetDevice()+" "+s.GetAgent()+" "+action].slowest
			}
		}
	}
	if path.Base(s.GetAgent()) == fence.WatchdogAgent {
		t.best, t.worst = max(t.best, limit), limit+x.armed
		t.usual, t.Settings = t.worst, "hardware_timeout, margin of "+s.GetDevice()
		t.Text += fmt.Sprintf(": expiry, hardware_timeout and margin; the node's own watchdog adds %v", x.armed)
	}
	if s.GetAgent() == manualAgent {
		t.usual, t.worst, t.Text, t.Settings = unbounded, unbounded, "an operator acknowledges", "-"
	}
	return t
}

// masterDies computes what comes if the master dies as well.
func (x *explainer) masterDies(e *explanation) {
	silence, election := ms(x.settings.GetMasterSilenceMs()), ms(x.settings.GetElectionMs())
	elected := []term{
		{"master silence", "until a majority notices that the master is gone", "heartbeat_timeout", silence - silence/5, 2 * silence, 3 * silence},
		{"election", "a master is elected; a tied vote is repeated once here", "election_timeout", 0, 2 * x.slow, 2 * election},
		x.rounds("takeover", "the new master applies what was committed and begins its term", 4),
	}
	grace := term{"grace", "every node gets one full expiry time before the new master judges anybody", settingExpiry, x.expiry, x.expiry, x.expiry}
	e.takeover = append(slices.Clone(elected), grace)
	// The node that waits has to find the new master, in which it has time for all of
	// the grace.
	find := x.expiry/4 + client.DefaultPauseMax + client.DefaultProbeLimit + x.limit
	if more := find - x.expiry; more > 0 {
		e.takeover = append(e.takeover, term{"find", "the node that waits finds the new master", settingExpiry, 0, 0, more})
	}
	rest := add(e.grant[1:])
	e.sumTakeover = add(append(slices.Clone(e.takeover), e.grant[1:]...))
	// At the worst moment all of it has been done but for the last entry: either that
	// of the expiry, then the grace and all that follows comes once more, or that of
	// the proof, then the fence does.
	took := add(elected)
	again := max(x.expiry+x.beforeFence(e).worst, find)
	e.sumMoment = total{
		e.sum.best, plus(plus(e.sum.usual, took.usual), longer(x.expiry+x.beforeFence(e).usual, rest.usual)),
		plus(plus(e.sum.worst, took.worst), longer(again, rest.worst)),
	}
}

// beforeFence are the look and the expiry.
func (x *explainer) beforeFence(e *explanation) total { return add(e.grant[1:3]) }

// extra may come on top.
func (x *explainer) extra() []term {
	s := x.settings
	late := ms(s.GetLatenessMs())
	never := func(key, text, settings string) term { return term{key, text, settings, 0, unbounded, unbounded} }
	return []term{
		{"late master", "a master whose machine is too busy judges so much later, and no node if it is later than that", settingRate, 0, 0, late},
		never("own pause", "a master that stood still begins every deadline anew", settingRate),
		never("next round", fmt.Sprintf("if no method succeeds, all are tried again after a pause of %v, doubled each time up to %v",
			ms(s.GetFencePauseMs()), ms(s.GetFencePauseMaxMs())), "fence_retry_pause, fence_retry_pause_max"),
		never("device", "agents of one device wait for each other: for the fences of other nodes, or a rehearsal that is under way", "fence_rehearsal_interval"),
		never("breaker", "if many nodes vanish at once, or an operator says so, fencing is paused: gulm_tool fence resume",
			"breaker_nodes, breaker_percent, breaker_window"),
		never("not believed", "an outlet that was off and never said on proves nothing: the next method, or a person; gulm_tool fence rehearse beforehand", "-"),
		never("settle", "after an attempt that was given up the node itself may not log in for fence_settle_time and more; grants do not wait for that",
			"fence_settle_time"),
		never("journal", "a lockspace with journals: until a node that lives has replayed the dead one's", "-"),
	}
}

// ownTerms are the deadlines of the node itself. They count from before it sent
// the newest heartbeat that was acknowledged, the servers' from later.
func ownTerms(d client.Deadlines, expiry, watchdog time.Duration) []term {
	at := func(key, text string, d time.Duration) term { return term{key, text, settingExpiry, d, d, d} }
	terms := []term{
		at("jeopardy", "the process is told to start nothing new", d.Jeopardy),
		at("lost", fmt.Sprintf("the process is told that its locks are lost, %v before anybody can be told otherwise", expiry-d.Lost), d.Lost),
	}
	if watchdog > 0 {
		terms = append(terms, term{"watchdog", "the watchdog has reset the machine; " +
			"fence_watchdog waits for that", "Config.Watchdog", d.Lost, d.Lost + watchdog, d.Lost + watchdog})
	}
	return terms
}

// add sums terms; without a bound on one there is none on the sum.
func add(terms []term) (sum total) {
	for _, t := range terms {
		sum.best += t.best
		sum.usual, sum.worst = plus(sum.usual, t.usual), plus(sum.worst, t.worst)
	}
	return sum
}

func plus(a, b time.Duration) time.Duration {
	if a == unbounded || b == unbounded {
		return unbounded
	}
	return a + b
}

// longer returns the longer of two times.
func longer(a, b time.Duration) time.Duration {
	if a == unbounded || b == unbounded {
		return unbounded
	}
	return max(a, b)
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// span is a time for people.
func span(d time.Duration) string {
	if d == unbounded {
		return "-"
	}
	return d.Round(time.Millisecond).String()
}
