package codec

import (
	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/journal"
)

func journaledToLog(p *journal.Space) *raftlogv1.Journaled {
	out := &raftlogv1.Journaled{Lockspace: p.Lockspace, Late: remainsToLog(p.Late)}
	for i := range p.Journals {
		j := &p.Journals[i]
		out.Journals = append(out.Journals, &raftlogv1.Journal{
			Mounter: j.Mounter, Left: remainsToLog(j.Left), Recoverer: j.Recoverer, Changed: j.Changed, SinceMs: j.Since, Begun: j.Begun,
			Failed: j.Failed, Error: utf8(j.Error), Awaits: utf8(j.Awaits),
		})
	}
	for i := range p.Mounts {
		m := &p.Mounts[i]
		out.Mounts = append(out.Mounts, &raftlogv1.Mount{
			Session: m.Session, Node: utf8(m.Life.Node), Incarnation: m.Life.Incarnation, Spectator: m.Spectator, State: uint32(m.State),
			Jid: int32(m.JID), Dead: m.Dead, Changed: m.Changed, SinceMs: m.Since,
		})
	}
	return out
}

func journaledFromLog(p *raftlogv1.Journaled, ok *bool) journal.Space {
	out := journal.Space{Lockspace: p.GetLockspace(), Late: remainsFromLog(p.GetLate())}
	for _, j := range p.GetJournals() {
		out.Journals = append(out.Journals, journal.Journal{
			Mounter: j.GetMounter(), Left: remainsFromLog(j.GetLeft()), Recoverer: j.GetRecoverer(), Changed: j.GetChanged(),
			Since: j.GetSinceMs(), Begun: j.GetBegun(), Failed: j.GetFailed(), Error: j.GetError(), Awaits: j.GetAwaits(),
		})
	}
	for _, m := range p.GetMounts() {
		out.Mounts = append(out.Mounts, journal.Mount{
			Session: m.GetSession(), Life: journal.Life{Node: m.GetNode(), Incarnation: m.GetIncarnation()}, Spectator: m.GetSpectator(),
			State: narrow[journal.MountState](m.GetState(), ok), JID: int(m.GetJid()), Dead: m.GetDead(), Changed: m.GetChanged(),
			Since: m.GetSinceMs(),
		})
	}
	return out
}

func remainsToLog(left []journal.Remains) []*raftlogv1.Remains {
	var out []*raftlogv1.Remains
	for _, r := range left {
		out = append(out, &raftlogv1.Remains{
			Node: utf8(r.Life.Node), Incarnation: r.Life.Incarnation, Sessions: r.Sessions, Doubted: r.Doubted,
			Word: r.Word,
		})
	}
	return out
}

func remainsFromLog(left []*raftlogv1.Remains) []journal.Remains {
	var out []journal.Remains
	for _, r := range left {
		out = append(out, journal.Remains{
			Life: journal.Life{Node: r.GetNode(), Incarnation: r.GetIncarnation()}, Sessions: r.GetSessions(), Doubted: r.GetDoubted(),
			Word: r.GetWord(),
		})
	}
	return out
}
