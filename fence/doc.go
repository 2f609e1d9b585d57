// Package fence proves that a machine can no longer write: it runs a node's
// fence plan, the methods that nodes.ccs lists for it, with the ordinary agents
// of the fence-agents project.
//
// The one promise is that success is never claimed without proof. A method has
// succeeded when every one of its steps has: the agent was started, ended by
// itself within its time limit with exit status 0, its output could be read to
// the end, and, after an off, the agent's own status action says that the plug
// is off. Everything else, a method without steps included, is a failure.
//
// The package decides nothing about when to fence, how often to start again, or
// what a success leads to; the master does (Backoff tells it how long to wait
// between rounds). An operator's manual acknowledgement never passes through
// here either: it is a statement about a node, not the outcome of an agent, and
// the master records it as such.
//
// Runner needs Linux: it kills process groups and asks the kernel to end agents
// whose parent has died.
package fence
