package state_test

import (
	"reflect"
	"slices"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// TestOnce_again: a request that is sent again gets its first answer, whatever
// happened since, and changes nothing.
func TestOnce_again(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, b := c.enter("a"), c.enter("b")
	first := c.ask(a, lockOn("r", lock.EX))
	c.ask(b, lockOn("r", lock.PR))
	c.ask(a, state.Request{Op: state.OpUnlock, Lock: 1})
	c.ask(a, lockOn("r", lock.EX)) // now it waits
	before := pictureOf(c.State)

	request := lockOn("r", lock.EX)
	request.Seq = 2
	r := c.do(batch(group(a, 0, request)))
	if want := []state.Reply{{Session: a, Seq: 2, Reply: first}}; !reflect.DeepEqual(r.Replies, want) || first.Outcome != lock.Granted {
		t.Errorf("again: %+v, want %+v", r.Replies, want)
	}
	if len(r.Events) != 0 || pictureOf(c.State).Locks != before.Locks || c.Applied(a) != 4 {
		t.Errorf("again: events %v, applied %d", r.Events, c.Applied(a))
	}

	// All of them again, and one that is new, in one group.
	again := []state.Request{{Seq: 1}, {Seq: 2}, {Seq: 3}, {Seq: 4}, {Seq: 5, Op: state.OpCancel, Lock: 1}}
	r = c.do(batch(group(a, 0, again...)))
	var outcomes []lock.Outcome
	for i, p := range r.Replies {
		if p.Seq != uint64(i+1) {
			t.Errorf("reply %d is for %d", i, p.Seq)
		}
		outcomes = append(outcomes, p.Outcome)
	}
	want := []lock.Outcome{lock.Joined, lock.Granted, lock.Unlocked, lock.Queued, lock.Cancelled}
	if !slices.Equal(outcomes, want) {
		t.Errorf("again: %v, want %v", outcomes, want)
	}
}

// TestOnce_confirmed: what the session confirmed is forgotten, and skipped
// without an answer if it comes once more.
func TestOnce_confirmed(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a := c.enter("a")
	c.ask(a, lockOn("r", lock.EX))
	c.ask(a, state.Request{Op: state.OpUnlock, Lock: 1})
	kept := func() (seqs []uint64) {
		for _, k := range c.Image().Sessions[0].Kept {
			seqs = append(seqs, k.Seq)
		}
		return seqs
	}
	if got := kept(); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Fatalf("kept %v", got)
	}
	if r := c.do(batch(group(a, 2, state.Request{Seq: 1}, state.Request{Seq: 2}, state.Request{Seq: 3}))); len(r.Replies) != 1 ||
		r.Replies[0].Seq != 3 || r.Replies[0].Outcome != lock.Unlocked {
		t.Errorf("%+v", r.Replies)
	}
	for _, step := range []struct {
		confirmed uint64
		want      []uint64
	}{{1, []uint64{3}}, {2, []uint64{3}}, {9, []uint64{3}}, {^uint64(0), []uint64{3}}, {3, nil}, {2, nil}, {4, nil}} {
		c.do(batch(group(a, step.confirmed)))
		if got := kept(); !slices.Equal(got, step.want) {
			t.Errorf("confirmed %d: kept %v, want %v", step.confirmed, got, step.want)
		}
	}
	if got := c.ask(a, lockOn("r", lock.EX)); got.Outcome != lock.Granted {
		t.Errorf("%+v", got)
	}
}

// TestOnce_gap: a request that is not the next in line is refused, as is all
// behind it, and leaves no trace but the digest.
func TestOnce_gap(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a := c.enter("a")
	before := pictureOf(c.State)
	one, two := lockOn("r", lock.EX), lockOn("q", lock.EX)
	one.Seq, two.Seq, two.Lock = 3, 4, 2
	r := c.do(batch(group(a, 0, one, two)))
	for i, p := range r.Replies {
		if p.Reason != reason.OutOfOrder || p.Outcome != lock.Refused || p.Seq != uint64(i+3) {
			t.Errorf("%+v", p)
		}
	}
	if len(r.Replies) != 2 || pictureOf(c.State).Locks != before.Locks || c.Applied(a) != 1 {
		t.Errorf("%d replies, applied %d", len(r.Replies), c.Applied(a))
	}
	// A gap in the middle: what comes before it is done.
	one.Seq, two.Seq = 2, 4
	r = c.do(batch(group(a, 0, one, two)))
	if len(r.Replies) != 2 || r.Replies[0].Outcome != lock.Granted || r.Replies[1].Reason != reason.OutOfOrder || c.Applied(a) != 2 {
		t.Errorf("%+v", r.Replies)
	}
	// The same numbers with the gap closed are not "again".
	three := two
	two.Seq, three.Seq, three.Lock = 3, 4, 3
	if r = c.do(batch(group(a, 0, two, three))); r.Replies[0].Outcome != lock.Granted || r.Replies[1].Outcome != lock.Queued {
		t.Errorf("%+v", r.Replies)
	}
	// Number 0 was never anybody's.
	if r = c.do(batch(group(a, 0, state.Request{Op: state.OpUnlock, Lock: 1}))); len(r.Replies) != 0 || c.Applied(a) != 4 {
		t.Errorf("number 0: %+v", r.Replies)
	}
}

