package fence

import (
	"context"
	"time"
)

// Hooks follow a round over a plan. Each may be nil. All are called from the
// goroutine that called Fence, which waits for them.
type Hooks struct {
	// Begin is called right before an agent is started that may cut the node
	// off, once its device is free: what the caller must write down first is
	// written here. The agent is started only while the permit is good. An error
	// keeps it from being started.
	Begin func(ctx context.Context, a Attempt) (Permit, error)
	// End is called with each attempt as it ends, before the round goes on.
	End func(Attempt)
	// Seen is told what a device's status action says, whatever it was asked for.
	Seen func(Sighting)
	// Trust says what is known of an outlet. Without it every outlet counts as
	// TrustSeen.
	Trust func(Outlet) Trust
}

// Trust is what is known of an outlet's reports about a node.
type Trust int

// The grades of trust.
const (
	// TrustUnknown: the outlet has never reported on for the node. What it does
	// is believed if it is seen to go from on to off, or cannot be asked; that it
	// was off already is not.
	TrustUnknown Trust = iota
	// TrustSeen: it has reported on for the node, so it is the node's outlet.
	TrustSeen
	// TrustWrong: it reported off while the node lived. It is not the node's
	// outlet, or not its only one; it is not used.
	TrustWrong
)

// Power is what an outlet says of itself. The strings are kept in records: they
// are never changed, only added to.
type Power string

// The answers.
const (
	PowerOn  Power = "on"
	PowerOff Power = "off"
	// PowerNone means that there was no answer, or none that says on or off.
	PowerNone Power = "no answer"
	// PowerAnswers means that the device answers but has no status action.
	PowerAnswers Power = "answers"
)

// Sighting is what an outlet said when it was asked.
type Sighting struct {
	// Node is the machine behind the outlet, as the configuration has it.
	Node string
	// Method and Agent are the names from the plan.
	Method, Agent string
	// Outlet is which one was asked.
	Outlet Outlet
	// Power is the answer.
	Power Power
	// Start is when it was asked, by the wall clock, for people.
	Start time.Time
	// Duration is how long the answer took.
	Duration time.Duration
	// Reason says why there was no answer; empty otherwise. No secrets.
	Reason string
}

// Permit lets agents be started for a short while, measured by a clock that runs
// on while processes are stopped and machines sleep. The zero value lets them be
// started at any time.
type Permit struct {
	until time.Duration // since the machine was started
}

// PermitFor returns a permit that is good for d from now on. Whoever verifies
// something first must take the permit before the verification begins.
func PermitFor(d time.Duration) Permit { return Permit{until: sinceBoot() + d} }

// late returns for how long the permit has been over, 0 if it is good.
func (p Permit) late() time.Duration {
	if p.until == 0 {
		return 0
	}
	return max(sinceBoot()-p.until, 0)
}

func (h *Hooks) end(a Attempt) {
	if h.End != nil {
		h.End(a)
	}
}

func (h *Hooks) seen(s Sighting) {
	if h.Seen != nil {
		h.Seen(s)
	}
}

func (h *Hooks) trust(o Outlet) Trust {
	if h.Trust == nil {
		return TrustSeen
	}
	return h.Trust(o)
}
