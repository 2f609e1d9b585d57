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
	// ValBlk lets the value block take part; see value.go.
	ValBlk Flags = 0x8
	// QueCvt queues a conversion behind those that are queued already, instead
	// of granting it in place. Only for conversions that claim more.
	QueCvt Flags = 0x10
	// IvValBlk marks the value block as not valid instead of writing it.
	IvValBlk Flags = 0x20
	// ConvDeadlk lets go of the held mode (Demoted) instead of refusing a
	// conversion that would deadlock. Not with NoQueue.
	ConvDeadlk Flags = 0x40
	// Persistent leaves the lock to its node as an orphan when the session ends.
	Persistent Flags = 0x80
	// NoDlckWt never makes this request the victim of a deadlock: it stays
	// queued.
	NoDlckWt Flags = 0x100
	// Expedite grants a new NL lock whoever waits.
	Expedite Flags = 0x400
	// NoQueueBast sends blocking callbacks although NoQueue makes the request
	// fail (GULM: Do_CB). Without NoQueue it changes nothing.
	NoQueueBast Flags = 0x800
	// HeadQue queues at the head instead of the tail (GULM, with NoOrder:
	// Priority).
	HeadQue Flags = 0x1000
	// NoOrder ignores the order of the queues.
	NoOrder Flags = 0x2000
	// Orphan takes over an orphan of the node that has exactly this name and
	// mode, instead of making a lock.
	Orphan Flags = 0x4000
	// AltPR and AltCW take PR or CW if the wanted mode cannot be had (AltMode;
	// GULM: Any).
	AltPR Flags = 0x8000
	AltCW Flags = 0x10000
	// ForceUnlock is for Unlock: it changes nothing, since every Unlock works
	// whatever the lock waits for.
	ForceUnlock Flags = 0x20000
	// Timeout says that the request may wait for so long only as it says: the
	// engine remembers that, whoever has a clock says when it is over (Deny).
	Timeout Flags = 0x40000
	// NoCallbacks never sends this lock a blocking callback (GULM: NoCallBacks).
	// It belongs to the lock and is set by the request that makes it.
	NoCallbacks Flags = 0x1000000
	// Recovery passes the remains of the dead (GULM: NoExp); see recovery.go. Who
	// may say so is for the caller to decide.
	Recovery Flags = 0x2000000

	commonFlags = Recovery | NoQueue | ValBlk | IvValBlk | Persistent | NoDlckWt | NoQueueBast | HeadQue | NoOrder |
		AltPR | AltCW | Timeout
	lockFlags    = commonFlags | Expedite | Orphan | NoCallbacks
	convertFlags = commonFlags | QueCvt | ConvDeadlk
	unlockFlags  = ValBlk | IvValBlk | ForceUnlock
)

// Status says more about a grant. The bits are the DLM's.
type Status uint8

// The status bits.
const (
	// Demoted: the lock let go of its mode while it waited (ConvDeadlk).
	Demoted Status = 1
	// ValNotValid: whoever had to write the value block did not.
	ValNotValid Status = 2
	// AltMode: the mode is not the one asked for (AltPR, AltCW).
	AltMode Status = 4
	// FirstMounter, with Mounted: the mounter replays all journals, others wait.
	FirstMounter Status = 0x40
)

// Limits of names, in bytes.
const (
	MaxName          = 255
	MaxLockspaceName = 64
)

// Policy says what must have happened before the locks of a failed node are
// released.
type Policy uint8

// The policies, as in gulm.v1.Policy.
const (
	// PolicyFence: its fence must be proved or acknowledged.
	PolicyFence Policy = iota
	// PolicyManual: an operator must have acknowledged that it is gone, whatever
	// was proved.
	PolicyManual
	// PolicyLease: the lockspace's time-to-live must have passed. Nothing proves that
	// it writes no more; applications must check tokens.
	PolicyLease
	// policies counts them.
	policies
)

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

// The outcomes of requests about mounts and journals.
const (
	// Mounted: Number is the journal; Status has FirstMounter if all journals are
	// to be replayed.
	Mounted Outcome = iota + 24
	// Noted: done.
	Noted
)

// Reply answers one request.
type Reply struct {
	Outcome Outcome
	// Reason is set with Refused only.
	Reason reason.Reason
	// Mode is held after Granted and after the Cancelled of a conversion, and
	// is wanted with Queued.
	Mode Mode
	// Status says more with Granted.
	Status Status
	// Number is the lockspace's, with Joined.
	Number uint32
	// Token numbers the grant; it grows with every grant in the cluster.
	Token uint64
	// Value is the value block, if it was read; the caller owns it.
	Value []byte
	// Conflicts answers RangeTest, nil if there are none; the caller owns it.
	Conflicts *RangeConflicts
	// Holders answers GulmQuery, nil if there are none; the caller owns it.
	Holders *GulmHolders
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
	// EventDenied: the queued request is over for Reason. A lock that waited is
	// gone, but for an Unlock that says that this is known; one that converted
	// is held in Mode.
	EventDenied EventKind = 3
)

// Event is for the session that owns the lock.
type Event struct {
	Session Session
	Lock    ID
	Kind    EventKind
	Mode    Mode
	// Status says more with EventGranted.
	Status Status
	// Reason is set with EventDenied only.
	Reason reason.Reason
	Token  uint64
	// Value is the value block, if it was read; the receiver owns it.
	Value []byte
	// Detail says more with EventDenied, for people: the cycle of a deadlock.
	Detail string
}

// Limits bound the table; 0 means no limit.
type Limits struct {
	Locks      uint64
	Resources  uint64
	Lockspaces uint64
	// Overtakes is how many requests may overtake a waiting one because their
	// flags ask for it; 0 means DefaultOvertakes.
	Overtakes uint64
}
