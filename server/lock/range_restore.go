package lock

import (
	"cmp"
	"slices"
)

// rangeRestore rebuilds a table: SetCounters, then Session for all sessions, then
// File for all files in any order, then Finish, which also says whether all of
// that was possible.
type rangeRestore struct {
	table  *rangeTable
	broken bool
}

func newRangeRestore(limit uint64) *rangeRestore {
	return &rangeRestore{table: &rangeTable{limit: limit}}
}

// SetCounters sets how many requests ever waited, and the newest token.
func (r *rangeRestore) SetCounters(order, token uint64) {
	r.table.lastOrder, r.table.lastToken = order, token
}

// Session adds a session.
func (r *rangeRestore) Session(s rangeSessionState) {
	if s.Session == 0 || r.table.findSession(s.Session) != 0 {
		r.broken = true
		return
	}
	seat := r.table.makeSession(s.Session)
	record := r.table.sessions.mut(seat)
	record.frozen, record.doubted = s.Frozen, s.Doubted
}

// File adds a file with all that is held and waited for there.
func (r *rangeRestore) File(state *rangeFileState) {
	t := r.table
	if len(state.Ranges)+len(state.Waits) == 0 || t.findFile(state.File) != 0 {
		r.broken = true
		return
	}
	var slots []uint32
	for i := range state.Ranges {
		s := &state.Ranges[i]
		if i > 0 && compareRanges(&state.Ranges[i-1], s) >= 0 || !r.possible(s.Owner, s.Start, s.End, s.Kind) ||
			s.Token == 0 || s.Token > t.lastToken {
			r.broken = true
			return
		}
		holder := t.makeHolder(s.Owner, state.File)
		slot, record := t.ranges.alloc()
		record.start, record.end, record.kind, record.holder = s.Start, s.End, s.Kind, holder
		record.token, record.stamp = s.Token, s.Stamp
		h := t.holders.mut(holder)
		h.ranges = t.holderTree().insert(h.ranges, slot)
		h.held++
		slots = append(slots, slot)
	}
	if len(slots) > 0 {
		f := t.files.mut(t.findFile(state.File))
		f.ranges, f.held = t.fileTree().build(slots), uint32(len(slots))
	}
	for i := range state.Waits {
		w := &state.Waits[i]
		if i > 0 && state.Waits[i-1].rank() >= w.rank() || !r.possible(w.Owner, w.Start, w.End, w.Kind) || !r.mayWait(w) {
			r.broken = true
			return
		}
		t.addWait(t.makeHolder(w.Owner, state.File), rangeWait{
			start: w.Start, end: w.End, kind: w.Kind, rank: w.rank(), id: w.ID, stamp: w.Stamp, recovery: w.Recovery,
			since: w.Since, timeout: w.Timeout, spared: w.Spared,
		})
	}
}

func compareRanges(a, b *RangeState) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), compareOwners(a.Owner, b.Owner))
}

// possible reports whether there can be such a range, whatever else there is.
func (r *rangeRestore) possible(o RangeOwner, start, end uint64, kind RangeKind) bool {
	return r.table.findSession(o.Session) != 0 && start <= end && end <= RangeMax && kind < rangeKinds
}

// mayWait reports whether there can be such a request.
func (r *rangeRestore) mayWait(w *RangeWaitState) bool {
	return w.ID != 0 && w.Order != 0 && w.Order <= r.table.lastOrder && r.table.lastOrder < rankLate &&
		!r.table.frozen(w.Owner.Session) && w.Owner.Origin == 0 && r.table.findWait(w.Owner.Session, w.ID) == 0
}

// Finish returns the table, and false if what was given is not a possible state.
func (r *rangeRestore) Finish() (*rangeTable, bool) {
	t := r.table
	if r.broken {
		return t, false
	}
	// Owners list their requests in order of arrival; files came in any order.
	slots := make([]uint32, 0, t.waits.used)
	for slot := uint32(1); slot < t.waits.next; slot++ {
		slots = append(slots, slot)
	}
	order := func(slot uint32) uint64 { return t.waits.get(slot).rank &^ rankLate }
	slices.SortFunc(slots, func(a, b uint32) int { return cmp.Compare(order(a), order(b)) })
	for slot := uint32(1); slot < t.parties.next; slot++ {
		p := t.parties.mut(slot)
		p.waitHead, p.waitTail = 0, 0
	}
	t.timed = watchList{}
	for i, slot := range slots {
		if i > 0 && order(slot) == order(slots[i-1]) {
			return t, false
		}
		if i > 0 && t.waits.get(slot).since < t.waits.get(slots[i-1]).since {
			return t, false
		}
		t.listWait(t.holders.get(t.waits.get(slot).holder).party, slot)
		t.listTimed(slot)
	}
	return t, t.Check() == nil
}
