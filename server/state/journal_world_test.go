package state_test

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// The small world of the search through mounts and journals: machines that mount
// one file system with a journal for each, and write records under one exclusive
// lock. It knows what is so on the machines and on the disk, whatever the ledger
// believes: who may be writing into which journal, and which journals have records
// that nobody has replayed.
const (
	volumeJournals = 3
	noJournal      = -1
	volumeLives    = 2
)

// jids is a set of journals.
type jids uint8

func (s jids) has(jid int) bool { return s>>jid&1 != 0 }

// sailor is the truth about one node.
type sailor struct {
	session uint64 // of the running life, 0 for none
	life    uint64
	// expired: declared dead; it may go on writing until its fence is proved.
	expired bool
	// asked: it has asked for a mount, and not ended that. watching: as a spectator.
	asked, watching bool
	first           bool
	own             int8 // journal, noJournal for none
	replays         jids
	// holds: the lock was granted to it and neither given back nor released.
	holds bool
	// failed: it has said once that it cannot replay; that is enough for a search.
	failed bool
}

// volume is one state of the search.
type volume struct {
	state   *state.State
	sailors [machines]sailor
	// dirty are the journals with records that nobody has replayed, covers those
	// with records that were written under the lock.
	dirty, covers jids
}

// newVolume has all nodes logged in; with mounted each has its journal as well, the
// first one holds the lock and the second waits for it.
func newVolume(mounted bool) *volume {
	v := &volume{state: state.New()}
	v.state.Apply(1, 0, state.BeginTerm{Term: 1, Server: "s1"})
	// Somebody who stays keeps the lockspace, and its number.
	idle := v.state.Apply(2, 0, login("idle", "boot1", 1)).Login.Number
	v.state.Apply(3, 0, batch(group(idle, 0, state.Request{Seq: 1, Op: state.OpJoin, Name: []byte("gfs")})))
	for i := range v.sailors {
		v.sailors[i].own = noJournal
		v.logIn(realApply, i, false)
	}
	if mounted {
		for i := range v.sailors {
			v.mount(realApply, i, 0)
			v.replayed(realApply, i)
		}
		v.lock(realApply, 0)
		v.lock(realApply, 1)
	}
	return v
}

// writes reports whether a node may be writing into a journal.
func (m *sailor) writes(jid int) bool {
	return m.session != 0 && (int(m.own) == jid || m.first || m.replays.has(jid))
}

// send applies a command; what machines are told comes true.
func (v *volume) send(ap apply, c state.Command) (state.Result, error) {
	var r state.Result
	v.state, r = ap(v.state, v.state.Index()+1, c)
	for _, e := range r.Events {
		if e.Kind != lock.EventGranted {
			continue
		}
		if err := v.granted(v.of(uint64(e.Session)), "queue"); err != nil {
			return r, err
		}
	}
	for _, e := range r.Journals {
		i := v.of(e.Session)
		if i < 0 || v.sailors[i].expired {
			return r, fmt.Errorf("%+v is for a session that is over", e)
		}
		m := &v.sailors[i]
		if e.Kind == journal.EventMounted {
			m.own, m.first = int8(e.JID), e.First
		} else {
			m.replays |= 1 << e.JID
		}
	}
	return r, nil
}

// of returns the node of a session, -1 for none.
func (v *volume) of(session uint64) int {
	return slices.IndexFunc(v.sailors[:], func(m sailor) bool { return m.session == session && session != 0 })
}

// granted: a node has the lock from now on, as anybody may who is not passing what
// the dead left.
func (v *volume) granted(i int, how string) error {
	if i < 0 {
		return fmt.Errorf("the lock was granted to a session that is over")
	}
	for k := range v.sailors {
		if k != i && v.sailors[k].holds {
			return fmt.Errorf("%s was granted the lock (%s) while %s, live or not fenced, has it", machineNames[i], how, machineNames[k])
		}
	}
	if v.covers != 0 {
		return fmt.Errorf("%s was granted the lock (%s) before journal %d is replayed", machineNames[i], how, bits.TrailingZeros8(uint8(v.covers)))
	}
	v.sailors[i].holds = true
	return nil
}

// ask sends a request of a node.
func (v *volume) ask(ap apply, i int, req state.Request) (lock.Reply, error) {
	session := v.sailors[i].session
	req.Seq = v.state.Applied(session) + 1
	if req.Lockspace == 0 {
		req.Lockspace = 1
	}
	r, err := v.send(ap, batch(group(session, req.Seq-1, req)))
	switch {
	case err != nil:
		return lock.Reply{}, err
	case len(r.Replies) != 1:
		return lock.Reply{}, fmt.Errorf("%d replies", len(r.Replies))
	}
	return r.Replies[0].Reply, nil
}

