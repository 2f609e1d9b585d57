package fence

import (
	"syscall"
	"time"
	"unsafe"
)

// sinceBoot returns how long the machine has been up, the time that it slept
// included. Time in a synctest bubble does not change it.
func sinceBoot() time.Duration {
	const clockBoottime = 7 // CLOCK_BOOTTIME of clock_gettime(2)
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic("fence: the clock since boot cannot be read: " + errno.Error()) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}
