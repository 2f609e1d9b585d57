package gulmtest

import (
	"flag"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var (
	schedules = flag.Int("schedules", 40, "seeded schedules of TestSimulation")
	simLog    = flag.Bool("simlog", false, "show what the simulated servers and nodes log")
)

// enough schedules are sure to meet every kind of event; fewer may miss a rare
// one.
const enough = 150

// TestSimulation runs seeded schedules of crashes, pauses, partitions and fence
// faults and demands that no promise is broken.
func TestSimulation(t *testing.T) {
	campaign := NewCampaign(t)
	runs := 0
	for seed := range campaign.Seeds(*schedules) {
		runs++
		synctest.Test(t, func(t *testing.T) { simulate(t, seed, seed.Rand("journals").IntN(2) == 0) })
	}
	if runs < enough {
		return
	}
	campaign.Sometimes.Require(t, "master killed", "node killed", "quorum lost", "host paused", "fence proved", "fencer faulty",
		"node told lost", "node told expired", "locks regained after lost", "server fenced", "converted", "try failed", "request withdrawn",
		"holder stopped in time")
	if runs >= 2*enough { // half of them have journals
		campaign.Sometimes.Require(t, withJournals...)
	}
}

// withJournals are the events that must be met with journals in play.
var withJournals = []string{
	"first mounter replayed all", "spectator mounted", "node unmounted", "node withdrew", "journal replayed by another", "recoverer died",
	"replay failed", "withdrew while another recovers", "unmounted during a replay", "master killed during a replay",
	"server restarted during a replay", "node killed during a replay", "host paused during a replay",
	"servers partitioned during a replay", "node cut off during a replay", "one-way cut during a replay", "fencer faulty during a replay",
}

// TestSimulation_journals is TestSimulation with journals in all schedules.
func TestSimulation_journals(t *testing.T) {
	campaign := NewCampaign(t)
	runs := 0
	for seed := range campaign.Seeds((*schedules + 2) / 3) {
		runs++
		synctest.Test(t, func(t *testing.T) { simulate(t, seed, true) })
	}
	if runs >= enough {
		campaign.Sometimes.Require(t, withJournals...)
	}
}

func simulate(t *testing.T, seed *Seed, journals bool) {
	rnd := seed.Rand("shape")
	opt := ClusterOptions{Servers: []int{1, 3, 3, 3, 5}[rnd.IntN(5)], Nodes: 2 + rnd.IntN(3)}
	opt.FenceServers = rnd.IntN(2) == 0
	if *simLog {
		opt.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	c := NewCluster(t, seed.N, opt)
	defer c.Close()
	lies := rnd.IntN(4) == 0
	w := &Workload{Cluster: c, Seed: seed, Careful: lies || rnd.IntN(2) == 0}
	if journals {
		w.Journals = []int{opt.Nodes, 2 * opt.Nodes}[rnd.IntN(2)]
	}
	c.StartAll()
	c.AwaitMaster(time.Minute)
	for _, name := range c.NodeNames() {
		w.Boot(name)
	}
	x := &Chaos{Cluster: c, Workload: w, Seed: seed, Lies: lies}
	x.Run(time.Duration(40+rnd.IntN(60)) * time.Second)
	c.Disk.Check(t)
}
