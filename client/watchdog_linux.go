package client

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// device is a watchdog as the kernel offers it: opening it arms it, any byte
// feeds it, and it is disarmed when it is closed right after a 'V'.
type device struct{ file *os.File }

func (d device) feed() error {
	_, err := d.file.Write([]byte{'.'})
	return err
}

func (d device) disarm() error {
	_, err := d.file.Write([]byte{'V'})
	return errors.Join(err, d.file.Close())
}

func (d device) leave() error { return d.file.Close() }

// armWatchdog opens a watchdog and returns the timeout that it has. A file or pipe
// that knows nothing of watchdogs stands in for one, with the timeout that is
// wanted; who reads it must keep to that.
func armWatchdog(path string, want time.Duration) (dog, time.Duration, error) {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, 0, fmt.Errorf("another program has it open, maybe systemd (RuntimeWatchdogSec): %w", err)
	}
	if err != nil {
		return nil, 0, err
	}
	d := device{file}
	timeout, err := d.prepare(want)
	if err != nil {
		return nil, 0, errors.Join(err, d.disarm())
	}
	return d, timeout, nil
}

// prepare sets the timeout and returns what the device made of it.
func (d device) prepare(want time.Duration) (time.Duration, error) {
	fd := int(d.file.Fd())
	info, err := unix.IoctlGetWatchdogInfo(fd)
	switch {
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL):
		return want, nil
	case err != nil:
		return 0, fmt.Errorf("it does not say what it is: %w", err)
	case info.Options&unix.WDIOF_MAGICCLOSE == 0:
		return 0, errNoDog
	}
	seconds := int((want + time.Second - 1) / time.Second)
	setErr := unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds) // some have a fixed one
	seconds, err = unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return 0, fmt.Errorf("it does not say its timeout: %w", errors.Join(err, setErr))
	}
	timeout := time.Duration(seconds) * time.Second
	if timeout < minWatchdogTimeout || timeout > maxWatchdogTimeout {
		return 0, fmt.Errorf("its timeout is %v, %v to %v can be used", timeout, minWatchdogTimeout, maxWatchdogTimeout)
	}
	return timeout, nil
}
