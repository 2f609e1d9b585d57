package state_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// chooseAny is choose with what that leaves out: sets, owners and time-outs,
// denials, orphans that come back, a second lockspace, the breaker, sessions that
// end alone, servers that are judged like nodes, and logins that say that the
// machine has booted. A batch has one request, so that what it does is seen.
func chooseAny(pick source, s *state.State) state.Command {
	if live := len(s.Members().Sessions()); live < 4 || pick(40) == 0 && live < 9 {
		return login(chooseNode(pick), fmt.Sprint("boot", pick(8)/7), byte(pick(3)))
	}
	c := chooseMore(pick, s)
	if b, ok := c.(*state.Batch); ok {
		for i := range b.Groups {
			for j := range b.Groups[i].Requests {
				r := &b.Groups[i].Requests[j]
				r.Lockspace = spaceOf(s, r.Lockspace)
				if r.Op != state.OpJoin && !s.Locks().Joined(r.Lockspace, lock.Session(b.Groups[i].Session)) && pick(8) > 0 {
					*r = state.Request{Seq: r.Seq, Op: state.OpJoin, Name: []byte([]string{"gfs", "gfs", "other"}[pick(3)])}
					if pick(5) == 0 {
						r.Name, r.Policy, r.Lease = []byte("app"), lock.PolicyLease, 10
					}
				}
			}
		}
	}
	return c
}

// spaceOf returns the number of a lockspace by its place.
func spaceOf(s *state.State, place uint32) uint32 {
	if spaces := s.Locks().Spaces(); place > 0 && int(place) <= len(spaces) {
		return spaces[place-1].Number
	}
	return place
}

func chooseMore(pick source, s *state.State) state.Command {
	switch n := pick(100); {
	case n < 15:
		return chooseReplay(pick, s)
	case n < 55:
		return chooseOne(pick, s)
	case n < 58:
		return chooseFence(pick, s)
	case n < 62:
		return chooseDeny(pick, s)
	case n < 64:
		node := chooseNode(pick)
		c := login(node, fmt.Sprint("boot", pick(4)), byte(pick(3)))
		c.Flags = []member.SessionFlags{0, 0, member.Unimportant, member.Container}[pick(4)]
		known, _ := s.Members().Node(node)
		c.Replaces = known.Incarnation * uint64(pick(2))
		return c
	case n < 66:
		return chooseEnd(pick, s)
	case n < 67:
		return state.ServerEntered{Server: chooseNode(pick), BootID: fmt.Sprint("boot", pick(4))}
	case n < 68:
		return []state.Command{
			state.PauseFencing{Term: s.Term(), Reason: "many", Operator: []string{"", "root"}[pick(2)]},
			state.ResumeFencing{Term: s.Term(), Operator: "root"},
			state.ResumeFencing{Term: s.Term(), Operator: "root"},
			state.ForgetVanished{Term: chooseTerm(pick, s), Lives: slices.Clone(s.Vanished()[:pick(len(s.Vanished())+1)])},
		}[pick(4)]
	}
	c := choose(pick, s)
	if _, ok := c.(state.Login); ok {
		return chooseReplay(pick, s)
	}
	if begin, ok := c.(state.BeginTerm); ok && pick(3) > 0 {
		begin.Limits = state.Limits{}
		return begin
	}
	if b, ok := c.(*state.Batch); ok {
		b.Groups = b.Groups[:1]
		g := &b.Groups[0]
		if len(g.Requests) > 1 {
			g.Requests = g.Requests[:1]
		}
		if len(g.Requests) == 1 && g.Requests[0].Op != state.OpJoin && g.Requests[0].Lockspace == 1 {
			g.Requests[0].Lockspace += uint32(pick(4) / 3)
		}
	}
	return c
}

// chooseEnd ends a session, mostly one that may end alone; if there is none, it
// mostly makes one.
func chooseEnd(pick source, s *state.State) state.Command {
	for _, session := range s.Members().Sessions() {
		if s.EndsAlone(session) && !session.Frozen && pick(4) > 0 {
			return state.EndSession{Term: chooseTerm(pick, s), Session: session.Number, Seen: s.Index()}
		}
	}
	if pick(4) == 0 {
		return state.EndSession{Term: chooseTerm(pick, s), Session: chooseSession(pick, s), Seen: s.Index()}
	}
	node, _ := s.Members().Node(chooseNode(pick))
	c := login(node.Name, node.BootID, 9)
	c.Flags = member.Unimportant
	return c
}

