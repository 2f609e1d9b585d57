package fence

import "time"

// Param is one key=value pair handed to an agent on its standard input.
type Param struct {
	// Key is the agent's name for the parameter, such as "ip" or "plug".
	Key string
	// Value is sent as it is; it never holds a newline.
	Value string
	// Secret marks a value that no log line, status or error may show.
	Secret bool
}

// Step is one use of one fence device within a method: the device's own
// parameters merged with those that the node's method adds. A device may occur
// in several steps of one method (off, off, on, on for two power feeds).
type Step struct {
	// Device is the device's name in fence.ccs.
	Device string
	// Agent is the program to run: a bare name, found in PATH, or an absolute path.
	Agent string
	// Params are sent in this order, before the ones that the runner adds.
	Params []Param
	// Timeout bounds one run of the agent; 0 means the runner's default. When
	// it is over, the agent's whole process group is killed and the step failed.
	Timeout time.Duration
}

// Method is one way to fence a node. It succeeds only when every step does.
type Method struct {
	// Name is the method's name in nodes.ccs.
	Name string
	// Steps run in order and are never empty in a validated Plan.
	Steps []Step
}

// Plan is everything that fence_node may try for one node: its methods in the
// order of nodes.ccs, the first that succeeds wins.
type Plan struct {
	// Node is the victim's name in nodes.ccs.
	Node string
	// Methods is never empty in a validated Plan.
	Methods []Method
}
