package member

import (
	"slices"
	"strings"

	"lock_gulmd/server/reason"
)

// Limits of what is kept of a node's past.
const (
	// MaxPast is how many earlier fences of a node are kept.
	MaxPast = 8
	// MaxPastAttempts is how many of the newest attempts an earlier fence keeps.
	MaxPastAttempts = 4
	// MaxOutlets bounds the outlets of a node of which reports are kept.
	MaxOutlets = 32
	// MaxManual is how many of the newest fences by hand are kept.
	MaxManual = 8
)

// OutcomeCut is the outcome of an attempt whose end nobody reported: the master
// that had begun it lost its place, or an operator settled the fence meanwhile.
const OutcomeCut = "cut off"

// Ledger is what is known of the fencing of a node beside its pending or latest
// fence. The slices are nil if empty.
type Ledger struct {
	// Past are earlier fences, oldest first.
	Past []Fence
	// Outlets are what the node's fence devices said, by device and print.
	Outlets []Outlet
	// Manual are fences by hand, oldest first.
	Manual []ManualFence
	// Held is true while the node is fenced but may not log in: an attempt that
	// had been given up may still cut it off.
	Held bool
}

// Outlet is what a fence device last said of the node's power.
type Outlet struct {
	// Device, Plug and Print name the outlet; see fence.Outlet.
	Device, Plug, Print string
	// Power is the last answer, "on" and "off" among others, and Stamp when it
	// came.
	Power string
	Stamp int64
	// On is true once it has said on for the node.
	On bool
	// Wrong is true while it said off for the living node.
	Wrong bool
	// Reason says why it gave no answer.
	Reason string
}

// ManualFence is a fence that an operator ran by hand. It proves nothing to the
// servers: the operator's word is an acknowledgement.
type ManualFence struct {
	Operator string
	Stamp    int64
	// Incarnation is the node's life at that time.
	Incarnation uint64
	// Fenced is whether a method succeeded, and By which, "method/device".
	Fenced   bool
	By       string
	Attempts []Attempt
}

// The answers of outlets that decide something, as in package fence.
const (
	powerOn  = "on"
	powerOff = "off"
)

func (l Ledger) clone() Ledger {
	l.Past = slices.Clone(l.Past)
	for i := range l.Past {
		l.Past[i].Attempts = slices.Clone(l.Past[i].Attempts)
	}
	l.Outlets = slices.Clone(l.Outlets)
	l.Manual = slices.Clone(l.Manual)
	for i := range l.Manual {
		l.Manual[i].Attempts = slices.Clone(l.Manual[i].Attempts)
	}
	return l
}

// keep adds a fence that is over to the past.
func (l *Ledger) keep(f Fence) {
	if f.State == FenceNone {
		return
	}
	f.Attempts = newest(slices.Clone(f.Attempts), MaxPastAttempts)
	l.Past = newest(append(l.Past, f), MaxPast)
}

// newest returns the last n, with the others given up.
func newest[T any](list []T, n int) []T {
	if len(list) > n {
		return slices.Delete(list, 0, len(list)-n)
	}
	return list
}

func (a Attempt) clipped() Attempt {
	a.Method, a.Device, a.Agent = clip(a.Method), clip(a.Device), clip(a.Agent)
	a.Outcome, a.Output = clip(a.Outcome), clip(a.Output)
	return a
}

// add adds an attempt as the newest.
func (f *Fence) add(a Attempt) { f.Attempts = newest(append(f.Attempts, a.clipped()), MaxAttempts) }

// cut ends an attempt whose end was not reported. What its agent had asked the
// device for may still be done, and the agent itself may run.
func (f *Fence) cut() {
	for i := range f.Attempts {
		if a := &f.Attempts[i]; a.Open {
			a.Open, a.Late, a.Outcome = false, true, OutcomeCut
			f.Late, f.Cut = true, true
		}
	}
}

// StartAttempt notes that an agent that may cut the node off is about to be
// started, so that it is known of if its end is never reported. Refused with
// NotPending.
func (r *Registry) StartAttempt(l Life, a Attempt) reason.Reason {
	n := r.pending(l)
	if n == nil {
		return reason.NotPending
	}
	n.Fence.cut()
	a.Open, a.Late, a.Outcome = true, false, ""
	n.Fence.add(a)
	return reason.None
}

// NoteAttempt notes the end of an attempt at a pending fence: of the one that was
// started, or of one that needs no start. Refused with NotPending.
func (r *Registry) NoteAttempt(l Life, a Attempt) reason.Reason {
	n := r.pending(l)
	if n == nil {
		return reason.NotPending
	}
	f := &n.Fence
	a = a.clipped()
	a.Open = false
	f.Late = f.Late || a.Late
	if k := len(f.Attempts) - 1; k >= 0 && f.Attempts[k].Open && f.Attempts[k].same(&a) {
		f.Attempts[k] = a
		return reason.None
	}
	f.add(a)
	return reason.None
}

