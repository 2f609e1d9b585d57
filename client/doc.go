// Package client is the library that the nodes of a cluster link to use locks
// of lock_gulmd.
//
// Dial finds the master through any lock server, logs the process in and keeps
// one stream to whichever server is master; Node.Join joins a lockspace;
// Lockspace.Lock takes a lock. Handles belong to no goroutine and to no
// connection: they survive lost connections and changes of the master. All
// methods may be called from any number of goroutines at once.
//
// # What a holder must do
//
// A lock protects something only as long as the servers know that its holder
// lives. The library keeps a deadline for that on the monotonic clock, which
// passes before the servers may declare the node dead:
//
//	EventJeopardy  no proof of life lately: start nothing new
//	EventLost      act as if dead: Node.Lost is closed and the context of every
//	               lock is cancelled; stop writing to what the locks protect
//	EventSafe      a master has answered and this incarnation still lives:
//	               every lock is still held; contexts are to be fetched anew
//	EventExpired   this incarnation is dead for good; log in again with Dial
//
// Call Lock.Valid right before every write: it notices also that the process
// was stopped for too long, when no timer could fire. Requests that wait are
// not failed by Jeopardy and Lost: they are sent again once a master answers,
// each is applied once, and places in queues are kept.
//
// # Names and numbers
//
// Names of resources are strings of 1 to 255 arbitrary bytes, names of
// lockspaces of 1 to 64 bytes.
package client
