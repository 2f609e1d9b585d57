package daemon

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestUnit shows that the systemd unit in deploy fits the program: how it
// starts, what it is told, where its data lies, and which exit status is final.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/systemd/lock_gulmd.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			unit[key] = value
		}
	}
	for key, want := range map[string]string{
		"Type":                     "notify", // see notify.go
		"StateDirectory":           strings.TrimPrefix(defaultDataDir, "/var/lib/"),
		"RestartPreventExitStatus": strconv.Itoa(ExitConfig),
		"ExecReload":               "/bin/kill -HUP $MAINPID",
	} {
		if unit[key] != want {
			t.Errorf("%s=%s, want %s", key, unit[key], want)
		}
	}
	start := strings.Fields(unit["ExecStart"])
	if len(start) == 0 || !strings.HasSuffix(start[0], "/lock_gulmd") {
		t.Fatalf("ExecStart=%s", unit["ExecStart"])
	}
	if _, err := parse(start[1:]); err != nil {
		t.Errorf("ExecStart=%s: %v", unit["ExecStart"], err)
	}
	seconds, err := strconv.Atoi(unit["TimeoutStopSec"])
	if least := int((leaveLimit + closeLimit).Seconds()); err != nil || seconds <= least {
		t.Errorf("TimeoutStopSec=%s, want more than %d: %v", unit["TimeoutStopSec"], least, err)
	}
}
