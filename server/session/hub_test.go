package session

import (
	"errors"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"

	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/machine"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

func applied(index uint64, c state.Command, r state.Result) *machine.Applied {
	return &machine.Applied{Index: index, Command: c, Result: r}
}

// replies are answers to a session's requests from one number to another.
func replies(session, from, to uint64) (out []state.Reply) {
	for seq := from; seq <= to; seq++ {
		out = append(out, state.Reply{Session: session, Seq: seq, Reply: lock.Reply{Outcome: lock.Granted}})
	}
	return out
}

func granted(session lock.Session, id lock.ID) lock.Event {
	return lock.Event{Session: session, Lock: id, Kind: lock.EventGranted, Mode: lock.EX}
}

// batchOf delivers a batch with replies and events.
func batchOf(h *Hub, index uint64, rs []state.Reply, events ...lock.Event) {
	h.Deliver(applied(index, &state.Batch{}, state.Result{Replies: rs, Events: events}))
}

// woken takes what an outbox holds, if it says that this is worth while.
func woken(t *testing.T, o *Outbox) (Message, error) {
	t.Helper()
	select {
	case <-o.Wake():
	default:
		t.Fatal("nobody was woken")
	}
	return o.Take()
}

func asleep(t *testing.T, o *Outbox) {
	t.Helper()
	select {
	case <-o.Wake():
		m, err := o.Take()
		t.Errorf("woken for nothing: %+v %v", m, err)
	default:
	}
}

func seqs(m Message) (out []uint64) {
	for _, r := range m.Replies {
		out = append(out, r.Seq)
	}
	return out
}

// TestHub_order: what is delivered comes in order of the log, to whom it
// concerns, and a message has its replies before the events that came later.
func TestHub_order(t *testing.T) {
	h := NewHub(0)
	first := []lock.Event{granted(1, 7)}
	a, b := h.Attach(1, 4, first), h.Attach(2, 4, nil)
	if m, err := woken(t, a); err != nil || m.Index != 4 || !reflect.DeepEqual(m.Events, first) || len(m.Replies) != 0 {
		t.Errorf("at first %+v, %v", m, err)
	}
	if m, err := woken(t, b); err != nil || m.Index != 4 || len(m.Events) != 0 {
		t.Errorf("at first %+v, %v", m, err)
	}
	// One batch for three sessions, of which one is not attached.
	rs := slices.Concat(replies(1, 1, 2), replies(2, 1, 1), replies(3, 1, 1), replies(1, 3, 3))
	batchOf(h, 5, rs, granted(2, 9), granted(3, 9))
	batchOf(h, 6, nil, granted(1, 1))
	batchOf(h, 7, replies(1, 4, 4), granted(1, 2), granted(1, 3))
	m, err := woken(t, a)
	if err != nil || !slices.Equal(seqs(m), []uint64{1, 2, 3, 4}) || m.Index != 7 ||
		!reflect.DeepEqual(m.Events, []lock.Event{granted(1, 1), granted(1, 2), granted(1, 3)}) {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = woken(t, b)
	if err != nil || !slices.Equal(seqs(m), []uint64{1}) || m.Index != 5 || !reflect.DeepEqual(m.Events, []lock.Event{granted(2, 9)}) {
		t.Errorf("%+v, %v", m, err)
	}
	batchOf(h, 8, replies(3, 2, 2), granted(4, 1))
	asleep(t, a)
	asleep(t, b)
	if m, err := a.Take(); err != nil || len(m.Replies)+len(m.Events) != 0 || m.Index != 7 {
		t.Errorf("empty: %+v, %v", m, err)
	}
}

// TestHub_taken: a newer stream of a session takes over; the older is told so,
// and that it ends later does not harm the newer.
func TestHub_taken(t *testing.T) {
	h := NewHub(0)
	old := h.Attach(1, 1, nil)
	batchOf(h, 2, replies(1, 1, 1))
	newer := h.Attach(1, 2, nil)
	batchOf(h, 3, replies(1, 2, 2))
	if m, err := woken(t, old); err != nil || !slices.Equal(seqs(m), []uint64{1}) {
		t.Errorf("what the old one held: %+v, %v", m, err)
	}
	if _, err := woken(t, old); !errors.Is(err, gulmerr.ErrSessionTaken) {
		t.Errorf("the old one: %v", err)
	}
	h.Detach(old)
	if !h.Attached(1) {
		t.Error("the old one's end detached the newer")
	}
	batchOf(h, 4, replies(1, 3, 3))
	if m, err := woken(t, newer); err != nil || !slices.Equal(seqs(m), []uint64{2, 3}) || m.Index != 4 {
		t.Errorf("the newer one: %+v, %v", m, err)
	}
	h.Detach(newer)
	if h.Attached(1) {
		t.Error("still attached")
	}
	batchOf(h, 5, replies(1, 4, 4))
	asleep(t, newer)
}

// TestHub_slowReceiver: who does not take is cut off with LIMIT, and holds no
// memory any more, however much comes.
func TestHub_slowReceiver(t *testing.T) {
	const most = 100
	h := NewHub(most)
	slow, other := h.Attach(1, 0, nil), h.Attach(2, 0, nil)
	batchOf(h, 1, replies(1, 1, most-1), granted(1, 1))
	if m, err := woken(t, slow); err != nil || len(m.Replies) != most-1 || len(m.Events) != 1 {
		t.Fatalf("as much as fits: %d replies, %v", len(m.Replies), err)
	}
	for i := range uint64(most + 1) {
		batchOf(h, i+2, slices.Concat(replies(1, most+i, most+i), replies(2, i+1, i+1)))
		if i%10 == 3 {
			if _, err := woken(t, other); err != nil {
				t.Fatal(err)
			}
		}
	}
	m, err := woken(t, slow)
	if !errors.Is(err, gulmerr.ErrLimit) || len(m.Replies)+len(m.Events) != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := woken(t, other); err != nil || m.Index != most+2 {
		t.Errorf("the other: %+v, %v", m, err)
	}
	// A million more: nothing is kept.
	var before, after runtime.MemStats
	lot := replies(1, 1, 1000)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range uint64(1000) {
		batchOf(h, 1000+i, lot)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("grown by %d bytes", grown)
	}
	if len(slow.replies)+len(slow.events) != 0 {
		t.Errorf("%d are kept", len(slow.replies)+len(slow.events))
	}
}

// TestHub_slowReceiver_events: events count for the limit as replies do.
func TestHub_slowReceiver_events(t *testing.T) {
	h := NewHub(3)
	o := h.Attach(1, 0, nil)
	for i := range uint64(4) {
		batchOf(h, i, nil, granted(1, 1))
	}
	if _, err := woken(t, o); !errors.Is(err, gulmerr.ErrLimit) {
		t.Errorf("%v", err)
	}
}

// TestHub_ended: sessions that are over are told why, after what they were
// owed.
func TestHub_ended(t *testing.T) {
	for _, c := range []struct {
		command state.Command
		want    error
	}{
		{state.Logout{Session: 1}, gulmerr.ErrNoSession},
		{state.Expire{}, gulmerr.ErrNodeExpired},
		{state.FenceProved{}, gulmerr.ErrNodeExpired},
		{state.FenceAcknowledged{}, gulmerr.ErrNodeExpired},
	} {
		h := NewHub(0)
		o, twin, other := h.Attach(1, 0, nil), h.Attach(2, 0, nil), h.Attach(3, 0, nil)
		batchOf(h, 1, replies(1, 1, 1))
		h.Deliver(applied(2, c.command, state.Result{Node: "a", Ended: []uint64{1, 2, 9}, Events: []lock.Event{granted(3, 1)}}))
		if m, err := woken(t, o); err != nil || len(m.Replies) != 1 {
			t.Errorf("%T: %+v, %v", c.command, m, err)
		}
		for range 2 { // and says so whenever asked
			if _, err := o.Take(); !errors.Is(err, c.want) {
				t.Errorf("%T: %v, want %v", c.command, err, c.want)
			}
		}
		if _, err := woken(t, twin); !errors.Is(err, c.want) {
			t.Errorf("%T: %v, want %v", c.command, err, c.want)
		}
		if h.Attached(1) || h.Attached(2) || !h.Attached(3) {
			t.Errorf("%T: the wrong ones are attached", c.command)
		}
		if m, err := woken(t, other); err != nil || len(m.Events) != 1 {
			t.Errorf("%T: %+v, %v", c.command, m, err)
		}
		h.Detach(o)
	}
}

// TestHub_refusedEnds: a refused logout ends nothing.
func TestHub_refusedEnds(t *testing.T) {
	h := NewHub(0)
	o := h.Attach(1, 0, nil)
	if _, err := woken(t, o); err != nil {
		t.Fatal(err)
	}
	h.Deliver(applied(2, state.Logout{Session: 1}, state.Result{Reason: reason.NodeExpired}))
	asleep(t, o)
	if !h.Attached(1) {
		t.Error("detached")
	}
}

// TestHub_outOfOrder: a gap closes the stream. What was answered before it can be
// taken; the index stays before the gap, since what comes after it is dropped, and a
// session resumes behind the last index that it was told.
func TestHub_outOfOrder(t *testing.T) {
	h := NewHub(0)
	o := h.Attach(1, 4, nil)
	batchOf(h, 5, replies(1, 1, 1))
	gap := append(replies(1, 2, 2), state.Reply{Session: 1, Seq: 4, Reply: lock.Reply{Reason: reason.OutOfOrder}})
	batchOf(h, 6, gap, granted(1, 1))
	batchOf(h, 7, replies(1, 3, 3), granted(1, 2))
	m, err := woken(t, o)
	if err != nil || !slices.Equal(seqs(m), []uint64{1, 2}) || len(m.Events) != 0 {
		t.Errorf("%+v, %v: the answers before the gap, and nothing else", m, err)
	}
	if m.Index != 5 {
		t.Errorf("index %d is told, and the grants of 6 and 7 never will be", m.Index)
	}
	if _, err := woken(t, o); !errors.Is(err, gulmerr.ErrOutOfOrder) {
		t.Errorf("%v", err)
	}
}

// TestHub_acknowledge keeps the highest, and tells it once.
func TestHub_acknowledge(t *testing.T) {
	h := NewHub(0)
	o := h.Attach(1, 4, nil)
	h.Acknowledge(9, 1)
	for _, beat := range []uint64{3, 8, 5} {
		h.Acknowledge(1, beat)
	}
	if m, err := woken(t, o); err != nil || m.Beat != 8 || m.Index != 4 {
		t.Errorf("%+v, %v", m, err)
	}
	asleep(t, o)
	if m, _ := o.Take(); m.Beat != 0 {
		t.Errorf("told again: %d", m.Beat)
	}
	h.Acknowledge(1, 9)
	batchOf(h, 5, replies(1, 1, 1))
	if m, err := woken(t, o); err != nil || m.Beat != 9 || len(m.Replies) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestHub_closeAll: everybody is told, what was owed first, and the first reason
// stays.
func TestHub_closeAll(t *testing.T) {
	h := NewHub(0)
	a, b, w := h.Attach(1, 0, nil), h.Attach(2, 0, nil), h.Watch()
	batchOf(h, 1, replies(1, 1, 1))
	h.CloseAll(gulmerr.ErrNotMaster)
	h.CloseAll(gulmerr.ErrShuttingDown)
	b.Close(gulmerr.ErrShuttingDown)
	batchOf(h, 2, replies(1, 2, 2))
	if m, err := woken(t, a); err != nil || !slices.Equal(seqs(m), []uint64{1}) {
		t.Errorf("%+v, %v", m, err)
	}
	for _, o := range []*Outbox{a, b} {
		if _, err := woken(t, o); !errors.Is(err, gulmerr.ErrNotMaster) {
			t.Errorf("%v", err)
		}
	}
	<-w.Wake()
	if _, err := w.Take(); !errors.Is(err, gulmerr.ErrNotMaster) {
		t.Errorf("%v", err)
	}
	if h.Attached(1) || h.Attached(2) {
		t.Error("still attached")
	}
	// The next term begins with the same hub.
	if _, err := woken(t, h.Attach(1, 3, nil)); err != nil {
		t.Error(err)
	}
}

// TestWatcher: nodes are noted once each, in order, however often they change.
func TestWatcher(t *testing.T) {
	h := NewHub(0)
	w, gone := h.Watch(), h.Watch()
	h.Unwatch(gone)
	for range 1000 {
		for _, node := range []string{"b", "a", "", "c"} {
			h.Deliver(applied(1, state.Login{}, state.Result{Node: node}))
		}
	}
	<-w.Wake()
	if nodes, err := w.Take(); err != nil || !slices.Equal(nodes, []string{"b", "a", "c"}) {
		t.Errorf("%v, %v", nodes, err)
	}
	select {
	case <-w.Wake():
		t.Error("woken for nothing")
	default:
	}
	h.Deliver(applied(2, state.Login{}, state.Result{Node: "a"}))
	h.CloseAll(gulmerr.ErrNotMaster)
	<-w.Wake()
	if nodes, err := w.Take(); err != nil || !slices.Equal(nodes, []string{"a"}) {
		t.Errorf("%v, %v", nodes, err)
	}
	<-w.Wake()
	if _, err := w.Take(); !errors.Is(err, gulmerr.ErrNotMaster) {
		t.Errorf("%v", err)
	}
	if nodes, err := gone.Take(); len(nodes) != 0 || err != nil {
		t.Errorf("after Unwatch: %v, %v", nodes, err)
	}
}

// TestHub_concurrent: streams attach, take, acknowledge and detach while the log
// goes on; whoever stays sees every reply once, in order.
func TestHub_concurrent(t *testing.T) {
	const sessions, commands = 4, 400
	h := NewHub(0)
	var streams sync.WaitGroup
	for session := uint64(1); session <= sessions; session++ {
		o := h.Attach(session, 0, nil)
		streams.Go(func() {
			next, index := uint64(1), uint64(0)
			for range o.Wake() {
				m, err := o.Take()
				if errors.Is(err, gulmerr.ErrShuttingDown) {
					if next != commands+1 {
						t.Errorf("session %d has %d replies", session, next-1)
					}
					return
				}
				if m.Index < index {
					t.Errorf("index %d after %d", m.Index, index)
				}
				index = m.Index
				for _, r := range m.Replies {
					if r.Seq != next || r.Session != session {
						t.Errorf("%+v, want number %d", r, next)
					}
					next++
				}
			}
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	for i := range uint64(3) {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				o, w := h.Attach(100+i%2, 0, nil), h.Watch()
				h.Acknowledge(1+i, i)
				if h.Attached(100 + i%2) {
					_, _ = o.Take()
				}
				h.Detach(o)
				h.Unwatch(w)
			}
		})
	}
	for i := range uint64(commands) {
		var rs []state.Reply
		for session := uint64(1); session <= sessions; session++ {
			rs = append(rs, replies(session, i+1, i+1)...)
		}
		h.Deliver(applied(i+1, &state.Batch{}, state.Result{Node: "n", Replies: append(rs, replies(100, i, i)...)}))
	}
	close(stop)
	others.Wait()
	h.CloseAll(gulmerr.ErrShuttingDown)
	streams.Wait()
}
