package main

import (
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

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
	// RoundMs is the slowest round to a majority lately, 0 if it was not measured.
	RoundMs int64 `json:"round_ms"`
}

// explainJSON is one explanation. best_ms and worst_ms are those of a node that
// fails alone, measured_ms its worst case with everything as slow as it was lately,
// -1 if not all was measured; methods_worst_ms if all fence methods but the last fail
// too; takeover_*_ms if the master dies at the same moment, and moment_worst_ms if it
// dies at any moment between the failure and the grant.
type explainJSON struct {
	Nodes           []string   `json:"nodes"`
	Grant           []termJSON `json:"grant"`
	BestMs          int64      `json:"best_ms"`
	WorstMs         int64      `json:"worst_ms"`
	MeasuredMs      int64      `json:"measured_ms"`
	Methods         []termJSON `json:"methods"`
	MethodsWorstMs  int64      `json:"methods_worst_ms"`
	Takeover        []termJSON `json:"takeover"`
	TakeoverBestMs  int64      `json:"takeover_best_ms"`
	TakeoverUsualMs int64      `json:"takeover_usual_ms"`
	TakeoverWorstMs int64      `json:"takeover_worst_ms"`
	MomentWorstMs   int64      `json:"moment_worst_ms"`
	Extra           []termJSON `json:"extra"`
	Node            []termJSON `json:"node"`
	Leases          []termJSON `json:"leases"`
}

// termJSON is one term.
type termJSON struct {
	Key     string `json:"key"`
	BestMs  int64  `json:"best_ms"`
	UsualMs int64  `json:"usual_ms"`
	WorstMs int64  `json:"worst_ms"`
	// Settings are what it follows from.
	Settings string `json:"settings"`
	Text     string `json:"text"`
}

func timeoutsToJSON(s *gulmv1.TimeoutsReply, list []*explanation) timeoutsJSON {
	out := timeoutsJSON{Cluster: s.GetCluster(), Server: s.GetServer(), Settings: settingsJSON{
		s.GetServers(), s.GetHeartbeatRateMs(), s.GetExpiryMs(), s.GetLookMs(), s.GetLatenessMs(), s.GetMasterSilenceMs(), s.GetElectionMs(),
		s.GetFencePauseMs(), s.GetFencePauseMaxMs(), s.GetRoundMs(),
	}}
	for _, e := range list {
		out.Nodes = append(out.Nodes, explainJSON{
			e.nodes, termsToJSON(e.grant), toMs(e.sum.best), toMs(e.sum.worst), toMs(e.sum.usual),
			termsToJSON(e.methods), toMs(e.sumMethods.worst),
			termsToJSON(e.takeover), toMs(e.sumTakeover.best), toMs(e.sumTakeover.usual), toMs(e.sumTakeover.worst), toMs(e.sumMoment.worst),
			termsToJSON(e.extra), termsToJSON(e.own), termsToJSON(e.leases),
		})
	}
	return out
}

func termsToJSON(terms []term) []termJSON {
	out := []termJSON{}
	for _, t := range terms {
		out = append(out, termJSON{t.Key, toMs(t.best), toMs(t.usual), toMs(t.worst), t.Settings, t.Text})
	}
	return out
}

func toMs(d time.Duration) int64 {
	if d == unbounded {
		return -1
	}
	return d.Milliseconds()
}
