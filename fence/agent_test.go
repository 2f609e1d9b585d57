package fence

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAgentReceivesExactlyThis(t *testing.T) {
	tests := []struct {
		name   string
		params []Param
		want   string
	}{
		{
			"new names",
			[]Param{{Key: "ip", Value: "192.0.2.7"}, {Key: "username", Value: "admin"}, {Key: "password", Value: "s3 cret=#", Secret: true}, {Key: "plug", Value: "4"}, {Key: "action", Value: "Off"}},
			"ip=192.0.2.7\nusername=admin\npassword=s3 cret=#\nplug=4\naction=off\nipaddr=192.0.2.7\nlogin=admin\npasswd=s3 cret=#\nport=4\noption=off\nnodename=n1\n",
		},
		{
			"old names",
			[]Param{{Key: "option", Value: "off"}, {Key: "port", Value: "2"}, {Key: "login", Value: "apc"}, {Key: "passwd", Value: "apc"}, {Key: "ipaddr", Value: "pdu1"}, {Key: "switch", Value: "1"}},
			"option=off\nport=2\nlogin=apc\npasswd=apc\nipaddr=pdu1\nswitch=1\nip=pdu1\nusername=apc\npassword=apc\nplug=2\naction=off\nnodename=n1\n",
		},
		{"nothing given", nil, "action=reboot\noption=reboot\nnodename=n1\n"},
		{"both names", []Param{{Key: "plug", Value: "2"}, {Key: "port", Value: "2"}, {Key: "action", Value: "off"}, {Key: "option", Value: "off"}}, "plug=2\nport=2\naction=off\noption=off\nnodename=n1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.agent("fence_x", "cat >$dir/in\nexit 0")
			s := Step{Device: "x", Agent: "fence_x", Params: append(tt.params, Param{Key: "verify", Value: "no"})}
			if err := b.fence(t.Context(), method("power", s)); err != nil {
				t.Fatal(err)
			}
			if got := b.read("in"); got != tt.want {
				t.Errorf("agent received\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestAgentRunsInACleanRoom(t *testing.T) {
	t.Setenv("FENCE_TEST_LEAK", "1")
	b := newBench(t)
	b.agent("fence_x", noStatus+`tr '\0' '\n' </proc/$$/environ >$dir/env
echo $# >$dir/args; readlink /proc/$$/cwd >$dir/cwd; cut -d' ' -f1,5 /proc/$$/stat >$dir/group`)
	if err := b.fence(t.Context(), method("power", step("x", "fence_x"))); err != nil {
		t.Fatal(err)
	}
	if got, want := b.read("env"), "PATH="+b.runner.Path+"\nLANG=C\n"; got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
	if got := b.read("args"); got != "0\n" {
		t.Errorf("%s arguments", got)
	}
	if got := b.read("cwd"); got != "/\n" {
		t.Errorf("folder %q", got)
	}
	if ids := strings.Fields(b.read("group")); len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("pid and process group %v differ", ids)
	}
}

// killable are the agents that must be gone, with all that they started, once
// they are told to stop. Each notes its processes and then says ready.
var killable = map[string]string{
	"hangs":                   `echo $$ >$dir/pids; echo ready; exec sleep 1000`,
	"ignores signals":         `trap '' TERM INT HUP; echo $$ >$dir/pids; echo ready; while :; do sleep 1000; done`,
	"hangs with children":     `sleep 1000 & echo $! >$dir/pids; sleep 1001 & echo $! >>$dir/pids; echo $$ >>$dir/pids; echo ready; wait`,
	"never reads its input":   `exec <&-; echo $$ >$dir/pids; echo ready; exec sleep 1000`,
	"closes its output":       `echo $$ >$dir/pids; echo ready; exec >/dev/null 2>&1 sleep 1000`,
	"is stopped":              `echo $$ >$dir/pids; echo ready; kill -STOP $$`,
	"shouts without an end":   `echo $$ >$dir/pids; echo ready; exec cat /dev/zero`,
	"shouts lines for ever":   `echo $$ >$dir/pids; echo ready; exec yes`,
	"succeeds when cut short": `trap 'exit 0' TERM; echo $$ >$dir/pids; echo ready; while :; do sleep 1000; done`,
}

func (b *bench) wantPidsGone() {
	b.t.Helper()
	for _, field := range strings.Fields(b.read("pids")) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			b.t.Fatal(err)
		}
		wantGone(b.t, pid)
	}
}

func TestTimedOutAgentIsKilledWithAllItStarted(t *testing.T) {
	for name, script := range killable {
		for _, supervisor := range []string{"", SelfSupervisor} {
			t.Run(strings.TrimSpace(name+" "+filepath.Base(supervisor)), func(t *testing.T) {
				t.Parallel()
				wantKilled(t, supervisor, script)
			})
		}
	}
}

func wantKilled(t *testing.T, supervisor, script string) {
	b := newBench(t)
	b.runner.Supervisor = supervisor
	b.agent("fence_x", script)
	s := step("x", "fence_x")
	s.Timeout = 2 * time.Second
	if err := b.fence(t.Context(), method("power", s)); !errors.Is(err, ErrNotFenced) {
		t.Errorf("error %v, want ErrNotFenced", err)
	}
	b.wantOutcomes("off timed out")
	if !b.attempt[0].Late {
		t.Error("what the agent asked for may still be done, and nobody is told")
	}
	b.wantPidsGone()
}

func TestCancelledAgentIsKilledWithAllItStarted(t *testing.T) {
	for name, script := range killable {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.agent("fence_x", script)
			b.agent("fence_good", noStatus+">$dir/second")
			gone := errors.New("no longer master")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			b.onLine = func(string) { cancel(gone) }
			err := b.fence(ctx, method("power", step("x", "fence_x")), method("second", step("x", "fence_good")))
			if !errors.Is(err, gone) || !errors.Is(err, ErrNotFenced) {
				t.Errorf("error %v, want the cause and ErrNotFenced", err)
			}
			b.wantOutcomes("off cancelled")
			b.wantPidsGone()
			if _, err := os.Stat(filepath.Join(b.dir, "second")); err == nil {
				t.Error("the next method was tried")
			}
		})
	}
}

