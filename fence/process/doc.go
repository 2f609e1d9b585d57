// Package process is a fence agent whose power switch is a process group: off
// kills the group and waits until nothing of it runs any more. It serves tests,
// demonstrations and development, where a "machine" is a program that its
// starter put into a group of its own and announced with WritePidfile.
//
// It speaks the protocol of the fence-agents project (see the metadata that
// Main prints). A process that leaves its group, by setsid for instance, is as a
// machine on a plug that this switch does not have: it is not seen and not cut.
package process
