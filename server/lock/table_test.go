package lock

import (
	"fmt"
	"testing"

	"lock_gulmd/server/reason"
)

// TestCompatible_matrix compares every pair of modes with the DLM's table.
func TestCompatible_matrix(t *testing.T) {
	for held := range Mode(modes) {
		for asked := range Mode(modes) {
			want := compatible[held][asked]
			if Compatible(held, asked) != want {
				t.Errorf("Compatible(%v, %v) is %v", held, asked, !want)
			}
			if compatible[asked][held] != want {
				t.Errorf("the table is not symmetric at %v, %v", held, asked)
			}
			if got := covered(1<<held, asked); got != covers[held][asked] {
				t.Errorf("covered(%v, %v) is %v", held, asked, got)
			}
		}
	}
}

// TestLock_everyPair asks for each mode beside each held one, in every way.
func TestLock_everyPair(t *testing.T) {
	for held := range Mode(modes) {
		for asked := range Mode(modes) {
			for _, flags := range []Flags{0, NoQueue, NoQueue | NoQueueBast} {
				table := opened(t, 2)
				lockIn(table, 1, held)
				reply := table.Lock(2, LockRequest{ID: 1, Lockspace: 1, Name: []byte("r"), Mode: asked, Flags: flags})
				events := table.TakeEvents()
				want, wantEvents := Reply{Outcome: Granted, Mode: asked, Token: 2}, 0
				if !compatible[held][asked] {
					want, wantEvents = refuse(reason.TryFailed), 1
					switch flags {
					case 0:
						want = Reply{Outcome: Queued, Mode: asked}
					case NoQueue:
						wantEvents = 0
					}
				}
				name := fmt.Sprintf("%v beside %v, flags %x", asked, held, uint32(flags))
				if !sameReply(reply, want) || len(events) != wantEvents {
					t.Errorf("%s: %+v %+v, want %+v and %d events", name, reply, events, want, wantEvents)
				}
				for _, e := range events {
					if !sameEvent(e, Event{Session: 1, Lock: 1, Kind: EventBlocking, Mode: asked}) {
						t.Errorf("%s: %+v", name, e)
					}
				}
				if err := deepCheck(table); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				unlock(table, 1)
				wantGrant := reply.Outcome == Queued
				if events := table.TakeEvents(); (len(events) == 1) != wantGrant {
					t.Errorf("%s: after unlock %+v", name, events)
				}
			}
		}
	}
}

// TestConvert_everyPair converts from each mode to each, alone and beside each
// other holder, and sees the queued ones through.
func TestConvert_everyPair(t *testing.T) {
	cases := 0
	for from := range Mode(modes) {
		for to := range Mode(modes) {
			for other := range Mode(modes) {
				if !compatible[from][other] {
					continue // cannot stand beside it
				}
				for _, flags := range []Flags{0, NoQueue, NoQueue | NoQueueBast} {
					cases++
					convertBeside(t, from, to, other, flags)
				}
			}
		}
	}
	// NL 6, CR 5, CW 3, PR 3, PW 2, EX 1 compatible modes.
	if want := 20 * 6 * 3; cases != want {
		t.Errorf("%d cases, want %d", cases, want)
	}
}

func convertBeside(t *testing.T, from, to, other Mode, flags Flags) {
	t.Helper()
	name := fmt.Sprintf("%v to %v beside %v, flags %x", from, to, other, uint32(flags))
	table := opened(t, 2)
	lockIn(table, 1, from)
	lockIn(table, 2, other)
	reply := convert(table, 1, to, flags)
	events := table.TakeEvents()
	if err := deepCheck(table); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	asked := Event{Session: 2, Lock: 1, Kind: EventBlocking, Mode: to}
	switch {
	case compatible[to][other]:
		if want := (Reply{Outcome: Granted, Mode: to, Token: 3}); !sameReply(reply, want) || len(events) != 0 {
			t.Errorf("%s: %+v %+v, want %+v", name, reply, events, want)
		}
		return
	case flags&NoQueue != 0:
		if !sameReply(reply, refuse(reason.TryFailed)) || (flags&NoQueueBast != 0) != (len(events) == 1) {
			t.Errorf("%s: %+v %+v, want TryFailed", name, reply, events)
		}
		if state, _ := table.Resource(1, []byte("r")); state.Locks[0].Granted != from || state.Locks[0].Queue != QueueGranted {
			t.Errorf("%s: a failed try changed the lock: %+v", name, state)
		}
		return
	}
	if want := (Reply{Outcome: Queued, Mode: to}); !sameReply(reply, want) || len(events) != 1 || !sameEvent(events[0], asked) {
		t.Errorf("%s: %+v %+v, want %+v and %+v", name, reply, events, want, asked)
	}
	// It still has its old mode: what that allows is granted to nobody else now,
	// and what it forbids is refused.
	if state, _ := table.Resource(1, []byte("r")); state.Locks[1].Granted != from || state.Locks[1].Requested != to {
		t.Errorf("%s: %+v", name, state)
	}
	unlock(table, 2)
	want := Event{Session: 1, Lock: 1, Kind: EventGranted, Mode: to, Token: 3}
	if events := table.TakeEvents(); len(events) != 1 || !sameEvent(events[0], want) {
		t.Errorf("%s: after unlock %+v, want %+v", name, events, want)
	}
}

// TestConvert_everyTwo queues two conversions, each blocked by a third holder:
// every from and to of both. The second is refused exactly if the first waits
// for it; else it is granted once the others are gone.
func TestConvert_everyTwo(t *testing.T) {
	for n := range modes * modes * modes * modes * modes {
		pick := func() Mode { m := Mode(n % modes); n /= modes; return m }
		from1, to1, from2, to2, third := pick(), pick(), pick(), pick(), pick()
		if !compatible[from1][from2] || !compatible[from1][third] || !compatible[from2][third] {
			continue
		}
		name := fmt.Sprintf("%v to %v, then %v to %v beside %v", from1, to1, from2, to2, third)
		table := opened(t, 3)
		lockIn(table, 1, from1)
		lockIn(table, 2, from2)
		lockIn(table, 3, third)
		if convert(table, 1, to1, 0).Outcome != Queued {
			continue
		}
		reply := convert(table, 2, to2, 0)
		switch {
		case compatible[to2][from1] && compatible[to2][third]:
			if reply.Outcome != Granted {
				t.Errorf("%s: %+v, want Granted", name, reply)
			}
		case !compatible[to1][from2]:
			if !sameReply(reply, refuse(reason.Deadlock)) {
				t.Errorf("%s: %+v, want Deadlock", name, reply)
			}
		default:
			if reply.Outcome != Queued {
				t.Errorf("%s: %+v, want Queued", name, reply)
			}
			unlock(table, 3)
			unlock(table, 1)
			if state, _ := table.Resource(1, []byte("r")); state.Locks[0].Granted != to2 {
				t.Errorf("%s: the second hangs: %+v", name, state)
			}
		}
		if err := deepCheck(table); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMode_names compares the names with the DLM's.
func TestMode_names(t *testing.T) {
	for m, want := range []string{"NL", "CR", "CW", "PR", "PW", "EX", "??"} {
		if got := Mode(m).String(); got != want {
			t.Errorf("mode %d is %q, want %q", m, got, want)
		}
	}
}