// chooseOne makes a batch of one request that is next in line.
func chooseOne(pick source, s *state.State) state.Command {
	session := chooseSession(pick, s)
	applied := s.Applied(session)
	r := state.Request{
		Seq: applied + 1, Lock: lock.ID(1 + pick(6)), Lockspace: 1 + uint32(pick(5)/4), Name: fmt.Appendf(nil, "r%d", pick(resources)),
		Mode: lock.Mode(pick(6)),
	}
	r.Owner = uint64(pick(3))
	if pick(3) == 0 {
		r.Timeout = 1000
	}
	switch n := pick(20); {
	case applied < 2:
		r.Op, r.Name, r.Terms = state.OpJoin, []byte([]string{"gfs", "other"}[min(applied, 1)]), lock.Terms{}
		r.Flags = lock.Flags(pick(2)) * state.JoinKeepValues
	case n < 6:
		r.Op, r.Lock = state.OpLockSet, r.Lock+20
		for i := range 1 + pick(3) {
			r.Entries = append(r.Entries, lock.SetEntry{
				ID: r.Lock*4 + 10 + lock.ID(i), Name: fmt.Appendf(nil, "r%d", pick(resources)), Mode: lock.Mode(pick(6)),
				Flags: []lock.Flags{0, lock.ValBlk, lock.Persistent, lock.NoCallbacks}[pick(4)],
			})
		}
		r.Flags = []lock.Flags{0, 0, lock.NoQueue, lock.NoQueue | lock.NoQueueBast, lock.NoDlckWt}[pick(5)]
	case n < 9:
		r.Op = []state.Op{state.OpUnlock, state.OpCancel}[pick(2)]
		r.Lock += lock.ID(10 * pick(4))
	case n < 10:
		r.Op, r.Lock = state.OpPurge, lock.ID(pick(3)*pick(20))
	case n < 13:
		r.Op = state.OpConvert
		r.Lock += lock.ID(30 * pick(2))
		r.Flags = []lock.Flags{0, lock.QueCvt, lock.ConvDeadlk, lock.NoOrder, lock.HeadQue, lock.NoDlckWt, lock.Recovery, lock.IvValBlk}[pick(8)]
	default:
		r.Op = state.OpLock
		r.Flags = []lock.Flags{
			0, 0, 0, lock.Persistent, lock.Persistent, lock.Orphan, lock.Orphan | lock.Persistent, lock.NoOrder, lock.Recovery, lock.NoOrder | lock.Recovery,
		}[pick(10)]
	}
	if r.Timeout != 0 {
		r.Flags |= lock.Timeout
	}
	return batch(group(session, applied-min(applied, uint64(pick(4))), r))
}

// chooseReplay asks for a mount, or says what a mounter has to say.
func chooseReplay(pick source, s *state.State) state.Command {
	session := chooseSession(pick, s)
	r := state.Request{Seq: s.Applied(session) + 1, Lockspace: 1 + uint32(pick(5)/4), Op: state.OpMount, Journals: 3}
	sp, _ := s.Journals().Space(spaceOf(s, r.Lockspace))
	if m, mounts := sp.Mount(session); mounts {
		r.Journals = 0
		r.Op = []state.Op{state.OpUnmount, state.OpWithdraw, state.OpLeave, state.OpGulmWithdraw}[pick(4)]
		if m.State == journal.First && pick(4) > 0 {
			r.Op = state.OpMounted
		}
		for jid := range sp.Journals {
			if sp.Journals[jid].Recoverer == session && pick(4) > 0 {
				r.Op, r.JID = state.OpRecovered, uint32(jid)
				r.Value = [][]byte{nil, nil, []byte("i/o error")}[pick(3)]
			}
		}
		if r.Op < state.OpMounted && pick(2) == 0 || r.Op > state.OpRecovered && pick(2) == 0 {
			r.Op, r.Name, r.Mode, r.Lock = state.OpLock, fmt.Appendf(nil, "r%d", pick(resources)), lock.Mode(pick(6)), lock.ID(1+pick(6))
			r.Flags = []lock.Flags{lock.Recovery, lock.Recovery, lock.Persistent}[pick(3)]
			if pick(3) == 0 {
				r.Op, r.Lock, r.Mode = state.OpRangeLock, r.Lock+10, []lock.Mode{lock.PR, lock.EX}[pick(2)]
				r.Flags &= lock.Recovery
				r.Range = state.Range{Owner: uint64(pick(2)), Start: uint64(pick(8)), End: uint64(4 + pick(8))}
			}
		}
	}
	return batch(group(session, r.Seq-1, r))
}

