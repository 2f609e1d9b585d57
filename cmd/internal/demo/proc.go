package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// child is one process of the demo, in a process group of its own.
type child struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan message // what a node says
	done  chan struct{}
	err   error
	pumps sync.WaitGroup
}

// message is one line that a node says on standard output.
type message struct {
	// At is unix milliseconds.
	At    int64  `json:"at"`
	What  string `json:"what"`
	Token uint64 `json:"token,omitempty"`
	Text  string `json:"text,omitempty"`
	// Journal is the number of a journal, Records how many records came home from
	// it.
	Journal int `json:"journal,omitempty"`
	Records int `json:"records,omitempty"`
}

// start runs a program. A node (talks) says JSON lines on standard output; what
// else a child prints goes to its log file.
func start(name, program, logPath string, talks bool, args ...string) (*child, error) {
	logFile, err := os.OpenFile(logPath, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close() // the child has its own copy
	p := &child{name: name, cmd: exec.Command(program, args...), lines: make(chan message, 1024), done: make(chan struct{})}
	p.cmd.Stderr = logFile
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out io.Reader
	if talks {
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		if out, err = p.cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	} else {
		p.cmd.Stdout = logFile
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if talks {
		p.pumps.Go(func() { p.listen(out) })
	}
	go func() {
		defer close(p.done)
		p.pumps.Wait()
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *child) listen(out io.Reader) {
	defer close(p.lines)
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		var m message
		if json.Unmarshal(scanner.Bytes(), &m) == nil {
			p.lines <- m
		}
	}
}

// say sends a node a command.
func (p *child) say(command string) error {
	_, err := io.WriteString(p.stdin, command+"\n")
	return err
}

// await waits until the node says one of the words.
func (p *child) await(limit time.Duration, words ...string) (message, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case m, ok := <-p.lines:
			if !ok {
				return message{}, fmt.Errorf("%s ended instead of saying %v", p.name, words)
			}
			for _, w := range words {
				if m.What == w {
					return m, nil
				}
			}
			if m.What == "failed" {
				return message{}, fmt.Errorf("%s: %s", p.name, m.Text)
			}
		case <-timer.C:
			return message{}, fmt.Errorf("%s did not say %v within %v", p.name, words, limit)
		}
	}
}

// signal sends a signal to the child only.
func (p *child) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// alive reports whether the child has not ended.
func (p *child) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ended waits for the child to end.
func (p *child) ended(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s does not end", p.name)
	}
}

// kill ends the child and whatever it started, and waits.
func (p *child) kill() {
	if !p.alive() {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // gone already is as good
	<-p.done
}
