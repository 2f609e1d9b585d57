//go:build !linux

package client

import (
	"errors"
	"time"
)

// armWatchdog knows no watchdog here.
func armWatchdog(string, time.Duration) (dog, time.Duration, error) {
	return nil, 0, errors.New("watchdogs are known on Linux only")
}
