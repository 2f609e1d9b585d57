// Package demo is what a newcomer runs first: real lock servers, real nodes, a
// shared file as their disk, and machines that die while they write.
//
// One executable plays all parts: the demo makes links to it that are named
// lock_gulmd, fence_process and demo_node and starts those, so nothing has to be
// installed. Everything happens on loopback addresses and in one temporary
// folder, which goes at the end with every process.
package demo

// Names under which the executable is started for its other parts.
const (
	AsServer = "lock_gulmd"
	AsAgent  = "fence_process"
	AsNode   = "demo_node"
)
