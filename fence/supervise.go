package fence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// SelfSupervisor is the running program itself, for Runner.Supervisor.
const SelfSupervisor = "/proc/self/exe"

// superviseName is the name under which a program is called to supervise.
const superviseName = "lock_gulmd-fence-supervisor"

// superviseSlack is what a supervisor adds to an agent's time limit, so that it
// is the caller who ends the agent unless the caller is stopped.
const superviseSlack = time.Second

// How an agent ended, as a supervisor tells it.
const (
	verdictExit   = "exit"   // with this exit status
	verdictSignal = "signal" // by this signal
	verdictStart  = "start"  // it was not started
	verdictLimit  = "limit"  // it was killed at its time limit
	verdictStop   = "stop"   // it was killed because the caller said so, or died
)

// verdict is what a supervisor says of the agent. As an error it carries what
// there is to say to judge.
type verdict struct {
	kind   string
	code   int
	strays int // processes that had left the agent's group and were killed
	stuck  int // processes that could not be killed
	text   string
}

// Error says how the agent ended.
func (v *verdict) Error() string {
	var s string
	switch v.kind {
	case verdictExit:
		s = "exit status " + strconv.Itoa(v.code)
	case verdictSignal:
		s = "signal: " + syscall.Signal(v.code).String()
	case verdictStart:
		s = v.text
	default:
		s = "killed"
	}
	if v.strays > 0 {
		s += fmt.Sprintf("; %d of its processes had left its process group and were killed", v.strays)
	}
	if v.stuck > 0 {
		s += "; " + errUnkillable.Error()
	}
	return s
}

// encode writes the verdict as decodeVerdict reads it.
func (v *verdict) encode() string {
	return fmt.Sprintf("%s %d %d %d\n%s", v.kind, v.code, v.strays, v.stuck, v.text)
}

// decodeVerdict reads a verdict; nil if there is none.
func decodeVerdict(text string) *verdict {
	head, rest, ok := strings.Cut(text, "\n")
	v := &verdict{text: rest}
	if n, err := fmt.Sscan(head, &v.kind, &v.code, &v.strays, &v.stuck); !ok || err != nil || n != 4 {
		return nil
	}
	return v
}

// errLate is that a permit was over before the agent could be started.
func errLate(late time.Duration) error {
	return fmt.Errorf("the leave to start it ended %v ago: this server stood still, and may not be the master any more", late.Round(time.Millisecond))
}

// superviseArgs is the command line of a supervisor.
func superviseArgs(p Permit, limit time.Duration, program string) []string {
	return []string{superviseName, strconv.FormatInt(int64(p.until), 10), strconv.FormatInt(int64(limit+superviseSlack), 10), program}
}

// runSupervised runs a supervisor, tells it to end its agent when ctx ends, and
// returns its verdict. A supervisor that does not end within grace after that is
// killed; its agent dies with it.
func runSupervised(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	stopRead, stopWrite, err := os.Pipe()
	if err != nil {
		return errStart{err}
	}
	verdictRead, verdictWrite, err := os.Pipe()
	if err != nil {
		_ = stopRead.Close()
		_ = stopWrite.Close()
		return errStart{err}
	}
	defer verdictRead.Close()
	cmd.ExtraFiles = []*os.File{stopRead, verdictWrite}
	// No parent-death signal: our end closes the pipe, upon which it ends its
	// agent in order, and what has left the agent's group too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var timer atomic.Pointer[time.Timer]
	stop := context.AfterFunc(ctx, func() {
		_ = stopWrite.Close()
		timer.Store(time.AfterFunc(2*grace, cut))
	})
	err = runGroup(hard, cmd, grace)
	if stop() {
		_ = stopWrite.Close()
	}
	if t := timer.Load(); t != nil {
		t.Stop()
	}
	_ = stopRead.Close()
	_ = verdictWrite.Close()
	if errors.As(err, new(errStart)) {
		return err
	}
	_ = verdictRead.SetReadDeadline(time.Now().Add(grace)) // held open only by a supervisor that is stuck
	text, _ := io.ReadAll(io.LimitReader(verdictRead, maxLine))
	v := decodeVerdict(string(text))
	if v == nil {
		return fmt.Errorf("its supervisor ended without a verdict: %w", errors.Join(err, errLost))
	}
	if v.kind == verdictStart {
		return errStart{errors.New(v.text)}
	}
	if v.kind == verdictExit && v.code == 0 && err != nil {
		return fmt.Errorf("its output could not be read to the end: %w", errors.Join(err, errLost))
	}
	return v
}

// errLost means that nobody knows how the agent ended.
var errLost = errors.New("its end is not known")

// judgeVerdict is judge for an agent that ran under a supervisor.
func (a *Attempt) judgeVerdict(ctx, runCtx context.Context, v *verdict, limit time.Duration) {
	if v.kind == verdictExit {
		a.ExitCode = v.code
	}
	_, cuts := cutting[a.Action]
	a.Late = cuts && v.strays+v.stuck > 0
	switch {
	case ctx.Err() != nil:
		a.fail(OutcomeCancelled, fmt.Sprintf("stopped: %v", context.Cause(ctx)))
	case runCtx.Err() != nil || v.kind == verdictLimit:
		a.fail(OutcomeTimedOut, fmt.Sprintf("no answer within %v", limit))
	case v.kind == verdictExit && v.code == 0 && v.stuck == 0:
		a.Outcome = OutcomeOK
		return
	case v.kind == verdictExit && v.code != 0:
		a.fail(OutcomeFailed, v.Error())
		return
	case v.kind == verdictSignal:
		a.fail(OutcomeSignalled, v.Error())
		return
	default:
		a.fail(OutcomeOutputLost, v.Error())
		return
	}
	if v.strays+v.stuck > 0 {
		a.Reason += "; " + v.Error()
	}
}
