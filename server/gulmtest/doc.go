// Package gulmtest holds what tests of whole clusters are made of: a network
// that can be cut, slowed and stopped, a shared disk that knows who held which
// lock when, and seeded schedules. It is for tests only.
//
// Everything works inside testing/synctest bubbles, where an hour passes in
// milliseconds, and outside of them. What is used inside a bubble has to be
// made inside it. No part starts a goroutine of its own: a wait is always the
// caller's, and Network.Close ends them all.
//
// A seed fixes the schedule of faults and the jitter of every link, but not the
// order in which goroutines run, so a seed makes a failure likely to come back,
// not certain.
package gulmtest
