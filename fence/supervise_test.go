package fence

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// escapes starts a child that leaves the agent's process group, and goes on when
// the child has noted its process.
const escapes = `export dir
setsid sh -c 'echo $$ >>$dir/pids; >$dir/ready; exec sleep 1000' &
while [ ! -e $dir/ready ]; do sleep 0.02; done
`

// TestChildThatLeftTheGroupIsFoundAndKilled: whether its parent lives or not, and
// the attempt says that something may still come of it.
func TestChildThatLeftTheGroupIsFoundAndKilled(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"agent succeeds", escapes + "exit 0", "off ok"},
		{"agent fails", escapes + "exit 3", "off failed"},
		{"agent hangs", escapes + "exec sleep 1000", "off timed out"},
		{"agent is killed", escapes + "kill -9 $$", "off signalled"},
		{"output let go", strings.Replace(escapes, "&\n", ">/dev/null 2>&1 </dev/null &\n", 1) + "exit 0", "off ok"},
		{"twice removed", `export dir
setsid sh -c 'setsid sh -c "echo \$\$ >>$dir/pids; >$dir/ready; exec sleep 1000" & exit 0' &
while [ ! -e $dir/ready ]; do sleep 0.02; done; exit 0`, "off ok"},
		{"of a family", escapes + "sleep 1000 & echo $! >>$dir/pids; setsid sleep 1001 & echo $! >>$dir/pids; exit 0", "off ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.agent("fence_x", tt.script)
			s := step("x", "fence_x", "verify", "no")
			s.Timeout = 4 * time.Second
			err := b.fence(t.Context(), method("power", s))
			if (err == nil) != (tt.want == "off ok") {
				t.Errorf("error %v", err)
			}
			b.wantOutcomes(tt.want)
			if !b.attempt[0].Late {
				t.Error("the attempt does not say that something may still come of it")
			}
			b.wantPidsGone()
		})
	}
}

// TestOrdinarySuccessIsNotLate: nor does a child in the agent's own group make it
// doubtful.
func TestOrdinarySuccessIsNotLate(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", noStatus+"sleep 1000 & echo $! >$dir/pids\nexit 0")
	if err := b.fence(t.Context(), method("power", step("x", "fence_x"))); err != nil {
		t.Error(err)
	}
	if b.attempt[0].Late {
		t.Error("a success is late")
	}
	b.wantPidsGone()
}

// TestLatePermit: an agent is not started once the leave to do so is over, by
// this process or, if this process stood still, by the supervisor.
func TestLatePermit(t *testing.T) {
	over := PermitFor(-time.Second)
	for _, supervisor := range []string{"", SelfSupervisor} {
		b := newBench(t)
		b.runner.Supervisor = supervisor
		b.agent("fence_x", noStatus+">$dir/ran")
		b.hooks.Begin = func(context.Context, Attempt) (Permit, error) { return over, nil }
		if err := b.fence(t.Context(), method("power", step("x", "fence_x"))); !errors.Is(err, ErrNotFenced) {
			t.Errorf("error %v", err)
		}
		b.wantOutcomes("off not started")
		if a := b.attempt[0]; a.Late || !strings.Contains(a.Reason, "may not be the master") {
			t.Errorf("attempt %+v", a)
		}
		b.wantNoFile("ran")
	}
	b := newBench(t)
	b.agent("fence_x", ">$dir/ran")
	_, err := startAgent(over, b.dir+"/fence_x")
	if err == nil || !strings.Contains(err.Error(), "may not be the master") {
		t.Errorf("the supervisor started it: %v", err)
	}
	b.wantNoFile("ran")
	if late := PermitFor(time.Hour).late() + (Permit{}).late(); late != 0 {
		t.Errorf("a good permit is late by %v", late)
	}
}

// TestBegin: it is called before each agent that cuts, and only those, and its
// error keeps the agent from being started.
func TestBegin(t *testing.T) {
	b := newBench(t)
	b.agent("fence_x", withStatus+`[ "$action" = status ] && exit 2; echo "$plug $action" >>$dir/order`)
	var begun []string
	b.hooks.Begin = func(_ context.Context, a Attempt) (Permit, error) {
		begun = append(begun, a.Method+" "+a.Device+" "+a.Action)
		if len(begun) == 3 {
			return Permit{}, errors.New("no longer master")
		}
		return PermitFor(time.Minute), nil
	}
	m := method("power", Step{Device: "a", Agent: "fence_x"}, Step{Device: "b", Agent: "fence_x"})
	if err := b.fence(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	err := b.fence(t.Context(), m)
	if got := strings.Join(begun, ", "); got != "power a off, power b off, power a off" {
		t.Errorf("begun %s", got)
	}
	if err == nil || !strings.Contains(err.Error(), "no longer master") {
		t.Errorf("error %v", err)
	}
	b.wantOutcomes("off not started")
	if got := b.read("order"); got != " off\n off\n on\n on\n" {
		t.Errorf("order %q", got)
	}
}

func TestVerdict(t *testing.T) {
	for _, v := range []verdict{{kind: verdictExit, code: 2, strays: 1}, {kind: verdictStart, text: "no\nsuch"}, {kind: verdictStop, stuck: 3}} {
		if got := decodeVerdict(v.encode()); got == nil || *got != v {
			t.Errorf("%+v came back as %+v", v, got)
		}
	}
	for _, bad := range []string{"", "exit 0 0 0", "exit 0 0\n", "exit x 0 0\n", "\n"} {
		if v := decodeVerdict(bad); v != nil {
			t.Errorf("%q is %+v", bad, v)
		}
	}
}
