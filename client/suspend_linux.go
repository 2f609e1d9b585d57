package client

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspended returns for how long the machine was suspended since it was started:
// CLOCK_BOOTTIME goes on then, CLOCK_MONOTONIC does not. The two cannot be read
// at once; what comes in between makes the answer greater, which errs to the
// safe side, and the least of three is hardly ever wrong.
func suspended() time.Duration {
	least := time.Duration(-1)
	for range 3 {
		var monotonic, boot unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
			return 0 // a kernel before 2.6.39
		}
		d := time.Duration(boot.Nano() - monotonic.Nano())
		if least < 0 || d < least {
			least = d
		}
	}
	return max(least, 0)
}
