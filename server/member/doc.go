// Package member is the pure part that knows nodes: who is logged in, in which
// incarnation, with which sessions, who was declared dead, and the fence ledger.
// Like package lock it has no clock, no goroutine and no I/O; stamps are the
// master's clock, kept for display, and decide nothing.
//
// The only legal moves of a node:
//
//	logged out --login--> logged in --logout of the last session--> logged out
//	logged in --expire--> expired --fence proved or acknowledged--> fenced
//	expired --its leases ended, and it is under nothing else--> fenced
//	fenced --login--> logged in (as the next incarnation)
//
// Expiring a node and wanting its fence are one step, and so are the proof of
// the fence and the end of its sessions: there is no moment in which a dead
// node's fence could be forgotten.
package member
