package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/client"
	"lock_gulmd/cmd/internal/tool/tooltest"
	"lock_gulmd/fence/process"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/rpc"
)

// twoMethods is a node with a power switch of two feeds, and people behind it.
func twoMethods() *gulmv1.NodeTimeouts {
	off := func(device string) *gulmv1.StepTimeouts {
		return &gulmv1.StepTimeouts{Device: device, Agent: "fence_apc", Action: "off", LimitMs: 10_000}
	}
	return &gulmv1.NodeTimeouts{Node: "fs01", Methods: []*gulmv1.MethodTimeouts{
		{Method: "power", Steps: []*gulmv1.StepTimeouts{off("feed1"), off("feed2")}},
		{Method: "ilo", Steps: []*gulmv1.StepTimeouts{{Device: "bmc", Agent: "fence_ipmilan", Action: "reboot", LimitMs: 20_000}}},
	}}
}

func defaultTimeouts(nodes ...*gulmv1.NodeTimeouts) *gulmv1.TimeoutsReply {
	return &gulmv1.TimeoutsReply{
		Cluster: "farm7", Server: "lk1", Servers: 3, HeartbeatRateMs: 2000, ExpiryMs: 6000, LookMs: 500, LatenessMs: 1000,
		MasterSilenceMs: 1000, ElectionMs: 1000, FencePauseMs: 5000, FencePauseMaxMs: 60_000, Nodes: nodes,
	}
}

// attempts is a node whose fence took these times.
func attempts(device string, took ...int64) *gulmv1.Node {
	n := &gulmv1.Node{Name: "fs07", Fence: &gulmv1.Fence{}}
	for _, d := range took {
		n.Fence.Attempts = append(n.Fence.Attempts, &gulmv1.FenceAttempt{Device: device, Agent: "fence_apc off", Outcome: "ok", DurationMs: d})
	}
	n.Fence.Attempts = append(n.Fence.Attempts, &gulmv1.FenceAttempt{Device: device, Agent: "fence_apc off", Outcome: "timed out", DurationMs: 1})
	return n
}

func TestExplain_Sums(t *testing.T) {
	list, err := explainAll(defaultTimeouts(twoMethods()), []*gulmv1.Node{attempts("feed1", 700, 900), attempts("feed2", 500)}, nil)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d explanations, %v", len(list), err)
	}
	e := list[0]
	const seconds = time.Second
	// A beat every 4/3 s; the agents that succeeded took 0.7 s and 0.5 s at least.
	if best := 6*seconds - 4*seconds/3 + 1200*time.Millisecond; e.best.Round(10*time.Millisecond) != best.Round(10*time.Millisecond) {
		t.Errorf("best is %v, want %v", e.best, best)
	}
	// Silence, look, lateness, 2 x 2 commits; each feed 4 x 10 s and 7 s to be
	// killed, then the other method, 3 x 20 s; 3 runs and a proof to be recorded, 1 to tell.
	around := 7500*time.Millisecond + 4*commitLimit + 4*commitLimit + commitLimit
	if worst := around + 2*47*seconds + 3*20*seconds; e.worst != worst {
		t.Errorf("worst is %v, want %v", e.worst, worst)
	}
	if measured := around + 1400*time.Millisecond; e.measured != measured {
		t.Errorf("as measured it is %v, want %v", e.measured, measured)
	}
	if took := e.takeoverWorst - e.worst; took != 4*seconds+2*commitLimit {
		t.Errorf("a takeover adds %v", took)
	}

	// One of the feeds was never used: nothing is said about both.
	if list, err = explainAll(defaultTimeouts(twoMethods()), []*gulmv1.Node{attempts("feed1", 700)}, nil); err != nil || list[0].measured != unbounded {
		t.Errorf("measured %v, %v", list[0].measured, err)
	}
	// Nobody knows how long a person takes.
	n := twoMethods()
	n.Methods[1].Steps[0].Agent = manualAgent
	if list, err = explainAll(defaultTimeouts(n), nil, nil); err != nil || list[0].worst != unbounded || list[0].takeoverWorst != unbounded {
		t.Errorf("worst %v with an operator, %v", list[0].worst, err)
	}
}

// TestExplain_OldPromises: a process that was told a longer expiry is waited for,
// and a watchdog is shown.
func TestExplain_OldPromises(t *testing.T) {
	other := twoMethods()
	other.Node = "fs02"
	known := &gulmv1.Node{Name: "fs01", Sessions: []*gulmv1.Session{{ExpiryMs: 45_000, WatchdogMs: 20_000}, {ExpiryMs: 6000}}}
	list, err := explainAll(defaultTimeouts(twoMethods(), other), []*gulmv1.Node{known}, nil)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d explanations, %v", len(list), err)
	}
	if more := list[0].worst - list[1].worst; more != 39*time.Second {
		t.Errorf("an older promise adds %v", more)
	}
	last := list[0].own[len(list[0].own)-1]
	if last.Key != "watchdog" || last.worst != 25*time.Second {
		t.Errorf("the last deadline is %+v", last)
	}
	if list, err = explainAll(defaultTimeouts(twoMethods(), other), nil, nil); err != nil || len(list) != 1 || len(list[0].nodes) != 2 {
		t.Errorf("equal nodes are not put together: %d, %v", len(list), err)
	}
	if _, err = explainAll(defaultTimeouts(), nil, []string{"fs09"}); !errors.Is(err, gulmerr.ErrUnknownNode) {
		t.Errorf("an unknown node: %v", err)
	}
}

