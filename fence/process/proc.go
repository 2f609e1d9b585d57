package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// stat is what this package needs of /proc/PID/stat.
type stat struct {
	state byte
	group int
	start uint64 // clock ticks from boot to the start of the process
}

// over reports whether the task has ended and only waits to be collected.
func (s stat) over() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

// readStat reads a stat file. The error is fs.ErrNotExist if the process is
// gone, also when it went while it was read.
func readStat(path string) (stat, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || isGone(err) {
			return stat{}, fs.ErrNotExist
		}
		return stat{}, err
	}
	return parseStat(text)
}

// parseStat reads the fields after the program's name, which stands in brackets
// and may itself hold brackets and spaces.
func parseStat(text []byte) (stat, error) {
	const state, group, start = 0, 2, 19 // fields 3, 5 and 22 of proc(5)
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) <= start || len(fields[state]) != 1 {
		return stat{}, fmt.Errorf("unreadable process status %q", text)
	}
	s := stat{state: fields[state][0]}
	var err error
	if s.group, err = strconv.Atoi(fields[group]); err != nil {
		return stat{}, fmt.Errorf("unreadable process group: %w", err)
	}
	if s.start, err = strconv.ParseUint(fields[start], 10, 64); err != nil {
		return stat{}, fmt.Errorf("unreadable start time: %w", err)
	}
	return s, nil
}

func statPath(pid int) string { return fmt.Sprintf("/proc/%d/stat", pid) }

// reused reports whether the group's number now belongs to another process. The
// kernel gives a number to no new process while a group uses it, so the group is
// empty then, and must not be killed under that number.
func (f pidfile) reused() (bool, error) {
	leader, err := readStat(statPath(f.pid))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && leader.start != f.start, err
}

// running reports whether anything of the group that the pidfile names still
// runs. While the group is free to start processes, one may slip through; once
// all of it was sent SIGKILL none can.
func (f pidfile) running() (bool, error) {
	if reused, err := f.reused(); reused || err != nil {
		return false, err
	}
	dirs, err := numbers("/proc")
	if err != nil {
		return false, err
	}
	if len(dirs) == 0 {
		return false, errors.New("/proc shows no processes; is it mounted?")
	}
	for _, dir := range dirs {
		s, err := readStat(filepath.Join(dir, "stat"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if s.group != f.pid {
			continue
		}
		if alive, err := anyThread(dir, s); alive || err != nil {
			return alive, err
		}
	}
	return false, nil
}

// kill sends SIGKILL to the whole group and reports whether there was one left
// to send it to; zombies count.
func (f pidfile) kill() (bool, error) {
	if reused, err := f.reused(); reused || err != nil {
		return false, err
	}
	err := syscall.Kill(-f.pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("kill process group %d: %w", f.pid, err)
	}
	return true, nil
}

// anyThread reports whether a process runs. One that shows as a zombie may have
// lost only its first thread.
func anyThread(dir string, s stat) (bool, error) {
	if !s.over() {
		return true, nil
	}
	threads, err := numbers(filepath.Join(dir, "task"))
	if err != nil {
		return false, err
	}
	for _, thread := range threads {
		t, err := readStat(filepath.Join(thread, "stat"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !t.over() {
			return true, nil
		}
	}
	return false, nil
}

// numbers returns the entries of a folder of /proc that stand for processes or
// threads; none if the folder itself has gone.
func numbers(dir string) ([]string, error) {
	entries, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer entries.Close()
	names, err := entries.Readdirnames(-1)
	if err != nil && !isGone(err) && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var paths []string
	for _, name := range names {
		if name[0] >= '0' && name[0] <= '9' {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, nil
}
