package ccs

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Lengths of names in characters.
const (
	maxClusterName = 16
	maxNodeName    = 64
	maxFenceName   = 64 // of methods and devices
)

// Bounds of the time until a node is expired. Below the lower one the loss of
// two packets kills a node; above the upper one nobody waits for a lock.
const (
	minExpiry = 300 * time.Millisecond
	maxExpiry = 10 * time.Minute
	// lowExpiry is what an election of the servers takes at worst: a node
	// that expires sooner is in doubt about its locks at each election.
	lowExpiry = 3 * time.Second
)

// lockSetting is one numeric key of lock_gulm. Either seconds or count says
// where its value goes; def, low and high are in the unit of the file.
type lockSetting struct {
	key, doc       string
	def, low, high float64
	seconds        func(g *LockGulm) *time.Duration
	count          func(g *LockGulm) *int
}

// lockSettings are the numeric keys in the order in which they are printed.
// Lower bounds of limits are low on purpose, so that tests can reach them.
var lockSettings = []lockSetting{
	{
		key: "heartbeat_rate", doc: "seconds between two heartbeats of a node",
		def: 2, low: 0.1, high: 60,
		seconds: func(g *LockGulm) *time.Duration { return &g.HeartbeatRate },
	},
	{
		key: "allowed_misses", doc: "heartbeats that may be lost; a node is expired after heartbeat_rate x (allowed_misses + 1)",
		def: 2, low: 1, high: 1000,
		count: func(g *LockGulm) *int { return &g.AllowedMisses },
	},
	{
		key: "core_port", doc: "TCP port of gRPC, for nodes and tools",
		def: 40040, low: 1, high: 65535,
		count: func(g *LockGulm) *int { return &g.CorePort },
	},
	{
		key: "raft_port", doc: "TCP port of the replicated log, for servers only",
		def: 40041, low: 1, high: 65535,
		count: func(g *LockGulm) *int { return &g.RaftPort },
	},
	{
		key: "max_locks", doc: "locks and byte ranges, waiting requests included; further requests are refused",
		def: 4 << 20, low: 1, high: 1 << 28,
		count: func(g *LockGulm) *int { return &g.MaxLocks },
	},
	{
		key: "max_resources", doc: "resources in all lockspaces together",
		def: 4 << 20, low: 1, high: 1 << 28,
		count: func(g *LockGulm) *int { return &g.MaxResources },
	},
	{
		key: "max_sessions", doc: "logged-in sessions of all nodes together",
		def: 4096, low: 1, high: 1 << 20,
		count: func(g *LockGulm) *int { return &g.MaxSessions },
	},
	{
		key: "max_requests_in_flight", doc: "unanswered requests of one session",
		def: 1024, low: 1, high: 1 << 20,
		count: func(g *LockGulm) *int { return &g.MaxRequestsInFlight },
	},
	{
		key: "max_lockspaces", doc: "lockspaces, those of all file systems included",
		def: 256, low: 1, high: 1 << 16,
		count: func(g *LockGulm) *int { return &g.MaxLockspaces },
	},
	{
		key: "lt_high_locks", doc: "locks above which nodes are asked to give back cached ones; at most max_locks",
		def: 1 << 20, low: 1, high: 1 << 28,
		count: func(g *LockGulm) *int { return &g.HighLocks },
	},
	{
		key: "lt_drop_req_rate", doc: "seconds between two such requests to the nodes, while there are too many locks",
		def: 10, low: 0.1, high: 3600,
		seconds: func(g *LockGulm) *time.Duration { return &g.DropInterval },
	},
	{
		key: "fence_retry_pause", doc: "seconds to wait after all fence methods of a node failed; doubles each time",
		def: 5, low: 0.1, high: 3600,
		seconds: func(g *LockGulm) *time.Duration { return &g.FenceRetryPause },
	},
	{
		key: "fence_retry_pause_max", doc: "seconds up to which that pause grows; at least fence_retry_pause",
		def: 60, low: 0.1, high: 86400,
		seconds: func(g *LockGulm) *time.Duration { return &g.FenceRetryPauseMax },
	},
	{
		key: "breaker_nodes", doc: "automatic fencing is paused if more nodes than this vanish within breaker_window; 0 for no such limit",
		def: 10, low: 0, high: 100_000,
		count: func(g *LockGulm) *int { return &g.BreakerNodes },
	},
	{
		key: "breaker_percent", doc: "or more per cent of the logged-in nodes, and at least three; 100 for no such limit",
		def: 50, low: 1, high: 100,
		count: func(g *LockGulm) *int { return &g.BreakerPercent },
	},
	{
		key: "breaker_window", doc: "seconds within which vanished nodes count together",
		def: 30, low: 0.1, high: 3600,
		seconds: func(g *LockGulm) *time.Duration { return &g.BreakerWindow },
	},
	{
		key: "fence_rehearsal_interval", doc: "seconds between two rehearsals of the fence devices of a live node; 0 for never",
		def: 600, low: 0, high: 86400,
		seconds: func(g *LockGulm) *time.Duration { return &g.FenceRehearsalInterval },
	},
	{
		key: "fence_settle_time", doc: "seconds that a fence device may take to act after its agent was given up; the node is kept out so long",
		def: 30, low: 0.1, high: 3600,
		seconds: func(g *LockGulm) *time.Duration { return &g.FenceSettleTime },
	},
}

