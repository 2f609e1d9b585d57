package main

import (
	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// What --json prints. Keys are stable: new ones may come, none changes its name
// or meaning. Durations and moments are milliseconds (moments since 1970, 0 for
// never), -1 where a duration is not known. States are the words of the tables
// with underscores.

// statusJSON is the object of "gulm_tool status --json".
type statusJSON struct {
	Cluster string `json:"cluster"`
	// Quorate tells whether a master serves with quorum: then the exit status is 0.
	Quorate bool `json:"quorate"`
	// Master is the serving master's name, empty if there is none.
	Master string `json:"master"`
	// View is the server whose answer the rest is, empty if none answered.
	View          string       `json:"view"`
	Quorum        uint32       `json:"quorum"`
	Disagreements []string     `json:"disagreements"`
	Servers       []serverJSON `json:"servers"`
	Nodes         []nodeJSON   `json:"nodes"`
	PendingFences []fenceJSON  `json:"pending_fences"`
	WaitingFor    []string     `json:"waiting_for"`
	Breaker       breakerJSON  `json:"breaker"`
	// Counters are those of the server of "view" since it started.
	Counters   map[string]uint64 `json:"counters"`
	Locks      uint64            `json:"locks"`
	Waiters    uint64            `json:"waiters"`
	Resources  uint64            `json:"resources"`
	Lockspaces uint64            `json:"lockspaces"`
	Sessions   uint64            `json:"sessions"`
}

// serverJSON is one lock server. Without an answer only name, address,
// reachable, error, logged_out and last_contact_ms say anything.
type serverJSON struct {
	Name      string `json:"name"`
	Address   string `json:"address"`
	Reachable bool   `json:"reachable"`
	// Error says why there is no answer.
	Error   string `json:"error"`
	Role    string `json:"role"`
	Term    uint64 `json:"term"`
	Master  string `json:"master"`
	Quorate bool   `json:"quorate"`
	// LoggedOut and LastContactMs are what the server of "view" says about it.
	LoggedOut     bool   `json:"logged_out"`
	LastContactMs int64  `json:"last_contact_ms"`
	CommitIndex   uint64 `json:"commit_index"`
	AppliedIndex  uint64 `json:"applied_index"`
	// Digest has 16 hexadecimal digits: JSON numbers do not hold 64 bits.
	Digest     string `json:"digest"`
	UptimeMs   int64  `json:"uptime_ms"`
	Version    string `json:"version"`
	Durability string `json:"durability"`
}

// nodeJSON is one node.
type nodeJSON struct {
	Name        string `json:"name"`
	Address     string `json:"address"`
	Server      bool   `json:"server"`
	State       string `json:"state"`
	SinceMs     int64  `json:"since_ms"`
	Incarnation uint64 `json:"incarnation"`
	BootID      string `json:"boot_id"`
	LastBeatMs  int64  `json:"last_beat_ms"`
	Locks       uint64 `json:"locks"`
	// Sessions are the node's logged-in processes.
	Sessions []sessionJSON `json:"sessions"`
	// Fence is the pending or latest fence, null if there was none.
	Fence *fenceJSON `json:"fence"`
	// AwaitsWord is true while something that the node held waits for
	// fence_ack_manual, whatever is proved; Awaiting counts that after the proof.
	AwaitsWord bool   `json:"awaits_word"`
	Awaiting   uint64 `json:"awaiting"`
	// NoAgents is true while the node is expired and no agent fences it.
	NoAgents bool `json:"no_agents"`
	// Leases are the node's lockspaces under the policy lease; of an expired node
	// those whose leases have not ended.
	Leases []leaseJSON `json:"leases"`
}

// sessionJSON is one logged-in process of a node.
type sessionJSON struct {
	Session  uint64 `json:"session"`
	Process  string `json:"process"`
	Locks    uint64 `json:"locks"`
	Attached bool   `json:"attached"`
	// Important: its silence fails the node. Locked: it must be gone before the
	// servers may be shut down below quorum. Server: it is the node's lock server.
	Important bool `json:"important"`
	Locked    bool `json:"locked"`
	Container bool `json:"container"`
	Server    bool `json:"server"`
	// LastBeatMs is -1 unless the master answers and the node is logged in.
	LastBeatMs int64 `json:"last_beat_ms"`
	// ExpiryMs is the silence after which the process was told that its node is
	// expired.
	ExpiryMs int64 `json:"expiry_ms"`
	// WatchdogMs is how long after the process counts its locks as lost the
	// machine has reset itself at the latest, 0 without a watchdog.
	WatchdogMs int64 `json:"watchdog_ms"`
	// Troubles are the probes of the process that fail, as its newest heartbeat
	// told the master.
	Troubles []troubleJSON `json:"troubles"`
}

// troubleJSON is a probe that fails. StopsInMs is when the process stops its
// heartbeats if that goes on, 0 if it does now or has.
type troubleJSON struct {
	Probe     string `json:"probe"`
	Error     string `json:"error"`
	SinceMs   int64  `json:"since_ms"`
	StopsInMs int64  `json:"stops_in_ms"`
}

// fenceJSON is one fence. State is wanted, proved, acknowledged or lease_ended.
type fenceJSON struct {
	Node        string `json:"node"`
	Incarnation uint64 `json:"incarnation"`
	State       string `json:"state"`
	Reason      string `json:"reason"`
	WantedMs    int64  `json:"wanted_ms"`
	SettledMs   int64  `json:"settled_ms"`
	Rounds      uint32 `json:"rounds"`
	By          string `json:"by"`
	// Power: the machine lost its power. Operator expired it by force.
	Power    bool          `json:"power"`
	Operator string        `json:"operator"`
	Attempts []attemptJSON `json:"attempts"`
	// Word is the operator who acknowledged it after it was proved.
	Word string `json:"word"`
}

// attemptJSON is one run of an agent.
type attemptJSON struct {
	Method     string `json:"method"`
	Device     string `json:"device"`
	Agent      string `json:"agent"`
	Outcome    string `json:"outcome"`
	StartMs    int64  `json:"start_ms"`
	DurationMs int64  `json:"duration_ms"`
	Output     string `json:"output"`
	// Late: what it asked the device for may still be done.
	Late bool `json:"late"`
}

func (v *view) json() statusJSON {
	b := v.best
	out := statusJSON{
		Cluster: b.GetCluster(), Quorate: v.serving != nil, Master: v.serving.GetServer(), View: b.GetServer(), Quorum: b.GetQuorum(),
		Disagreements: append([]string{}, v.disagreements...), WaitingFor: append([]string{}, v.waitingFor()...),
		Servers: []serverJSON{}, Nodes: nodesToJSON(b.GetNodes()), PendingFences: []fenceJSON{},
		Breaker: breakerToJSON(b.GetBreaker()), Counters: countersToJSON(b.GetCounters()),
		Locks: b.GetLocks(), Waiters: b.GetWaiters(), Resources: b.GetResources(), Lockspaces: b.GetLockspaces(), Sessions: b.GetSessions(),
	}
	for i := range v.answers {
		out.Servers = append(out.Servers, v.serverToJSON(&v.answers[i]))
	}
	for _, f := range b.GetPendingFences() {
		out.PendingFences = append(out.PendingFences, *fenceToJSON(f))
	}
	return out
}

func (v *view) serverToJSON(a *answer) serverJSON {
	told := v.told(a.name())
	out := serverJSON{Name: a.name(), Address: a.server.Address, LastContactMs: -1, LoggedOut: told.GetLoggedOut()}
	if told != nil {
		out.LastContactMs = told.GetLastContactMs()
	}
	if a.err != nil {
		out.Error = a.err.Error()
		return out
	}
	s := a.status
	out.Reachable, out.Role, out.Term, out.Master, out.Quorate = true, tool.Role(s.GetRole()), s.GetTerm(), s.GetMaster(), s.GetQuorate()
	out.CommitIndex, out.AppliedIndex, out.Digest = s.GetCommitIndex(), s.GetAppliedIndex(), hexDigest(s.GetDigest())
	out.UptimeMs, out.Version, out.Durability = s.GetUptimeMs(), s.GetVersion(), s.GetDurability()
	return out
}

func nodesToJSON(nodes []*gulmv1.Node) []nodeJSON {
	out := []nodeJSON{}
	for _, n := range nodes {
		out = append(out, nodeToJSON(n))
	}
	return out
}

func nodeToJSON(n *gulmv1.Node) nodeJSON {
	out := nodeJSON{
		Name: n.GetName(), Address: n.GetAddress(), Server: n.GetServer(), State: tool.Key(tool.NodeState(n.GetState())),
		SinceMs: n.GetSinceMs(), Incarnation: n.GetIncarnation(), BootID: n.GetBootId(), LastBeatMs: n.GetLastBeatMs(),
		Locks: n.GetLocks(), Sessions: []sessionJSON{}, Fence: fenceToJSON(n.GetFence()),
		AwaitsWord: n.GetAwaitsWord(), Awaiting: n.GetAwaiting(), NoAgents: n.GetNoAgents(),
		Leases: leasesToJSON(n),
	}
	for _, s := range n.GetSessions() {
		out.Sessions = append(out.Sessions, sessionJSON{
			Session: s.GetSession(), Process: s.GetProcess(), Locks: s.GetLocks(), Attached: s.GetAttached(),
			Important: !s.GetUnimportant(), Locked: s.GetLocked(), Container: s.GetContainer(), Server: s.GetServer(),
			LastBeatMs: s.GetLastBeatMs(), ExpiryMs: s.GetExpiryMs(), WatchdogMs: s.GetWatchdogMs(), Troubles: troublesToJSON(s),
		})
	}
	return out
}

func fenceToJSON(f *gulmv1.Fence) *fenceJSON {
	if f == nil {
		return nil
	}
	out := &fenceJSON{
		Node: f.GetNode(), Incarnation: f.GetIncarnation(), State: tool.FenceState(f.GetState()), Reason: f.GetReason(),
		WantedMs: f.GetWantedMs(), SettledMs: f.GetSettledMs(), Rounds: f.GetRounds(), By: f.GetBy(), Power: f.GetPower(), Operator: f.GetOperator(), Attempts: []attemptJSON{}, Word: f.GetWord(),
	}
	for _, a := range f.GetAttempts() {
		out.Attempts = append(out.Attempts, attemptJSON{
			a.GetMethod(), a.GetDevice(), a.GetAgent(), a.GetOutcome(), a.GetStartMs(), a.GetDurationMs(), a.GetOutput(), a.GetLate(),
		})
	}
	return out
}

func countersToJSON(counters map[string]uint64) map[string]uint64 {
	if counters == nil {
		return map[string]uint64{}
	}
	return counters
}
