// Package tool is what the operator's commands share: the common flags, the way
// to the lock servers and to their master, words and tables for people, and exit
// codes.
//
// A command is a cobra tree that works on an [Env]; [Main] runs one command line
// of it in this process, which is also how tests run it. Whatever a command does
// over the network happens within the time limit of --timeout; what it waits for
// from a person does not count.
package tool
