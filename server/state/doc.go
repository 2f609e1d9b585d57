// Package state is the whole replicated state: members, sessions with their
// request numbers, and the lock table. Apply is its only door: a pure function
// of the state and one command, the same on every server. A refused command is
// an answer, not an error.
//
// # Exactly once
//
// Each session numbers its requests from 1 without gaps. The state remembers the
// highest number applied and keeps the replies until the session confirms them,
// so a request that is sent again after a lost stream or a new master gets the
// answer that it got the first time.
//
// # Life and death
//
// Commands that expire a node or settle its fence carry the term of the master
// that decided them and are refused once a newer term has begun. Locks of an
// expired node are released by FenceProved and FenceAcknowledged, or by a login that
// proves a reboot, and by nothing else; under lock.PolicyLease by LeaseEnded as well.
package state
