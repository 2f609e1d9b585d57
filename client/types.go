package client

import (
	"errors"
	"fmt"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// Mode is how much a lock claims.
type Mode uint8

// The modes, from the weakest claim to the strongest. CW and PR are not
// ordered: neither covers the other.
const (
	// NL is an interest without a claim; compatible with everything.
	NL = Mode(gulmv1.Mode_MODE_NL)
	// CR is concurrent read.
	CR = Mode(gulmv1.Mode_MODE_CR)
	// CW is concurrent write (GFS: Deferred).
	CW = Mode(gulmv1.Mode_MODE_CW)
	// PR is protected read (GFS: Shared).
	PR = Mode(gulmv1.Mode_MODE_PR)
	// PW is protected write.
	PW = Mode(gulmv1.Mode_MODE_PW)
	// EX is exclusive.
	EX = Mode(gulmv1.Mode_MODE_EX)
)

// modeNames is indexed by Mode.
var modeNames = [...]string{"NL", "CR", "CW", "PR", "PW", "EX"}

// String returns the mode's two letters.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// ParseMode returns the mode with these two letters, or an error that wraps
// ErrInvalid.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if name == s {
			return Mode(m), nil
		}
	}
	return NL, gulmerr.New(ErrInvalid, "mode %q is none of NL CR CW PR PW EX", s)
}

// valid says whether m is one of the six modes.
func (m Mode) valid() bool { return int(m) < len(modeNames) }

// meet returns the strongest mode that both a and b cover.
func meet(a, b Mode) Mode {
	if (a == CW && b == PR) || (a == PR && b == CW) {
		return CR
	}
	return min(a, b)
}

// join returns the weakest mode that covers both a and b.
func join(a, b Mode) Mode {
	if (a == CW && b == PR) || (a == PR && b == CW) {
		return PW
	}
	return max(a, b)
}

// Flag changes how a lock or a conversion is asked for. Flags may be combined
// with |, or given one by one.
type Flag uint32

const (
	// NotifyHolders (NOQUEUEBAST, GULM: Do_CB), with TryLock or TryConvert: those in
	// the way get a blocking callback although nobody waits for them.
	NotifyHolders = Flag(gulmv1.Flag_FLAG_NOQUEUEBAST)
	// NoBlocking (NOCALLBACKS here, GULM: NoCallBacks), with Lock and TryLock: this
	// lock never gets a blocking callback.
	NoBlocking = Flag(gulmv1.Flag_FLAG_NOCALLBACKS)

	// Value (VALBLK; GULM: the LVB) lets the value block take part: grants read it
	// into Lock.Value, conversions and Unlock from PW or EX write it.
	Value = Flag(gulmv1.Flag_FLAG_VALBLK)
	// SpoilValue (IVVALBLK), where Value would write: marks the value block as not
	// valid instead.
	SpoilValue = Flag(gulmv1.Flag_FLAG_IVVALBLK)
	// QueueBehind (QUECVT), with Convert to more: waits behind the conversions that
	// wait already, even if it could be granted.
	QueueBehind = Flag(gulmv1.Flag_FLAG_QUECVT)
	// DemoteOnDeadlock (CONVDEADLK), with Convert: lets go of the held mode instead
	// of failing with ErrDeadlock; Status then has Demoted.
	DemoteOnDeadlock = Flag(gulmv1.Flag_FLAG_CONVDEADLK)
	// Persistent (PERSISTENT): when the process logs out, the lock stays with its
	// node as an orphan; see AdoptOrphan and Node.Purge.
	Persistent = Flag(gulmv1.Flag_FLAG_PERSISTENT)
	// NoVictim (NODLCKWT): the request stays queued rather than fail with
	// ErrDeadlock.
	NoVictim = Flag(gulmv1.Flag_FLAG_NODLCKWT)
	// Expedite (EXPEDITE), with Lock in NL: is granted whoever waits.
	Expedite = Flag(gulmv1.Flag_FLAG_EXPEDITE)
	// AtHead (HEADQUE; with AnyOrder GULM: Priority): waits at the head of the queue.
	AtHead = Flag(gulmv1.Flag_FLAG_HEADQUE)
	// AnyOrder (NOORDER; with AtHead GULM: Priority): is granted as soon as the mode
	// is free, whoever waits.
	AnyOrder = Flag(gulmv1.Flag_FLAG_NOORDER)
	// AdoptOrphan (ORPHAN), with Lock: takes over an orphan of this node of exactly
	// this name and mode; ErrNotHeld if there is none, ErrTryFailed if it is in
	// another mode.
	AdoptOrphan = Flag(gulmv1.Flag_FLAG_ORPHAN)
	// DuringRecovery (RECOVERY; GULM: NoExp) passes what the dead have left, for the
	// sake of the replay that is under way: allowed to the first mounter, and to
	// who replays a journal of the lockspace; gulmerr.ErrNotRecovering else.
	DuringRecovery = Flag(gulmv1.Flag_FLAG_RECOVERY)
	// OrShared (ALTPR; GULM: Any) takes PR if the wanted mode is not free; Status
	// then has OtherMode.
	OrShared = Flag(gulmv1.Flag_FLAG_ALTPR)
	// OrDeferred (ALTCW; GULM: Any) takes CW likewise.
	OrDeferred = Flag(gulmv1.Flag_FLAG_ALTCW)

	noQueue = Flag(gulmv1.Flag_FLAG_NOQUEUE)
)

