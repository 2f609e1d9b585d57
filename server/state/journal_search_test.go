package state_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// foundVolume is one state of the search, as values.
type foundVolume struct {
	saved *saved
	truth volume // without the state
	from  int
	by    string
}

func (f *foundVolume) volume() *volume {
	v := f.truth
	v.state = f.saved.state()
	return &v
}

func keepVolume(v *volume, from int, by string) foundVolume {
	f := foundVolume{saved: save(v.state), truth: *v, from: from, by: by}
	f.truth.state = nil
	return f
}

// searchJournals visits worlds breadth first from two beginnings, at most limit of
// them if that is not 0, and returns how many it saw and the shortest story that
// breaks a promise. One of `mend` is mended as well, none with 0.
func searchJournals(ap apply, limit, mend int) (int, error) {
	var states []foundVolume
	seen := map[string]bool{}
	for _, mounted := range []bool{true, false} {
		v := newVolume(mounted)
		seen[v.key()] = true
		states = append(states, keepVolume(v, -1, fmt.Sprintf("(all have mounted, a has the lock, b waits: %v)", mounted)))
	}
	for at := 0; at < len(states); at++ {
		here := states[at]
		states[at].saved = nil
		v := here.volume()
		key := v.key()
		for _, m := range v.moves() {
			err := m.do(v, ap)
			next := v.key()
			if err == nil && next == key {
				continue // a refusal: only the index went on
			}
			if err == nil {
				err = v.check()
			}
			if err != nil {
				return len(states), fmt.Errorf("%w, after:\n%s", err, toldVolume(states, at, m.name))
			}
			if !seen[next] && (limit == 0 || len(states) < limit) {
				seen[next] = true
				states = append(states, keepVolume(v, at, m.name))
			}
			v = here.volume()
		}
		if mend == 0 || at%mend != 0 {
			continue
		}
		if err := here.volume().mended(); err != nil {
			return len(states), fmt.Errorf("%w, when mended after:\n%s", err, toldVolume(states, at, "all begin anew"))
		}
	}
	return len(states), nil
}

