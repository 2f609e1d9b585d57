package fence

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A program that is being written is tried again for about a second.
const (
	busyTries = 50
	busyPause = 20 * time.Millisecond
)

// errUnkillable means that an agent outlived SIGKILL: it is stuck in the kernel.
var errUnkillable = errors.New("it could not be killed; it is stuck in the kernel and goes when the kernel lets it")

// errStart wraps the reason why a program was not started.
type errStart struct{ error }

// group runs one program as the leader of its own process group.
type group struct {
	cmd  *exec.Cmd
	done chan error

	mu      sync.Mutex
	pid     int  // 0 until started
	reaping bool // the leader's number may belong to somebody else from now on
}

// runGroup starts cmd in a process group of its own and waits until it ends or
// ctx does, and then kills what is left of the group. It returns what cmd.Wait
// returned, errStart when there was nothing to wait for, or, after ctx has
// ended and the group has outlived SIGKILL for grace, errUnkillable; whether ctx
// ended is for the caller to look at. cmd.WaitDelay bounds the wait for the
// output of processes that left the group.
//
// Only with errUnkillable does a goroutine outlive the call: it collects the
// process as soon as the kernel gives it up.
func runGroup(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	}
	g := &group{cmd: cmd, done: make(chan error, 1)}
	go g.run(ctx)
	select {
	case err := <-g.done:
		return err
	case <-ctx.Done():
	}
	g.kill()
	timer := time.NewTimer(grace + cmd.WaitDelay)
	defer timer.Stop()
	select {
	case err := <-g.done:
		return err
	case <-timer.C:
		return errUnkillable
	}
}

// start starts the program. One that somebody has open for writing cannot be
// started (ETXTBSY); that passes when a package manager has put it in place, or
// when a process that was forked meanwhile has let go of its copy.
func (g *group) start(ctx context.Context) error {
	for try := 0; ; try++ {
		err := g.cmd.Start()
		if !errors.Is(err, syscall.ETXTBSY) || try == busyTries || ctx.Err() != nil {
			return err
		}
		time.Sleep(busyPause)
	}
}

// run owns the program from start to end. It stays on one thread, which sits in
// waitid until the leader has ended: the kernel sends the parent-death signal
// when the thread that forked ends, not when the process does, so a thread that
// the Go runtime may retire earlier must not be the one.
func (g *group) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := g.start(ctx); err != nil {
		g.done <- errStart{err}
		return
	}
	g.mu.Lock()
	g.pid = g.cmd.Process.Pid
	g.mu.Unlock()
	if ctx.Err() != nil {
		g.kill() // the caller's kill may have come before there was a pid
	}
	awaitExit(g.cmd.Process.Pid)
	// The leader is a zombie, so its number still means this group. Whatever it
	// left behind must not go on talking to the device.
	g.kill()
	g.mu.Lock()
	g.reaping = true
	g.mu.Unlock()
	g.done <- g.cmd.Wait()
}

// kill sends SIGKILL to the whole group while its number is surely its own.
func (g *group) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pid == 0 || g.reaping {
		return
	}
	// ESRCH is the only error possible and means that the work is done.
	_ = syscall.Kill(-g.pid, syscall.SIGKILL)
}

// awaitExit blocks until the child pid has ended and leaves it to be reaped.
func awaitExit(pid int) {
	const idTypePid = 1 // P_PID of waitid(2)
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, idTypePid, uintptr(pid),
			0, syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}
