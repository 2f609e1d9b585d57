package member

import (
	"cmp"
	"slices"
	"strings"
)

// State is what the cluster holds a node to be. The numbers stand in snapshots.
type State uint8

// The states, as in gulm.v1.NodeState.
const (
	LoggedOut State = iota
	LoggedIn
	Expired
	Fenced
)

// stateNames are the words for people.
var stateNames = [...]string{"logged out", "logged in", "expired", "fenced"}

// String returns the words for people.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// Limits of texts, in bytes.
const (
	MaxNodeName = 64
	MaxBootID   = 64
	MaxProcess  = 64
)

// MaxWatchdog bounds Session.Watchdog, milliseconds.
const MaxWatchdog = 24 * 3600 * 1000

// Node is one machine that has logged in at least once.
type Node struct {
	Name  string
	State State
	// Number is the node's in the lock table, from 1, in order of first login.
	Number uint32
	// Incarnation numbers the node's lives, from 1.
	Incarnation uint64
	// BootID is what the node called its present or last life.
	BootID string
	// Since is when the state began.
	Since int64
	// Seen is the log index of the last command in which the node took part.
	Seen uint64
	// Fence is the node's pending or latest fence.
	Fence Fence
	// Ledger is what is known of its fencing beside that.
	Ledger Ledger
}

// LoginID is chosen by a process to name its session before it has a number.
type LoginID [16]byte

// Session is one logged-in process.
type Session struct {
	Number      uint64
	Node        string
	Incarnation uint64
	LoginID     LoginID
	Process     string
	// Expiry is the silence, in milliseconds, after which the session was told
	// that its node may be expired; it must never become shorter.
	Expiry int64
	// Watchdog is how long after the process counts its locks as lost the machine's
	// watchdog has reset the machine at the latest, milliseconds; 0 if it has armed
	// none. So that has happened Expiry + Watchdog after the session was last heard
	// of. It never becomes shorter.
	Watchdog int64
	// Frozen is true once the node expired.
	Frozen bool
	// Flags say what the service is.
	Flags SessionFlags
}

// Registry knows all nodes and sessions. The zero value is empty and ready.
type Registry struct {
	nodes       []Node    // by name
	sessions    []Session // by number
	lastSession uint64
}

// Clone returns an independent copy.
func (r *Registry) Clone() Registry {
	c := Registry{slices.Clone(r.nodes), slices.Clone(r.sessions), r.lastSession}
	for i := range c.nodes {
		c.nodes[i].Fence.Attempts = slices.Clone(c.nodes[i].Fence.Attempts)
		c.nodes[i].Ledger = c.nodes[i].Ledger.clone()
	}
	return c
}

// Nodes returns all nodes by name. The result is for reading only, until the
// next change.
func (r *Registry) Nodes() []Node { return r.nodes }

// Sessions returns all sessions by number, for reading only, until the next
// change.
func (r *Registry) Sessions() []Session { return r.sessions }

// LastSession returns the highest session number given out.
func (r *Registry) LastSession() uint64 { return r.lastSession }

// Node returns a node by name.
func (r *Registry) Node(name string) (Node, bool) {
	if n := r.node(name); n != nil {
		return *n, true
	}
	return Node{}, false
}

// Session returns a session by number.
func (r *Registry) Session(number uint64) (Session, bool) {
	if s := r.session(number); s != nil {
		return *s, true
	}
	return Session{}, false
}

// SawNode notes that a node took part in the command at a log index.
func (r *Registry) SawNode(name string, index uint64) {
	if n := r.node(name); n != nil {
		n.Seen = index
	}
}

func (r *Registry) findNode(name string) (int, bool) {
	return slices.BinarySearchFunc(r.nodes, name, func(n Node, name string) int { return strings.Compare(n.Name, name) })
}

func (r *Registry) node(name string) *Node {
	if i, ok := r.findNode(name); ok {
		return &r.nodes[i]
	}
	return nil
}

func (r *Registry) findSession(number uint64) (int, bool) {
	return slices.BinarySearchFunc(r.sessions, number, func(s Session, n uint64) int { return cmp.Compare(s.Number, n) })
}

func (r *Registry) session(number uint64) *Session {
	if i, ok := r.findSession(number); ok {
		return &r.sessions[i]
	}
	return nil
}

// sessionsOf returns the numbers of a node's sessions, ascending.
func (r *Registry) sessionsOf(node string) []uint64 {
	var numbers []uint64
	for _, s := range r.sessions {
		if s.Node == node {
			numbers = append(numbers, s.Number)
		}
	}
	return numbers
}

func (n *Node) enter(s State, stamp int64) { n.State, n.Since = s, stamp }
