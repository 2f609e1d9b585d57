package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// TestLoggedInNodeNeedsConfirmation: by its name or --yes; a node that is not
// logged in is fenced without a question. Each run goes into the servers' record.
func TestLoggedInNodeNeedsConfirmation(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		args         []string
		state        gulmv1.NodeState
		code         int
	}{
		{"no answer", "", nil, gulmv1.NodeState_NODE_STATE_LOGGED_IN, exitNotFenced},
		{"another name", "fs02\n", nil, gulmv1.NodeState_NODE_STATE_LOGGED_IN, exitNotFenced},
		{"its name", "fs01\n", nil, gulmv1.NodeState_NODE_STATE_LOGGED_IN, exitFenced},
		{"yes", "", []string{"--yes"}, gulmv1.NodeState_NODE_STATE_LOGGED_IN, exitFenced},
		{"expired", "", nil, gulmv1.NodeState_NODE_STATE_EXPIRED, exitFenced},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tooltest.Start(t, 1, nil)
			c.Servers[0].Set(func(s *tooltest.Script) {
				for _, n := range s.Status.GetNodes() {
					if n.GetName() == "fs01" {
						n.State = tt.state
					}
				}
			})
			machine := armed(t, c.Dir)
			var out, errs bytes.Buffer
			code := run(t.Context(), append(tt.args, "--config", c.Dir, "fs01"), strings.NewReader(tt.answer), &out, &errs)
			if code != tt.code {
				t.Errorf("exit status %d, want %d: %s%s", code, tt.code, out.String(), errs.String())
			}
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", machine.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			if dead := bytes.Contains(stat, []byte(") Z ")); dead != (tt.code == exitFenced) {
				t.Errorf("machine: %s", stat)
			}
			_ = machine.Process.Kill()
			_ = machine.Wait()
			records := 0
			for _, r := range c.Servers[0].Requests() {
				if strings.HasPrefix(r, `RecordFence node:"fs01"`) && strings.Contains(r, "fenced:true") {
					records++
				}
			}
			if want := map[int]int{exitFenced: 1}[tt.code]; records != want {
				t.Errorf("%d records, want %d: %q", records, want, c.Servers[0].Requests())
			}
		})
	}
}

// armed starts a machine and makes the agent of the configuration one that kills
// it.
func armed(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	machine := exec.Command("/bin/sleep", "1000")
	machine.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	agent := "#!/bin/sh\nread_all=$(cat)\ncase $read_all in *metadata*) exit 1 ;; esac\nkill -9 -" + strconv.Itoa(machine.Process.Pid) + "\n"
	path := filepath.Join(work, "agent")
	if err := os.WriteFile(path, []byte(agent), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "fence.ccs")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte("fence_manual"), []byte(path)), 0o600); err != nil {
		t.Fatal(err)
	}
	return machine
}

// TestWatchdogOfALiveNodeProvesNothing: it is fed as long as the servers have not
// expired the node.
func TestWatchdogOfALiveNodeProvesNothing(t *testing.T) {
	sessions := []*gulmv1.Session{{WatchdogMs: 20_000, ExpiryMs: 6_000}, {ExpiryMs: 9_000}}
	for state, want := range map[gulmv1.NodeState][2]time.Duration{
		gulmv1.NodeState_NODE_STATE_LOGGED_IN: {},
		gulmv1.NodeState_NODE_STATE_EXPIRED:   {20 * time.Second, 9 * time.Second},
	} {
		s := &servers{node: &gulmv1.Node{State: state, Sessions: sessions}}
		if timeout, expiry := s.watchdog(); timeout != want[0] || expiry != want[1] {
			t.Errorf("%v: watchdog %v, expiry %v; want %v", state, timeout, expiry, want)
		}
	}
	if timeout, expiry := (&servers{}).watchdog(); timeout != 0 || expiry != 0 {
		t.Errorf("servers that do not answer: %v, %v", timeout, expiry)
	}
}

// TestRefusedRecordIsNoFailure: the node is fenced, and the operator is told that
// nobody wrote it down.
func TestRefusedRecordIsNoFailure(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) {
		s.Refuse = map[string]error{"RecordFence": gulmerr.New(gulmerr.ErrPermission, "not yours")}
	})
	machine := armed(t, c.Dir)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--yes", "--config", c.Dir, "fs01"}, strings.NewReader(""), &out, &errs); code != exitFenced {
		t.Errorf("exit status %d: %s%s", code, out.String(), errs.String())
	}
	_ = machine.Wait()
	if !strings.Contains(errs.String(), "not in the servers' record") {
		t.Errorf("said %q", errs.String())
	}
}