func TestCancelledAgentNeverSucceeds(t *testing.T) {
	b := newBench(t)
	// The context ends from within the output of an agent that then ends with 0.
	b.agent("fence_x", "echo done; exec >&- 2>&-; exit 0")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.onLine = func(string) { cancel() }
	s := step("x", "fence_x", "verify", "no")
	if err := b.fence(ctx, method("power", s)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
	b.wantOutcomes("off cancelled")
}

func TestNothingIsStartedForACancelledContext(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", noStatus+">$dir/ran")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // the device is free, so a select could go either way
		if err := b.fence(ctx, method("power", step("x", "fence_x"))); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want Canceled", err)
		}
	}
	if _, err := os.Stat(filepath.Join(b.dir, "ran")); err == nil {
		t.Error("the agent ran")
	}
}

func TestChildLeftInTheGroupIsKilledWhenTheAgentEnds(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", noStatus+"sleep 1000 & echo $! >$dir/pids\nexit 0")
	if err := b.fence(t.Context(), method("power", step("x", "fence_x"))); err != nil {
		t.Error(err)
	}
	b.wantPidsGone()
}

func TestChildThatLeftTheGroupDoesNotHangTheFence(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"agent ends", `setsid sh -c 'echo $$ >$dir/pids; >$dir/ready; exec sleep 1000' &
while [ ! -e $dir/ready ]; do sleep 0.02; done; exit 0`, "off output lost"},
		{"agent hangs", `setsid sh -c 'echo $$ >$dir/pids; exec sleep 1000' & exec sleep 1000`, "off timed out"},
		{"output let go", `setsid sh -c 'echo $$ >$dir/pids; >$dir/ready; exec sleep 1000' >/dev/null 2>&1 &
while [ ! -e $dir/ready ]; do sleep 0.02; done; exit 0`, "off ok"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.runner.Supervisor = "" // which would find it
			b.agent("fence_x", "export dir\n"+tt.script)
			s := step("x", "fence_x", "verify", "no")
			s.Timeout = 3 * time.Second
			err := b.fence(t.Context(), method("power", s))
			if (err == nil) != (tt.want == "off ok") {
				t.Errorf("error %v", err)
			}
			b.wantOutcomes(tt.want)
			pid := b.pid("pids")
			if !alive(pid) {
				t.Error("the child is gone: the test proves nothing")
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
			wantGone(t, pid)
		})
	}
}

