package gulmerr

import "google.golang.org/grpc/codes"

// Exit codes of the commands.
const (
	// ExitOK: done.
	ExitOK = 0
	// ExitFailed: tried and failed.
	ExitFailed = 1
	// ExitUsage: wrong command line or configuration; nothing was tried.
	ExitUsage = 2
	// ExitNoQuorum: no master answers.
	ExitNoQuorum = 3
	// ExitNotFound: the thing named does not exist.
	ExitNotFound = 4
	// ExitRefused: the servers understood and refused.
	ExitRefused = 5
)

// Entry is one row of the table.
type Entry struct {
	// Err is the sentinel.
	Err error
	// Reason crosses the wire; append-only.
	Reason string
	// Code is the gRPC code of a status with this reason.
	Code codes.Code
	// Exit is the exit code of a command that ends with this error.
	Exit int
}

// table is in the order of errors.go.
var table = []Entry{
	{ErrTryFailed, "TRY_FAILED", codes.Aborted, ExitRefused},
	{ErrCanceled, "CANCELED", codes.Canceled, ExitFailed},
	{ErrDeadlock, "DEADLOCK", codes.Aborted, ExitRefused},
	{ErrBusy, "BUSY", codes.FailedPrecondition, ExitRefused},
	{ErrNotHeld, "NOT_HELD", codes.NotFound, ExitNotFound},
	{ErrInvalid, "INVALID", codes.InvalidArgument, ExitUsage},
	{ErrNoLockspace, "NO_LOCKSPACE", codes.NotFound, ExitNotFound},
	{ErrInUse, "IN_USE", codes.FailedPrecondition, ExitRefused},
	{ErrPolicy, "POLICY", codes.FailedPrecondition, ExitRefused},
	{ErrLimit, "LIMIT", codes.ResourceExhausted, ExitRefused},
	{ErrOutOfOrder, "OUT_OF_ORDER", codes.FailedPrecondition, ExitRefused},
	{ErrNotMaster, "NOT_MASTER", codes.Unavailable, ExitNoQuorum},
	{ErrNoQuorum, "NO_QUORUM", codes.Unavailable, ExitNoQuorum},
	{ErrNodeExpired, "NODE_EXPIRED", codes.FailedPrecondition, ExitRefused},
	{ErrNotFenced, "NOT_FENCED", codes.FailedPrecondition, ExitRefused},
	{ErrStaleIncarnation, "STALE_INCARNATION", codes.FailedPrecondition, ExitRefused},
	{ErrNoSession, "NO_SESSION", codes.NotFound, ExitNotFound},
	{ErrSessionTaken, "SESSION_TAKEN", codes.Aborted, ExitRefused},
	{ErrUnknownNode, "UNKNOWN_NODE", codes.NotFound, ExitNotFound},
	{ErrWrongState, "WRONG_STATE", codes.FailedPrecondition, ExitRefused},
	{ErrNotPending, "NOT_PENDING", codes.FailedPrecondition, ExitNotFound},
	{ErrWrongCluster, "WRONG_CLUSTER", codes.FailedPrecondition, ExitUsage},
	{ErrBadConfig, "BAD_CONFIG", codes.FailedPrecondition, ExitUsage},
	{ErrVersion, "VERSION", codes.Unimplemented, ExitRefused},
	{ErrPermission, "PERMISSION", codes.PermissionDenied, ExitRefused},
	{ErrStaleTerm, "STALE_TERM", codes.Aborted, ExitRefused},
	{ErrLastQuorum, "LAST_QUORUM", codes.FailedPrecondition, ExitRefused},
	{ErrShuttingDown, "SHUTTING_DOWN", codes.Unavailable, ExitNoQuorum},
	{ErrUnavailable, "UNAVAILABLE", codes.Unavailable, ExitNoQuorum},
	{ErrCorrupt, "CORRUPT", codes.DataLoss, ExitFailed},
	{ErrInternal, "INTERNAL", codes.Internal, ExitFailed},
	{ErrExists, "EXISTS", codes.AlreadyExists, ExitRefused},
	{ErrTimedOut, "TIMED_OUT", codes.Aborted, ExitFailed},
	{ErrNoJournal, "NO_JOURNAL", codes.ResourceExhausted, ExitRefused},
	{ErrNotRecovering, "NOT_RECOVERING", codes.FailedPrecondition, ExitRefused},
	{ErrMounted, "MOUNTED", codes.FailedPrecondition, ExitRefused},
	{ErrNotMounted, "NOT_MOUNTED", codes.FailedPrecondition, ExitRefused},
	{ErrFenceLied, "FENCE_LIED", codes.FailedPrecondition, ExitRefused},
	{ErrPaused, "PAUSED", codes.FailedPrecondition, ExitRefused},
	{ErrLease, "LEASE", codes.InvalidArgument, ExitUsage},
	{ErrNoProof, "NO_PROOF", codes.FailedPrecondition, ExitRefused},
}

// Table returns a copy of all rows in their documented order.
func Table() []Entry { return append([]Entry(nil), table...) }
