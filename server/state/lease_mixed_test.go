package state_test

import (
	"fmt"
	"slices"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// Lockspaces of mixture: two file systems and an application.
const (
	fenceSpace uint32 = iota + 1
	manualSpace
	leaseSpace
)

// mixture is a node that has locks, orphans, ranges, keys and parts of keys in a
// lockspace of each policy, with journals where there may be any, and another one that
// wants them.
type mixture struct {
	*cluster
	a, b uint64
	id   lock.ID
}

func newMixture(t *testing.T) *mixture {
	t.Helper()
	m := &mixture{cluster: newCluster(t, state.Limits{})}
	m.b = m.enterAll("b", 2)
	for jid, in := range []uint32{fenceSpace, manualSpace} {
		m.mountIn(m.b, in, 0)
		m.tell(m.b, state.OpMounted, in, uint32(jid))
	}
	m.a = m.live()
	return m
}

// enterAll logs a node in and joins it to all lockspaces.
func (m *mixture) enterAll(node string, id byte) uint64 {
	m.Helper()
	req := login(node, "boot1", id)
	req.Expiry = 5
	session := m.must(req).Login.Number
	m.also(session, "gfs", lock.PolicyFence, 0)
	m.also(session, "vm", lock.PolicyManual, 0)
	m.also(session, "app", lock.PolicyLease, 10)
	return session
}

func (m *mixture) mountIn(session uint64, in, jid uint32) {
	m.Helper()
	r := m.ask(session, state.Request{Op: state.OpMount, Lockspace: in, Journals: 4})
	if r.Outcome != lock.Mounted || r.Number != jid {
		m.Fatalf("session %d mounts %d: %+v, want journal %d", session, in, r, jid)
	}
}

func (m *mixture) tell(session uint64, op state.Op, in, jid uint32) {
	m.Helper()
	m.want(m.ask(session, state.Request{Op: op, Lockspace: in, JID: jid}), lock.Noted, 0)
}

// live logs a's next life in: it mounts, and takes everything in all lockspaces.
func (m *mixture) live() uint64 {
	m.Helper()
	first := m.enterAll("a", 1)
	for _, in := range []uint32{fenceSpace, manualSpace, leaseSpace} {
		m.want(m.in(in, first, 100+lock.ID(in), "orphan", lock.EX, lock.Persistent), lock.Granted, 0)
	}
	a := m.enterAll("a", 2)
	m.must(state.Logout{Session: first})
	for _, in := range []uint32{fenceSpace, manualSpace} {
		m.mountIn(a, in, 1)
	}
	for _, in := range []uint32{fenceSpace, manualSpace, leaseSpace} {
		id := 10 * lock.ID(in)
		m.want(m.in(in, a, id, "r", lock.EX, 0), lock.Granted, 0)
		m.want(m.ask(a, m.rangeIn(in, id+1)), lock.Granted, 0)
		m.want(m.ask(a, m.keyIn(in, id+2, "key", 0)), lock.Granted, 0)
		m.want(m.ask(a, m.keyIn(in, id+3, "parts", lock.GulmRange)), lock.Granted, 0)
		hold := m.keyIn(in, id+4, "held", 0)
		hold.Op, hold.Mode = state.OpGulmHold, lock.NL
		m.want(m.ask(a, hold), lock.Granted, 0)
		set := state.Request{Op: state.OpLockSet, Lock: id + 5, Lockspace: in, Entries: []lock.SetEntry{
			{ID: id + 6, Name: []byte("free"), Mode: lock.EX}, {ID: id + 7, Name: []byte("orphan"), Mode: lock.EX},
		}}
		m.want(m.ask(a, set), lock.Queued, 0)
	}
	return a
}

func (m *mixture) rangeIn(in uint32, id lock.ID) state.Request {
	r := rangeOn(id, "file", lock.NoQueue)
	r.Lockspace = in
	return r
}

func (m *mixture) keyIn(in uint32, id lock.ID, key string, flags lock.GulmFlags) state.Request {
	r := state.Request{
		Op: state.OpGulm, Lock: id, Lockspace: in, Name: []byte(key), Mode: lock.EX, Flags: lock.Flags(flags | lock.GulmTry),
	}
	if flags&lock.GulmRange != 0 {
		r.Range = state.Range{Start: 1, End: 9}
	}
	return r
}

// free demands that all that a had in a lockspace can be had by b, or none of it; b
// gives it back.
func (m *mixture) free(what string, in uint32, want bool) {
	m.Helper()
	asks := []state.Request{m.rangeIn(in, 0), m.keyIn(in, 0, "key", 0), m.keyIn(in, 0, "parts", lock.GulmRange)}
	for _, name := range []string{"r", "orphan"} {
		asks = append(asks, state.Request{Op: state.OpLock, Lockspace: in, Name: []byte(name), Mode: lock.CR, Flags: lock.NoQueue})
	}
	for i := range asks {
		m.id++
		asks[i].Lock = 1000 + m.id
		r := m.ask(m.b, asks[i])
		if (r.Outcome == lock.Granted) != want {
			m.Fatalf("%s: in lockspace %d %s is free: %+v, want %v", what, in, asks[i].Name, r, want)
		}
		if !want {
			continue
		}
		back := state.Request{Op: state.OpUnlock, Lock: asks[i].Lock}
		switch asks[i].Op {
		case state.OpRangeLock:
			back = asks[i]
			back.Op, back.Flags, back.Mode = state.OpRangeUnlock, 0, 0
		case state.OpGulm:
			back = asks[i]
			back.Mode, back.Flags = lock.NL, back.Flags&^lock.Flags(lock.GulmTry)
		}
		if r := m.ask(m.b, back); r.Reason != reason.None {
			m.Fatalf("%s: give back %+v: %+v", what, back, r)
		}
	}
}

// permuted returns all orders of some words.
func permuted(words ...string) [][]string {
	if len(words) == 0 {
		return [][]string{nil}
	}
	var out [][]string
	for i, w := range words {
		for _, rest := range permuted(slices.Delete(slices.Clone(words), i, i+1)...) {
			out = append(out, append([]string{w}, rest...))
		}
	}
	return out
}

// TestLease_amongOthers: a node that is in a lockspace of each policy dies, twice. What
// it had goes by the rule of its lockspace and by no other, in whatever order its lease
// ends, its fence is proved, an operator speaks and its journals are replayed; with a
// snapshot between any two of these.
func TestLease_amongOthers(t *testing.T) {
	for _, order := range permuted("lease", "proof", "word", "replay") {
		for _, lives := range []int{1, 2} {
			m := newMixture(t)
			for life := uint64(1); life <= uint64(lives); life++ {
				m.dies(life, order)
				if life < uint64(lives) {
					m.a = m.live()
				}
			}
		}
	}
}

// dies lets a life of a die, and then happen what the order says.
func (m *mixture) dies(incarnation uint64, order []string) {
	m.Helper()
	life := member.Life{Node: "a", Incarnation: incarnation}
	m.expire("a")
	did := map[string]bool{}
	replays := func(in uint32) bool {
		r := m.ask(m.b, state.Request{Op: state.OpRecovered, Lockspace: in, JID: 1})
		return r.Outcome == lock.Noted
	}
	fenced, spoken := false, false
	replayed := map[uint32]bool{}
	for _, step := range append(order, "replay") {
		switch step {
		case "lease":
			if r := m.leaseEnded("a", incarnation, 10); (r.Reason == reason.None) == (fenced || spoken) || len(r.Ended) > 0 {
				m.Fatalf("%v after %v: %+v", step, did, r)
			}
		case "proof":
			if r := m.do(state.FenceProved{Term: 1, Life: life, By: "m/d"}); (r.Reason == reason.None) == spoken {
				m.Fatalf("%v after %v: %+v", step, did, r)
			}
			fenced = true
		case "word":
			m.must(state.FenceAcknowledged{Term: 1, Life: life, Operator: "root"})
			spoken = true
		case "replay":
			for in, may := range map[uint32]bool{fenceSpace: fenced || spoken, manualSpace: spoken} {
				if got := replays(in); got != (may && !replayed[in]) {
					m.Fatalf("replay in %d after %v: %v", in, did, got)
				}
				replayed[in] = may
			}
		}
		did[step] = true
		m.back()
		m.State, _ = reread(m.State)
		what := fmt.Sprint(order, " of life ", incarnation, " after ", did)
		m.free(what, leaseSpace, did["lease"] || fenced || spoken)
		m.free(what, fenceSpace, replayed[fenceSpace])
		m.free(what, manualSpace, replayed[manualSpace])
		m.back()
	}
	if n, _ := m.Members().Node("a"); n.State != member.Fenced || m.AwaitsWord("a") {
		m.Fatalf("%v: at the end %+v", order, n)
	}
}
