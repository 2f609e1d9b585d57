package fence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Files that a supervisor is given besides the agent's own three.
const (
	stopFile    = 3 // ends when the agent is to be ended
	verdictFile = 4 // takes the verdict
)

const (
	sweepPause = 5 * time.Millisecond
	sweepLimit = 5 * time.Second
)

// Supervise runs one agent and does not return, if this process was started to
// do so by a Runner whose Supervisor is this program; else it returns at once.
// Every program that sets Runner.Supervisor to SelfSupervisor calls it before
// anything else.
//
// It is a process of its own for three reasons. Only a process that does nothing
// else can adopt orphans (a subreaper), and so find the children of an agent
// that left its process group. It looks at the clock right before it starts the
// agent, so that a caller that was stopped for long after it had decided to fence
// does not fence a later life of the node. And it ends the agent at its time limit
// also when its caller is stopped, or gone.
func Supervise() {
	if len(os.Args) != 4 || os.Args[0] != superviseName {
		return
	}
	syscall.CloseOnExec(stopFile)
	syscall.CloseOnExec(verdictFile)
	v := supervise(os.Args[1], os.Args[2], os.Args[3])
	_, _ = io.WriteString(os.NewFile(verdictFile, "verdict"), v.encode())
	os.Exit(0)
}

func supervise(until, limit, program string) *verdict {
	// The agent gets a signal when the thread that started it ends.
	runtime.LockOSThread()
	u, err1 := strconv.ParseInt(until, 10, 64)
	l, err2 := strconv.ParseInt(limit, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return &verdict{kind: verdictStart, text: err.Error()}
	}
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER of prctl(2)
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		return &verdict{kind: verdictStart, text: "orphans cannot be adopted: " + errno.Error()}
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.NewFile(stopFile, "stop"))
		close(stop)
	}()
	agent, err := startAgent(Permit{until: time.Duration(u)}, program)
	if err != nil {
		return &verdict{kind: verdictStart, text: err.Error()}
	}
	ended := make(chan struct{})
	go func() {
		awaitExit(agent)
		close(ended)
	}()
	s := sweeper{self: os.Getpid(), agent: agent}
	v := &verdict{}
	select {
	case <-ended:
	case <-stop:
		v.kind = verdictStop
	case <-time.After(time.Duration(l)):
		v.kind = verdictLimit
	}
	s.sweep()
	v.strays, v.stuck = len(s.strays), s.left
	switch {
	case v.kind != "":
	case !s.collected:
		v.kind = verdictStop
	case s.status.Exited():
		v.kind, v.code = verdictExit, s.status.ExitStatus()
	case s.status.Signaled():
		v.kind, v.code = verdictSignal, int(s.status.Signal())
	default:
		v.kind = verdictStop
	}
	return v
}

// startAgent starts the program in a process group of its own. One that is being
// written is tried again, as group.start does.
func startAgent(permit Permit, program string) (pid int, err error) {
	for try := 0; ; try++ {
		if late := permit.late(); late > 0 {
			return 0, errLate(late)
		}
		pid, err = syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{
			Dir: "/", Env: os.Environ(), Files: []uintptr{0, 1, 2},
			Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
		})
		if !errors.Is(err, syscall.ETXTBSY) || try == busyTries {
			break
		}
		time.Sleep(busyPause)
	}
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", program, err)
	}
	return pid, nil
}

// sweeper ends everything that descends from an agent.
type sweeper struct {
	self, agent int
	collected   bool // the agent
	status      syscall.WaitStatus
	strays      map[int]bool // killed outside of the agent's group
	left        int          // still there at the end
}

// sweep kills and collects all descendants. Children of what it kills become
// children of this process, so that none is missed.
func (s *sweeper) sweep() {
	s.strays = map[int]bool{}
	for end := time.Now().Add(sweepLimit); ; time.Sleep(sweepPause) {
		// Even if the agent has ended: as long as it is not collected its number
		// means its group.
		if !s.collected {
			_ = syscall.Kill(-s.agent, syscall.SIGKILL)
		}
		children := s.children()
		s.left = 0
		for pid, stat := range children {
			if stat.over {
				s.collect(pid)
				continue
			}
			s.left++
			if stat.group != s.agent {
				s.strays[pid] = true
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(children) == 0 || time.Now().After(end) {
			return
		}
	}
}

func (s *sweeper) collect(pid int) {
	var status syscall.WaitStatus
	if got, _ := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); got == pid && pid == s.agent {
		s.status, s.collected = status, true
	}
}

// child is what the kernel says of a child of this process.
type child struct {
	over  bool // a zombie
	group int
}

// children lists the children of this process.
func (s *sweeper) children() map[int]child {
	found := map[int]child{}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it is gone
		}
		_, rest, _ := bytes.Cut(text, []byte(") "))
		for {
			// The name itself may hold ") ".
			_, more, again := bytes.Cut(rest, []byte(") "))
			if !again {
				break
			}
			rest = more
		}
		fields := strings.Fields(string(rest))
		if len(fields) < 3 || fields[1] != strconv.Itoa(s.self) {
			continue
		}
		pid, err1 := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		group, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil {
			found[pid] = child{over: fields[0] == "Z" || fields[0] == "X", group: group}
		}
	}
	return found
}