// left: the mount of a node is over, its journal clean or not.
func (m *sailor) left() {
	m.asked, m.watching, m.first, m.own, m.replays = false, false, false, noJournal, 0
}

// abandoned: the mount is over and its journal has records.
func (v *volume) abandoned(i int) {
	m := &v.sailors[i]
	if m.own != noJournal {
		v.dirty |= 1 << m.own
		if m.holds {
			v.covers |= 1 << m.own
		}
		m.holds = false
	}
	m.left()
}

// logIn begins a life; rebooted says which one was in the way.
func (v *volume) logIn(ap apply, i int, rebooted bool) error {
	m := &v.sailors[i]
	c := login(machineNames[i], fmt.Sprint("boot", m.life+1), byte(m.life+1))
	if rebooted {
		c.Replaces = m.life
		v.abandoned(i)
		m.session, m.expired, m.holds = 0, false, false
	}
	r, err := v.send(ap, c)
	if err := taken(r, err); err != nil {
		return err
	}
	m.session, m.failed = r.Login.Number, false
	m.life++
	return nil
}

func (v *volume) mount(ap apply, i int, flags lock.Flags) error {
	if _, err := v.ask(ap, i, state.Request{Op: state.OpJoin, Name: []byte("gfs")}); err != nil {
		return err
	}
	m := &v.sailors[i]
	m.asked, m.watching = true, flags&state.MountSpectator != 0
	r, err := v.ask(ap, i, state.Request{Op: state.OpMount, Flags: flags, Journals: volumeJournals})
	switch {
	case err != nil:
		return err
	case r.Outcome == lock.Mounted && !m.watching:
		m.own, m.first = int8(r.Number), r.Status == lock.FirstMounter
	case r.Outcome != lock.Mounted && r.Outcome != lock.Queued:
		return fmt.Errorf("%s mounts: %v", machineNames[i], r.Reason)
	}
	return nil
}

// noted demands that a word is taken exactly if it is due.
func (v *volume) noted(ap apply, i int, req state.Request, due bool) (bool, error) {
	r, err := v.ask(ap, i, req)
	if err == nil && (r.Outcome == lock.Noted) != due {
		err = fmt.Errorf("due %v, answered %v", due, r.Reason)
	}
	return r.Outcome == lock.Noted, err
}

// replayed is the word of the first mounter.
func (v *volume) replayed(ap apply, i int) error {
	m, before := &v.sailors[i], *v
	if due := m.first && !m.expired; due {
		v.dirty, v.covers, m.first = 0, 0, false // true before it is said
	}
	_, err := v.noted(ap, i, state.Request{Op: state.OpMounted}, before.sailors[i].first && !m.expired)
	return err
}

// recovered is the word of one that replays a journal.
func (v *volume) recovered(ap apply, i, jid int, failure string) error {
	m := &v.sailors[i]
	due := m.replays.has(jid) && !m.expired
	if due {
		m.replays &^= 1 << jid
		if failure == "" {
			v.dirty &^= 1 << jid
			v.covers &^= 1 << jid
		} else {
			m.failed = true
		}
	}
	_, err := v.noted(ap, i, state.Request{Op: state.OpRecovered, JID: uint32(jid), Value: []byte(failure)}, due)
	return err
}

// unmount and withdraw: the node has stopped before it says so.
func (v *volume) unmount(ap apply, i int) error {
	m := &v.sailors[i]
	due := m.asked && !m.expired
	if due {
		m.left()
	}
	_, err := v.noted(ap, i, state.Request{Op: state.OpUnmount}, due)
	return err
}

func (v *volume) withdraw(ap apply, i int) error {
	v.abandoned(i)
	v.sailors[i].holds = false // without a journal it is released
	_, err := v.noted(ap, i, state.Request{Op: state.OpWithdraw}, true)
	return err
}

func (v *volume) logOut(ap apply, i int) error {
	m := &v.sailors[i]
	v.abandoned(i)
	session := m.session
	m.session, m.holds = 0, false
	_, err := v.send(ap, state.Logout{Session: session})
	return err
}

func (v *volume) lock(ap apply, i int) error {
	r, err := v.ask(ap, i, state.Request{Op: state.OpLock, Lock: 1, Name: []byte("r"), Mode: lock.EX})
	if err == nil && r.Outcome == lock.Granted {
		err = v.granted(i, "at once")
	}
	return err
}

// passes asks for the lock as part of a recovery, and gives it back: only who
// replays may pass what the dead left, and nobody who is not fenced.
func (v *volume) passes(ap apply, i int) error {
	m := &v.sailors[i]
	due := m.first || m.replays != 0
	for k := range v.sailors {
		due = due && !v.sailors[k].holds
	}
	r, err := v.ask(ap, i, state.Request{Op: state.OpLock, Lock: 2, Name: []byte("r"), Mode: lock.EX, Flags: lock.Recovery | lock.NoQueue})
	switch {
	case err != nil:
		return err
	case r.Outcome == lock.Granted && !due:
		return fmt.Errorf("%s passes what it may not", machineNames[i])
	case r.Outcome == lock.Granted:
		_, err = v.ask(ap, i, state.Request{Op: state.OpUnlock, Lock: 2})
	}
	return err
}

