package fence

import (
	"strings"
	"time"
)

// Param is one key=value pair handed to an agent on its standard input.
type Param struct {
	// Key is the agent's name for the parameter, such as "ip" or "plug".
	Key string
	// Value is sent as it is; it never holds a newline.
	Value string
	// Secret marks a value that no log line, status or error may show. Values
	// of keys that name a password are kept secret even without it.
	Secret bool
}

// Step is one use of one fence device within a method: the device's own
// parameters merged with those that the node's method adds. A device may occur
// in several steps of one method (off, off, on, on for two power feeds).
type Step struct {
	// Device is the device's name in fence.ccs. Agents of one device never run
	// at the same time.
	Device string
	// Agent is the program to run: a bare name, found in the Runner's search
	// list, or a clean absolute path.
	Agent string
	// Params are sent in this order, before the ones that the runner adds. The
	// key verify is not sent: it says whether an off is checked with the
	// agent's status action afterwards: yes, no, or auto (the default), which
	// checks when the agent's metadata lists that action and takes an agent
	// without metadata at its word. Only an off is ever checked: after a reboot
	// the plug is on again, so its status would prove nothing.
	Params []Param
	// Timeout bounds one run of the agent; 0 means the runner's default. When
	// it is over, the agent's whole process group is killed and the step failed.
	Timeout time.Duration
}

// Action is what the step asks its agent to do, in lower case: the value of its
// action parameter (or of option, the older name), "reboot" when neither is
// given, as the agents themselves have it.
func (s Step) Action() string {
	action := ""
	for _, p := range s.Params {
		if p.Key == keyAction || p.Key == keyOption {
			action = strings.ToLower(strings.TrimSpace(p.Value))
		}
	}
	if action == "" {
		return actionReboot
	}
	return action
}

// Method is one way to fence a node. It succeeds only when every step does.
type Method struct {
	// Name is the method's name in nodes.ccs.
	Name string
	// Steps run in the order of Expand and are never empty in a validated Plan.
	Steps []Step
	// Power: when the method has succeeded the machine has lost its power, so
	// that it can come back only by booting. Otherwise it is only cut off.
	Power bool
}

// Plan is everything that fence_node may try for one node: its methods in the
// order of nodes.ccs, the first that succeeds wins.
type Plan struct {
	// Node is the victim's name in nodes.ccs.
	Node string
	// Methods is never empty in a validated Plan.
	Methods []Method
	// Watchdog is the timeout of the watchdog that the node said at login that it
	// has armed; 0 if it said nothing. Without it no method that relies on the
	// node's watchdog is run.
	Watchdog time.Duration
	// Expiry is the longest expiry time that the node was told at login, for the
	// same methods.
	Expiry time.Duration
}
