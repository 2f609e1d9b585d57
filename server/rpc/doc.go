// Package rpc is the gRPC edge: it authenticates callers, decodes what they
// send, calls the packages below, and encodes the answers. It decides nothing
// about locks or nodes.
package rpc
