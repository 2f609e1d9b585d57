package fence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// job is one run of one agent.
type job struct {
	method string
	step   Step
	action string
	input  []Param
	stdout *capped // nil: standard output is treated like standard error
	permit Permit
}

// runAgent runs the agent of a job once and says how it ended. The agent gets
// no arguments, an environment of PATH and LANG only, the root directory, and
// its parameters on standard input. started is false if nothing was run.
func (r *Runner) runAgent(ctx context.Context, node string, j job) (a Attempt, started bool) {
	a = Attempt{
		Node: node, Method: j.method, Device: j.step.Device, Agent: j.step.Agent,
		Action: j.action, Start: time.Now(), ExitCode: -1,
	}
	log := r.log().With("node", node, "method", a.Method, "device", a.Device, "agent", a.Agent, "action", a.Action)
	limit := j.step.Timeout
	if limit <= 0 {
		limit = r.timeout()
	}
	runCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	secrets := newRedactor(j.input)
	out := newSink(secrets, r.maxOutput(), func(line string) { log.Info("agent wrote", "line", line) })
	log.Debug("agent starts", "limit", limit)
	err := r.exec(runCtx, j, limit, out)
	a.judge(ctx, runCtx, err, limit)
	a.Duration = time.Since(a.Start)
	a.Reason = secrets.redact(a.Reason)
	tail, dropped := out.close()
	a.Tail = tail
	if dropped > 0 {
		log.Warn("agent output cut", "dropped", dropped)
	}
	var start errStart
	return a, !errors.As(err, &start)
}

// exec finds and runs the program of a job.
func (r *Runner) exec(ctx context.Context, j job, limit time.Duration, out io.Writer) error {
	if ctx.Err() != nil {
		return errStart{context.Cause(ctx)}
	}
	if late := j.permit.late(); late > 0 {
		return errStart{errLate(late)}
	}
	program, err := lookPath(r.path(), j.step.Agent)
	if err != nil {
		return errStart{err}
	}
	cmd := exec.Command(program)
	if r.Supervisor != "" {
		cmd = exec.Command(r.Supervisor)
		cmd.Args = superviseArgs(j.permit, limit, program)
	}
	cmd.Env = []string{"PATH=" + r.path(), "LANG=C"}
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(encode(j.input))
	cmd.Stdout, cmd.Stderr = out, out
	if j.stdout != nil {
		cmd.Stdout = j.stdout
	}
	cmd.WaitDelay = r.waitDelay()
	if r.Supervisor != "" {
		return runSupervised(ctx, cmd, r.killGrace())
	}
	return runGroup(ctx, cmd, r.killGrace())
}

// judge turns the end of an agent into an outcome. A context that has ended
// outweighs an exit status: an agent that was told to stop has proved nothing.
func (a *Attempt) judge(ctx, runCtx context.Context, err error, limit time.Duration) {
	var start errStart
	var exit *exec.ExitError
	var told *verdict
	if errors.As(err, &told) {
		a.judgeVerdict(ctx, runCtx, told, limit)
		return
	}
	if errors.As(err, &exit) {
		a.ExitCode = exit.ExitCode()
	} else if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		a.ExitCode = 0
	}
	switch {
	case ctx.Err() != nil:
		a.fail(OutcomeCancelled, fmt.Sprintf("stopped: %v", context.Cause(ctx)))
	case errors.As(err, &start):
		a.fail(OutcomeNotStarted, start.Error())
	case runCtx.Err() != nil:
		a.fail(OutcomeTimedOut, fmt.Sprintf("no answer within %v", limit))
	case err == nil:
		a.Outcome = OutcomeOK
		return
	case exit != nil && a.ExitCode >= 0:
		a.fail(OutcomeFailed, exit.Error())
	case exit != nil:
		a.fail(OutcomeSignalled, exit.Error())
	case errors.Is(err, exec.ErrWaitDelay):
		a.fail(OutcomeOutputLost, "it ended with exit status 0 but left a process behind that holds its output open")
	default:
		a.fail(OutcomeOutputLost, fmt.Sprintf("its output could not be read: %v", err))
	}
	if errors.Is(err, errUnkillable) {
		a.Reason += "; " + errUnkillable.Error()
	}
}

func (a *Attempt) fail(o Outcome, reason string) { a.Outcome, a.Reason = o, reason }

// logTo writes the one line that each attempt gets.
func (a *Attempt) logTo(log *slog.Logger, n int) {
	args := []any{
		"node", a.Node, "method", a.Method, "device", a.Device, "agent", a.Agent, "action", a.Action,
		"attempt", n, "dur", a.Duration, "outcome", string(a.Outcome),
	}
	if a.Outcome.OK() {
		log.Info("fence agent succeeded", args...)
		return
	}
	log.Warn("fence agent failed", append(args, "code", a.ExitCode, "tail", a.Tail, "err", a.Reason)...)
}

// lookPath finds the program of an agent: an absolute path is taken as it is, a
// bare name is looked for in the absolute folders of list.
func lookPath(list, agent string) (string, error) {
	if err := checkAgent(agent); err != nil {
		return "", err
	}
	if filepath.IsAbs(agent) {
		return agent, executable(agent)
	}
	var unusable error
	for _, dir := range filepath.SplitList(list) {
		if !filepath.IsAbs(dir) {
			continue
		}
		program := filepath.Join(dir, agent)
		err := executable(program)
		if err == nil {
			return program, nil
		}
		if unusable == nil && !errors.Is(err, os.ErrNotExist) {
			unusable = err
		}
	}
	if unusable != nil {
		return "", unusable
	}
	return "", fmt.Errorf("agent %s is in none of %s; install it or correct its name in fence.ccs", agent, list)
}

func executable(program string) error {
	info, err := os.Stat(program)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("agent %s is not a file", program)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("agent %s is not executable", program)
	}
	return nil
}
