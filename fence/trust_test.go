package fence

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func (b *bench) wantNoFile(name string) {
	b.t.Helper()
	if _, err := os.Stat(filepath.Join(b.dir, name)); err == nil {
		b.t.Errorf("%s is there: an agent was run that must not be", name)
	}
}

// outlet is an agent with one plug, whose power is a file.
const outlet = withStatus + `echo "$action" >>$dir/asked
case $action in
status) [ -e $dir/on ] && exit 0; exit 2 ;;
on) >$dir/on ;;
off|reboot) if [ -e $dir/on ]; then rm $dir/on; echo "Success: Powered OFF"; else echo "Success: Already OFF"; fi ;;
esac
`

// TestAlreadyOffIsBelievedOnlyOfAKnownOutlet: from an outlet that has reported on
// for the node, or that is seen to go from on to off.
func TestAlreadyOffIsBelievedOnlyOfAKnownOutlet(t *testing.T) {
	blind := strings.Replace(outlet, `<action name="status"/>`, "", 1)
	for _, tt := range []struct {
		name, agent, action string
		trust               Trust
		on                  bool
		want, asked         string
	}{
		{"known, on", outlet, "off", TrustSeen, true, "off ok, status ok", "off status"},
		{"known, off", outlet, "off", TrustSeen, false, "off ok, status ok", "off status"},
		{"new, goes off", outlet, "off", TrustUnknown, true, "off ok, status ok", "status off status"},
		{"new, was off", outlet, "off", TrustUnknown, false, "off not believed", "status"},
		{"new, goes off by reboot", outlet, "reboot", TrustUnknown, true, "reboot ok", "status reboot"},
		{"new, was off, reboot", outlet, "reboot", TrustUnknown, false, "reboot not believed", "status"},
		{"new, no status, goes off", blind, "off", TrustUnknown, true, "off ok", "off"},
		{"new, no status, was off", blind, "off", TrustUnknown, false, "off not believed", "off"},
		{"wrong", outlet, "off", TrustWrong, true, "off not believed", ""},
		{"wrong, no status", blind, "reboot", TrustWrong, true, "reboot not believed", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.agent("fence_x", tt.agent)
			b.write("asked", "")
			if tt.on {
				b.write("on", "")
			}
			b.hooks.Trust = func(o Outlet) Trust {
				if o.String() != "x/7" {
					t.Errorf("asked for outlet %v", o)
				}
				return tt.trust
			}
			s := step("x", "fence_x", "plug", "7").withAction(tt.action)
			err := b.fence(t.Context(), method("power", s))
			if believed := !strings.Contains(tt.want, "not believed"); (err == nil) != believed {
				t.Errorf("error %v", err)
			}
			b.wantOutcomes(strings.Split(tt.want, ", ")...)
			if got := strings.Join(strings.Fields(b.read("asked")), " "); got != tt.asked {
				t.Errorf("asked for %q, want %q", got, tt.asked)
			}
		})
	}
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// TestSightings: every answer of a status action is told, whatever it was asked
// for.
func TestSightings(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", outlet)
	b.write("on", "")
	var seen []string
	b.hooks.Trust = func(Outlet) Trust { return TrustUnknown }
	b.hooks.Seen = func(s Sighting) {
		seen = append(seen, fmt.Sprintf("%s %s %v %s %s", s.Node, s.Method, s.Outlet, s.Agent, s.Power))
	}
	if err := b.fence(t.Context(), method("power", step("x", "fence_x", "port", "7"))); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(seen, ", "), "n1 power x/7 fence_x on, n1 power x/7 fence_x off"; got != want {
		t.Errorf("saw %s, want %s", got, want)
	}
}

