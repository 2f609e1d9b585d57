package session

import (
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/state"
)

// A stream that is cut after a message resumes behind the message's index. So
// a message must not carry the index of a command before it carries everything
// of that command: a grant that came a moment later would never be told again.
func TestOutbox_IndexComesLast(t *testing.T) {
	o := NewHub(0).Attach(1, 5, nil)
	take := func() Message {
		m, err := o.Take()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := take(); m.Index != 5 {
		t.Fatalf("begins at index %d", m.Index)
	}
	o.add([]state.Reply{{Session: 1, Seq: 1}}, nil)
	if m := take(); m.Index != 5 || len(m.Replies) != 1 {
		t.Errorf("half of command 7 was told as %+v", m)
	}
	o.add(nil, []lock.Event{{Session: 1, Lock: 1, Kind: lock.EventGranted}})
	o.reach(7)
	if m := take(); m.Index != 7 || len(m.Events) != 1 {
		t.Errorf("the rest of command 7 was told as %+v", m)
	}
}