// TestOnce_inFlight: a session that does not confirm is stopped, and goes on as
// soon as it does.
func TestOnce_inFlight(t *testing.T) {
	c := newCluster(t, state.Limits{InFlight: 3})
	a, b := c.enter("a"), c.enter("b")
	var requests []state.Request
	for seq := range uint64(4) {
		requests = append(requests, state.Request{Seq: seq + 2, Op: state.OpLock, Lock: lock.ID(seq + 1), Lockspace: 1, Name: []byte("r"), Mode: lock.PR})
	}
	r := c.do(batch(group(a, 0, requests...)))
	for i, p := range r.Replies {
		if (p.Reason == reason.OutOfOrder) != (i >= 2) || (p.Outcome == lock.Granted) != (i < 2) {
			t.Errorf("reply %d: %+v", i, p)
		}
	}
	if c.Applied(a) != 3 || c.Locks().Locks(lock.Session(a)) != 2 {
		t.Errorf("applied %d", c.Applied(a))
	}
	// It concerns nobody else.
	if got := c.ask(b, lockOn("r", lock.PR)); got.Outcome != lock.Granted {
		t.Errorf("%+v", got)
	}
	// The old ones are answered still; confirming makes room for as many.
	r = c.do(batch(group(a, 1, requests...)))
	if len(r.Replies) != 4 || r.Replies[2].Outcome != lock.Granted || r.Replies[3].Reason != reason.OutOfOrder {
		t.Errorf("%+v", r.Replies)
	}
	// A higher limit comes with a new term.
	c.must(state.BeginTerm{Term: 2, Server: "s2"})
	if r = c.do(batch(group(a, 1, requests...))); r.Replies[3].Outcome != lock.Granted {
		t.Errorf("%+v", r.Replies)
	}
}

// TestOnce_afterMasterChange: numbers and replies survive a new term and a
// snapshot.
func TestOnce_afterMasterChange(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a := c.enter("a")
	first := c.ask(a, lockOn("r", lock.EX))
	again, err := reread(c.State)
	if err != nil {
		t.Fatal(err)
	}
	c.State = again
	c.must(state.BeginTerm{Term: 2, Server: "s2"})
	request := lockOn("r", lock.EX)
	request.Seq = 2
	if r := c.do(batch(group(a, 1, request))); len(r.Replies) != 1 || !reflect.DeepEqual(r.Replies[0].Reply, first) {
		t.Errorf("%+v, want %+v", r.Replies, first)
	}
}

// TestOnce_whoIsOver: requests of sessions that are frozen, ended or never were.
func TestOnce_whoIsOver(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a, b := c.enter("a"), c.enter("b")
	c.ask(a, lockOn("r", lock.PR))
	life := c.expire("a")
	c.must(state.Logout{Session: b})
	refusals := func() (why []reason.Reason) {
		t.Helper()
		seen := pictureOf(c.State)
		requests := []state.Request{{Seq: 2, Op: state.OpUnlock, Lock: 1}, {Seq: 3, Op: state.OpUnlock, Lock: 1}}
		r := c.do(batch(group(a, 2, requests...), group(b, 0, requests[0]), group(99, 0, requests[0]), group(0, 0, requests[0])))
		for _, p := range r.Replies {
			if p.Outcome != lock.Refused {
				t.Errorf("%+v", p)
			}
			why = append(why, p.Reason)
		}
		if pictureOf(c.State).Locks != seen.Locks || len(r.Events) != 0 {
			t.Errorf("a refused request changed something")
		}
		return why
	}
	expired, none := reason.NodeExpired, reason.NoSession
	if got, want := refusals(), []reason.Reason{expired, expired, none, none, none}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	c.must(state.FenceProved{Term: 1, Life: life, By: "m/d"})
	if got, want := refusals(), []reason.Reason{none, none, none, none, none}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestOnce_seen: a batch is a sign of life, an empty one, too; that of a frozen
// session is not.
func TestOnce_seen(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a := c.enter("a")
	before := c.next
	c.do(batch(group(a, 0)))
	if r := c.do(state.Expire{Term: 1, Life: c.life("a"), Seen: before}); r.Reason != reason.Alive {
		t.Errorf("%v", r.Reason)
	}
	c.must(state.Expire{Term: 1, Life: c.life("a"), Seen: before + 1})
	c.do(batch(group(a, 0)))
	if n, _ := c.Members().Node("a"); n.Seen != before+1 {
		t.Errorf("seen %d, want %d", n.Seen, before+1)
	}
}

// TestName_notKept: Apply keeps nothing of a command.
func TestName_notKept(t *testing.T) {
	c := newCluster(t, state.Limits{})
	a := c.enter("a")
	for _, name := range []string{"short", string(make([]byte, 200))} {
		request := lockOn(name, lock.EX)
		request.Lock = lock.ID(len(name))
		c.ask(a, request)
		clear(request.Name)
		if _, ok := c.Locks().Resource(1, []byte(name)); !ok {
			t.Errorf("name of %d bytes is lost", len(name))
		}
	}
	c.ask(a, state.Request{Op: state.OpJoin, Name: []byte("other")})
	space := []byte("third")
	c.ask(a, state.Request{Op: state.OpJoin, Name: space})
	clear(space)
	if got := c.Locks().Spaces()[2].Name; got != "third" {
		t.Errorf("lockspace %q", got)
	}
}
