package main

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

const (
	// commitLimit is what one entry in the log is taken to need at worst: a round
	// to a majority and a sync of its disks.
	commitLimit = 250 * time.Millisecond
	// killLimit is for how long a fence agent that was killed is waited for.
	killLimit = 7 * time.Second
	// unbounded is a time without a bound.
	unbounded = time.Duration(-1)
	// manualAgent waits for a person.
	manualAgent = "fence_manual"
)

// term is one part of a time.
type term struct {
	// Key names it, Text says what it is.
	Key, Text string
	// best and worst are its bounds; unbounded if there is none.
	best, worst time.Duration
}

// explanation is the time between the failure of a node and the grant of its
// locks.
type explanation struct {
	// nodes are those for which it is the same.
	nodes []string
	// grant are the terms that make the sums best and worst, one after the other;
	// measured is worst with the first method as it was measured, unbounded if it
	// was not.
	grant                 []term
	best, worst, measured time.Duration
	// takeover are the terms that come instead of the first one if the master dies
	// with the node, with the sums of all.
	takeover                    []term
	takeoverBest, takeoverWorst time.Duration
	// extra may come on top; own are the node's deadlines.
	extra, own []term
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
	e := &explanation{nodes: []string{n.GetNode()}, measured: unbounded}
	e.grant = []term{
		{"silence", "until the node was silent for so long; best if its last heartbeat was just about to be followed", expiry - own.Beat, expiry},
		{"look", "until the master looks who is late", 0, ms(s.GetLookMs())},
		{"lateness", "how late that look may be before the master doubts itself and begins anew", 0, ms(s.GetLatenessMs())},
		{"expire", "a majority confirms the master, and the expiry is committed (taken to be at most " + commitLimit.String() + ")", 0, 2 * commitLimit},
		{"intent", "the begin of the fence is committed and the master confirmed once more", 0, 2 * commitLimit},
	}
	steps, measured, all := fenceTerms(n, seen, expiry-ms(s.GetExpiryMs())+watchdog)
	e.grant = append(e.grant, steps...)
	e.grant = append(e.grant,
		term{"ledger", "each run of an agent is recorded, then the proof; that releases the locks", 0, time.Duration(len(steps)+1) * commitLimit},
		term{"tell", "the grant reaches the node that waits", 0, commitLimit})
	e.best, e.worst = sum(e.grant)
	if all {
		rest := slices.DeleteFunc(slices.Clone(e.grant), func(t term) bool { return slices.Contains(steps, t) })
		_, worst := sum(rest)
		e.measured = worst + measured
	}
	if s.GetServers() > 1 {
		e.takeover = takeoverTerms(s, expiry)
		best, worst := sum(append(slices.Clone(e.takeover), e.grant[1:]...))
		e.takeoverBest, e.takeoverWorst = best, worst
	}
	e.extra = extraTerms(s)
	e.own = ownTerms(own, expiry, watchdog)
	return e, nil
}

// fenceTerms are the runs of the agents: the best case is that of the first
// method, the worst that all but the last method fail at their limits. It returns
// what the first method took at most when it was measured, if all of it was.
// armed is what the node's own watchdog adds to a wait for it.
func fenceTerms(n *gulmv1.NodeTimeouts, seen map[string]ran, armed time.Duration) (terms []term, measured time.Duration, all bool) {
	all = len(n.GetMethods()) > 0
	for i, m := range n.GetMethods() {
		last := i == len(n.GetMethods())-1
		for _, s := range m.GetSteps() {
			limit := ms(s.GetLimitMs())
			t := term{Key: "fence " + m.GetMethod() + "/" + s.GetDevice(), Text: fmt.Sprintf("%s %s, at most %v", s.GetAgent(), s.GetAction(), limit), worst: limit}
			waits := path.Base(s.GetAgent()) == fence.WatchdogAgent
			if !last {
				t.worst += killLimit
				t.Text += " and " + killLimit.String() + " to be killed"
			}
			asked := agentRuns(s.GetAction())
			if asked > 0 && !waits {
				t.worst += time.Duration(asked) * limit
				t.Text += fmt.Sprintf(", and as long each for up to %d questions: its metadata, its status before if its outlet never said on", asked)
				if asked == 3 {
					t.Text += ", and its status after, which must be off"
				}
			}
			r, ok := seen[s.GetDevice()+" "+s.GetAgent()+" "+s.GetAction()]
			if ok {
				t.Text += fmt.Sprintf("; measured: %v to %v", r.fastest, r.slowest)
			}
			if i == 0 {
				all = all && ok
				t.best, measured = r.fastest, measured+r.slowest
			} else {
				t.Text += "; only if what is before fails"
			}
			if waits {
				t.best, t.worst = max(t.best, limit), t.worst+armed
				t.Text += fmt.Sprintf(": expiry, hardware_timeout and margin; the node's own watchdog adds %v", armed)
			}
			if s.GetAgent() == manualAgent {
				t.worst, t.Text = unbounded, "an operator acknowledges"
			}
			terms = append(terms, t)
		}
	}
	return terms, measured, all
}

// agentRuns is how often an agent is asked something in the worst case beside
// what it is to do. Two feeds of one machine are off and on each, and checked
// before the first on.
func agentRuns(action string) int {
	switch action {
	case "on", "status", "monitor", "metadata":
		return 0
	case "off":
		return 3
	}
	return 2
}

// takeoverTerms come instead of the silence if the master dies too.
func takeoverTerms(s *gulmv1.TimeoutsReply, expiry time.Duration) []term {
	silence, election := ms(s.GetMasterSilenceMs()), ms(s.GetElectionMs())
	return []term{
		{"master silence", "until another server notices that the master is gone", silence, 2 * silence},
		{"election", "a master is elected; a tied vote is repeated once here", 0, 2 * election},
		{"takeover", "the new master applies what was committed and begins its term", 0, 2 * commitLimit},
		{"grace", "every node gets one full expiry time before the new master judges anybody", expiry, expiry},
	}
}

