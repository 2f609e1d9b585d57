package lock

import "lock_gulmd/server/reason"

// Session is one logged-in process of a node; 0 is none. Numbers only grow.
type Session uint64

// ID is a session's own number for one of its locks; 0 is none.
type ID uint64

// Flags modify one request. The numbers are the DLM's where the DLM has the
// flag.
type Flags uint32

// The flags. Any other bit makes a request Invalid.
const (
	// NoQueue fails with TryFailed instead of waiting (GULM: Try).
	NoQueue Flags = 0x1
	// NoQueueBast sends blocking callbacks although NoQueue makes the request
	// fail (GULM: Do_CB). Only with NoQueue.
	NoQueueBast Flags = 0x800
	// NoCallbacks never sends this lock a blocking callback (GULM: NoCallBacks).
	// It belongs to the lock and is set by the request that makes it.
	NoCallbacks Flags = 0x1000000

	lockFlags    = NoQueue | NoQueueBast | NoCallbacks
	convertFlags = NoQueue | NoQueueBast
)

// Limits of names, in bytes.
const (
	MaxName          = 255
	MaxLockspaceName = 64
)

// Policy says what must have happened before the locks of a failed node are
// released.
type Policy uint8

// PolicyFence: its fence must be proved or acknowledged.
const PolicyFence Policy = 0

// Outcome is what became of a request. The numbers stand in snapshots.
type Outcome uint8

// The outcomes, as in gulm.v1.Outcome.
const (
	Refused Outcome = iota
	Granted
	Queued
	Unlocked
	Cancelled
	Joined
	Left
)

// Reply answers one request.
type Reply struct {
	Outcome Outcome
	// Reason is set with Refused only.
	Reason reason.Reason
	// Mode is held after Granted and after the Cancelled of a conversion, and
	// is wanted with Queued.
	Mode Mode
	// Number is the lockspace's, with Joined.
	Number uint32
	// Token numbers the grant; it grows with every grant in the cluster.
	Token uint64
}

func refuse(r reason.Reason) Reply { return Reply{Outcome: Refused, Reason: r} }

// EventKind is what happened to a lock without its session asking.
type EventKind uint8

// The kinds, as in gulm.v1.EventKind.
const (
	// EventGranted: a queued request was granted.
	EventGranted EventKind = 1
	// EventBlocking: somebody waits for this lock to give way to Mode.
	EventBlocking EventKind = 2
)

// Event is for the session that owns the lock.
type Event struct {
	Session Session
	Lock    ID
	Kind    EventKind
	Mode    Mode
	Token   uint64
}

// Limits bound the table; 0 means no limit.
type Limits struct {
	Locks      uint64
	Resources  uint64
	Lockspaces uint64
}