// Key describes one key of the section lock_gulm, for manual pages and help.
type Key struct {
	// Name is the key, Doc says in half a sentence what it sets.
	Name, Doc string
	// Default and Range are written as in the file; Range is "low to high".
	Default, Range string
}

// Keys describes all keys of the section lock_gulm in the order of [Config.Print].
func Keys() []Key {
	keys := []Key{
		{Name: "servers", Doc: "names of the lock servers in rank order", Default: "none, required", Range: "1, 3, 4 or 5 names"},
		{Name: "durability", Doc: "what a reply means: synced to disk on a majority of servers", Default: `"disk"`, Range: `"disk"`},
	}
	for _, s := range lockSettings {
		keys = append(keys, Key{
			Name: s.key, Doc: s.doc, Default: s.show(s.def),
			Range: s.show(s.low) + " to " + s.show(s.high),
		})
	}
	for _, s := range switchSettings {
		keys = append(keys, Key{Name: s.key, Doc: s.doc, Default: quote(yesNo(s.def)), Range: `"yes" or "no"`})
	}
	return keys
}

// show renders a number of the setting's unit as the file has it.
func (s lockSetting) show(n float64) string {
	if s.seconds != nil {
		return floatValue(n).text
	}
	return intValue(int(n)).text
}

// value returns what is set, as the file would have it.
func (s lockSetting) value(g *LockGulm) value {
	if s.seconds != nil {
		return secondsValue(*s.seconds(g))
	}
	return intValue(*s.count(g))
}

func secondsValue(d time.Duration) value { return floatValue(d.Seconds()) }

// defaultLockGulm returns the settings of a file that sets none.
func defaultLockGulm() LockGulm {
	g := LockGulm{Durability: "disk"}
	for _, s := range lockSettings {
		if s.seconds != nil {
			*s.seconds(&g) = toDuration(s.def)
		} else {
			*s.count(&g) = int(s.def)
		}
	}
	for _, s := range switchSettings {
		*s.to(&g) = s.def
	}
	return g
}

func toDuration(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds * float64(time.Second)))
}

