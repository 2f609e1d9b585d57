package state_test

import (
	"fmt"
	"strings"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// newLeaseWorld is newWorld with the lockspace under PolicyLease.
func newLeaseWorld() *world {
	w := newWorld()
	w.lease = 10
	return w
}

// joining is the request by which a machine joins.
func (w *world) joining() state.Request {
	r := state.Request{Seq: 1, Op: state.OpJoin, Name: []byte("gfs")}
	if w.lease > 0 {
		r.Policy, r.Lease = lock.PolicyLease, w.lease
	}
	return r
}

// leaseEnds is the word of a master that the lease of the owed life is over, due or a
// moment too soon. From then on storage refuses what the machine writes with the tokens
// that it has, and its program knows that it is lost.
func (w *world) leaseEnds(i int, term uint64, late string, due bool) move {
	life := member.Life{Node: machineNames[i], Incarnation: w.machines[i].owed}
	silent, when := int64(w.lease), ""
	if !due {
		silent, when = silent-1, " too soon"
	}
	return move{life.Node + "'s lease ends" + when + late, func(w *world, ap apply) error {
		now := w.state.Term()
		r := w.send(ap, state.LeaseEnded{Term: term, Life: life, Silent: silent})
		if r.Reason == reason.None {
			m := &w.machines[i]
			m.owed, m.begun, m.done, m.claim, m.of = 0, 0, 0, lock.NL, 0
			m.session, m.uses = 0, lock.NL
			if !due {
				return fmt.Errorf("the lease of %s ended too soon", life.Node)
			}
		}
		return onlyNow(due && term == now, r)
	}}
}

// TestSearch_leases goes through everything that three machines under PolicyLease and
// two masters can do: locks go with a lease that is over or a proof, and with nothing
// else, and no two who live have them at once.
func TestSearch_leases(t *testing.T) {
	limit := *searched
	if testing.Short() {
		limit = min(limit, 2000)
	}
	n, err := searchFrom(newLeaseWorld(), realApply, limit)
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d states", n)
	if n < limit {
		t.Errorf("%d states only", n)
	}
}

// TestSearch_findsLeases: it finds leases that end too soon, by a master that was
// replaced, of another life, and by the expiry itself.
func TestSearch_findsLeases(t *testing.T) {
	ended := func(change func(*state.State, *state.LeaseEnded)) apply {
		return func(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
			if d, ok := c.(state.LeaseEnded); ok {
				change(s, &d)
				return realApply(s, index, d)
			}
			return realApply(s, index, c)
		}
	}
	for _, c := range []struct {
		name string
		ap   apply
		want string
	}{
		{"too soon", ended(func(_ *state.State, d *state.LeaseEnded) { d.Silent++ }), "ended too soon"},
		{"of any term", ended(func(s *state.State, d *state.LeaseEnded) { d.Term = s.Term() }), "of the present term: false"},
		{"never", ended(func(_ *state.State, d *state.LeaseEnded) { d.Silent = 0 }), "of the present term: true"},
		{"with the expiry", func(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
			s, r := realApply(s, index, c)
			if d, ok := c.(state.Expire); ok && r.Reason == reason.None {
				s.Apply(index, 0, state.LeaseEnded{Term: d.Term, Life: d.Life, Silent: 10})
			}
			return s, r
		}, "owed and forgotten"},
	} {
		n, err := searchFrom(newLeaseWorld(), c.ap, 5000)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d states, %v", c.name, n, err)
		}
	}
}
