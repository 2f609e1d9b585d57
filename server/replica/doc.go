// Package replica keeps one deterministic machine identical on all servers of a
// cluster. It drives hashicorp/raft and puts guards around it, since the newest
// release of that library has open faults which were reproduced: see DESIGN.md
// for each fault, its guard and the test that fails without it.
//
// What the machine holds is none of this package's business: it moves bytes.
// Whoever opens a replica hands in the machine, the folder and the way to reach
// the other servers, proposes commands while it leads, and ends the process when
// Fatal is called.
package replica
