// Package lock is the lock engine: lockspaces, resources and the locks on them,
// with the semantics of the DLM. It is a pure state machine: no clock, no
// goroutine, no I/O, no map order; the same calls give the same answers on every
// server.
//
// # When is a request granted
//
// A resource has three queues: granted, converting and waiting.
//
//   - A new request is granted at once if nobody converts or waits and its mode
//     is compatible with every held mode. Otherwise it waits, or fails with
//     NOQUEUE.
//   - A conversion is granted in place if the new mode is compatible with every
//     other held mode; it may overtake queued conversions. Otherwise it is
//     queued and the lock keeps its old mode meanwhile, or fails with NOQUEUE,
//     or with Deadlock if two conversions would wait for each other.
//   - Whenever a lock goes or weakens, queued conversions are granted strictly
//     from the head; waiting requests, also from the head, once nobody converts.
//
// grant.go is the only code that does this. blocking.go says who is asked to
// give way, expire.go what becomes of a dead node's locks.
//
// # Memory
//
// Everything that grows with the number of locks lives in arenas of pages
// without pointers, addressed by slot numbers: the garbage collector has nothing
// to follow, and Clone only shares pages that are copied when next written to.
// Slot numbers never show: answers, events and digests do not depend on them.
package lock