// extraTerms may come on top.
func extraTerms(s *gulmv1.TimeoutsReply) []term {
	first, most := ms(s.GetFencePauseMs()), ms(s.GetFencePauseMaxMs())
	return []term{
		{"next round", fmt.Sprintf("if no method succeeds, all are tried again after a pause of %v, doubled each time up to %v", first, most), 0, unbounded},
		{"device", "agents of one device wait for each other, if it has to fence several nodes", 0, unbounded},
		{"breaker", "if many nodes vanish at once, or an operator says so, fencing is paused: gulm_tool fence resume", 0, unbounded},
		{"not believed", "an outlet that was off and never said on proves nothing: the next method, or a person; gulm_tool fence rehearse beforehand", 0, unbounded},
		{"settle", "after an attempt that was given up the node itself may not log in for fence_settle_time and more; grants do not wait for that", 0, unbounded},
		{"journal", "a lockspace with journals: until a node that lives has replayed the dead one's", 0, unbounded},
		{"own pause", "a master that stood still begins every deadline anew", 0, unbounded},
	}
}

// ownTerms are the deadlines of the node itself. They count from before it sent
// the newest heartbeat that was acknowledged, the servers' from later.
func ownTerms(d client.Deadlines, expiry, watchdog time.Duration) []term {
	terms := []term{
		{"jeopardy", "the process is told to start nothing new", d.Jeopardy, d.Jeopardy},
		{"lost", fmt.Sprintf("the process is told that its locks are lost, %v before anybody can be told otherwise", expiry-d.Lost), d.Lost, d.Lost},
	}
	if watchdog > 0 {
		terms = append(terms, term{"watchdog", "the watchdog has reset the machine; " +
			"fence_watchdog waits for that", d.Lost, d.Lost + watchdog})
	}
	return terms
}

// sum adds terms; without a bound on one there is none on the sum.
func sum(terms []term) (best, worst time.Duration) {
	for _, t := range terms {
		best += t.best
		switch {
		case t.worst == unbounded || worst == unbounded:
			worst = unbounded
		default:
			worst += t.worst
		}
	}
	return best, worst
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// span is a time for people.
func span(d time.Duration) string {
	if d == unbounded {
		return "-"
	}
	return d.Round(time.Millisecond).String()
}

// timeoutsJSON is the object of "gulm_tool timeouts explain --json".
type timeoutsJSON struct {
	Cluster  string        `json:"cluster"`
	Server   string        `json:"server"`
	Settings settingsJSON  `json:"settings"`
	Nodes    []explainJSON `json:"nodes"`
}

// settingsJSON is what the terms follow from.
type settingsJSON struct {
	Servers         uint32 `json:"servers"`
	HeartbeatRateMs int64  `json:"heartbeat_rate_ms"`
	ExpiryMs        int64  `json:"expiry_ms"`
	LookMs          int64  `json:"look_ms"`
	LatenessMs      int64  `json:"lateness_ms"`
	MasterSilenceMs int64  `json:"master_silence_ms"`
	ElectionMs      int64  `json:"election_ms"`
	FencePauseMs    int64  `json:"fence_pause_ms"`
	FencePauseMaxMs int64  `json:"fence_pause_max_ms"`
}

// explainJSON is one explanation. MeasuredMs is the worst case with the first
// method as measured, -1 if it was not.
type explainJSON struct {
	Nodes           []string   `json:"nodes"`
	Grant           []termJSON `json:"grant"`
	BestMs          int64      `json:"best_ms"`
	WorstMs         int64      `json:"worst_ms"`
	MeasuredMs      int64      `json:"measured_ms"`
	Takeover        []termJSON `json:"takeover"`
	TakeoverBestMs  int64      `json:"takeover_best_ms"`
	TakeoverWorstMs int64      `json:"takeover_worst_ms"`
	Extra           []termJSON `json:"extra"`
	Node            []termJSON `json:"node"`
}

// termJSON is one term.
type termJSON struct {
	Key     string `json:"key"`
	BestMs  int64  `json:"best_ms"`
	WorstMs int64  `json:"worst_ms"`
	Text    string `json:"text"`
}

func timeoutsToJSON(s *gulmv1.TimeoutsReply, list []*explanation) timeoutsJSON {
	out := timeoutsJSON{Cluster: s.GetCluster(), Server: s.GetServer(), Settings: settingsJSON{
		s.GetServers(), s.GetHeartbeatRateMs(), s.GetExpiryMs(), s.GetLookMs(), s.GetLatenessMs(), s.GetMasterSilenceMs(), s.GetElectionMs(),
		s.GetFencePauseMs(), s.GetFencePauseMaxMs(),
	}}
	for _, e := range list {
		out.Nodes = append(out.Nodes, explainJSON{
			e.nodes, termsToJSON(e.grant), toMs(e.best), toMs(e.worst), toMs(e.measured), termsToJSON(e.takeover), toMs(e.takeoverBest),
			toMs(e.takeoverWorst), termsToJSON(e.extra), termsToJSON(e.own),
		})
	}
	return out
}

func termsToJSON(terms []term) []termJSON {
	out := []termJSON{}
	for _, t := range terms {
		out = append(out, termJSON{t.Key, toMs(t.best), toMs(t.worst), t.Text})
	}
	return out
}

func toMs(d time.Duration) int64 {
	if d == unbounded {
		return -1
	}
	return d.Milliseconds()
}
