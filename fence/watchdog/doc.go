// Package watchdog is the fence agent fence_watchdog. It touches nothing: it waits
// until the node's own watchdog must have reset the machine, and then says that it
// is done. That proves something only of a node that said at login that its
// watchdog is armed, and that feeds it only while it may rely on its locks; a
// fence.Runner refuses the agent for others, and tells it what the node said.
package watchdog
