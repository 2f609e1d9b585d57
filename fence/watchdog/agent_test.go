package watchdog_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/fence/watchdog"
)

func ask(ctx context.Context, lines ...string) (code int, out string) {
	var b bytes.Buffer
	code = watchdog.Main(ctx, strings.NewReader(strings.Join(lines, "\n")), &b, &b, nil)
	return code, b.String()
}

// TestWaitsForTheWholeTime: expiry, the longer timeout, the hardware's slowness
// and the margin, and it says so before it waits.
func TestWaitsForTheWholeTime(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  time.Duration
	}{
		{[]string{"armed_ms=10000", "expiry_ms=6000"}, 31 * time.Second},
		{[]string{"action=off", "armed_ms=10000", "expiry=9", "watchdog-timeout=60", "# a comment", "", "unknown=x"}, 84 * time.Second},
		{[]string{"option=reboot", "armed_ms=10000", "expiry=6", "hardware_timeout=0", "margin=0.5"}, 16500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			code, out := ask(t.Context(), append(tt.lines, "nodename=n1")...)
			if took := time.Since(start); code != 0 || took != tt.want {
				t.Errorf("%q: exit %d after %v, want 0 after %v", tt.lines, code, took, tt.want)
			}
			if !strings.Contains(out, "watchdog of n1 must have fired: "+tt.want.String()+" (expiry") || !strings.Contains(out, "Success") {
				t.Errorf("output %q", out)
			}
		})
	}
}

func TestProvesNothingWithoutAnArmedWatchdog(t *testing.T) {
	for _, lines := range [][]string{{"nodename=n1", "expiry=6", "watchdog_timeout=10"}, {"nodename=n1", "armed_ms=0"}} {
		if code, out := ask(t.Context(), lines...); code != 1 || !strings.Contains(out, "Failed: armed_ms") {
			t.Errorf("%q: exit %d, output %q", lines, code, out)
		}
	}
}

func TestStoppedProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if code, out := ask(ctx, "armed_ms=10000", "expiry=6"); code != 1 || !strings.Contains(out, "stopped") {
			t.Errorf("exit %d, output %q", code, out)
		}
	})
}

func TestNumbersThatCannotBeReadAreRefused(t *testing.T) {
	for _, line := range []string{"armed_ms=soon", "expiry=-1", "margin=NaN", "hardware_timeout=1e12", "no line", "action=on"} {
		if code, out := ask(t.Context(), "armed_ms=1", line); code != 1 || !strings.Contains(out, "Failed") {
			t.Errorf("%q: exit %d, output %q", line, code, out)
		}
	}
}

func TestMonitorAndStatusSayTheTime(t *testing.T) {
	const says = "takes 31s (expiry 6s + watchdog 10s + hardware 5s + margin 10s)"
	if code, out := ask(t.Context(), "action=monitor", "expiry=6", "armed_ms=10000"); code != 0 || !strings.Contains(out, says) {
		t.Errorf("monitor: exit %d, output %q", code, out)
	}
	if code, out := ask(t.Context(), "action=status", "expiry=6", "armed_ms=10000"); code != 1 || !strings.Contains(out, says) {
		t.Errorf("status: exit %d, output %q", code, out)
	}
}

func TestMetadata(t *testing.T) {
	var b bytes.Buffer
	if code := watchdog.Main(t.Context(), strings.NewReader(""), &b, &b, []string{"-o", "metadata"}); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if _, out := ask(t.Context(), "action=metadata"); out != b.String() {
		t.Error("by switch and by input differ")
	}
	var doc struct {
		XMLName xml.Name `xml:"resource-agent"`
		Actions []struct {
			Name string `xml:"name,attr"`
		} `xml:"actions>action"`
	}
	if err := xml.Unmarshal(b.Bytes(), &doc); err != nil || len(doc.Actions) != 4 {
		t.Errorf("%v, actions %v", err, doc.Actions)
	}
	if code := watchdog.Main(t.Context(), strings.NewReader(""), &b, &b, []string{"-x"}); code != 1 {
		t.Errorf("unknown switch: exit %d", code)
	}
}
