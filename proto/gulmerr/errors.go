// Package gulmerr is the one table of errors: every refusal that a node, a tool
// or an operator can meet has a sentinel here, a reason string that crosses the
// wire, one gRPC code and one exit code.
//
// Sentinels are compared with errors.Is, on both sides of the wire. Text is for
// people and is never parsed. Reasons are append-only: one that was released
// keeps its string and its meaning for ever.
package gulmerr

import "errors"

var (
	// ErrTryFailed: the lock is not free and the request asked not to wait.
	ErrTryFailed = errors.New("lock is held in an incompatible mode")
	// ErrCanceled: the waiting request was withdrawn.
	ErrCanceled = errors.New("request was cancelled")
	// ErrDeadlock: granting would need a lock that waits for this one; unlock and try again.
	ErrDeadlock = errors.New("request would deadlock")
	// ErrBusy: the lock has a request under way; wait for it or cancel it.
	ErrBusy = errors.New("lock has a request under way")
	// ErrNotHeld: the session has no such lock.
	ErrNotHeld = errors.New("no such lock in this session")
	// ErrInvalid: an argument is out of its range, or a flag is unknown or misplaced.
	ErrInvalid = errors.New("invalid argument")
	// ErrNoLockspace: the session has not joined that lockspace.
	ErrNoLockspace = errors.New("lockspace is not joined")
	// ErrInUse: the lockspace still has locks of this session; or a key of the GULM
	// layer is used as a whole where a part is asked for, or the other way round.
	ErrInUse = errors.New("in use: it still has locks, or they are of another kind")
	// ErrPolicy: the lockspace exists with another policy.
	ErrPolicy = errors.New("lockspace has another policy")
	// ErrLimit: a configured limit is reached; wait, or raise it in cluster.ccs.
	ErrLimit = errors.New("limit reached")
	// ErrOutOfOrder: request numbers of the session have a gap; attach again.
	ErrOutOfOrder = errors.New("request number out of order")
	// ErrNotMaster: this server does not serve; metadata names the master if it is known.
	ErrNotMaster = errors.New("server is not the master")
	// ErrNoQuorum: no master can be elected at the moment; wait.
	ErrNoQuorum = errors.New("lock servers have no quorum")
	// ErrNodeExpired: this incarnation of the node was declared dead; stop all I/O at once.
	ErrNodeExpired = errors.New("node is expired")
	// ErrNotFenced: an earlier incarnation of the node is not fenced yet; wait.
	ErrNotFenced = errors.New("earlier incarnation of the node is not fenced yet")
	// ErrStaleIncarnation: another boot of the node is logged in, or the session is
	// of an older life.
	ErrStaleIncarnation = errors.New("stale incarnation")
	// ErrNoSession: the session is unknown; log in again.
	ErrNoSession = errors.New("no such session")
	// ErrSessionTaken: a newer stream of the same session took over.
	ErrSessionTaken = errors.New("session continues on another stream")
	// ErrUnknownNode: nodes.ccs has no node of that name.
	ErrUnknownNode = errors.New("unknown node")
	// ErrWrongState: the node is not in a state in which this is allowed.
	ErrWrongState = errors.New("node is in the wrong state for this")
	// ErrNotPending: no fence of that node is pending.
	ErrNotPending = errors.New("no fence of that node is pending")
	// ErrWrongCluster: the caller belongs to another cluster.
	ErrWrongCluster = errors.New("wrong cluster")
	// ErrBadConfig: the configurations of two servers differ, or one is faulty.
	ErrBadConfig = errors.New("bad configuration")
	// ErrVersion: the other side speaks a version that this one does not.
	ErrVersion = errors.New("unsupported version")
	// ErrPermission: the caller's certificate does not allow this.
	ErrPermission = errors.New("permission denied")
	// ErrStaleTerm: the decision was made by a master that has been replaced.
	ErrStaleTerm = errors.New("decision of an earlier master")
	// ErrLastQuorum: the cluster would lose its quorum while nodes are logged in.
	ErrLastQuorum = errors.New("cluster would lose its quorum")
	// ErrShuttingDown: the server is stopping; another one takes over.
	ErrShuttingDown = errors.New("server is shutting down")
	// ErrUnavailable: the server cannot be reached or gave no answer in time.
	ErrUnavailable = errors.New("no answer")
	// ErrCorrupt: stored data failed its check.
	ErrCorrupt = errors.New("stored data is corrupt")
	// ErrExists: the lockspace exists already.
	ErrExists = errors.New("lockspace exists already")
	// ErrTimedOut: the request waited for as long as it wanted to.
	ErrTimedOut = errors.New("request timed out")
	// ErrNoJournal: every journal of the file system belongs to a live mounter:
	// unmount on another node, or add journals.
	ErrNoJournal = errors.New("no journal is left")
	// ErrNotRecovering: the session has no recovery at hand, or not of this journal.
	ErrNotRecovering = errors.New("no recovery is at hand")
	// ErrMounted: the node has the lockspace mounted already.
	ErrMounted = errors.New("lockspace is mounted on this node already")
	// ErrNotMounted: the session does not mount the lockspace.
	ErrNotMounted = errors.New("lockspace is not mounted")
	// ErrFenceLied: the node was said to have lost its power, and comes back with
	// the same boot id: it had not.
	ErrFenceLied = errors.New("fence did not cut the power")
	// ErrPaused: automatic expiry and fencing are paused.
	ErrPaused = errors.New("automatic fencing is paused")
	// ErrLease: a join under the policy lease must name a time-to-live, not shorter
	// than the cluster's expiry time and not longer than a day; no other policy has
	// one.
	ErrLease = errors.New("time-to-live does not fit the policy")
	// ErrNoProof: nothing proves in a lockspace under the policy lease that a dead
	// node writes no more, so it has no journals: use another policy.
	ErrNoProof = errors.New("lockspace under the policy lease has no journals")
	// ErrInternal: a fault of the program; the server's log has the details.
	ErrInternal = errors.New("internal error")
)