// same tells whether two attempts are the start and the end of one.
func (a *Attempt) same(b *Attempt) bool {
	return a.Method == b.Method && a.Device == b.Device && a.Agent == b.Agent
}

// Release ends the hold of a fenced life: what was given up cannot come any more.
// Refused with NotPending if the life is not held.
func (r *Registry) Release(l Life) reason.Reason {
	n := r.node(l.Node)
	if n == nil || n.Incarnation != l.Incarnation || n.State != Fenced || !n.Ledger.Held {
		return reason.NotPending
	}
	n.Ledger.Held = false
	return reason.None
}

// Held returns the lives that are fenced but may not log in yet, by node name.
func (r *Registry) Held() []Life {
	var lives []Life
	for _, n := range r.nodes {
		if n.Ledger.Held {
			lives = append(lives, Life{n.Name, n.Incarnation})
		}
	}
	return lives
}

// SeeOutlets notes what the outlets of a node said. alive is the incarnation that
// gave a sign of life after they were asked, 0 for none: an outlet that says off
// while the node lives is not the node's. Refused with UnknownNode.
func (r *Registry) SeeOutlets(node string, alive uint64, said []Outlet) reason.Reason {
	n := r.node(node)
	if n == nil {
		return reason.UnknownNode
	}
	living := alive != 0 && alive == n.Incarnation && n.State == LoggedIn
	for _, o := range said {
		o.Device, o.Plug, o.Print = clip(o.Device), clip(o.Plug), clip(o.Print)
		o.Power, o.Reason = clip(o.Power), clip(o.Reason)
		n.Ledger.see(o, living)
	}
	return reason.None
}

func (l *Ledger) see(o Outlet, living bool) {
	i, known := slices.BinarySearchFunc(l.Outlets, o, compareOutlets)
	o.On, o.Wrong = false, false
	if known {
		o.On, o.Wrong = l.Outlets[i].On, l.Outlets[i].Wrong
	}
	switch {
	case o.Power == powerOn && (living || !o.Wrong):
		o.On, o.Wrong = true, false
	case o.Power == powerOff && living:
		o.On, o.Wrong = false, true
	}
	if known {
		l.Outlets[i] = o
		return
	}
	l.Outlets = slices.Insert(l.Outlets, i, o)
	if len(l.Outlets) > MaxOutlets {
		l.forgetOldest()
	}
}

func (l *Ledger) forgetOldest() {
	oldest := 0
	for i := range l.Outlets {
		if l.Outlets[i].Stamp < l.Outlets[oldest].Stamp {
			oldest = i
		}
	}
	l.Outlets = slices.Delete(l.Outlets, oldest, oldest+1)
}

func compareOutlets(a, b Outlet) int {
	if c := strings.Compare(a.Device, b.Device); c != 0 {
		return c
	}
	return strings.Compare(a.Print, b.Print)
}

// NoteManual notes a fence that an operator ran by hand. Refused with
// UnknownNode.
func (r *Registry) NoteManual(node string, m ManualFence) reason.Reason {
	n := r.node(node)
	if n == nil {
		return reason.UnknownNode
	}
	m.Operator, m.By, m.Incarnation = clip(m.Operator), clip(m.By), n.Incarnation
	attempts := m.Attempts[max(0, len(m.Attempts)-MaxPastAttempts):]
	m.Attempts = nil
	for _, a := range attempts {
		a.Open = false
		m.Attempts = append(m.Attempts, a.clipped())
	}
	n.Ledger.Manual = newest(append(n.Ledger.Manual, m), MaxManual)
	return reason.None
}

// Watchdog returns the longest watchdog timeout that a session of the life said
// that it has armed, and the longest expiry time that one was told, both in
// milliseconds.
func (r *Registry) Watchdog(l Life) (timeout, expiry int64) {
	for _, s := range r.sessions {
		if s.Node == l.Node && s.Incarnation == l.Incarnation {
			timeout, expiry = max(timeout, s.Watchdog), max(expiry, s.Expiry)
		}
	}
	return timeout, expiry
}

// possible reports whether a ledger can be that of n.
func (l *Ledger) possible(n *Node) bool {
	if len(l.Past) > MaxPast || len(l.Outlets) > MaxOutlets || len(l.Manual) > MaxManual || l.Held && n.State != Fenced {
		return false
	}
	last := uint64(0)
	for i := range l.Past {
		f := &l.Past[i]
		if f.State < FenceProved || f.State > FenceLeaseEnded || f.Incarnation <= last || f.Incarnation >= n.Incarnation ||
			f.Incarnation >= n.Fence.Incarnation || len(f.Attempts) > MaxPastAttempts {
			return false
		}
		last = f.Incarnation
	}
	for i := range l.Outlets {
		if i > 0 && compareOutlets(l.Outlets[i-1], l.Outlets[i]) >= 0 || l.Outlets[i].On && l.Outlets[i].Wrong {
			return false
		}
	}
	for i := range l.Manual {
		if l.Manual[i].Incarnation > n.Incarnation || len(l.Manual[i].Attempts) > MaxPastAttempts {
			return false
		}
	}
	return true
}