// oldLockKeys says what became of the keys of lock_gulm in GFS 6.0 and 6.1.
var oldLockKeys = map[string]string{
	"coreport":               "use core_port",
	"ltport":                 "remove it: locks are served on core_port too",
	"lt_port":                "remove it: locks are served on core_port too",
	"ltpxport":               "remove it: there is no lock proxy any more, programs use the client library and core_port",
	"ltpx_port":              "remove it: there is no lock proxy any more, programs use the client library and core_port",
	"lt_partitions":          "remove it: there is one lock table, lock tables are no longer split",
	"prealloc_locks":         "remove it: memory is taken when it is needed; max_locks limits it",
	"prealloc_holders":       "remove it: memory is taken when it is needed; max_locks limits it",
	"prealloc_lkrqs":         "remove it: memory is taken when it is needed; max_requests_in_flight limits it",
	"new_connection_timeout": "remove it: the time for a login is fixed",
	"master_scan_delay":      "remove it: the servers elect their master themselves",
	"fence_bin":              "remove it: lock_gulmd runs the agents of fence.ccs itself",
	"run_as":                 "remove it: choose the user in the service file (User= of systemd)",
	"lock_dir":               "remove it: there are no pid files; state is kept in the data folder of lock_gulmd",
	"verbosity":              "remove it: the log options of lock_gulmd say what is logged",
	"cluster_name":           "use name in the section cluster",
	"use_ccs":                "remove it: the configuration is always read from these files",
	"name":                   "remove it: each server's name is its name in nodes.ccs",
	"ip":                     "remove it: use ip_interfaces of the node in nodes.ccs",
	"ifdev":                  "remove it: use usedev of the node in nodes.ccs",
	"lockserver":             `use servers = ["name", ...]`,
}

// oldClusterKeys says the same for the section cluster.
var oldClusterKeys = map[string]string{
	"config_version": "remove it: servers compare what their files say, not a number",
	"gulm":           "use the section lock_gulm",
	"clusternodes":   "use the section nodes in nodes.ccs",
	"fencedevices":   "use the section fence_devices in fence.ccs",
}

// readCluster reads the section cluster.
func (l *loader) readCluster(top *section) {
	l.lockLines = map[string]int{"": top.line}
	l.walk(top, map[string]handler{
		"name": {value: func(it item) {
			if name, ok := l.str(top, it); ok {
				l.cfg.Name = name
				l.checkName(top.file, "cluster name", name, it.line, maxClusterName)
			}
		}},
		"lock_gulm": {section: l.readLockGulm},
	}, oldClusterKeys)
	if !top.has("name") {
		l.fault(top.file, top.line, "the cluster has no name", `write name = "farm7", 1 to 16 characters`)
	}
	if !top.has("lock_gulm") {
		l.fault(top.file, top.line, "the section lock_gulm is missing", `write lock_gulm { servers = ["lk1"] }`)
	}
}

// readLockGulm reads the section lock_gulm.
func (l *loader) readLockGulm(s *section) {
	l.lockLines[""] = s.line
	for _, it := range s.items {
		if _, again := l.lockLines[it.key]; !again {
			l.lockLines[it.key] = it.line
		}
	}
	known := map[string]handler{
		"servers":    {value: func(it item) { l.readServers(s, it) }},
		"durability": {value: func(it item) { l.readDurability(s, it) }},
	}
	for _, set := range lockSettings {
		known[set.key] = handler{value: func(it item) { l.readSetting(s, set, it) }}
	}
	for _, set := range switchSettings {
		known[set.key] = handler{value: func(it item) { l.readSwitch(s, set, it) }}
	}
	l.walk(s, known, oldLockKeys)
	if _, ok := l.lockLines["servers"]; !ok {
		l.fault(s.file, s.line, "no lock servers are named", `write servers = ["lk1", "lk2", "lk3"]`)
	}
	l.checkLockGulm()
}

// readSetting reads a numeric key.
func (l *loader) readSetting(s *section, set lockSetting, it item) {
	if set.seconds != nil {
		if d, ok := l.duration(s, it, set.low, set.high); ok {
			*set.seconds(&l.cfg.Lock) = d
		}
		return
	}
	if n, ok := l.integer(s, it, int(set.low), int(set.high)); ok {
		*set.count(&l.cfg.Lock) = n
	}
}

// duration reads seconds between bounds, with or without a fraction.
func (l *loader) duration(s *section, it item, low, high float64) (d time.Duration, ok bool) {
	seconds := it.val.flt
	switch it.val.kind {
	case kindInt:
		seconds = float64(it.val.num)
	case kindFloat:
	default:
		l.wrongType(s, it, "a number of seconds", fmt.Sprintf("write a number from %s to %s, without quotes and unit", floatValue(low).text, floatValue(high).text))
		return 0, false
	}
	if seconds < low || seconds > high {
		l.fault(s.file, it.line, fmt.Sprintf("%s = %s is out of range", it.key, it.val.text),
			fmt.Sprintf("choose %s to %s seconds", floatValue(low).text, floatValue(high).text))
		return 0, false
	}
	return toDuration(seconds), true
}

