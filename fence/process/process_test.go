package process_test

import (
	"bufio"
	"bytes"
	"encoding/xml"
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

	"go.uber.org/goleak"

	"lock_gulmd/fence"
	"lock_gulmd/fence/process"
)

// TestMain is the agent itself when the binary is called by the agent's name,
// as by the Runner, which gives its agents neither arguments nor environment.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "fence_process" {
		os.Exit(process.Main(os.Stdin, os.Stdout, os.Stderr, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// machine is a shell script that runs in a process group of its own.
type machine struct {
	t    *testing.T
	cmd  *exec.Cmd
	pids []int // what the script wrote before it said ready
}

// start runs a script that writes process ids, one a line, and then "ready".
func start(t *testing.T, script string) *machine {
	t.Helper()
	m := &machine{t: t, cmd: exec.Command("/bin/sh", "-c", script)}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m.cmd.Stdout = w
	err = m.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.end() })
	lines := bufio.NewScanner(r)
	for lines.Scan() && lines.Text() != "ready" {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		m.pids = append(m.pids, pid)
	}
	return m
}

// end kills what is left and collects the leader.
func (m *machine) end() {
	if m.cmd.ProcessState == nil {
		_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
		_ = m.cmd.Wait()
	}
}

func (m *machine) pid() int { return m.cmd.Process.Pid }

// runs reports whether a process runs and is no zombie.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return err == nil && len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

func (m *machine) wantDead() {
	m.t.Helper()
	for _, pid := range append(m.pids, m.pid()) {
		if runs(pid) {
			m.t.Errorf("process %d runs", pid)
		}
	}
}

// ask runs the agent with the given input lines.
func ask(lines ...string) (code int, out string) {
	var b bytes.Buffer
	code = process.Main(strings.NewReader(strings.Join(lines, "\n")), &b, &b, nil)
	return code, b.String()
}

// want asks and checks the exit status and a part of the output.
func want(t *testing.T, code int, text string, lines ...string) {
	t.Helper()
	if c, out := ask(lines...); c != code || !strings.Contains(out, text) {
		t.Errorf("%q: exit %d, output %q; want %d and %q", lines, c, out, code, text)
	}
}

func announce(t *testing.T, node string, pid int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := process.WritePidfile(dir, node, pid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// family is a machine of four processes on three levels that ignore signals.
const family = `trap '' TERM INT HUP
sleep 1000 & echo $!
sh -c 'sleep 1001 & echo $!; echo $$; echo ready; wait' & wait`

func TestOffKillsTheWholeGroup(t *testing.T) {
	for _, action := range []string{"off", "reboot"} {
		m := start(t, family)
		dir := "pidfile_dir=" + announce(t, "n1", m.pid())
		want(t, 0, "Status: ON", "action=status", "nodename=n1", dir)
		want(t, 0, "Success: Powered OFF", "action="+action, "nodename=n1", dir)
		m.wantDead()
		want(t, 2, "Status: OFF", "action=status", "nodename=n1", dir)
		want(t, 0, "Success: Already OFF", "action="+action, "nodename=n1", dir)
		m.end()
		want(t, 2, "Status: OFF", "action=status", "nodename=n1", dir)
		want(t, 0, "Success: Already OFF", "action="+action, "nodename=n1", dir)
	}
}

func TestDefaultActionIsReboot(t *testing.T) {
	m := start(t, "echo ready; exec sleep 1000")
	want(t, 0, "Powered OFF", "nodename=n1", "pidfile-dir="+announce(t, "n1", m.pid()))
	m.wantDead()
}

func TestOffKillsWhatOutlivedTheLeader(t *testing.T) {
	m := start(t, "sleep 1000 & echo $!; echo ready")
	dir := t.TempDir()
	line := fmt.Sprintf("%d %d\n", m.pid(), 1)
	if err := m.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "n1.pid"), []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, 0, "Status: ON", "action=status", "nodename=n1", "pidfile_dir="+dir)
	want(t, 0, "Powered OFF", "action=off", "nodename=n1", "pidfile_dir="+dir)
	m.wantDead()
}

func TestStoppedMachineIsOn(t *testing.T) {
	m := start(t, "echo ready; kill -STOP $$")
	dir := "pidfile_dir=" + announce(t, "n1", m.pid())
	want(t, 0, "Status: ON", "action=status", "nodename=n1", dir)
	want(t, 0, "Powered OFF", "action=off", "nodename=n1", dir)
	m.wantDead()
}

func TestReusedNumberIsNotKilled(t *testing.T) {
	m := start(t, "echo ready; exec sleep 1000")
	path := filepath.Join(t.TempDir(), "n1.pid")
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d 1\n", m.pid()), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, 2, "OFF", "action=status", "pidfile="+path)
	want(t, 0, "Already OFF", "action=off", "pidfile="+path)
	if !runs(m.pid()) {
		t.Error("another process was killed")
	}
}

