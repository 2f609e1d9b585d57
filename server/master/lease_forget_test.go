package master

import (
	"log/slog"
	"testing"
	"time"

	"lock_gulmd/server/codec"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/machine"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// TestLeases_forgotten: of which life somebody asks since when it was silent is
// remembered, and of no other: a master in whose term nodes die again and again does
// not grow with them.
func TestLeases_forgotten(t *testing.T) {
	m, index := machine.New(func(*machine.Applied) {}), uint64(0)
	do := func(c state.Command) state.Result {
		t.Helper()
		index++
		r, ok := m.Apply(index, 1, codec.Encode(0, c)).(state.Result)
		if !ok || r.Reason != reason.None {
			t.Fatalf("%+v: %+v", c, r)
		}
		return r
	}
	do(state.BeginTerm{Term: 1, Server: "m"})
	tm := &term{m: New(Config{Machine: m}), number: 1, log: slog.New(slog.DiscardHandler), beats: newBeats(time.Second)}
	tm.leases.began = map[member.Life]time.Duration{}
	enter := func(node string, p lock.Policy, lease uint32) member.Life {
		t.Helper()
		s := do(state.Login{LoginRequest: member.LoginRequest{Node: node, BootID: "boot", LoginID: member.LoginID{1}, Expiry: 5}}).Login
		do(&state.Batch{Groups: []state.Group{{Session: s.Number, Requests: []state.Request{
			{Seq: 1, Op: state.OpJoin, Name: []byte(node), Policy: p, Lease: lease},
		}}}})
		return member.Life{Node: node, Incarnation: s.Incarnation}
	}
	fenced, leased, live := enter("a", lock.PolicyFence, 0), enter("b", lock.PolicyLease, 10), enter("c", lock.PolicyLease, 10)
	propose := func(l member.Life, taken bool) {
		tm.leases.begin(l, time.Second)
		if taken {
			do(state.Expire{Term: 1, Life: l, Seen: index})
		}
		tm.leaseBegun(l)
	}
	propose(fenced, true)
	propose(leased, true)
	propose(live, false)
	if _, known := tm.leases.began[leased]; !known || len(tm.leases.began) != 1 {
		t.Errorf("remembered are %v, want that of %v only", tm.leases.began, leased)
	}
	do(state.LeaseEnded{Term: 1, Life: leased, Silent: 10})
	tm.endLeasesOf(t.Context(), leased)
	propose(leased, false) // as ForceExpire does before it is refused
	if len(tm.leases.began) != 0 {
		t.Errorf("remembered after the end: %v", tm.leases.began)
	}
}
