package member

import (
	"slices"

	"lock_gulmd/server/reason"
)

// FenceState is how far a fence has come. The numbers stand in snapshots.
type FenceState uint8

// The states, as in gulm.v1.FenceState.
const (
	FenceNone FenceState = iota
	// FenceWanted: the node is expired; nothing of it moves.
	FenceWanted
	// FenceProved: an agent proved that the node cannot write.
	FenceProved
	// FenceAcknowledged: an operator said so, by the node's name.
	FenceAcknowledged
	// FenceLeaseEnded: nothing was proved, nor did anything wait for that: the leases
	// of all that the node took part in have ended.
	FenceLeaseEnded
)

// Limits of the ledger.
const (
	// MaxAttempts is how many of the newest attempts a fence keeps.
	MaxAttempts = 16
	// MaxText bounds each text of an attempt, in bytes.
	MaxText = 1024
)

// Fence is one entry of the ledger: one incarnation of one node.
type Fence struct {
	Incarnation uint64
	State       FenceState
	// Reason says why the node was expired.
	Reason string
	// Wanted and Settled are when it began and ended.
	Wanted, Settled int64
	// Rounds counts how often the methods were begun from the first.
	Rounds uint32
	// Attempts are the newest ones, oldest first.
	Attempts []Attempt
	// By is "method/device" of the proof, or the operator who acknowledged, or the
	// longest lease.
	By string
	// Power: the proof is that the machine lost its power.
	Power bool
	// Operator is who expired the node by force, empty if it was silent.
	Operator string
	// Word is the operator who acknowledged it after it was proved, empty if none
	// did.
	Word string
	// Late is true if something that an attempt asked a device for may still be
	// done, and Cut if not even the end of its agent is known.
	Late, Cut bool
}

// Attempt is one run of one agent.
type Attempt struct {
	Method, Device, Agent, Outcome, Output string
	// Start is unix milliseconds, Duration milliseconds.
	Start, Duration int64
	// Open is true from the start of an agent to the report of its end.
	Open bool
	// Late is true if what it asked the device for may still be done.
	Late bool
}

// Life names one life of one node.
type Life struct {
	Node        string
	Incarnation uint64
}

// Expire declares a logged-in life dead, freezes its sessions, and wants its
// fence: one step. seen is the log index of the newest sign of life that the
// master knew of. Refused with UnknownNode, StaleIncarnation, WrongState, or
// Alive if the node took part in a later command.
func (r *Registry) Expire(l Life, seen uint64, why string, stamp int64) ([]uint64, reason.Reason) {
	n := r.node(l.Node)
	switch {
	case n == nil:
		return nil, reason.UnknownNode
	case n.Incarnation != l.Incarnation:
		return nil, reason.StaleIncarnation
	case n.State != LoggedIn:
		return nil, reason.WrongState
	case n.Seen > seen:
		return nil, reason.Alive
	}
	n.enter(Expired, stamp)
	n.Ledger.keep(n.Fence)
	n.Fence = Fence{Incarnation: n.Incarnation, State: FenceWanted, Reason: clip(why), Wanted: stamp}
	frozen := r.sessionsOf(n.Name)
	for _, number := range frozen {
		r.session(number).Frozen = true
	}
	return frozen, reason.None
}

// BeginFence notes that a round over the node's methods begins. Refused with
// NotPending.
func (r *Registry) BeginFence(l Life) reason.Reason {
	n := r.pending(l)
	if n == nil {
		return reason.NotPending
	}
	n.Fence.cut()
	n.Fence.Rounds++
	return reason.None
}

// SettleFence ends a pending fence as proved, acknowledged or not needed, and with it the
// dead life: its sessions are forgotten and returned, so that their locks can
// be released. The node may log in again, unless something may still be done to
// it: then it is held. Refused with NotPending.
func (r *Registry) SettleFence(l Life, as FenceState, by string, stamp int64) ([]uint64, reason.Reason) {
	n := r.pending(l)
	if n == nil {
		return nil, reason.NotPending
	}
	n.Fence.cut()
	n.Fence.State, n.Fence.By, n.Fence.Settled = as, clip(by), stamp
	n.Ledger.Held = n.Fence.Late
	n.enter(Fenced, stamp)
	ended := r.sessionsOf(n.Name)
	r.sessions = slices.DeleteFunc(r.sessions, func(s Session) bool { return s.Node == n.Name })
	return ended, reason.None
}

// Pending returns the lives whose fence is wanted, by node name.
func (r *Registry) Pending() []Life {
	var lives []Life
	for _, n := range r.nodes {
		if n.State == Expired {
			lives = append(lives, Life{n.Name, n.Incarnation})
		}
	}
	return lives
}

func (r *Registry) pending(l Life) *Node {
	n := r.node(l.Node)
	if n == nil || n.State != Expired || n.Incarnation != l.Incarnation {
		return nil
	}
	return n
}

// Clip cuts a text for the record, as those of the ledger are.
func Clip(s string) string { return clip(s) }

// clip cuts a text to MaxText bytes, keeping its end, where agents say what
// went wrong. It does not cut characters in two: snapshots hold valid UTF-8 only.
func clip(s string) string {
	if len(s) <= MaxText {
		return s
	}
	s = s[len(s)-MaxText:]
	for len(s) > 0 && s[0]&0xc0 == 0x80 {
		s = s[1:]
	}
	return s
}

// settled reports whether a fence is over but for an operator's word.
func (s FenceState) settled() bool { return s == FenceProved || s == FenceLeaseEnded }

// NoteWord notes that an operator acknowledged a fence that was settled before.
// Refused with NotPending if that is not the node's latest fence.
func (r *Registry) NoteWord(l Life, operator string) reason.Reason {
	n := r.node(l.Node)
	if n == nil || !n.Fence.State.settled() || n.Fence.Incarnation != l.Incarnation {
		return reason.NotPending
	}
	n.Fence.Word = clip(operator)
	return reason.None
}
