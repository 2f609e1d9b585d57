package machine_test

import (
	"bytes"
	"errors"
	"testing"

	"lock_gulmd/server/codec"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/machine"
	"lock_gulmd/server/member"
	"lock_gulmd/server/session"
	"lock_gulmd/server/state"
)

// TestRestore_EndsWhatWasTold: whoever is attached when a snapshot replaces the
// state would miss what the snapshot skips, and be told a later index.
func TestRestore_EndsWhatWasTold(t *testing.T) {
	cmds := []state.Command{
		state.Login{LoginRequest: member.LoginRequest{Node: "a", BootID: "x", LoginID: member.LoginID{1}}},
		state.Login{LoginRequest: member.LoginRequest{Node: "b", BootID: "x", LoginID: member.LoginID{2}}},
		&state.Batch{Groups: []state.Group{
			{Session: 1, Requests: []state.Request{{Seq: 1, Op: state.OpJoin, Name: []byte("fs"), Policy: 0}, {Seq: 2, Op: state.OpLock, Lockspace: 1, Lock: 1, Name: []byte("r"), Mode: lock.EX}}},
			{Session: 2, Requests: []state.Request{{Seq: 1, Op: state.OpJoin, Name: []byte("fs")}, {Seq: 2, Op: state.OpLock, Lockspace: 1, Lock: 1, Name: []byte("r"), Mode: lock.EX}}},
		}},
		// 4: session 1 unlocks, session 2 is granted
		&state.Batch{Groups: []state.Group{{Session: 1, Requests: []state.Request{{Seq: 3, Op: state.OpUnlock, Lock: 1}}}}},
		// 5: something else of session 2
		&state.Batch{Groups: []state.Group{{Session: 2, Requests: []state.Request{{Seq: 3, Op: state.OpLock, Lockspace: 1, Lock: 2, Name: []byte("q"), Mode: lock.EX}}}}},
	}
	hub := session.NewHub(0)
	deposed, other := machine.New(hub.Deliver), machine.New(func(*machine.Applied) {})
	gone := errors.New("gone")
	deposed.OnRestore = func() { hub.CloseAll(gone) }
	apply := func(m *machine.Machine, i int) any { return m.Apply(uint64(i), 1, codec.Encode(0, cmds[i-1])) }
	for i := 1; i <= 5; i++ {
		if i <= 3 {
			apply(deposed, i)
		}
		if i <= 4 {
			apply(other, i)
		}
	}
	var box *session.Outbox
	deposed.View(func(s *state.State) { box = hub.Attach(2, s.Index(), nil) })
	img, err := other.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := img.Persist(&b); err != nil {
		t.Fatal(err)
	}
	if err := deposed.Restore(&b); err != nil {
		t.Fatal(err)
	}
	apply(deposed, 5)
	if _, err := box.Take(); !errors.Is(err, gone) {
		t.Errorf("the stream goes on: %v", err)
	}
	var again []lock.Event
	deposed.View(func(s *state.State) { again = s.Locks().Changed(2, 3, nil) })
	if len(again) != 2 {
		t.Errorf("a session that resumes behind index 3 is told %+v, want the grants of both locks", again)
	}
}