// chooseDeny ends a wait, mostly one that there is.
func chooseDeny(pick source, s *state.State) state.Command {
	c := state.Deny{Term: chooseTerm(pick, s), Session: chooseSession(pick, s), Lock: lock.ID(1 + pick(30)), Reason: reason.TimedOut}
	if pick(4) == 0 {
		return c
	}
	s.Locks().Watch(0, func(w lock.Watching) bool {
		c.Session, c.Lock, c.Since = uint64(w.Session), w.ID, w.Since
		return pick(3) > 0
	})
	return c
}

// crossing is a lock or a range that is held beside remains with which it is
// incompatible.
type crossing struct {
	lockspace uint32
	session   lock.Session
	name      string
	token     uint64
}

func crossings(s *state.State) map[crossing]bool {
	found := map[crossing]bool{}
	remains := func(owner lock.Session) bool {
		for _, n := range s.Members().Nodes() {
			if owner == lock.RemainsOf(n.Number) {
				return true
			}
		}
		return false
	}
	for r := range s.Locks().Walk {
		for _, a := range r.Locks {
			for _, b := range r.Locks {
				if !remains(a.Session) && remains(b.Session) && !lock.Compatible(a.Granted, b.Granted) {
					found[crossing{r.Lockspace, a.Session, string(r.Name), a.Token}] = true
				}
			}
		}
	}
	for f := range s.Locks().WalkRanges {
		for _, a := range f.Ranges {
			for _, b := range f.Ranges {
				if a.Owner.Origin == 0 && b.Owner.Origin != 0 && a.Start <= b.End && b.Start <= a.End && a.Kind+b.Kind > 0 {
					found[crossing{f.Lockspace, a.Owner.Session, "range " + string(f.Name), a.Token}] = true
				}
			}
		}
	}
	return found
}

// frozenRanges returns how many bytes of a range each dead session and each one
// that left remains has.
func frozenRanges(s *state.State) (frozen, remains map[kept]string) {
	frozen, remains = map[kept]string{}, map[kept]string{}
	heirs := map[lock.Session]string{}
	for _, n := range s.Members().Nodes() {
		heirs[lock.RemainsOf(n.Number)] = n.Name
	}
	for f := range s.Locks().WalkRanges {
		for _, r := range f.Ranges {
			for at := r.Start; at <= min(r.End, 20); at++ {
				k := kept{f.Lockspace, fmt.Sprint(string(f.Name), f.Flock, at, r.Owner.Number), uint64(r.Owner.Session), lock.Mode(r.Kind)}
				if node, ok := heirs[r.Owner.Session]; ok {
					k.from = uint64(r.Owner.Origin)
					remains[k] = node
				} else if x, ok := s.Members().Session(uint64(r.Owner.Session)); ok && x.Frozen {
					frozen[k] = x.Node
				}
			}
		}
	}
	return frozen, remains
}

// TestLaw_everything: random logs of all commands there are. The state stays sound,
// comes back from a snapshot as it was, and nothing of the dead is given away.
func TestLaw_everything(t *testing.T) {
	seeds, length := uint64(40), 800
	if testing.Short() {
		seeds = 10
	}
	reached := map[string]int{}
	for seed := range seeds {
		everything(t, 9000+seed, length, reached)
	}
	t.Logf("%v", reached)
}

func everything(t *testing.T, seed uint64, length int, reached map[string]int) {
	pick := seeded(seed)
	a, b := state.New(), state.New()
	var c state.Command = state.BeginTerm{Term: 1, Server: "s1"}
	for i := range length {
		index := uint64(i + 1)
		before := snapshotOf(a)
		again, err := decoded(c)
		if err != nil {
			t.Fatal(err)
		}
		r, q := a.Apply(index, 1, c), b.Apply(index, 1, again)
		if !reflect.DeepEqual(r, q) || a.Digest() != b.Digest() {
			t.Fatalf("seed %d, %d %T %+v: %s", seed, i, c, c, cmp.Diff(r, q))
		}
		if err := a.Check(); err != nil {
			t.Fatalf("seed %d, %d %T %+v: %v", seed, i, c, c, err)
		}
		if err := before.kept(a, c, r); err != nil {
			t.Fatalf("seed %d, %d %T %+v: %v", seed, i, c, c, err)
		}
		note(reached, c, r)
		if i%7 == 0 {
			if b, err = reread(b); err != nil {
				t.Fatalf("seed %d, %d %T %+v: %v", seed, i, c, c, err)
			}
			if err := same(a, b); err != nil {
				t.Fatalf("seed %d, %d: %v", seed, i, err)
			}
		}
		c = chooseAny(pick, a)
	}
}

