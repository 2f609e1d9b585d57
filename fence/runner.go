package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Defaults of a Runner.
const (
	defaultPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultTimeout   = 60 * time.Second
	defaultKillGrace = 5 * time.Second
	defaultWaitDelay = 2 * time.Second
	defaultMaxOutput = 64 << 10
)

// Runner is the Fencer that runs real agents. The zero value is ready to use;
// the settings must not change once it is in use, and it must not be copied.
// Fence and Run may be called at the same time for different nodes; agents of
// one device wait for each other.
type Runner struct {
	// Log gets every line of the agents' output and the end of every attempt,
	// without secrets; nil discards them. It must not block for long: an agent
	// that writes waits for it.
	Log *slog.Logger
	// Path is the list of absolute folders, separated by colons, in which agents
	// are looked for. It is the agents' own PATH too. Empty means
	// /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin.
	Path string
	// Timeout bounds one run of an agent whose step sets no limit; 0 means 60 s.
	Timeout time.Duration
	// KillGrace is how long a killed agent may take to vanish before it is
	// given up as stuck in the kernel; 0 means 5 s.
	KillGrace time.Duration
	// WaitDelay is how long the output is waited for after the agent's whole
	// group has ended, which matters only if a process that left the group
	// holds it; 0 means 2 s.
	WaitDelay time.Duration
	// Supervisor is the program that agents are run under: one that calls
	// Supervise first of all, such as SelfSupervisor. It finds and kills what
	// leaves the agent's process group, looks at the permit once more right before
	// the agent, and ends it at its time limit even while this process is stopped.
	// Empty means that agents are started directly.
	Supervisor string
	// MaxOutput bounds what one run of an agent may write to the log, in bytes;
	// 0 means 64 KiB. The rest is read and dropped.
	MaxOutput int

	mu      sync.Mutex
	devices map[string]chan struct{} // one token per device name
	asked   map[string]chan struct{} // one token per device name, for rehearsals
}

var (
	_ Fencer    = (*Runner)(nil)
	_ Rehearser = (*Runner)(nil)
)

// Fence implements Fencer; it is Run without the report.
func (r *Runner) Fence(ctx context.Context, plan Plan, hooks Hooks) error {
	_, err := r.Run(ctx, plan, hooks)
	return err
}

// Run makes one round over the plan's methods, in order, until one succeeds, as
// Fencer says, and returns the account of it, which is complete with and
// without an error. A method that must not be run (see Method.Validate) is
// reported as a refused attempt, and the next one is tried.
func (r *Runner) Run(ctx context.Context, plan Plan, hooks Hooks) (Report, error) {
	report := Report{Node: plan.Node}
	if err := plan.check(); err != nil {
		return report, err
	}
	rd := &round{runner: r, plan: plan, report: &report, hooks: hooks}
	var errs []error
	for _, m := range plan.Methods {
		err := rd.method(ctx, m)
		if err == nil {
			report.Fenced, report.Method = true, m.Name
			r.log().Info("node fenced", "node", plan.Node, "method", m.Name)
			return report, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
	}
	return report, fmt.Errorf("node %s: %w: %w", plan.Node, ErrNotFenced, errors.Join(errs...))
}

// acquire waits until no other agent uses the device. Many devices take one
// connection at a time, and none is the better for two. Rehearsals wait for their
// turn among themselves first, so that a fence waits for one of them, and not for
// one of each node of the device.
func (r *Runner) acquire(ctx context.Context, device string, rehearsal bool) (release func(), err error) {
	freeTurn := func() {}
	if rehearsal {
		if freeTurn, err = take(ctx, r.token(&r.asked, device)); err != nil {
			return nil, err
		}
	}
	free, err := take(ctx, r.token(&r.devices, device))
	if err != nil {
		freeTurn()
		return nil, err
	}
	return func() { free(); freeTurn() }, nil
}

// token returns the token of a device, a new one if it has none.
func (r *Runner) token(of *map[string]chan struct{}, device string) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if *of == nil {
		*of = make(map[string]chan struct{})
	}
	token, ok := (*of)[device]
	if !ok {
		token = make(chan struct{}, 1)
		(*of)[device] = token
	}
	return token
}

// take waits for a token.
func take(ctx context.Context, token chan struct{}) (release func(), err error) {
	select {
	case token <- struct{}{}:
		return func() { <-token }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

func (r *Runner) path() string { return cmp.Or(r.Path, defaultPath) }

func (r *Runner) timeout() time.Duration { return cmp.Or(max(r.Timeout, 0), defaultTimeout) }

func (r *Runner) killGrace() time.Duration { return cmp.Or(max(r.KillGrace, 0), defaultKillGrace) }

func (r *Runner) waitDelay() time.Duration { return cmp.Or(max(r.WaitDelay, 0), defaultWaitDelay) }

func (r *Runner) maxOutput() int { return cmp.Or(max(r.MaxOutput, 0), defaultMaxOutput) }