func (v *volume) unlock(ap apply, i int) error {
	v.sailors[i].holds = false
	_, err := v.ask(ap, i, state.Request{Op: state.OpUnlock, Lock: 1})
	return err
}

func (v *volume) expire(ap apply, i int) error {
	v.sailors[i].expired = true
	r, err := v.send(ap, state.Expire{Term: 1, Life: v.lifeOf(i), Seen: ^uint64(0)})
	return taken(r, err)
}

// taken demands that a command is not refused.
func taken(r state.Result, err error) error {
	if err == nil && r.Reason != reason.None {
		err = fmt.Errorf("refused: %v", r.Reason)
	}
	return err
}

func (v *volume) lifeOf(i int) member.Life {
	n, _ := v.state.Members().Node(machineNames[i])
	return member.Life{Node: machineNames[i], Incarnation: n.Incarnation}
}

// fence: the machine is off, and that is proved.
func (v *volume) fence(ap apply, i int) error {
	m := &v.sailors[i]
	v.abandoned(i)
	m.session, m.expired, m.holds = 0, false, false
	r, err := v.send(ap, state.FenceProved{Term: 1, Life: v.lifeOf(i), By: "m/d"})
	return taken(r, err)
}

// check returns which promise the world breaks.
func (v *volume) check() error {
	if err := v.state.Check(); err != nil {
		return err
	}
	p, has := v.state.Journals().Space(1)
	for jid := range volumeJournals {
		var writers []string
		for i := range v.sailors {
			if v.sailors[i].writes(jid) {
				writers = append(writers, machineNames[i])
			}
		}
		if len(writers) > 1 {
			return fmt.Errorf("%v write into journal %d", writers, jid)
		}
		if dirty := has && p.Journals[jid].Dirty(); dirty != v.dirty.has(jid) {
			return fmt.Errorf("journal %d is dirty: %v, and taken for such: %v", jid, v.dirty.has(jid), dirty)
		}
	}
	return v.checkRemains(has && len(p.Late) > 0)
}

// checkRemains: what the dead left is kept for a reason.
func (v *volume) checkRemains(late bool) error {
	r, _ := v.state.Locks().Resource(1, []byte("r"))
	left := 0
	for _, l := range r.Locks {
		if l.Origin != 0 {
			left++
		}
	}
	if left > 0 && v.dirty == 0 && !late {
		return fmt.Errorf("the lock is kept for a dead node, and nothing is waited for")
	}
	return nil
}

// mended demands that the world gets well: once all fences are proved and all
// journals replayed nothing is left, and a node can have the lock.
func (v *volume) mended() error {
	for i := range v.sailors {
		if m := &v.sailors[i]; m.expired {
			if err := v.fence(realApply, i); err != nil {
				return err
			}
		}
	}
	at := slices.IndexFunc(v.sailors[:], func(m sailor) bool { return m.session == 0 })
	for i := range v.sailors {
		if m := &v.sailors[i]; m.session != 0 { // all begin anew
			if err := v.logOut(realApply, i); err != nil {
				return err
			}
			at = i
		}
	}
	if err := v.logIn(realApply, at, false); err != nil {
		return err
	}
	if err := v.mount(realApply, at, 0); err != nil {
		return err
	}
	if !v.sailors[at].first {
		return fmt.Errorf("%s is alone and not the first mounter", machineNames[at])
	}
	if err := v.replayed(realApply, at); err != nil {
		return err
	}
	if err := v.lock(realApply, at); err != nil {
		return err
	}
	if !v.sailors[at].holds {
		return fmt.Errorf("the lock is not to be had")
	}
	return v.check()
}

// moves lists what can happen; those of an expired node must be refused.
func (v *volume) moves() []volumeMove {
	var out []volumeMove
	for i := range v.sailors {
		out = append(out, v.movesOf(i)...)
	}
	return out
}

// volumeMove is one thing that can happen; do changes a copy of the world.
type volumeMove struct {
	name string
	do   func(*volume, apply) error
}