// TestOutlet: two ways to write one thing are one outlet, two plugs are two.
func TestOutlet(t *testing.T) {
	base := step("pdu", "fence_x", "ip", "192.0.2.1", "plug", "7")
	same := []Step{
		step("pdu", "fence_x", "port", "7", "ipaddr", "192.0.2.1", "passwd", "new", "power_wait", "3", "verify", "no"),
		base.withAction("reboot"),
	}
	for _, s := range same {
		if s.Outlet() != base.Outlet() {
			t.Errorf("%+v is %+v, want %+v", s, s.Outlet(), base.Outlet())
		}
	}
	others := []Step{
		step("pdu", "fence_x", "ip", "192.0.2.1", "plug", "8"), step("pdu", "fence_x", "ip", "192.0.2.2", "plug", "7"),
		step("pdu2", "fence_x", "ip", "192.0.2.1", "plug", "7"), step("pdu", "fence_y", "ip", "192.0.2.1", "plug", "7"),
	}
	for _, s := range others {
		if s.Outlet() == base.Outlet() {
			t.Errorf("%+v is the same outlet", s)
		}
	}
	if s := base.Outlet().String() + " " + (Outlet{Device: "bmc"}).String(); s != "pdu/7 bmc" {
		t.Errorf("outlets are shown as %s", s)
	}
}

// TestRebootOfTwoFeeds: the reboots of several devices become off, off, verify,
// on, on, and an on that fails takes nothing away from the proof.
func TestRebootOfTwoFeeds(t *testing.T) {
	for _, onFails := range []bool{false, true} {
		b := newBench(t)
		exit := "exit 0"
		if onFails {
			exit = "exit 1"
		}
		b.agent("fence_x", withStatus+`echo "$plug $action" >>$dir/order
case $action in status) [ -e "$dir/off.$plug" ] && exit 2; exit 0 ;; off) >"$dir/off.$plug" ;; on) `+exit+" ;; esac")
		err := b.fence(t.Context(), method("power",
			Step{Device: "ping", Agent: "fence_heuristics_ping_", Params: []Param{{Key: "action", Value: "off"}, {Key: "verify", Value: "no"}}},
		), method("feeds",
			Step{Device: "pdu-a", Agent: "fence_x", Params: []Param{{Key: "plug", Value: "a"}}},
			Step{Device: "pdu-b", Agent: "fence_x", Params: []Param{{Key: "plug", Value: "b"}, {Key: "action", Value: "reboot"}}}))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := b.read("order"), "a off\nb off\na status\nb status\na on\nb on\n"; got != want {
			t.Errorf("order %q, want %q", got, want)
		}
		if onFails && (!slices.Contains(b.outcomes(), "on failed") || !strings.Contains(b.log.String(), "stays off")) {
			t.Errorf("outcomes %q and the log do not say that the node stays off", b.outcomes())
		}
	}
}

