package session

import (
	"errors"
	"testing"

	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// TestOutbox_overflowTellsNothing: a session that is cut off since it takes nothing
// is not told an index of which it missed something, whatever else was waiting: it
// would resume behind that.
func TestOutbox_overflowTellsNothing(t *testing.T) {
	h := NewHub(2)
	o := h.Attach(1, 4, nil)
	h.Deliver(applied(5, &state.Batch{}, state.Result{
		Events:   []lock.Event{granted(1, 7)},
		Journals: []journal.Event{{Session: 1, Kind: journal.EventRecover, Lockspace: 1}},
	}))
	batchOf(h, 6, replies(1, 1, 2))
	m, err := woken(t, o)
	if !errors.Is(err, gulmerr.ErrLimit) || len(m.Journals) != 0 {
		t.Errorf("told %+v, %v, and not of the grant before", m, err)
	}
}
