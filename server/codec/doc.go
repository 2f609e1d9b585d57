// Package codec turns commands and states into the bytes of raftlog.v1 and back.
//
// Batches, which are nearly the whole log, are written and read directly in the
// wire format, without building messages; a test holds them against the
// generated code. Everything else goes through the generated code.
package codec
