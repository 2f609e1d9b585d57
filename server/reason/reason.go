// Package reason names why the replicated state refuses something. The pure
// packages answer with a Reason where other code would return an error; the
// gRPC edge turns it into the sentinel of package gulmerr with the same string.
package reason

// Reason says why a request was refused. The zero value means that it was not.
type Reason uint8

// The reasons. Their numbers are kept in snapshots: append only.
const (
	// None: not refused.
	None Reason = iota
	// TryFailed: not grantable at once, and the request asked not to wait.
	TryFailed
	// Deadlock: granting would need a lock that waits for this one.
	Deadlock
	// Busy: the lock has a request under way.
	Busy
	// NotHeld: the session has no such lock.
	NotHeld
	// Invalid: an argument is out of its range or a flag is unknown.
	Invalid
	// NoLockspace: the session has not joined that lockspace.
	NoLockspace
	// InUse: the lockspace still has locks of the session; or a key is used as a
	// whole where a part is asked for, or the other way round.
	InUse
	// Policy: the lockspace exists with another policy.
	Policy
	// Limit: a configured limit is reached.
	Limit
	// OutOfOrder: the request number is not the next one.
	OutOfOrder
	// NodeExpired: the node was declared dead.
	NodeExpired
	// NotFenced: an earlier incarnation of the node is not fenced yet.
	NotFenced
	// StaleIncarnation: another boot of the node is logged in, or the command
	// speaks of another incarnation than the present one.
	StaleIncarnation
	// NoSession: no such session.
	NoSession
	// UnknownNode: no such node.
	UnknownNode
	// WrongState: the node is not in a state in which this is allowed.
	WrongState
	// NotPending: no fence of that node and incarnation is pending.
	NotPending
	// StaleTerm: decided by a master that has been replaced.
	StaleTerm
	// Alive: the state shows a newer sign of life than the master knew of.
	Alive
	// Exists: the lockspace exists already.
	Exists
	// TimedOut: the request waited for as long as it wanted to.
	TimedOut
	// NoJournal: every journal of the file system belongs to a live mounter.
	NoJournal
	// NotRecovering: the session has no recovery at hand.
	NotRecovering
	// Mounted: the node has the lockspace mounted already.
	Mounted
	// NotMounted: the session does not mount the lockspace.
	NotMounted
	// FenceLied: the power of the node was cut, as was said, and it has the same
	// boot id: it was not.
	FenceLied
	// Paused: automatic expiry and fencing are paused.
	Paused
	// Unsettled: the node is fenced, but an attempt that was given up may still
	// cut it off.
	Unsettled
	// Lease: the time-to-live is missing, belongs to no PolicyLease, is shorter than
	// the expiry time, or too long.
	Lease
	// NoProof: the lockspace is under PolicyLease, so that nothing ever proves that
	// a journal may be replayed.
	NoProof
)

// names are the reason strings of package gulmerr.
var names = [...]string{
	None: "", TryFailed: "TRY_FAILED", Deadlock: "DEADLOCK", Busy: "BUSY", NotHeld: "NOT_HELD", Invalid: "INVALID",
	NoLockspace: "NO_LOCKSPACE", InUse: "IN_USE", Policy: "POLICY", Limit: "LIMIT", OutOfOrder: "OUT_OF_ORDER",
	NodeExpired: "NODE_EXPIRED", NotFenced: "NOT_FENCED", StaleIncarnation: "STALE_INCARNATION", NoSession: "NO_SESSION",
	UnknownNode: "UNKNOWN_NODE", WrongState: "WRONG_STATE", NotPending: "NOT_PENDING", StaleTerm: "STALE_TERM",
	Alive: "WRONG_STATE", Exists: "EXISTS", TimedOut: "TIMED_OUT",
	NoJournal: "NO_JOURNAL", NotRecovering: "NOT_RECOVERING", Mounted: "MOUNTED",
	NotMounted: "NOT_MOUNTED",
	FenceLied:  "FENCE_LIED", Paused: "PAUSED",
	Unsettled: "NOT_FENCED",
	Lease:     "LEASE", NoProof: "NO_PROOF",
}

// Count is the number of reasons, None included.
const Count = len(names)

// String returns the reason string of package gulmerr, "" for None and
// "INTERNAL" for a number that this version does not know.
func (r Reason) String() string {
	if int(r) >= len(names) {
		return "INTERNAL"
	}
	return names[r]
}
