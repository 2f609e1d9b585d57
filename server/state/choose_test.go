package state_test

import (
	"fmt"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// source chooses a number from 0 to n-1.
type source func(n int) int

const (
	nodes     = 4
	resources = 3
	locksEach = 3
)

// choose makes a command that mostly makes sense in the state; now and then one
// that does not.
func choose(pick source, s *state.State) state.Command {
	switch n := pick(100); {
	case n < 60:
		b := &state.Batch{}
		for range 1 + pick(3) {
			b.Groups = append(b.Groups, chooseGroup(pick, s))
		}
		return b
	case n < 74:
		return login(chooseNode(pick), fmt.Sprint("boot", pick(6)/5), byte(pick(8)/2))
	case n < 78:
		return state.Logout{Session: chooseSession(pick, s)}
	case n < 82:
		seen := s.Index()
		if pick(4) == 0 {
			seen -= min(seen, uint64(pick(10)))
		}
		return state.Expire{Term: chooseTerm(pick, s), Life: chooseLife(pick, s), Seen: seen, Silent: 7, Reason: "silent"}
	case n < 93:
		return chooseFence(pick, s)
	case n < 96:
		return chooseBegin(pick, s)
	}
	server := fmt.Sprint("s", pick(3))
	return []state.Command{state.ServerLeft{Server: server}, state.ServerEntered{Server: server}, state.Check{Index: s.Index(), Digest: s.Digest()}}[pick(3)]
}

func chooseBegin(pick source, s *state.State) state.Command {
	c := state.BeginTerm{Term: s.Term() + uint64(pick(3)), Server: fmt.Sprint("s", pick(3))}
	if pick(3) == 0 {
		c.Limits = state.Limits{
			Locks: uint64(pick(12)), Resources: uint64(pick(4)), Lockspaces: uint64(pick(3)), Sessions: uint64(pick(8)), InFlight: uint64(pick(6)),
		}
	}
	return c
}

func chooseFence(pick source, s *state.State) state.Command {
	term, life := chooseTerm(pick, s), chooseLife(pick, s)
	if pending := s.Members().Pending(); len(pending) > 0 && pick(5) > 0 {
		life = pending[pick(len(pending))]
	}
	if pick(4) == 0 {
		return chooseLedger(pick, s, term, life)
	}
	if ends := s.LeaseExpired(); len(ends) > 0 && pick(2) == 0 {
		return state.LeaseEnded{Term: term, Life: ends[pick(len(ends))], Silent: int64(pick(5)) * 5}
	}
	switch pick(7) {
	case 6:
		return state.LeaseEnded{Term: term, Life: life, Silent: int64(pick(5)) * 5}
	case 0:
		return state.FenceBegin{Term: term, Life: life}
	case 1:
		return state.FenceAttempted{Term: term, Life: life, Attempt: member.Attempt{Method: "m", Device: "d", Outcome: "failed", Start: 3, Late: pick(8) == 0}}
	case 2:
		return state.FenceAcknowledged{Term: term, Life: life, Operator: "root"}
	}
	return state.FenceProved{Term: term, Life: life, By: "m/d"}
}

func chooseLedger(pick source, s *state.State, term uint64, life member.Life) state.Command {
	if held := s.Members().Held(); len(held) > 0 && pick(5) > 0 {
		return state.FenceReleased{Term: s.Term(), Life: held[pick(len(held))]}
	}
	switch pick(4) {
	case 0:
		return state.FenceStarted{Term: term, Life: life, Method: "m", Device: "d", Start: 2}
	case 1:
		alive := life.Incarnation * uint64(pick(2))
		return state.FenceSeen{Term: term, Node: life.Node, Alive: alive, Outlets: []member.Outlet{{
			Device: fmt.Sprint("d", pick(3)), Power: []string{"on", "off", "no answer"}[pick(3)], Stamp: int64(pick(9)),
		}}}
	case 2:
		return state.FenceReleased{Term: term, Life: life}
	}
	return state.FenceManual{Node: life.Node, ManualFence: member.ManualFence{Operator: "root", Fenced: true}}
}

func chooseNode(pick source) string { return string(rune('a' + pick(nodes))) }

func chooseTerm(pick source, s *state.State) uint64 {
	if pick(12) == 0 {
		return s.Term() + uint64(pick(3)) - 1
	}
	return s.Term()
}

func chooseLife(pick source, s *state.State) member.Life {
	l := member.Life{Node: chooseNode(pick)}
	n, _ := s.Members().Node(l.Node)
	l.Incarnation = n.Incarnation
	if pick(12) == 0 {
		l.Incarnation += uint64(pick(3)) - 1
	}
	return l
}

func chooseSession(pick source, s *state.State) uint64 {
	sessions := s.Members().Sessions()
	if len(sessions) == 0 || pick(20) == 0 {
		return uint64(pick(20))
	}
	return sessions[pick(len(sessions))].Number
}

// chooseGroup sends what is next in line; now and then something again, with a
// gap, or nothing.
func chooseGroup(pick source, s *state.State) state.Group {
	g := state.Group{Session: chooseSession(pick, s)}
	applied := s.Applied(g.Session)
	g.Confirmed = applied - min(applied, uint64(pick(4)))
	seq := applied + 1
	switch pick(12) {
	case 0:
		seq -= min(seq, uint64(pick(4)))
	case 1:
		seq += uint64(pick(2))
	}
	for range pick(4) {
		g.Requests = append(g.Requests, chooseRequest(pick, seq, applied))
		seq++
	}
	return g
}

// chooseRequest joins a lockspace first.
func chooseRequest(pick source, seq, applied uint64) state.Request {
	r := state.Request{
		Seq: seq, Lock: lock.ID(1 + pick(locksEach)), Lockspace: 1 + uint32(pick(4)/3), Name: fmt.Appendf(nil, "r%d", pick(resources)), Mode: lock.Mode(pick(6)),
		Flags: []lock.Flags{
			0, 0, 0, 0, lock.NoQueue, lock.NoCallbacks, lock.ValBlk, lock.ValBlk | lock.Persistent, lock.AltPR, lock.HeadQue,
			lock.Recovery,
		}[pick(11)],
	}
	n := pick(46)
	switch {
	case applied == 0, n == 0:
		r.Op, r.Name, r.Flags = state.OpJoin, []byte("gfs"), 0
		if pick(3) == 0 {
			r.Name, r.Policy, r.Lease = []byte("app"), lock.PolicyLease, []uint32{10, 10, 10, 20, 0, 5}[pick(6)]
		}
	case n < 17:
		r.Op = state.OpLock
	case n < 27:
		r.Op = state.OpConvert
		r.Flags &^= lock.NoCallbacks
		r.Value = fmt.Appendf(nil, "value %d", seq)
	case n < 35:
		r.Op = state.OpUnlock
		r.Flags &= lock.ValBlk
		r.Value = fmt.Appendf(nil, "value %d", seq)
	case n < 37:
		r.Op = state.OpCancel
	case n < 38:
		r.Op = state.OpLeave
		r.Flags = lock.Flags(pick(2)) * state.LeaveForce
	case n < 40:
		r.Op, r.Lockspace = state.Op(pick(13)), uint32(pick(3))
	default:
		chooseMount(pick, &r)
	}
	if pick(4) == 0 && r.Op != state.OpJoin && r.Op < state.OpMount {
		chooseRange(pick, &r)
	}
	if pick(5) == 0 && r.Op != state.OpJoin && r.Op < state.OpMount {
		chooseGulm(pick, &r)
	}
	return r
}

// chooseRange makes a request one for a byte range.
func chooseRange(pick source, r *state.Request) {
	r.Op = state.OpRangeLock
	if pick(2) == 0 {
		r.Op = []state.Op{state.OpRangeUnlock, state.OpRangeUnlock, state.OpRangeTest, state.OpRangeClose}[pick(4)]
	}
	r.Lock += 10
	r.Flags = []lock.Flags{0, 0, 0, 0, lock.NoQueue, lock.RangeFlock, lock.ValBlk, lock.Recovery}[pick(8)]
	r.Mode = []lock.Mode{lock.PR, lock.EX, lock.EX, lock.Mode(pick(6))}[pick(4)]
	if r.Op == state.OpRangeUnlock || r.Op == state.OpRangeClose {
		r.Mode = lock.NL
	}
	r.Range = state.Range{Owner: uint64(pick(2)), Start: uint64(pick(8)), End: uint64(4 + pick(8)), Skip: uint64(pick(8) / 6)}
}

// chooseMount asks for something about the mount of a file system with three
// journals.
func chooseMount(pick source, r *state.Request) {
	r.Name, r.Flags, r.Journals, r.JID = nil, 0, 3, uint32(pick(3))
	switch n := pick(16); {
	case n < 6:
		r.Op = state.OpMount
		if n == 0 {
			r.Flags = state.MountSpectator
		}
	case n < 9:
		r.Op = state.OpMounted
	case n < 14:
		r.Op = state.OpRecovered
		if n == 9 {
			r.Value = []byte("i/o error")
		}
	case n < 15:
		r.Op = state.OpUnmount
	default:
		r.Op = state.OpWithdraw
	}
}

// chooseGulm makes a request one of the GULM layer.
func chooseGulm(pick source, r *state.Request) {
	r.Op, r.Sub, r.Flags = state.OpGulm, uint64(pick(2)), 0
	r.Mode = []lock.Mode{lock.NL, lock.PR, lock.CW, lock.EX}[pick(4)]
	flags := []lock.GulmFlags{0, 0, lock.GulmTry, lock.GulmNoExp, lock.GulmHasLVB, lock.GulmAny, lock.GulmPriority, 0x20}
	if pick(3) == 0 {
		r.Op = state.OpGulm + state.Op(pick(8))
	}
	if r.Op < state.OpGulmDrop {
		r.Flags = lock.Flags(flags[pick(len(flags))])
		if pick(4) == 0 { // on names of their own, since parts and wholes of a key exclude each other
			r.Flags |= lock.Flags(lock.GulmRange)
			r.Name = append([]byte("p"), r.Name...)
			r.Range = state.Range{Start: uint64(pick(8)), End: uint64(4 + pick(8))}
		}
		return
	}
	r.Name = r.Name[:min(len(r.Name), pick(2))]
	r.Node = []byte([]string{"", "n1", "n2", "nobody"}[pick(4)])
}

// script makes n commands that make sense one after the other.
func script(pick source, n int) []state.Command { return scriptOf(n, pick, choose) }

// fullScript is script with commands of all kinds.
func fullScript(pick source, n int) []state.Command { return scriptOf(n, pick, choose, chooseAny) }

// scriptOf lets each of the choosers choose in turn.
func scriptOf(n int, pick source, choosers ...func(source, *state.State) state.Command) []state.Command {
	s := state.New()
	commands := []state.Command{state.BeginTerm{Term: 1, Server: "s1"}}
	for i := range n {
		c := commands[i]
		s.Apply(uint64(i+1), 0, c)
		commands = append(commands, choosers[i%len(choosers)](pick, s))
	}
	return commands[:n]
}
