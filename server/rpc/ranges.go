package rpc

import (
	"bytes"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// namer returns the names of the nodes of conflicts.
type namer func([]lock.RangeConflict) []string

// nodeNames returns the names of the nodes of those who are in the way, as they
// are now.
func (e *Edge) nodeNames(in []lock.RangeConflict) []string {
	out := make([]string, len(in))
	e.cfg.Machine.View(func(s *state.State) {
		for i := range in {
			out[i] = nodeOf(s, in[i].Owner.Session)
		}
	})
	return out
}

func conflictsToWire(in []lock.RangeConflict, nodes []string) []*gulmv1.RangeConflict {
	out := make([]*gulmv1.RangeConflict, 0, len(in))
	for i := range in {
		c := &in[i]
		out = append(out, &gulmv1.RangeConflict{
			Session: sessionOf(c.Owner), Owner: c.Owner.Number, Start: c.Start, End: c.End, Mode: rangeMode(c.Kind),
			Frozen: c.Frozen, Waiting: c.Waiting, Node: nodes[i],
		})
	}
	return out
}

// sessionOf returns the session that an owner is of, or was.
func sessionOf(o lock.RangeOwner) uint64 {
	if o.Origin != 0 {
		return uint64(o.Origin)
	}
	return uint64(o.Session)
}

// nodeOf returns the name of the node of a session or of remains, "" if it is
// gone.
func nodeOf(s *state.State, session lock.Session) string {
	if x, ok := s.Members().Session(uint64(session)); ok {
		return x.Node
	}
	for _, n := range s.Members().Nodes() {
		if n.Number == session.NodeOf() {
			return n.Name
		}
	}
	return ""
}

func rangeMode(k lock.RangeKind) gulmv1.Mode {
	if k == lock.RangeRead {
		return gulmv1.Mode_MODE_PR
	}
	return gulmv1.Mode_MODE_EX
}

const (
	// rangesPerMessage bounds one message of a Locks call, and rangesPerFile what is
	// listed of one file.
	rangesPerMessage = 4096
	rangesPerFile    = 10_000
	// blockersListed is how much of what a request waits for is listed.
	blockersListed = 8
)

// addRanges lists a file with ranges.
func (w *lockLister) addRanges(f *lock.RangeFile) bool {
	space := w.names[f.Lockspace]
	if w.req.GetLockspace() != "" && w.req.GetLockspace() != space || w.req.GetContended() && len(f.Waits) == 0 ||
		!bytes.HasPrefix(f.Name, w.req.GetPrefix()) || !w.concernsRanges(f) || !w.room() {
		return true
	}
	out := &gulmv1.RangeFile{Lockspace: space, Name: bytes.Clone(f.Name), Flock: f.Flock, Gulm: f.Gulm}
	out.Policy, out.LeaseMs = w.policy(f.Lockspace)
	out.Truncated = len(f.Ranges) > rangesPerFile || len(f.Waits) > rangesPerFile
	for _, r := range f.Ranges[:min(len(f.Ranges), rangesPerFile)] {
		out.Ranges = append(out.Ranges, &gulmv1.RangeLock{
			Node: w.nodes[r.Owner.Session], Session: sessionOf(r.Owner), Owner: r.Owner.Number, Start: r.Start, End: r.End,
			Mode: rangeMode(r.Kind), Token: r.Token, AgeMs: max(0, w.now-r.Stamp), Frozen: r.Frozen,
			HeldFor: w.heldFor(r.Frozen, f.Lockspace, r.Owner.Session, r.Owner.Origin),
		})
	}
	for i := range f.Waits[:min(len(f.Waits), rangesPerFile)] {
		out.Ranges = append(out.Ranges, w.waiter(f, &f.Waits[i]))
	}
	w.reply.RangeFiles = append(w.reply.RangeFiles, out)
	w.listed += 1 + len(out.GetRanges())
	w.flush(false)
	return w.err == nil
}

// waiter is a request that waits, with what it waits for.
func (w *lockLister) waiter(f *lock.RangeFile, r *lock.RangeWaitState) *gulmv1.RangeLock {
	blockers, more := f.Blockers(r, blockersListed)
	nodes := make([]string, len(blockers))
	for i := range blockers {
		nodes[i] = w.nodes[blockers[i].Owner.Session]
	}
	return &gulmv1.RangeLock{
		Node: w.nodes[r.Owner.Session], Session: sessionOf(r.Owner), Owner: r.Owner.Number, Start: r.Start, End: r.End,
		Mode: rangeMode(r.Kind), AgeMs: max(0, w.now-r.Stamp), Waiting: true, Lock: uint64(r.ID),
		Blockers: conflictsToWire(blockers, nodes), MoreBlockers: more, TimeoutMs: r.Timeout,
	}
}