// TestFeedThatStaysOn: no feed is switched on again, and nothing is proved, if one
// of them did not go off.
func TestFeedThatStaysOn(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", withStatus+`echo "$plug $action" >>$dir/order
case $action in status) [ $plug = a ] && exit 2; exit 0 ;; esac`)
	err := b.fence(t.Context(), method("feeds",
		Step{Device: "pdu-a", Agent: "fence_x", Params: []Param{{Key: "plug", Value: "a"}}},
		Step{Device: "pdu-b", Agent: "fence_x", Params: []Param{{Key: "plug", Value: "b"}}}))
	if err == nil {
		t.Error("fenced")
	}
	b.wantOutcomes("off ok", "off ok", "status ok", "status still on")
	if !b.attempt[3].Late {
		t.Error("the off that may still come is not marked")
	}
	if got := b.read("order"); strings.Contains(got, " on") {
		t.Errorf("order %q", got)
	}
}

func TestRehearseAsksEachOutletOnceAndTouchesNothing(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", outlet)
	b.agent("fence_mon", strings.Replace(outlet, `name="status"`, `name="monitor"`, 1))
	b.agent("fence_dumb", strings.Replace(outlet, `<action name="status"/>`, "", 1))
	b.agent("fence_bad", withStatus+`[ "$action" = status ] && { echo no route >&2; exit 1; }; >$dir/ran`)
	b.write("on", "")
	plan := Plan{Node: "n1", Methods: []Method{
		method("one", Step{Device: "a", Agent: "fence_x"}, Step{Device: "b", Agent: "fence_mon"}),
		method("two", Step{Device: "c", Agent: "fence_dumb"}, Step{Device: "a", Agent: "fence_x"}),
		method("three", step("d", "fence_bad"), step("e", "fence_missing"), step("f", "fence_manual")),
	}}
	var seen []string
	var reasons []string
	if err := b.runner.Rehearse(t.Context(), plan, func(s Sighting) {
		seen = append(seen, fmt.Sprintf("%s/%v %s", s.Method, s.Outlet, s.Power))
		reasons = append(reasons, s.Reason)
	}); err != nil {
		t.Fatal(err)
	}
	want := "one/a on, one/b answers, two/c answers, three/d no answer, three/e no answer"
	if got := strings.Join(seen, ", "); got != want {
		t.Errorf("saw %s, want %s", got, want)
	}
	if all := strings.Join(reasons, "; "); !strings.Contains(all, "no route") || !strings.Contains(all, "fence_missing") {
		t.Errorf("reasons %s", all)
	}
	if got := strings.Join(strings.Fields(b.read("asked")), " "); got != "status monitor" {
		t.Errorf("asked for %q", got)
	}
	b.wantNoFile("ran")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.runner.Rehearse(ctx, plan, func(s Sighting) { t.Errorf("saw %+v", s) }); err == nil {
		t.Error("no error")
	}
}

// TestWatchdogIsBelievedOnlyIfArmed: the agent is told what the node said, and
// gets the time that it needs.
func TestWatchdogIsBelievedOnlyIfArmed(t *testing.T) {
	b := newBench(t)
	b.agent("fence_watchdog", noStatus+">$dir/ran")
	s := Step{Device: "wd", Agent: "fence_watchdog", Params: []Param{{Key: "expiry", Value: "6"}, {Key: "expiry_ms", Value: "9000"}}}
	if err := b.fence(t.Context(), method("self", s)); err == nil {
		t.Error("fenced")
	}
	b.wantOutcomes("reboot refused")
	if r := b.attempt[0].Reason; !strings.Contains(r, "node n1 did not say at login that its watchdog is armed") {
		t.Errorf("reason %q", r)
	}
	b.wantNoFile("ran")
	b.agent("fence_watchdog", "cat >>$dir/in; exit 0")
	b.watchdog = 12500 * time.Millisecond
	if err := b.fence(t.Context(), method("self", s)); err != nil {
		t.Fatal(err)
	}
	if got, want := b.read("in"), "armed_ms=12500\nexpiry_ms=9000\nexpiry=6\naction=reboot\noption=reboot\nnodename=n1\n"; got != want {
		t.Errorf("agent received %q, want %q", got, want)
	}
	if got := s.armed(Plan{Watchdog: 100 * time.Second}, time.Minute).Timeout; got != 134*time.Second {
		t.Errorf("time limit %v, want the wait of 124 s and 10 s", got)
	}
}

func TestWatchdogWait(t *testing.T) {
	p := func(kv ...string) (params []Param) {
		for i := 0; i < len(kv); i += 2 {
			params = append(params, Param{Key: kv[i], Value: kv[i+1]})
		}
		return params
	}
	for _, tt := range []struct {
		params []Param
		want   time.Duration
	}{
		{nil, 15 * time.Second},
		{p("expiry", "6", "watchdog_timeout", "10"), 31 * time.Second},
		{p("expiry", "6", "armed_ms", "30000", "watchdog_timeout", "10"), 51 * time.Second},
		{p("expiry", "6", "armed_ms", "5000", "watchdog-timeout", "10"), 31 * time.Second},
		{p("expiry", "6", "armed_ms", "5000", "hardware_timeout", "0", "margin", "0.5"), 11500 * time.Millisecond},
		{p("expiry_ms", "9000", "expiry", "6"), 24 * time.Second},
		{p("expiry", "NaN", "margin", "-3", "hardware_timeout", "soon"), 15 * time.Second},
	} {
		if got := WatchdogOf(tt.params).Wait(); got != tt.want {
			t.Errorf("%v: wait %v, want %v", tt.params, got, tt.want)
		}
	}
}
