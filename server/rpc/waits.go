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
