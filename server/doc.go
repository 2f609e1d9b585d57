// Package server assembles one lock_gulmd from its parts: the replicated log
// with the state behind it, the master's duties, and the gRPC edge. It holds no
// logic of its own but the order in which things start and stop.
package server
