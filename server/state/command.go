package state

import (
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
)

// Command is one entry of the log: one of the types of this file.
type Command interface{ command() }

// BeginTerm is the first command of a new master.
type BeginTerm struct {
	Term   uint64
	Server string
	Limits Limits
}

// Batch carries the requests of many sessions.
type Batch struct{ Groups []Group }

// Group is what one session sent: requests in order of Seq, and the confirmation
// that all replies up to Confirmed have arrived.
type Group struct {
	Session   uint64
	Confirmed uint64
	Requests  []Request
}

// Login starts a session.
type Login struct{ member.LoginRequest }

// Logout ends a session; its locks are released.
type Logout struct{ Session uint64 }

// Expire declares a node dead: its locks freeze and its fence is wanted.
type Expire struct {
	Term uint64
	member.Life
	// Session is the one that was silent; 0 for the whole node.
	Session uint64
	// Seen is the log index of the newest sign of life, of the session or of the
	// node, that the master knew of.
	Seen uint64
	// Silent is for how long the node was silent, milliseconds, for display.
	Silent int64
	Reason string
	// Operator is who asked for it; empty if the master found the node silent,
	// which is refused while fencing is paused.
	Operator string
}

// FenceBegin notes the intent to run the fence methods of an expired node from
// the first. An agent may be started only after it is committed.
type FenceBegin struct {
	Term uint64
	member.Life
}

// FenceAttempted records one run of an agent.
type FenceAttempted struct {
	Term uint64
	member.Life
	member.Attempt
}

// FenceProved releases the locks of a dead node, whose fence succeeded.
type FenceProved struct {
	Term uint64
	member.Life
	// By is "method/device".
	By string
	// Power: the proof is that the machine lost its power.
	Power bool
}

// FenceAcknowledged is FenceProved on an operator's word.
type FenceAcknowledged struct {
	Term uint64
	member.Life
	Operator string
}

// FenceStarted notes that an agent that may cut an expired node off is about to
// be started. It may be started only after this is committed.
type FenceStarted struct {
	Term uint64
	member.Life
	Method, Device, Agent string
	// Start is unix milliseconds.
	Start int64
}

// FenceSeen notes what fence devices said of a node's power.
type FenceSeen struct {
	Term uint64
	Node string
	// Alive is the incarnation that gave a sign of life after they were asked, 0
	// for none.
	Alive   uint64
	Outlets []member.Outlet
}

// FenceReleased lets a fenced node that is held log in again.
type FenceReleased struct {
	Term uint64
	member.Life
}

// FenceManual notes a fence that an operator ran by hand.
type FenceManual struct {
	Node string
	member.ManualFence
}

// Check carries the digest that the master had after an index, for the replicas
// to compare. The state itself ignores it.
type Check struct{ Index, Digest uint64 }

// ServerLeft notes that a lock server logged out cleanly.
type ServerLeft struct{ Server string }

// Deny ends what a lock, or a set, waits for: as the victim of a deadlock, or
// because its time is over. It does nothing if that wait is over, or the cycle is
// not there any more.
type Deny struct {
	Term    uint64
	Session uint64
	Lock    lock.ID
	Reason  reason.Reason
	// Since is the log index at which the wait began, 0 for any.
	Since uint64
	// Cycle is the deadlock, if it is one.
	Cycle []lock.Step
}

// ServerEntered notes that a lock server has started. With a boot id it is judged
// from now on like a node; without one it is not.
type ServerEntered struct {
	Server string
	BootID string
	// Replaces and Flags as in member.LoginRequest.
	Replaces uint64
	Flags    member.SessionFlags
}

func (BeginTerm) command()         {}
func (*Batch) command()            {}
func (Login) command()             {}
func (Logout) command()            {}
func (Expire) command()            {}
func (FenceBegin) command()        {}
func (FenceAttempted) command()    {}
func (FenceProved) command()       {}
func (FenceAcknowledged) command() {}
func (Check) command()             {}
func (ServerLeft) command()        {}
func (ServerEntered) command()     {}
func (Deny) command()              {}
func (FenceStarted) command()      {}
func (FenceSeen) command()         {}
func (FenceReleased) command()     {}
func (FenceManual) command()       {}

// Op is what a request asks for. The numbers stand in the log.
type Op uint8

// The operations, as in gulm.v1.Op.
const (
	OpLock Op = iota + 1
	OpConvert
	OpUnlock
	OpCancel
	OpJoin
	OpLeave
	OpPurge
	OpRangeLock
	OpRangeUnlock
	OpRangeTest
	OpRangeClose
)

// The operations on mounts and journals.
const (
	OpMount Op = iota + 24
	OpMounted
	OpRecovered
	OpUnmount
	OpWithdraw
)

// OpLockSet takes several locks, all or nothing; as in gulm.v1.Op.
const OpLockSet Op = 12

// Request is one request of a session.
type Request struct {
	Seq       uint64
	Op        Op
	Lock      lock.ID
	Lockspace uint32
	// Name is not kept by Apply.
	Name []byte
	Mode lock.Mode
	// Flags are the lock engine's, or those below for OpJoin and OpLeave.
	Flags  lock.Flags
	Policy lock.Policy
	// Lease is for OpJoin, milliseconds; see lock.JoinRequest.
	Lease uint32
	// Value is written by OpConvert and OpUnlock; not kept by Apply.
	Value []byte
	// ValueLen is for OpJoin.
	ValueLen uint8
	// Journals is how many the file system has, for OpMount; JID is the journal
	// of OpRecovered, whose Value says why it failed.
	Journals, JID uint32
	// Terms are for OpLock, OpConvert and OpLockSet.
	lock.Terms
	// Entries are for OpLockSet; their names are not kept by Apply.
	Entries []lock.SetEntry
	// Sub and Node are for the GULM layer; see gulm.go. Node is not kept by Apply.
	Sub  uint64
	Node []byte
	// Range is for the operations on byte ranges.
	Range Range
}

// Range is what requests for byte ranges have beside others; Lock names the
// request, Name the file, and Mode is PR to read, EX to write.
type Range struct {
	Owner      uint64
	Start, End uint64
	// Skip is for OpRangeTest.
	Skip uint64
}

// Flags of OpJoin and OpLeave, as in gulm.v1.
const (
	JoinExclusive  lock.Flags = 1
	JoinExisting   lock.Flags = 2
	JoinKeepValues lock.Flags = 4
	LeaveForce     lock.Flags = 1
)

// Limits bound the state; 0 means no limit. They come with BeginTerm, so that
// every replica decides alike.
type Limits struct {
	Locks, Resources, Lockspaces uint64
	Sessions                     uint64
	// InFlight is how many unconfirmed replies a session may have.
	InFlight uint64
}