func note(reached map[string]int, c state.Command, r state.Result) {
	if r.Reason != 0 {
		return
	}
	b, ok := c.(*state.Batch)
	if !ok {
		reached[fmt.Sprintf("%T", c)]++
		return
	}
	for _, g := range b.Groups {
		for _, q := range g.Requests {
			for _, p := range r.Replies {
				if p.Seq == q.Seq && p.Session == g.Session {
					reached[fmt.Sprintf("op%02d/%d%v", q.Op, p.Outcome, p.Reason)]++
				}
			}
		}
	}
}

// past is what of a state must be kept.
type past struct {
	frozen, remains map[kept]string
	crossings       map[crossing]bool
	state           *state.State
	expired         map[string]bool
	leases          times
}

func snapshotOf(s *state.State) *past {
	p := &past{state: s.Clone(), crossings: crossings(s), leases: leaseTimes(s), expired: map[string]bool{}}
	p.frozen, p.remains = frozenLocks(s)
	f, r := frozenRanges(s)
	for k, v := range f {
		p.frozen[k] = v
	}
	for k, v := range r {
		p.remains[k] = v
	}
	for _, l := range s.Members().Pending() {
		p.expired[l.Node] = true
	}
	return p
}

// rebooted is the life that a login proved to be gone.
func (p *past) settledBy(c state.Command, r state.Result, now *state.State) member.Life {
	req := member.LoginRequest{}
	switch c := c.(type) {
	case state.Login:
		req = c.LoginRequest
	case state.ServerEntered:
		req = member.LoginRequest{Node: c.Server, BootID: c.BootID, LoginID: member.ServerLogin(), Process: "lock_gulmd", Replaces: c.Replaces, Flags: c.Flags}
	default:
		return settled(c, r)
	}
	l, _ := p.state.Members().Rebooted(req)
	return l
}

func (p *past) kept(s *state.State, c state.Command, r state.Result) error {
	frozenNow, remainsNow := frozenLocks(s)
	f, m := frozenRanges(s)
	for k, v := range f {
		frozenNow[k] = v
	}
	for k, v := range m {
		remainsNow[k] = v
	}
	life := p.settledBy(c, r, s)
	for k, node := range p.frozen {
		if _, still := frozenNow[k]; still {
			continue
		}
		if p.leases.over(c, r, k.lockspace, node) {
			continue
		}
		if node != life.Node {
			return fmt.Errorf("%+v of %s is gone", k, node)
		}
		if heldIn(p.state.Journals(), life, k.lockspace) && remainsNow[k] != node {
			return fmt.Errorf("%+v of %s had a journal and is gone", k, node)
		}
	}
	for k, node := range p.remains {
		if _, still := remainsNow[k]; still {
			continue
		}
		_, has := p.state.Journals().Space(k.lockspace)
		switch {
		case node == life.Node, p.leases.over(c, r, k.lockspace, node):
		case !has && !p.expired[node] && dropped(c, r):
		case p.expired[node] || !recovered(c, r):
			if k.mode == lock.NL && len(k.name) > 3 { // a read range may have become part of a written one
				k.mode = lock.CR
				if _, still := remainsNow[k]; still {
					continue
				}
			}
			return fmt.Errorf("remains %+v of %s are gone", k, node)
		}
	}
	for x := range crossings(s) {
		if p.crossings[x] {
			continue
		}
		_, had := p.state.Journals().Space(x.lockspace)
		_, has := s.Journals().Space(x.lockspace)
		may := p.state.Journals().MayPass(x.lockspace, uint64(x.session)) || s.Journals().MayPass(x.lockspace, uint64(x.session))
		if (had && has) && !may {
			return fmt.Errorf("%+v passes remains and recovers nothing", x)
		}
	}
	return nil
}
