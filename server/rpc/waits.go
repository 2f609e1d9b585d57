package rpc

import (
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/lock"
)

// entriesFromWire cuts what the state refuses anyway: too many locks, and names
// that are too long.
func entriesFromWire(in []*gulmv1.SetEntry) []lock.SetEntry {
	if len(in) == 0 {
		return nil
	}
	out := make([]lock.SetEntry, min(len(in), lock.MaxSet+1))
	for i := range out {
		e := in[i]
		out[i] = lock.SetEntry{ID: lock.ID(e.GetLock()), Name: e.GetName(), Mode: small[lock.Mode](e.GetMode()), Flags: lock.Flags(e.GetFlags())}
		if len(out[i].Name) > lock.MaxName {
			out[i].Name = nil
		}
	}
	return out
}

const (
	// deadlockBudget is how much a search for the eyes of an operator may look at:
	// some seconds of it.
	deadlockBudget = 1 << 22
	// maxDeadlocks is how many are told.
	maxDeadlocks = 100
)

// addDeadlocks adds the deadlocks that there are now to the last message.
func (w *lockLister) addDeadlocks() {
	cycles, complete := w.state.Locks().AllDeadlocks(deadlockBudget)
	w.reply.MoreDeadlocks = !complete || len(cycles) > maxDeadlocks
	for i := range cycles[:min(len(cycles), maxDeadlocks)] {
		d := &gulmv1.Deadlock{Text: w.state.Tell(cycles[i].Waits)}
		if victim, ok := cycles[i].Denial(); ok {
			d.Node, d.Session, d.Lock = w.nodes[victim.Session], uint64(victim.Session), uint64(victim.ID)
		}
		w.reply.Deadlocks = append(w.reply.Deadlocks, d)
	}
}
