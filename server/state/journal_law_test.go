package state_test

import (
	"testing"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// kept is a lock that must not be given to others: where it is, and who left it.
type kept struct {
	lockspace uint32
	name      string
	from      uint64
	mode      lock.Mode
}

// frozenLocks returns the locks of dead sessions and the remains, each with the
// node that has them.
func frozenLocks(s *state.State) (frozen, remains map[kept]string) {
	frozen, remains = map[kept]string{}, map[kept]string{}
	heirs := map[lock.Session]string{}
	for _, n := range s.Members().Nodes() {
		heirs[lock.RemainsOf(n.Number)] = n.Name
	}
	for r := range s.Locks().Walk {
		for _, l := range r.Locks {
			k := kept{r.Lockspace, string(r.Name), uint64(l.Session), l.Granted}
			if node, ok := heirs[l.Session]; ok {
				k.from = uint64(l.Origin)
				remains[k] = node
			} else if x, ok := s.Members().Session(uint64(l.Session)); ok && x.Frozen {
				frozen[k] = x.Node
			}
		}
	}
	return frozen, remains
}

// settled is the life whose fence a command settles.
func settled(c state.Command, r state.Result) member.Life {
	if r.Reason != 0 {
		return member.Life{}
	}
	switch c := c.(type) {
	case state.FenceProved:
		return c.Life
	case state.FenceAcknowledged:
		return c.Life
	}
	return member.Life{}
}

// recovered reports whether a mounter's word that something is replayed was
// accepted.
func recovered(c state.Command, r state.Result) bool {
	b, ok := c.(*state.Batch)
	if !ok {
		return false
	}
	said := map[[2]uint64]bool{}
	for _, g := range b.Groups {
		for _, q := range g.Requests {
			if q.Op == state.OpMounted || q.Op == state.OpRecovered && len(q.Value) == 0 {
				said[[2]uint64{g.Session, q.Seq}] = true
			}
		}
	}
	for _, p := range r.Replies {
		if p.Outcome == lock.Noted && said[[2]uint64{p.Session, p.Seq}] {
			return true
		}
	}
	return false
}

// dropped reports whether a GULM drop released something.
func dropped(c state.Command, r state.Result) bool {
	b, ok := c.(*state.Batch)
	if !ok {
		return false
	}
	said := map[[2]uint64]bool{}
	for _, g := range b.Groups {
		for _, q := range g.Requests {
			if q.Op == state.OpGulmDrop {
				said[[2]uint64{g.Session, q.Seq}] = true
			}
		}
	}
	for _, p := range r.Replies {
		if p.Outcome == lock.Unlocked && p.Number > 0 && said[[2]uint64{p.Session, p.Seq}] {
			return true
		}
	}
	return false
}

// TestLaw_frozenStay: S2 in random logs. What a dead session holds goes only with
// the proof of its fence, and where it had a journal it becomes remains then; and
// remains go only by the word of a mounter that a journal is replayed, or, if that
// was said while their node was expired again, with the proof of that fence. In a
// lockspace without journals they go by a GULM drop, unless their node is expired.
// In a lockspace under PolicyLease both go when its time has passed as well.
func TestLaw_frozenStay(t *testing.T) {
	var buried, released, late, leased int
	for seed := range uint64(60) {
		s := state.New()
		for i, c := range script(seeded(500+seed), 700) {
			frozen, remains := frozenLocks(s)
			journals, times := s.Journals().Clone(), leaseTimes(s)
			expired := map[string]bool{}
			for _, l := range s.Members().Pending() {
				expired[l.Node] = true
			}
			r := s.Apply(uint64(i+1), 1, c)
			frozenNow, remainsNow := frozenLocks(s)
			life := settled(c, r)
			for k, node := range frozen {
				if _, still := frozenNow[k]; still {
					continue
				}
				if times.over(c, r, k.lockspace, node) {
					leased++
					continue
				}
				if node != life.Node {
					t.Fatalf("seed %d, %d %+v: %+v of %s is gone", seed, i, c, k, node)
				}
				if had := heldIn(&journals, life, k.lockspace); had {
					buried++
					if remainsNow[k] != node {
						t.Fatalf("seed %d, %d %+v: %+v of %s had a journal and is gone", seed, i, c, k, node)
					}
				}
			}
			for k, node := range remains {
				if _, still := remainsNow[k]; still {
					continue
				}
				_, has := journals.Space(k.lockspace)
				switch {
				case times.over(c, r, k.lockspace, node):
				case node == life.Node:
					late++
				case !has && !expired[node] && dropped(c, r):
				case expired[node] || !recovered(c, r):
					t.Fatalf("seed %d, %d %+v: remains %+v of %s are gone", seed, i, c, k, node)
				default:
					released++
				}
			}
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d became remains, %d were released after a replay, %d after a later fence, %d with a lease", buried, released, late, leased)
	if buried < 20 || released < 20 || leased < 3 {
		t.Error("the logs hardly touch a journal")
	}
}

func heldIn(l *journal.Ledger, life member.Life, lockspace uint32) bool {
	for _, n := range l.HeldBy(journal.Life(life)) {
		if n == lockspace {
			return true
		}
	}
	return false
}
