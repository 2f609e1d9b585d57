package replica

import "errors"

// What proposing, asking and handing over may end in.
var (
	// ErrNotLeader: this server does not lead; the command was not and will not be applied.
	ErrNotLeader = errors.New("this server does not lead the cluster")
	// ErrUnknownOutcome: leadership or the disk was lost while the command was
	// under way. It may have been applied or may yet be.
	ErrUnknownOutcome = errors.New("outcome unknown: the command may or may not be applied")
	// ErrBusy: too many commands are under way; this one was not taken. Try again shortly.
	ErrBusy = errors.New("too many commands under way")
	// ErrTooLarge: the command exceeds MaxCommand and was not taken.
	ErrTooLarge = errors.New("command too large")
	// ErrStopped: the replica is closed or has failed; the command was not taken.
	ErrStopped = errors.New("replica stopped")
	// ErrPoisoned: the disk failed or stalled once; nothing is asked of it again
	// until the process has been restarted.
	ErrPoisoned = errors.New("store failed earlier, restart the server")
	// ErrTransferRefused: leadership was not handed over and nothing was tried.
	ErrTransferRefused = errors.New("leadership not handed over")
	// ErrLocked: another process uses the data folder.
	ErrLocked = errors.New("data folder is in use")
	// ErrDamaged: what the data folder holds cannot be trusted.
	ErrDamaged = errors.New("data folder damaged")
	// ErrRefused: a peer and this server do not accept each other.
	ErrRefused = errors.New("peer refused")
)