func (v *volume) movesOf(i int) []volumeMove {
	m, name := &v.sailors[i], machineNames[i]
	var out []volumeMove
	add := func(may bool, what string, do func(v *volume, ap apply) error) {
		if may {
			out = append(out, volumeMove{name + what, do})
		}
	}
	up, held := m.session != 0 && !m.expired, v.hasLock(i)
	add(m.session == 0 && m.life < volumeLives, " logs in", func(v *volume, ap apply) error { return v.logIn(ap, i, false) })
	add(m.session != 0 && m.life < volumeLives, " has booted again", func(v *volume, ap apply) error { return v.logIn(ap, i, true) })
	add(up && !m.asked, " mounts", func(v *volume, ap apply) error { return v.mount(ap, i, 0) })
	add(up && !m.asked && i == machines-1, " mounts as a spectator", func(v *volume, ap apply) error { return v.mount(ap, i, state.MountSpectator) })
	add(m.asked, " says that all is replayed", func(v *volume, ap apply) error { return v.replayed(ap, i) })
	for jid := range volumeJournals {
		add(m.replays.has(jid) || m.asked && v.dirty.has(jid), fmt.Sprintf(" says that journal %d is replayed", jid), func(v *volume, ap apply) error {
			return v.recovered(ap, i, jid, "")
		})
		add(up && m.replays.has(jid) && !m.failed, fmt.Sprintf(" fails to replay journal %d", jid), func(v *volume, ap apply) error {
			return v.recovered(ap, i, jid, "i/o error")
		})
	}
	add(m.asked, " unmounts", func(v *volume, ap apply) error { return v.unmount(ap, i) })
	add(up && m.asked, " withdraws", func(v *volume, ap apply) error { return v.withdraw(ap, i) })
	add(up, " logs out", func(v *volume, ap apply) error { return v.logOut(ap, i) })
	add(up && m.own != noJournal && !held, " asks for the lock", func(v *volume, ap apply) error { return v.lock(ap, i) })
	add(up && held, " unlocks", func(v *volume, ap apply) error { return v.unlock(ap, i) })
	add(up && m.asked && v.covers != 0, " asks in recovery", func(v *volume, ap apply) error { return v.passes(ap, i) })
	add(up, " is expired", func(v *volume, ap apply) error { return v.expire(ap, i) })
	add(m.expired, "'s fence is proved", func(v *volume, ap apply) error { return v.fence(ap, i) })
	return out
}

// hasLock reports whether a node's session has the lock, or waits for it.
func (v *volume) hasLock(i int) bool {
	r, _ := v.state.Locks().Resource(1, []byte("r"))
	return slices.ContainsFunc(r.Locks, func(l lock.LockState) bool { return l.Session == lock.Session(v.sailors[i].session) })
}

// key names a world up to what no decision reads: the numbers of indexes, tokens
// and sessions, and which machine is which.
func (v *volume) key() string {
	parts := v.parts()
	slices.Sort(parts)
	return string([]byte{byte(v.dirty), byte(v.covers)}) + strings.Join(parts, "\xfe")
}

// parts is the key of each machine.
func (v *volume) parts() []string {
	resource, _ := v.state.Locks().Resource(1, []byte("r"))
	p, _ := v.state.Journals().Space(1)
	parts := make([]string, 0, machines)
	for i := range v.sailors {
		m := &v.sailors[i]
		n, _ := v.state.Members().Node(machineNames[i])
		b := []byte{
			byte(n.State), byte(m.life), byte(m.own + 1), byte(m.replays), boolByte(i == machines-1 && m.life <= volumeLives),
			boolByte(m.session != 0) | boolByte(m.expired)<<1 | boolByte(m.asked)<<2 | boolByte(m.watching)<<3 |
				boolByte(m.first)<<4 | boolByte(m.holds)<<5 | boolByte(m.failed)<<6,
		}
		for at, l := range resource.Locks {
			if l.Session == lock.Session(m.session) {
				b = append(b, byte(at+1), byte(l.Queue), byte(l.Granted), boolByte(l.Frozen))
			} else if l.Session == lock.RemainsOf(n.Number) {
				b = append(b, byte(at+1), 0xfd, byte(p.LeftBy(uint64(l.Origin))))
			}
		}
		b = append(b, 0xff)
		for at := range p.Mounts {
			if p.Mounts[at].Session == m.session {
				b = append(b, byte(at), byte(p.Mounts[at].State))
			}
		}
		parts = append(parts, string(journalKey(&p, b, machineNames[i], m.session)))
	}
	return parts
}

// journalKey appends what the journals say of a machine.
func journalKey(p *journal.Space, b []byte, node string, session uint64) []byte {
	for jid := range p.Journals {
		j := &p.Journals[jid]
		flags := boolByte(j.Recoverer == session && session != 0) | boolByte(slices.Contains(j.Failed, session))<<1
		for at, r := range j.Left {
			if r.Life.Node == node {
				flags |= 1<<2 | boolByte(at == len(j.Left)-1)<<3
			}
		}
		b = append(b, flags)
	}
	late := slices.ContainsFunc(p.Late, func(r journal.Remains) bool { return r.Life.Node == node })
	return append(b, boolByte(late))
}