func toldVolume(states []foundVolume, at int, last string) string {
	lines := []string{last}
	for ; at >= 0; at = states[at].from {
		lines = append(lines, states[at].by)
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// TestSearch_journals goes through everything that three machines with one file
// system can do, in every order, from the shortest on. In each state no two write
// into one journal; what a dead node held is not granted before its journal is
// replayed, and passed only by who replays; no dirty journal is forgotten, and none
// is taken for dirty; and the world can be mended. Each state comes out of an image.
func TestSearch_journals(t *testing.T) {
	limit := *searched
	if testing.Short() {
		limit = min(limit, 2000)
	}
	n, err := searchJournals(realApply, limit, 5)
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d states", n)
	if n < limit {
		t.Errorf("%d states only", n)
	}
}

// requestIn returns the first request of a command, if that is of one request.
func requestIn(c state.Command) (session uint64, req state.Request) {
	if b, ok := c.(*state.Batch); ok && len(b.Groups) == 1 && len(b.Groups[0].Requests) == 1 {
		return b.Groups[0].Session, b.Groups[0].Requests[0]
	}
	return 0, state.Request{}
}

// after does something with the lock table or the ledger behind the state's back
// once a command was taken, and adds what that brings about.
func after(r state.Result, s *state.State, do func(t *lock.Table, l *journal.Ledger)) state.Result {
	if r.Reason == reason.None {
		do(s.Locks(), s.Journals())
		r.Events = append(r.Events, s.Locks().TakeEvents()...)
		r.Journals = append(r.Journals, s.Journals().TakeEvents()...)
	}
	return r
}

// mountedIn returns a session that works in lockspace 1 and is not `but`, 0 if there
// is none.
func mountedIn(s *state.State, but uint64) uint64 {
	p, _ := s.Journals().Space(1)
	for _, m := range p.Mounts {
		if m.State == journal.Mounted && !m.Dead && !m.Spectator && m.Session != but {
			return m.Session
		}
	}
	return 0
}

// releaseAtProof releases a dead node's locks with the fence, without a replay.
func releaseAtProof(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	s, r := realApply(s, index, c)
	if d, ok := c.(state.FenceProved); ok {
		n, _ := s.Members().Node(d.Node)
		r = after(r, s, func(t *lock.Table, _ *journal.Ledger) { t.ReleaseIn(lock.RemainsOf(n.Number), 1, nil, 0) })
	}
	return s, r
}

// releaseAtWithdrawal releases what somebody holds who withdraws.
func releaseAtWithdrawal(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	session, req := requestIn(c)
	x, _ := s.Members().Session(session)
	n, _ := s.Members().Node(x.Node)
	s, r := realApply(s, index, c)
	if req.Op == state.OpWithdraw {
		r = after(r, s, func(t *lock.Table, _ *journal.Ledger) { t.ReleaseIn(lock.RemainsOf(n.Number), 1, nil, 0) })
	}
	return s, r
}

// twoRecoverers hands a journal out twice.
func twoRecoverers(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	s, r := realApply(s, index, c)
	for _, e := range r.Journals {
		if other := mountedIn(s, e.Session); e.Kind == journal.EventRecover && other != 0 {
			e.Session = other
			r.Journals = append(r.Journals, e)
		}
	}
	return s, r
}

// handAtExpiry has a journal replayed before the fence of its node.
func handAtExpiry(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	s, r := realApply(s, index, c)
	if d, ok := c.(state.Expire); ok && r.Reason == reason.None {
		p, _ := s.Journals().Space(1)
		for _, m := range p.Mounts {
			if other := mountedIn(s, m.Session); m.Life.Node == d.Node && m.JID != journal.NoJID && other != 0 {
				r.Journals = append(r.Journals, journal.Event{Session: other, Kind: journal.EventRecover, Lockspace: 1, JID: m.JID})
			}
		}
	}
	return s, r
}

// cleanAtUnmount takes the unmount of a node for the end of what it was replaying.
func cleanAtUnmount(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	if session, req := requestIn(c); req.Op == state.OpUnmount {
		p, _ := s.Journals().Space(1)
		for jid := range p.Journals {
			if p.Journals[jid].Recoverer == session && session != 0 {
				s.Journals().Recovered(1, session, jid, "")
			}
		}
	}
	return realApply(s, index, c)
}

// withdrawalIsUnmount takes a withdrawal for an unmount.
func withdrawalIsUnmount(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	if session, req := requestIn(c); req.Op == state.OpWithdraw {
		req.Op = state.OpUnmount
		c = batch(group(session, 0, req))
	}
	return realApply(s, index, c)
}

// failureIsDone takes the failure of a replay for its end.
func failureIsDone(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	if session, req := requestIn(c); req.Op == state.OpRecovered {
		req.Value = nil
		c = batch(group(session, 0, req))
	}
	return realApply(s, index, c)
}

// trustAtExpiry lets recoveries pass what a node left that is not fenced.
func trustAtExpiry(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	d, ok := c.(state.Expire)
	s, r := realApply(s, index, c)
	if ok {
		n, _ := s.Members().Node(d.Node)
		r = after(r, s, func(t *lock.Table, _ *journal.Ledger) { t.TrustRemains(n.Number, nil) })
	}
	return s, r
}

// everybodyRecovers takes the word of whoever gives it.
func everybodyRecovers(s *state.State, index uint64, c state.Command) (*state.State, state.Result) {
	session, req := requestIn(c)
	p, has := s.Journals().Space(1)
	if req.Op == state.OpRecovered && has && p.Journals[req.JID].Recoverer != session && p.Journals[req.JID].Recoverer != 0 {
		session = p.Journals[req.JID].Recoverer
		req.Seq = s.Applied(session) + 1
		c = batch(group(session, 0, req))
	}
	return realApply(s, index, c)
}

// TestSearch_findsJournals: the search finds what it is there to find.
func TestSearch_findsJournals(t *testing.T) {
	for _, c := range []struct {
		name string
		ap   apply
		want string
	}{
		{"release at the proof", releaseAtProof, "before journal"},
		{"release at a withdrawal", releaseAtWithdrawal, "before journal"},
		{"two recoverers", twoRecoverers, "write into journal"},
		{"handed on at expiry", handAtExpiry, "write into journal"},
		{"clean at the unmount of the recoverer", cleanAtUnmount, "taken for such: false"},
		{"withdrawal is an unmount", withdrawalIsUnmount, "taken for such: false"},
		{"failure is an end", failureIsDone, "before journal"},
		{"trust at expiry", trustAtExpiry, "lock table has other sessions"},
		{"everybody recovers", everybodyRecovers, "before journal"},
	} {
		n, err := searchJournals(c.ap, 5000, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d states, %v", c.name, n, err)
		}
		t.Logf("%s: %d states, %v", c.name, n, err)
	}
}