func TestShoutingAgentIsReadToTheEnd(t *testing.T) {
	for name, shout := range map[string]string{
		"one line":   `head -c 1048576 /dev/zero | tr '\0' x`,
		"many lines": `yes 0123456789 | head -c 1048576`,
		"stderr":     `yes 0123456789 | head -c 1048576 >&2`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.runner.MaxOutput = 5000
			b.agent("fence_x", noStatus+shout+"; echo; echo the end")
			logged := 0
			b.onLine = func(line string) { logged += len(line) }
			if err := b.fence(t.Context(), method("power", step("x", "fence_x"))); err != nil {
				t.Fatal(err)
			}
			if logged == 0 || logged > 5000 {
				t.Errorf("%d bytes logged, want some and at most 5000", logged)
			}
			a := b.attempt[0]
			if !strings.HasSuffix(a.Tail, "the end") || len(a.Tail) > maxTailLines*(maxTailLine+1) {
				t.Errorf("tail of %d bytes: %q", len(a.Tail), a.Tail)
			}
			if !strings.Contains(b.log.String(), "agent output cut") {
				t.Error("the log does not say that output was cut")
			}
		})
	}
}

func TestSecretsAppearNowhere(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", `cat; cat /nonexistent/hunter2-9 ; echo "ssh -p hunter2-9 https://a:p%40ss+w%2Frd@pdu" >&2; exit 1`)
	s := step("x", "fence_x", "passwd", "hunter2-9")
	s.Params = append(s.Params, Param{Key: "snmp_community", Value: "p@ss w/rd", Secret: true})
	missing := s
	missing.Agent = "/nonexistent/hunter2-9"
	err := b.fence(t.Context(), method("power", s), method("second", missing))
	if err == nil {
		t.Fatal("no error")
	}
	// The agent's name is part of the plan and no secret; its reason is a text
	// from elsewhere and redacted.
	text := err.Error() + b.log.String() + b.attempt[0].String() + b.attempt[0].Tail + b.attempt[1].Reason
	text = strings.ReplaceAll(text, missing.Agent, "")
	for _, secret := range []string{"hunter2-9", "p@ss w/rd", "p%40ss+w%2Frd"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q appears in %s", secret, text)
		}
	}
	if !strings.Contains(b.attempt[0].Tail, "passwd="+mask) {
		t.Errorf("tail %q does not show what was hidden", b.attempt[0].Tail)
	}
}

// TestAgentDiesWithItsParent kills a whole program in the middle of a fence: the
// agent must not go on and cut power that the next master has just restored.
func TestAgentDiesWithItsParent(t *testing.T) {
	t.Run("direct", func(t *testing.T) {
		orphan(t, "", `echo $$ >$dir/pids; echo ready; exec sleep 1000`)
	})
	// Even what left the agent's group is found, and the master killed -9.
	t.Run("supervised", func(t *testing.T) {
		orphan(t, SelfSupervisor, `echo $$ >$dir/pids; export dir
setsid sh -c 'echo $$ >>$dir/pids; echo ready; exec sleep 1000' & exec sleep 1000`)
	})
}

func orphan(t *testing.T, supervisor, script string) {
	b := newBench(t)
	b.agent("fence_x", script)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FENCE_TEST_ORPHAN="+b.dir, "FENCE_TEST_SUPERVISOR="+supervisor)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("program wrote %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	b.wantPidsGone()
}

// runOrphan is the program that TestAgentDiesWithItsParent kills.
func runOrphan(dir string) {
	b := &bench{dir: dir, log: &lockedBuffer{}, onLine: func(line string) { fmt.Println(line) }}
	b.runner = &Runner{Path: dir + ":/usr/bin:/bin", Log: benchLog(b), Supervisor: os.Getenv("FENCE_TEST_SUPERVISOR")}
	_ = b.fence(context.Background(), method("power", step("x", "fence_x")))
	os.Exit(0)
}