// readServers reads the names of the servers; that they are nodes is checked
// when all files have been read.
func (l *loader) readServers(s *section, it item) {
	if it.val.kind != kindArray {
		cure := `write servers = ["lk1", "lk2", "lk3"]`
		if it.val.kind == kindString {
			cure = fmt.Sprintf("write servers = [%s]", quote(it.val.text))
		}
		l.wrongType(s, it, "an array of names", cure)
		return
	}
	before := seen{}
	for _, v := range it.val.list {
		if v.kind != kindString {
			l.fault(s.file, v.line, fmt.Sprintf("%s is no name of a server", v), "put names in quotes")
			continue
		}
		if l.unique(before, s.file, "server", v.text, v.line) {
			l.cfg.Lock.Servers = append(l.cfg.Lock.Servers, v.text)
			l.serverLines = append(l.serverLines, v.line)
		}
	}
	switch n := len(it.val.list); n {
	case 1, 3, 4, 5:
	case 2:
		l.fault(s.file, it.line, "2 servers are worse than 1: the loss of either stops the cluster", "name 1, 3, 4 or 5")
	default:
		l.fault(s.file, it.line, fmt.Sprintf("%d servers cannot be used", n), "name 1, 3, 4 or 5")
	}
}

func (l *loader) readDurability(s *section, it item) {
	mode, ok := l.str(s, it)
	if !ok {
		return
	}
	switch strings.ToLower(mode) {
	case "disk":
	case "memory":
		l.fault(s.file, it.line, `durability = "memory" is not there yet: this version keeps its log on disk`,
			`write durability = "disk" or remove the line`)
	default:
		l.fault(s.file, it.line, fmt.Sprintf("durability %q is not known", mode), `write durability = "disk" or remove the line`)
	}
}

// checkLockGulm checks settings against each other. A default follows a value
// that was set; only values that were both set can contradict each other.
func (l *loader) checkLockGulm() {
	g := &l.cfg.Lock
	line := func(keys ...string) int {
		for _, key := range keys {
			if n, ok := l.lockLines[key]; ok {
				return n
			}
		}
		return l.lockLines[""]
	}
	isSet := func(key string) bool { _, ok := l.lockLines[key]; return ok }
	if e := g.Expiry(); e < minExpiry || e > maxExpiry {
		l.fault(ClusterFile, line("heartbeat_rate", "allowed_misses"),
			fmt.Sprintf("heartbeat_rate x (allowed_misses + 1) is %v", e),
			fmt.Sprintf("choose them so that it is %v to %v", minExpiry, maxExpiry))
	} else if e < lowExpiry {
		l.warn(ClusterFile, line("heartbeat_rate", "allowed_misses"),
			fmt.Sprintf("nodes expire after %v, but servers may need %v to elect a master", e, lowExpiry),
			"this is safe, but nodes will doubt their locks at each election; raise heartbeat_rate outside tests")
	}
	if g.CorePort == g.RaftPort {
		l.fault(ClusterFile, line("raft_port", "core_port"), fmt.Sprintf("core_port and raft_port are both %d", g.CorePort), "choose two ports")
	}
	if g.HighLocks > g.MaxLocks {
		if isSet("lt_high_locks") {
			l.fault(ClusterFile, line("lt_high_locks"), fmt.Sprintf("lt_high_locks %d is above max_locks %d", g.HighLocks, g.MaxLocks),
				"lower it, or raise max_locks")
		}
		g.HighLocks = g.MaxLocks
	}
	if g.FenceRetryPauseMax < g.FenceRetryPause {
		if isSet("fence_retry_pause_max") {
			l.fault(ClusterFile, line("fence_retry_pause_max"),
				fmt.Sprintf("fence_retry_pause_max %v is below fence_retry_pause %v", g.FenceRetryPauseMax, g.FenceRetryPause),
				"raise it, or lower fence_retry_pause")
		}
		g.FenceRetryPauseMax = g.FenceRetryPause
	}
}
