// Package master is what only the master does, and the only place of the server
// that reads the clock: takeover, heartbeats, expiry, fencing.
//
// A term begins when raft makes this server its leader. The takeover waits until
// the state holds everything that was ever committed, commits the new term, and
// gives every node one full period of grace; only then does the server serve.
// What remains to be done, such as fences that are wanted and not proved, is
// derived from the state, never from memory, so it does not matter at which step
// the master before died.
//
// Lateness becomes a command here and nowhere else. A node is expired only if
// all of this holds: it was silent for the whole expiry time by this master's
// monotonic clock, this master's own loop was never late meanwhile, a majority
// confirmed just now that it still is the master, and the state shows no newer
// sign of life when the command is applied.
//
// Every goroutine belongs to a term and ends with it.
package master
