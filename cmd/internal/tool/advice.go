package tool

import (
	"context"
	"errors"

	"lock_gulmd/proto/gulmerr"
)

// Advised is an error with what to do about it where the general advice for its
// kind would not help.
type Advised struct {
	// Err is the error.
	Err error
	// Advice is what to do, as half a sentence.
	Advice string
}

// Error returns the error's text without the advice, which Main prints.
func (a *Advised) Error() string { return a.Err.Error() }

// Unwrap returns the error.
func (a *Advised) Unwrap() error { return a.Err }

// advices are what to do about each kind of error, first match first.
var advices = []struct {
	is   error
	text string
}{
	{gulmerr.ErrNoQuorum, "start the lock servers that are down; gulm_tool status shows each of them"},
	{gulmerr.ErrNotMaster, "try again; gulm_tool status shows whether the lock servers elect a master"},
	{gulmerr.ErrShuttingDown, "try again: another server takes over"},
	{gulmerr.ErrUnknownNode, "gulm_tool nodelist shows the names"},
	{gulmerr.ErrNotPending, "nothing; gulm_tool status shows the fences that are pending"},
	{gulmerr.ErrLastQuorum, "unmount the file systems first, or repeat with --force: locks then stop until enough servers are back"},
	{gulmerr.ErrWrongState, "gulm_tool nodeinfo NODE shows its state"},
	{gulmerr.ErrPermission, "use a certificate with a gulm://CLUSTER/admin/NAME URI (--tls-cert, --tls-key, --tls-ca)"},
	{gulmerr.ErrVersion, "use the gulm_tool of the version that the servers run"},
	{gulmerr.ErrWrongCluster, "name the configuration or the servers of the right cluster (--config, --server)"},
	{gulmerr.ErrLimit, "try again in a moment, or ask for less"},
	{gulmerr.ErrCanceled, "run it again when you are sure"},
	{gulmerr.ErrBadConfig, "correct it, or name another one"},
	{gulmerr.ErrInternal, "the server's log has the details"},
	{gulmerr.ErrUnavailable, "see that lock_gulmd runs there and that no firewall is in the way; gulm_tool status asks all servers"},
	{context.DeadlineExceeded, "try again, or with a longer --timeout; gulm_tool status shows which server does not answer"},
}

// advice returns what to do about err, "" if its text says so or nothing is known.
func advice(err error) string {
	var own *Advised
	if errors.As(err, &own) {
		return own.Advice
	}
	for _, a := range advices {
		if errors.Is(err, a.is) {
			return a.text
		}
	}
	return ""
}
