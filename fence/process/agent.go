package process

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lock_gulmd/fence/agent"
)

const (
	defaultPowerTimeout = 20 * time.Second
	pollInterval        = 10 * time.Millisecond
)

//go:embed metadata.xml
var metadata string

const usage = `fence_process: a fence agent whose power switch is a process group.
It reads key=value lines on standard input:
  action         off, reboot, status, monitor or metadata; reboot if not given
  nodename       the machine
  pidfile_dir    the folder that holds NODENAME.pid
  pidfile        the pidfile itself, instead of the folder
  power_timeout  seconds until the group must be gone (20)
  delay          seconds to wait before off and reboot (0)
  fail_first     how many times off and reboot fail first (0)
Switches: -h this text, -o metadata the metadata.
`

// Main runs the agent once and returns its exit status: 0 done (or on), 1
// failed, 2 the status is off. args are the command line without the program's
// name; a fencer gives none. Off succeeds only when the group that the pidfile
// names was seen to be gone.
func Main(stdin io.Reader, stdout, stderr io.Writer, args []string) int {
	if code, done := agent.Switches(args, usage, metadata, stdout, stderr); done {
		return code
	}
	code, err := run(stdin, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "Failed: %v\n", err)
		return agent.Error
	}
	return code
}

func run(stdin io.Reader, stdout io.Writer) (int, error) {
	in, err := readInput(stdin)
	if err != nil {
		return agent.Error, err
	}
	switch in.action {
	case "off", "reboot":
		was, err := in.off()
		if err == nil {
			fmt.Fprintf(stdout, "Success: %s\n", was)
		}
		return agent.OK, err
	case "status":
		return in.status(stdout)
	case "monitor":
		return agent.OK, in.monitor()
	case "metadata":
		fmt.Fprint(stdout, metadata)
		return agent.OK, nil
	}
	return agent.Error, fmt.Errorf("action %q is not one of off, reboot, status, monitor, metadata", in.action)
}

// settings are the agent's input.
type settings struct {
	action, node, dir, file string
	powerTimeout, delay     time.Duration
	failFirst               int
}

// readInput reads the settings: unknown keys are ignored, the last of a key counts.
func readInput(stdin io.Reader) (settings, error) {
	in := settings{action: "reboot", powerTimeout: defaultPowerTimeout}
	err := agent.ReadInput(stdin, in.set)
	return in, err
}

func (in *settings) set(key, value string) (err error) {
	switch key {
	case "action", "option":
		in.action = strings.ToLower(value)
	case "nodename":
		in.node = value
	case "pidfile_dir":
		in.dir = value
	case "pidfile":
		in.file = value
	case "power_timeout":
		in.powerTimeout, err = seconds(key, value)
	case "delay":
		in.delay, err = seconds(key, value)
	case "fail_first":
		in.failFirst, err = strconv.Atoi(value)
		if err != nil {
			err = fmt.Errorf("%s=%s is not a number", key, value)
		}
	}
	return err
}

func seconds(key, value string) (time.Duration, error) {
	s, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(s) || s < 0 || s > 1e6 {
		return 0, fmt.Errorf("%s=%s is not a number of seconds", key, value)
	}
	return time.Duration(s * float64(time.Second)), nil
}

// path returns the pidfile of the machine.
func (in settings) path() (string, error) {
	switch {
	case in.file != "":
		return in.file, nil
	case in.dir == "":
		return "", errors.New("neither pidfile_dir nor pidfile is given")
	}
	return pidfilePath(in.dir, in.node)
}

func (in settings) load() (pidfile, error) {
	path, err := in.path()
	if err != nil {
		return pidfile{}, err
	}
	return readPidfile(path)
}

func (in settings) status(stdout io.Writer) (int, error) {
	f, err := in.load()
	if err != nil {
		return agent.Error, err
	}
	on, err := f.running()
	switch {
	case err != nil:
		return agent.Error, err
	case on:
		fmt.Fprintln(stdout, "Status: ON")
		return agent.OK, nil
	}
	fmt.Fprintln(stdout, "Status: OFF")
	return agent.Off, nil
}

// monitor reports whether the switch can be reached: the folder of the pidfiles.
func (in settings) monitor() error {
	dir := in.dir
	if in.file != "" {
		dir = filepath.Dir(in.file)
	}
	_, err := os.ReadDir(dir)
	return err
}

// off kills the group and waits until nothing of it runs any more. Reboot is
// the same, since there is no way to switch such a machine on; the protocol
// counts a reboot as done when its off half is.
func (in settings) off() (done string, err error) {
	time.Sleep(in.delay)
	if err := in.failOnPurpose(); err != nil {
		return "", err
	}
	f, err := in.load()
	if err != nil {
		return "", err
	}
	done = "Already OFF"
	if on, err := f.running(); err != nil {
		return "", err
	} else if on {
		done = "Powered OFF"
	}
	for deadline := time.Now().Add(in.powerTimeout); ; time.Sleep(pollInterval) {
		// Even if nothing seemed to run: only behind a signal to the whole group
		// is it sure that nothing has slipped through.
		if left, err := f.kill(); !left || err != nil {
			return done, err
		}
		if on, err := f.running(); !on || err != nil {
			return done, err
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("timed out waiting to power OFF: process group %d still runs", f.pid)
		}
	}
}

// failOnPurpose fails the first calls for a machine, which it counts in a file
// beside the pidfile.
func (in settings) failOnPurpose() error {
	if in.failFirst <= 0 {
		return nil
	}
	path, err := in.path()
	if err != nil {
		return err
	}
	path = strings.TrimSuffix(path, ".pid") + ".failed"
	failed := 0
	text, err := os.ReadFile(path)
	if err == nil {
		failed, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if failed >= in.failFirst {
		return nil
	}
	failed++
	if err := replaceFile(path, strconv.Itoa(failed)+"\n"); err != nil {
		return err
	}
	return fmt.Errorf("told to fail %d times, this is number %d", in.failFirst, failed)
}
