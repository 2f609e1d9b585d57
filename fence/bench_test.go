package fence

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Supervise()
	if dir := os.Getenv("FENCE_TEST_ORPHAN"); dir != "" {
		runOrphan(dir)
	}
	goleak.VerifyTestMain(m)
}

// bench is a Runner with a folder of agents, all of them small shell scripts.
type bench struct {
	t       *testing.T
	dir     string
	runner  *Runner
	log     *lockedBuffer
	onLine  func(line string) // called with each line of agent output
	attempt []Attempt

	hooks    Hooks
	watchdog time.Duration
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), log: &lockedBuffer{}}
	b.runner = &Runner{
		Log:        benchLog(b),
		Path:       b.dir + ":/usr/bin:/bin",
		Timeout:    time.Minute,
		WaitDelay:  100 * time.Millisecond,
		Supervisor: SelfSupervisor,
	}
	return b
}

func benchLog(b *bench) *slog.Logger {
	handler := slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})
	return slog.New(lineHook{handler, b})
}

// readAction is the part of an agent that reads its input.
const readAction = `action= nodename= plug=
while IFS='=' read -r key value; do
	case $key in action) action=$value ;; nodename) nodename=$value ;; plug) plug=$value ;; esac
done
`

// noStatus answers metadata without a status action, so that an off is not
// checked.
const noStatus = readAction + `if [ "$action" = metadata ]; then
	echo '<resource-agent name="x"><actions><action name="off"/></actions></resource-agent>'
	exit 0
fi
`

// withStatus answers metadata with a status action.
const withStatus = readAction + `if [ "$action" = metadata ]; then
	echo '<?xml version="1.0" ?><resource-agent name="x"><parameters/><actions><action name="off"/><action name="status"/></actions></resource-agent>'
	exit 0
fi
`

// agent writes an agent; $dir in the script is the bench's folder.
func (b *bench) agent(name, script string) {
	b.t.Helper()
	text := "#!/bin/sh\ndir=" + b.dir + "\n" + script + "\n"
	// No process may be forked while the agent is open for writing: it would
	// keep it open for a moment, in which it cannot be started.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

// fence runs a plan for node n1 and gathers its attempts.
func (b *bench) fence(ctx context.Context, methods ...Method) error {
	b.attempt = nil
	hooks := b.hooks
	hooks.End = func(a Attempt) { b.attempt = append(b.attempt, a) }
	return b.runner.Fence(ctx, Plan{Node: "n1", Methods: methods, Watchdog: b.watchdog}, hooks)
}

// outcomes are "action outcome" of the attempts of the last fence.
func (b *bench) outcomes() []string {
	var s []string
	for _, a := range b.attempt {
		s = append(s, a.Action+" "+string(a.Outcome))
	}
	return s
}

func (b *bench) wantOutcomes(want ...string) {
	b.t.Helper()
	if got := b.outcomes(); !slices.Equal(got, want) {
		b.t.Errorf("attempts %q, want %q: %v", got, want, b.attempt)
	}
}

// read returns the content of a file that an agent wrote.
func (b *bench) read(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// pid returns the process id that an agent wrote to a file.
func (b *bench) pid(name string) int {
	b.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(b.read(name)))
	if err != nil {
		b.t.Fatal(err)
	}
	return pid
}

// wantGone waits until a process has vanished or is a zombie.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	for range 1000 {
		if !alive(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

// step is a step with action off and further params given as key, value, ...
func step(device, agent string, kv ...string) Step {
	s := Step{Device: device, Agent: agent, Params: []Param{{Key: "action", Value: "off"}}}
	for i := 0; i < len(kv); i += 2 {
		s.Params = append(s.Params, Param{Key: kv[i], Value: kv[i+1]})
	}
	return s
}

func method(name string, steps ...Step) Method { return Method{Name: name, Steps: steps} }

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var _ io.Writer = (*lockedBuffer)(nil)

// lineHook shows lines of agent output to the bench as they are logged.
type lineHook struct {
	slog.Handler
	b *bench
}

func (h lineHook) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "line" && h.b.onLine != nil {
			h.b.onLine(a.Value.String())
		}
		return true
	})
	return h.Handler.Handle(ctx, r)
}

func (h lineHook) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lineHook{h.Handler.WithAttrs(attrs), h.b}
}
