package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lock_gulmd/fence"
	"lock_gulmd/fence/process"
)

func TestMain(m *testing.M) {
	fence.Supervise()
	testscript.Main(m, map[string]func(){
		"fence_node":    main,
		"fence_process": func() { os.Exit(process.Main(os.Stdin, os.Stdout, os.Stderr, os.Args[1:])) },
	})
}

// machine is "machine NODE": it runs a process group and announces it in $WORK.
func machine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: machine NODE")
	}
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ts.Check(process.WritePidfile(ts.Getenv("WORK"), args[0], cmd.Process.Pid))
}

// dead is "[!] dead NODE": the machine runs no more.
func dead(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] dead NODE")
	}
	in := fmt.Sprintf("action=status\nnodename=%s\npidfile_dir=%s\n", args[0], ts.Getenv("WORK"))
	switch code := process.Main(strings.NewReader(in), io.Discard, ts.Stderr(), nil); {
	case code == 1:
		ts.Fatalf("status of %s failed", args[0])
	case (code == 2) == neg:
		ts.Fatalf("machine %s: status %d", args[0], code)
	}
}

// exitCode is "exitcode N COMMAND...".
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit status %d, want %s", code, args[0])
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			// fence.ccs cannot name variables; scripts write WORKDIR instead.
			return replaceInFiles(env.WorkDir, "WORKDIR", env.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"machine": machine, "dead": dead, "exitcode": exitCode,
		},
	})
}

func replaceInFiles(dir, from, to string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ccs"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), from, to)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// TestSignalKillsTheAgent interrupts the command in the middle of a fence.
func TestSignalKillsTheAgent(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"cluster.ccs": "cluster { name = \"x\" lock_gulm { servers = [\"n1\"] } }\n",
			"nodes.ccs":   "nodes { n1 { ip_interfaces { eth0 = \"127.0.0.1\" } fence { slow { pdu { action = \"off\" } } } } }\n",
			"fence.ccs":   "fence_devices { pdu { agent = \"fence_slow\" } }\n",
			"fence_slow":  "#!/bin/sh\necho pid $$\nexec sleep 1000\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("fence_node", "-v", "--config", dir, "n1")
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		line, _ := lines.ReadString('\n')
		if strings.Contains(line, "cannot be asked") {
			line, _ = lines.ReadString('\n')
		}
		_, number, _ := strings.Cut(strings.TrimSpace(line), "pid ")
		pid, err := strconv.Atoi(strings.Trim(number, `"`))
		if err != nil {
			t.Errorf("the agent's line is %q", line)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Error(err)
		}
		rest, _ := io.ReadAll(lines)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitNotFenced || !strings.Contains(string(rest), "n1: not fenced") {
			t.Errorf("%v: exit status %d, output %q", sig, code, rest)
		}
		if pid > 0 && runs(pid) {
			t.Errorf("%v: agent %d runs on", sig, pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// runs reports whether a process stays; one that was just killed may take a
// moment to go.
func runs(pid int) bool {
	for range 500 {
		if syscall.Kill(pid, 0) != nil {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}
