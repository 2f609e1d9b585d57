package rpc

import (
	"context"
	"fmt"
	"strings"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// Journals shows mounts and journals.
func (e *Edge) Journals(_ context.Context, req *gulmv1.JournalsRequest) (*gulmv1.JournalsReply, error) {
	reply := &gulmv1.JournalsReply{Lockspaces: e.journalSpaces()}
	if req.GetLockspace() == "" {
		return reply, nil
	}
	for _, sp := range reply.GetLockspaces() {
		if sp.GetLockspace() == req.GetLockspace() {
			return &gulmv1.JournalsReply{Lockspaces: []*gulmv1.JournalSpace{sp}}, nil
		}
	}
	return nil, gulmerr.New(gulmerr.ErrNoLockspace, "lockspace %q does not exist, or has no journals", clip(req.GetLockspace()))
}

// journalSpaces are all lockspaces with journals.
func (e *Edge) journalSpaces() []*gulmv1.JournalSpace {
	var out []*gulmv1.JournalSpace
	now := time.Now().UnixMilli()
	e.cfg.Machine.View(func(s *state.State) {
		for i := range s.Journals().Spaces() {
			p := &s.Journals().Spaces()[i]
			policy := s.Locks().PolicyOf(p.Lockspace)
			gone := goneUnder(policy)
			sp := &gulmv1.JournalSpace{
				Lockspace: strings.ToValidUTF8(s.Locks().SpaceName(p.Lockspace), "\uFFFD"), Policy: gulmv1.Policy(policy),
			}
			for jid := range p.Journals {
				sp.Journals = append(sp.Journals, journalToWire(p, jid, now, gone))
			}
			for k := range p.Mounts {
				sp.Mounts = append(sp.Mounts, mountToWire(p, k, now, gone))
			}
			out = append(out, sp)
		}
	})
	return out
}

func journalToWire(p *journal.Space, jid int, now int64, gone gone) *gulmv1.JournalInfo {
	j := &p.Journals[jid]
	out := &gulmv1.JournalInfo{
		Jid: uint32(jid), AgeMs: max(0, now-j.Since), Begun: j.Begun, Error: j.Error, WaitsFor: journalWaits(p, jid, gone),
	}
	switch {
	case j.Mounter != 0:
		m, _ := p.Mount(j.Mounter)
		out.State, out.Node, out.Incarnation = gulmv1.JournalState_JOURNAL_STATE_MOUNTED, m.Life.Node, m.Life.Incarnation
	case j.Dirty():
		left := j.Left[len(j.Left)-1].Life
		out.State, out.Node, out.Incarnation = gulmv1.JournalState_JOURNAL_STATE_DIRTY, left.Node, left.Incarnation
		if m, ok := p.Mount(j.Recoverer); ok {
			out.State, out.Recoverer = gulmv1.JournalState_JOURNAL_STATE_RECOVERING, m.Life.Node
		}
	}
	return out
}

// gone says what must have happened before a node counts as gone.
type gone func(node string) string

func goneUnder(p lock.Policy) gone {
	if p == lock.PolicyManual {
		return waitsForWord
	}
	return func(node string) string { return "fence of node " + node }
}

// leftWaits says for what remains wait beside a replay, "" if for nothing.
func leftWaits(left []journal.Remains, gone gone) string {
	for _, r := range left {
		if r.Doubted {
			return gone(r.Life.Node)
		}
		if r.Word {
			return waitsForWord(r.Life.Node)
		}
	}
	return ""
}

// journalWaits says what must happen before a journal is clean, "" if nothing.
func journalWaits(p *journal.Space, jid int, gone gone) string {
	j := &p.Journals[jid]
	if j.Mounter != 0 {
		if m, _ := p.Mount(j.Mounter); m.Dead {
			return gone(m.Life.Node)
		}
		return ""
	}
	if !j.Dirty() {
		return ""
	}
	if text := leftWaits(j.Left, gone); text != "" {
		return text
	}
	if j.Awaits != "" {
		return waitsForWord(j.Awaits) + ", which was replaying it"
	}
	if m, ok := p.Mount(j.Recoverer); ok {
		if m.Dead {
			return gone(m.Life.Node) + ", which was replaying it"
		}
		return "recovery by node " + m.Life.Node
	}
	for i := range p.Mounts {
		if m := &p.Mounts[i]; m.State == journal.First {
			return "first mounter, node " + m.Life.Node
		}
	}
	if len(j.Failed) > 0 {
		return "another node to mount: everybody failed to replay it: " + j.Error
	}
	return "somebody to mount"
}

func mountToWire(p *journal.Space, i int, now int64, gone gone) *gulmv1.MountInfo {
	m := &p.Mounts[i]
	return &gulmv1.MountInfo{
		Node: m.Life.Node, Incarnation: m.Life.Incarnation, Session: m.Session, Spectator: m.Spectator, State: gulmv1.MountState(m.State),
		Jid: int32(m.JID), AgeMs: max(0, now-m.Since), Dead: m.Dead, WaitsFor: mountWaits(p, m, gone),
	}
}

// mountWaits says for what a mount waits, "" if for nothing.
func mountWaits(p *journal.Space, m *journal.Mount, gone gone) string {
	switch {
	case m.Dead:
		return gone(m.Life.Node)
	case m.State != journal.Waiting:
		return ""
	}
	for i := range p.Mounts {
		if o := &p.Mounts[i]; o.State == journal.First && !o.Dead {
			return fmt.Sprintf("node %s, the first mounter, to replay all journals", o.Life.Node)
		}
	}
	for jid := range p.Journals {
		if text := journalWaits(p, jid, gone); text != "" {
			return fmt.Sprintf("journal %d: %s", jid, text)
		}
	}
	if m.Spectator {
		return "a first mounter"
	}
	return "a journal"
}

// heldFor says for what a frozen lock or range waits, by its owner in the lock table,
// the session that left it, and the owner's node.
func heldFor(s *state.State, lockspace uint32, owner, origin lock.Session, node string) string {
	gone := goneUnder(s.Locks().PolicyOf(lockspace))
	if p, ok := s.Journals().Space(lockspace); ok && origin != 0 {
		if jid := p.LeftBy(uint64(origin)); jid != journal.NoJID {
			return fmt.Sprintf("journal %d of node %s: %s", jid, node, journalWaits(&p, jid, gone))
		}
	}
	n, _ := s.Members().Node(node)
	if owner == s.RemainsOf(node) && n.State != member.Expired {
		return "replay or drop of what node " + node + " gave up"
	}
	return gone(node)
}

// waitsForWord says that an operator must acknowledge that a node is gone, and how.
func waitsForWord(node string) string {
	return fmt.Sprintf("acknowledgement of node %s by an operator (fence_ack_manual %s)", node, node)
}

// waitForJournals names what waits for journals, one sentence each.
func (e *Edge) waitForJournals() []string {
	var out []string
	for _, sp := range e.journalSpaces() {
		for _, j := range sp.GetJournals() {
			if j.GetState() == gulmv1.JournalState_JOURNAL_STATE_DIRTY || j.GetState() == gulmv1.JournalState_JOURNAL_STATE_RECOVERING {
				out = append(out, fmt.Sprintf("journal %d of node %s in lockspace %q: %s", j.GetJid(), j.GetNode(), sp.GetLockspace(), j.GetWaitsFor()))
			}
		}
		for _, m := range sp.GetMounts() {
			if m.GetState() == gulmv1.MountState_MOUNT_STATE_WAITING && !m.GetDead() {
				out = append(out, fmt.Sprintf("mount of lockspace %q on node %s: %s", sp.GetLockspace(), m.GetNode(), m.GetWaitsFor()))
			}
		}
	}
	return out
}