func TestTimeouts_golden(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Timeouts = defaultTimeouts(twoMethods()) })
	golden(t, c, "timeouts/live.txt", 0, on(c, "timeouts", "explain"))
	golden(t, c, "timeouts/live.json", 0, on(c, "timeouts", "explain", "fs01", "--json"))
	golden(t, c, "timeouts/offline.txt", 0, on(c, "timeouts", "explain", "fs01", "--offline"))
	golden(t, c, "timeouts/unknown.txt", gulmerr.ExitNotFound, on(c, "timeouts", "explain", "fs09"))
	for _, s := range c.Servers {
		s.Stop()
	}
	if r := on(c, "timeouts", "explain"); r.Code != gulmerr.ExitNoQuorum {
		t.Errorf("without servers: %+v", r)
	}
}

// TestTimeouts_DefaultsKeepThePromise: with the settings that nobody has changed,
// a lock is granted in less than 8 s if its fence takes none, and the node knows
// a second before anybody else can.
func TestTimeouts_DefaultsKeepThePromise(t *testing.T) {
	c, err := ccs.Load("../../deploy/examples/three")
	if err != nil {
		t.Fatal(err)
	}
	list, err := explainAll(rpc.TimeoutsOf(c, 0, 0), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		before := e.grant[:3] // silence, look, lateness: what takes time with nothing to do
		if _, worst := sum(before); worst >= 8*time.Second {
			t.Errorf("%v: %v until a failure is noticed", e.nodes, worst)
		}
		if lost := e.own[1]; e.grant[0].worst-lost.worst != time.Second {
			t.Errorf("lost %v, expiry %v", lost.worst, e.grant[0].worst)
		}
	}
}

// holdLock is a process that takes a lock, says so, and keeps it.
func holdLock(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := client.Dial(ctx, client.Config{Cluster: "farm7", Node: args[0], Servers: args[1:], BootID: args[0] + "-boot-1"})
	if err == nil {
		var ls *client.Lockspace
		if ls, err = n.Join(ctx, "farm7:data", client.JoinOptions{}); err == nil {
			_, err = ls.Lock(ctx, "inode 7", client.EX)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintln(stdout, "held")
	<-n.Lost()
	return 0
}

// TestTimeouts_KillToGrant kills a node's process, as a power cut would, and
// measures until another one has its lock: not longer than is explained.
func TestTimeouts_KillToGrant(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes, and takes as long as a node may be silent")
	}
	bin, err := exec.LookPath("fence_process")
	if err != nil {
		t.Fatal(err)
	}
	pids := t.TempDir()
	dir, address, _ := realServerWith(t, t.TempDir(),
		fmt.Sprintf("switch { agent = \"fence_process\" action = \"off\" pidfile_dir = %q timeout = 10 }", pids), "--agent-path", filepath.Dir(bin))
	eventually(t, "a master", func(r tooltest.Result) bool { return r.Code == 0 }, "--config", dir, "status")

	holder := exec.Command("lock_holder", "fs01", address)
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = holder.Process.Kill() // it may be dead already
		_ = holder.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the holder says %q, %v", line, err)
	}
	if err := process.WritePidfile(pids, "fs01", holder.Process.Pid); err != nil {
		t.Fatal(err)
	}
	// An outlet that is off is believed if it said on while the node lived.
	eventually(t, "the rehearsal of the fence", func(tooltest.Result) bool {
		text, err := os.ReadFile(filepath.Join(dir, "log"))
		return err == nil && regexp.MustCompile(`"outlet asked" node=fs01 .* outcome=on`).Match(text)
	}, "version")
	var told timeoutsJSON
	r := run("--config", dir, "timeouts", "explain", "fs01", "--json")
	if err := json.Unmarshal([]byte(r.Stdout), &told); err != nil || len(told.Nodes) != 1 || told.Nodes[0].WorstMs <= 0 {
		t.Fatalf("%v: %+v", err, r)
	}

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	waiter := login(ctx, t, "fs02", address)
	began := time.Now()
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	l, err := waiter.Lock(ctx, "inode 7", client.EX)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	best, worst := ms(told.Nodes[0].BestMs), ms(told.Nodes[0].WorstMs)
	t.Logf("from kill -9 to the grant: %v; explained: %v to %v", took, best, worst)
	if took > worst || l.Valid() != nil {
		t.Errorf("granted after %v (%v), and at most %v were explained", took, l.Valid(), worst)
	}
	// Now that it was measured, that is said.
	r = run("--config", dir, "timeouts", "explain", "fs01")
	if r.Code != 0 || !strings.Contains(r.Stdout, "; measured: ") || !strings.Contains(r.Stdout, "with the first method as measured") {
		t.Errorf("after the fence: %+v", r)
	}
	if err := waiter.Node().Logout(ctx); err != nil {
		t.Error(err)
	}
}

// TestExplain_Watchdog: a wait for the node's watchdog lasts for what the
// configuration adds to the expiry, and what the node was promised and has said.
func TestExplain_Watchdog(t *testing.T) {
	n := &gulmv1.NodeTimeouts{Node: "fs01", Methods: []*gulmv1.MethodTimeouts{{Method: "dog", Steps: []*gulmv1.StepTimeouts{
		{Device: "dog", Agent: "fence_watchdog", Action: "reboot", LimitMs: 21_000},
	}}}}
	known := &gulmv1.Node{Name: "fs01", Sessions: []*gulmv1.Session{{ExpiryMs: 45_000, WatchdogMs: 20_000}}}
	list, err := explainAll(defaultTimeouts(n), []*gulmv1.Node{known}, nil)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d explanations, %v", len(list), err)
	}
	wait := list[0].grant[5]
	if wait.Key != "fence dog/dog" || wait.best != 21*time.Second || wait.worst != (21+39+20)*time.Second {
		t.Errorf("the wait is %+v", wait)
	}
}