// Policy is what must happen before the locks of a failed node are released.
type Policy int32

const (
	// PolicyFence: it must be proved that the node cannot write any more.
	PolicyFence = Policy(gulmv1.Policy_POLICY_FENCE)
	// PolicyManual: an operator must acknowledge by the node's name that it is gone
	// (fence_ack_manual), whatever fence agents have proved, or that it has booted
	// again. Until then what it held blocks everybody, also itself in its next life,
	// and nobody replays its journal. A node that is in such lockspaces only is not
	// fenced by agents.
	PolicyManual = Policy(gulmv1.Policy_POLICY_MANUAL)
	// PolicyLease: nothing but time, JoinOptions.Lease after the last sign of life.
	//
	// NOBODY IS FENCED FOR IT: a node that is cut off or stands still may go on
	// writing after others have got its locks. The node itself is told that they are
	// lost before that, but a process that stands still hears nothing, and a write
	// that is under way arrives when it arrives. So the locks exclude nothing by
	// themselves: whatever is protected must check Lock.Token with every write and
	// refuse one that is lower than it has seen. Tokens only rise.
	//
	// A node that is in such lockspaces only is not fenced by agents, and may log in
	// again, without a reboot, when its leases have ended. Nothing can be mounted
	// there (gulmerr.ErrNoProof).
	PolicyLease = Policy(gulmv1.Policy_POLICY_LEASE)
)

// maxLease bounds JoinOptions.Lease.
const maxLease = 24 * time.Hour

// State is what the node knows about its own life.
type State int32

const (
	// StateSafe: a master has acknowledged a heartbeat lately; locks are held.
	StateSafe State = iota
	// StateJeopardy: no proof of life for half of the expiry time; locks are
	// still held, but nothing new should be started.
	StateJeopardy
	// StateLost: the servers may declare the node dead soon, or have done so;
	// nothing that a lock protects may be touched.
	StateLost
	// StateExpired: the servers have ended this incarnation, or this session.
	// For good.
	StateExpired
	// StateClosed: logged out, or closed. For good.
	StateClosed
)

// stateNames is indexed by State.
var stateNames = [...]string{"safe", "jeopardy", "lost", "expired", "closed"}

// String returns the state as one lower-case word.
func (s State) String() string {
	if s >= 0 && int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", int32(s))
}

// EventKind says what an Event tells.
type EventKind int

const (
	// EventJeopardy: the state went from safe to jeopardy.
	EventJeopardy EventKind = iota + 1
	// EventLost: the state went from jeopardy to lost.
	EventLost
	// EventSafe: the state went from jeopardy or lost to safe.
	EventSafe
	// EventExpired: the incarnation or the session is over; Err says why.
	EventExpired
	// EventConnected: the stream to the master at Server is up.
	EventConnected
	// EventDisconnected: the stream to the server at Server ended; Err says why.
	EventDisconnected
	// EventShed: the servers hold too many locks; unlock those that are only
	// cached. A hint that is repeated while it is so.
	EventShed
)

