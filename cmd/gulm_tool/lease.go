package main

import (
	"fmt"
	"time"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// underPolicy is a resource or a file with ranges.
type underPolicy interface {
	GetPolicy() gulmv1.Policy
	GetLeaseMs() uint32
}

// policyWords says under which policy something is if that is not the usual one.
func policyWords(x underPolicy) string {
	switch x.GetPolicy() {
	case gulmv1.Policy_POLICY_FENCE:
		return ""
	case gulmv1.Policy_POLICY_LEASE:
		return fmt.Sprintf(" (policy lease of %v: no fence)", ms(int64(x.GetLeaseMs())))
	}
	return " (policy " + tool.Policy(x.GetPolicy()) + ")"
}

// policyJSON is the policy of the lockspace of a resource or a file; LeaseMs is its
// time-to-live, 0 but for the policy lease.
type policyJSON struct {
	Policy  string `json:"policy"`
	LeaseMs uint32 `json:"lease_ms"`
}

func policyToJSON(x underPolicy) policyJSON {
	return policyJSON{tool.Policy(x.GetPolicy()), x.GetLeaseMs()}
}

// leaseJSON is a node's lockspace under the policy lease. LeftMs is -1 unless the node
// is expired and the master answers.
type leaseJSON struct {
	Lockspace string `json:"lockspace"`
	TimeMs    int64  `json:"time_ms"`
	LeftMs    int64  `json:"left_ms"`
	Locks     uint64 `json:"locks"`
}

func leasesToJSON(n *gulmv1.Node) []leaseJSON {
	out := []leaseJSON{}
	for _, l := range n.GetLeases() {
		out = append(out, leaseJSON{l.GetLockspace(), l.GetTimeMs(), l.GetLeftMs(), l.GetLocks()})
	}
	return out
}

// leases are, for each lease of a node, the times that come instead of the fence.
func (x *explainer) leases(now *gulmv1.Node, beat time.Duration) []term {
	var terms []term
	for _, l := range now.GetLeases() {
		lease := ms(l.GetTimeMs())
		ends := func(round time.Duration) time.Duration {
			expired := x.expiry + ms(x.settings.GetLookMs()) + 2*round
			return max(lease, expired) + round/2 + 3*round // the last sign on its way; confirm, commit, tell
		}
		terms = append(terms, term{
			"lease " + l.GetLockspace(), fmt.Sprintf("its time-to-live of %v, counted by the master from the newest sign of life; "+
				"a new master counts from the beginning; nothing is proved: check tokens", lease),
			"the join", lease - beat, ends(x.slow), ends(x.limit),
		})
	}
	return terms
}
