package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// pidfile is the content of NODE.pid: "PID START\n", a process group and the
// start time of its leader as in field 22 of /proc/PID/stat.
type pidfile struct {
	pid   int
	start uint64
}

// isGone reports whether reading below /proc failed because the process went.
func isGone(err error) bool { return errors.Is(err, syscall.ESRCH) }

// WritePidfile tells the agent which process group is the machine called node:
// it writes DIR/NODE.pid for the running process pid, which must lead its own
// process group (SysProcAttr.Setpgid), and replaces an older file at once. The
// folder must exist. The start time that it records keeps a later process with
// the same number safe.
func WritePidfile(dir, node string, pid int) error {
	path, err := pidfilePath(dir, node)
	if err != nil {
		return err
	}
	s, err := readStat(statPath(pid))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: there is no process %d", path, pid)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if pid <= 1 || s.group != pid {
		return fmt.Errorf("write %s: process %d does not lead a process group; start it with one of its own", path, pid)
	}
	return replaceFile(path, fmt.Sprintf("%d %d\n", pid, s.start))
}

// replaceFile writes a file so that a reader sees the old text or the new one.
func replaceFile(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// pidfilePath returns DIR/NODE.pid. A node name never leads out of the folder.
func pidfilePath(dir, node string) (string, error) {
	if node == "" || strings.ContainsAny(node, "/\x00\n") || node[0] == '.' {
		return "", fmt.Errorf("node name %q cannot be the name of a pidfile", node)
	}
	return filepath.Join(dir, node+".pid"), nil
}

// readPidfile reads what WritePidfile wrote. That there is no file is an error
// like any other: nothing is known of the machine then.
func readPidfile(path string) (pidfile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return pidfile{}, err
	}
	var f pidfile
	if n, err := fmt.Sscanf(string(text), "%d %d\n", &f.pid, &f.start); n != 2 || err != nil {
		return pidfile{}, fmt.Errorf("%s: want \"PID START\", found %q", path, text)
	}
	if f.pid <= 1 || f.pid == syscall.Getpgrp() {
		return pidfile{}, fmt.Errorf("%s: process group %d is not one to be killed", path, f.pid)
	}
	return f, nil
}