// eventNames is indexed by EventKind.
var eventNames = [...]string{"", "jeopardy", "lost", "safe", "expired", "connected", "disconnected", "shed"}

// String returns the kind as one lower-case word.
func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", int(k))
}

// Event is one piece of news about a node.
type Event struct {
	// Kind says what happened.
	Kind EventKind
	// At is when the library noticed.
	At time.Time
	// Server is the address of the server, for connected and disconnected.
	Server string
	// Err says why, for expired and disconnected; for jeopardy and lost it names
	// the probe that has stopped the heartbeats, nil if the servers do not answer.
	Err error
	// Missed counts the older events that were thrown away to make room for
	// this one, since nobody read the channel. Node.State is always up to date.
	Missed int
}

// Errors of this package that never cross the wire.
var (
	// ErrLost: the node has had no proof of life for so long that its locks
	// are in doubt; touch nothing that they protect until EventSafe.
	ErrLost = errors.New("locks are in doubt: no lock server has answered for too long")
	// ErrClosed: the node was logged out or closed by its own process.
	ErrClosed = errors.New("node is closed")
	// ErrUnlocked is the cause of a lock's context that ended by Unlock.
	ErrUnlocked = errors.New("lock was unlocked")
)

// Errors that the servers answer with; the same values as in package gulmerr,
// which has the others.
var (
	// ErrTryFailed: the lock is not free and the request asked not to wait.
	ErrTryFailed = gulmerr.ErrTryFailed
	// ErrDeadlock: waiting would never end, since others wait for this lock; unlock
	// or weaken it, and try again.
	ErrDeadlock = gulmerr.ErrDeadlock
	// ErrTimedOut: the servers ended the request after as long as it may wait.
	ErrTimedOut = gulmerr.ErrTimedOut
	// ErrExists: the lockspace exists, and JoinOptions.Exclusive wants a new one.
	ErrExists = gulmerr.ErrExists
	// ErrBusy: the lock has a request under way.
	ErrBusy = gulmerr.ErrBusy
	// ErrNotHeld: the lock was unlocked already, or the servers do not know it.
	ErrNotHeld = gulmerr.ErrNotHeld
	// ErrInvalid: an argument is out of its range.
	ErrInvalid = gulmerr.ErrInvalid
	// ErrInUse: the lockspace still has locks, or is joined already.
	ErrInUse = gulmerr.ErrInUse
	// ErrNoLockspace: the lockspace was left.
	ErrNoLockspace = gulmerr.ErrNoLockspace
	// ErrMounted: this node has mounted the lockspace already.
	ErrMounted = gulmerr.ErrMounted
	// ErrNotMounted: the mount has ended.
	ErrNotMounted = gulmerr.ErrNotMounted
	// ErrNoJournal: every journal of the file system belongs to a live node.
	ErrNoJournal = gulmerr.ErrNoJournal
	// ErrNotRecovering: no recovery is at hand.
	ErrNotRecovering = gulmerr.ErrNotRecovering
	// ErrLimit: a configured limit is reached.
	ErrLimit = gulmerr.ErrLimit
	// ErrNodeExpired: this incarnation was declared dead; stop all I/O at once.
	ErrNodeExpired = gulmerr.ErrNodeExpired
	// ErrNotFenced: an earlier incarnation of the node is not fenced yet.
	ErrNotFenced = gulmerr.ErrNotFenced
	// ErrStaleIncarnation: another boot of the node is logged in.
	ErrStaleIncarnation = gulmerr.ErrStaleIncarnation
	// ErrNoSession: the servers do not know the session.
	ErrNoSession = gulmerr.ErrNoSession
	// ErrNoQuorum: no master can be elected at the moment.
	ErrNoQuorum = gulmerr.ErrNoQuorum
	// ErrUnavailable: no server could be reached, or none answered in time.
	ErrUnavailable = gulmerr.ErrUnavailable
	// ErrUnknownNode: nodes.ccs has no node of that name.
	ErrUnknownNode = gulmerr.ErrUnknownNode
	// ErrWrongCluster: the servers belong to another cluster.
	ErrWrongCluster = gulmerr.ErrWrongCluster
)
