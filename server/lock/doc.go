// Package lock is the lock engine: lockspaces, resources and the locks on them,
// with the semantics of the DLM. It is a pure state machine: no clock, no
// goroutine, no I/O, no map order; the same calls give the same answers on every
// server.
//
// # When is a request granted
//
// A resource has three queues: granted, converting and waiting. Held is what the
// locks in the first two hold, those of dead nodes included until they are
// released: frozen ones, and remains.
//
//   - A new request is granted at once if its mode is compatible with every held
//     mode and nobody converts or waits. Otherwise it waits.
//   - A conversion is granted at once, in place, if its mode is compatible with
//     every other held mode; it may overtake queued conversions. Otherwise it is
//     queued and the lock keeps its old mode meanwhile.
//   - Whenever a lock goes or weakens, queued conversions are granted strictly
//     from the head; waiting requests, also from the head, once nobody converts.
//
// The flags change that as follows; nothing ever makes an incompatible lock
// granted.
//
//	order     Expedite    a new NL is granted at once whoever waits
//	          HeadQue     queue at the head; granted at once if it is its turn there
//	          NoOrder     granted, now or later, whoever else is queued
//	          QueCvt      a conversion is not granted in place while others are queued
//	instead   NoQueue     refused with TryFailed instead of queued
//	          AltPR/AltCW granted in PR, else CW, if not in its own mode (AltMode)
//	deadlock  (none)      a conversion that a queued one waits for is refused (Deadlock)
//	          ConvDeadlk  it lets go of its mode instead and is queued (Demoted)
//	          NoDlckWt    it is queued all the same
//	          NoQueue     it is refused with TryFailed
//	other     Orphan      an orphan of the node is taken over as it is
//	          Recovery    granted beside the remains of the dead; see recovery.go
//
// HeadQue and NoOrder may bring requests before earlier ones only so often
// (Limits.Overtakes), counted on the resource until one that waits in order is
// granted or nobody is queued; beyond that they change nothing.
//
// newlock.go has the rule (fits), grant.go is the only code that grants what is
// queued, blocking.go says who is asked to give way, value.go what a grant does
// with the value block, expire.go and frozen.go what becomes of a dead node's
// locks, await.go what waits for an operator's word, recovery.go who passes them,
// orphan.go what becomes of those that a process leaves behind, unlock.go and
// deny.go how a wait ends without a grant, deadlock.go who waits for whom over
// several resources. Everything else asks by these rules: sets of locks, one
// resource after the other (lockset.go), and the requests of GULM (gulm.go).
// Byte ranges of files have rules of their own (range_find.go): one is granted at
// once if no other owner holds what conflicts, and no request that conflicts waits,
// but for those that wait for this very owner.
//
// # Memory
//
// Everything that grows with the number of locks lives in arenas of pages
// without pointers, addressed by slot numbers: the garbage collector has nothing
// to follow, and Clone only shares pages that are copied when next written to.
// Slot numbers never show: answers, events and digests do not depend on them.
package lock