func TestWhatIsNotKnownIsNeverOff(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return "pidfile=" + path
	}
	for _, lines := range [][]string{
		{"nodename=n1", "pidfile_dir=" + dir},
		{"nodename=n1", "pidfile_dir=" + dir + "/none"},
		{"nodename=n1"},
		{"pidfile_dir=" + dir},
		{"nodename=../n1", "pidfile_dir=" + dir},
		{"nodename=.", "pidfile_dir=" + dir},
		{file("empty", "")},
		{file("word", "n1\n")},
		{file("short", "4711\n")},
		{file("zero", "0 1\n")},
		{file("one", "1 1\n")},
		{file("negative", "-7 1\n")},
		{file("own", fmt.Sprintf("%d 1\n", syscall.Getpgrp()))},
	} {
		for _, action := range []string{"off", "reboot", "status"} {
			want(t, 1, "Failed: ", append(lines, "action="+action)...)
		}
	}
}

func TestBadInputIsRefused(t *testing.T) {
	for _, line := range []string{"action=on", "action=list", "action=", "delay=soon", "delay=-1", "delay=NaN", "power_timeout=x", "fail_first=x", "no line"} {
		want(t, 1, "Failed: ", "action=off", "nodename=n1", line)
	}
	var b bytes.Buffer
	if code := process.Main(strings.NewReader(""), &b, &b, []string{"-o", "off"}); code != 1 {
		t.Errorf("switches: exit %d", code)
	}
	if code := process.Main(strings.NewReader(""), &b, &b, []string{"-h"}); code != 0 || !strings.Contains(b.String(), "pidfile_dir") {
		t.Errorf("help: exit %d, output %q", code, b.String())
	}
}

func TestInputIsReadAsTheProtocolSays(t *testing.T) {
	m := start(t, "echo ready; exec sleep 1000")
	dir := announce(t, "n1", m.pid())
	want(t, 0, "ON", "# a comment", "", "nodename=n2", "verbose=1", "unknown=x", "nodename=n1", "option=Status", "pidfile_dir="+dir)
	want(t, 0, "", "action=monitor", "pidfile_dir="+dir)
	want(t, 1, "Failed", "action=monitor", "pidfile_dir="+dir+"/none")
}

func TestMetadataIsWellFormed(t *testing.T) {
	var b bytes.Buffer
	if code := process.Main(strings.NewReader(""), &b, &b, []string{"-o", "metadata"}); code != 0 {
		t.Fatalf("exit %d", code)
	}
	code, text := ask("action=metadata")
	if code != 0 || text != b.String() {
		t.Errorf("exit %d; by switch and by input differ", code)
	}
	var doc struct {
		XMLName xml.Name `xml:"resource-agent"`
		Actions []struct {
			Name string `xml:"name,attr"`
		} `xml:"actions>action"`
	}
	if err := xml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Actions) != 5 {
		t.Errorf("actions %v", doc.Actions)
	}
}

func TestFailFirstCountsPerMachine(t *testing.T) {
	m := start(t, "echo ready; exec sleep 1000")
	lines := []string{"action=off", "nodename=n1", "fail_first=2", "pidfile_dir=" + announce(t, "n1", m.pid())}
	want(t, 1, "number 1", lines...)
	want(t, 1, "number 2", lines...)
	if !runs(m.pid()) {
		t.Error("a failing off killed")
	}
	want(t, 0, "Powered OFF", lines...)
	m.wantDead()
}

func TestDelayPassesBeforeOff(t *testing.T) {
	m := start(t, "echo ready; exec sleep 1000")
	began := time.Now()
	want(t, 0, "Powered OFF", "action=off", "nodename=n1", "delay=0.2", "pidfile_dir="+announce(t, "n1", m.pid()))
	if d := time.Since(began); d < 200*time.Millisecond {
		t.Errorf("took %v, want at least 200ms", d)
	}
}

func TestWritePidfileRefusesWhatIsNoMachine(t *testing.T) {
	dir := t.TempDir()
	m := start(t, "sleep 1000 & echo $!; echo ready; wait")
	for node, pid := range map[string]int{"member": m.pids[0], "gone": 1 << 30, "nobody": 0, "../n1": m.pid(), "": m.pid()} {
		if err := process.WritePidfile(dir, node, pid); err == nil {
			t.Errorf("%q: process %d was accepted", node, pid)
		}
	}
	if err := process.WritePidfile(dir+"/none", "n1", m.pid()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRunnerFencesAProcessGroup(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "fence_process")); err != nil {
		t.Fatal(err)
	}
	m := start(t, family)
	step := fence.Step{Device: "power", Agent: "fence_process", Params: []fence.Param{
		{Key: "action", Value: "off"}, {Key: "pidfile_dir", Value: announce(t, "n1", m.pid())},
	}}
	plan := fence.Plan{Node: "n1", Methods: []fence.Method{{Name: "process", Steps: []fence.Step{step}}}}
	report, err := (&fence.Runner{Path: bin}).Run(t.Context(), plan, fence.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	m.wantDead()
	if len(report.Attempts) != 2 || report.Attempts[1].Action != "status" || report.Attempts[1].ExitCode != 2 {
		t.Errorf("attempts %v, want an off and a status that says off", report.Attempts)
	}
	plan.Node = "n2"
	if err := (&fence.Runner{Path: bin}).Fence(t.Context(), plan, fence.Hooks{}); !errors.Is(err, fence.ErrNotFenced) {
		t.Errorf("unknown machine: %v, want ErrNotFenced", err)
	}
}
