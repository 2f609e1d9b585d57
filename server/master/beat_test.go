package master

import (
	"testing"
	"testing/synctest"
	"time"
)

const (
	testPatience = 1500 * time.Millisecond
	testLimit    = 6 * time.Second
)

// in runs a test of beats in a bubble, with a pulse as the term keeps it.
func in(t *testing.T, test func(t *testing.T, b *beats, sleep func(time.Duration))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBeats(testPatience)
		test(t, b, func(d time.Duration) {
			for ; d > 0; d -= testPatience / 3 {
				time.Sleep(min(d, testPatience/3))
				b.tick()
			}
		})
	})
}

func TestBeats_SilenceIsCounted(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		b.alive(1, 0)
		b.alive(2, 0)
		sleep(testLimit)
		b.alive(2, 7)
		sleep(time.Millisecond)
		late := b.keep(allow(1, 2, 3))
		if len(late) != 1 || late[1] != testLimit+time.Millisecond {
			t.Errorf("late are %v, want session 1 only", late)
		}
		if got := b.take(); len(got) != 1 || got[2].number != 7 {
			t.Errorf("to be acknowledged: %v", got)
		}
	})
}

// TestBeats_WhoIsNewHasAFullPeriod: a session that a new master meets was heard
// of just now, whatever it did before.
func TestBeats_WhoIsNewHasAFullPeriod(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		b.keep(allow(1))
		sleep(testLimit)
		if late := b.keep(allow(1)); len(late) != 0 {
			t.Errorf("late are %v after exactly one period", late)
		}
		sleep(time.Millisecond)
		if late := b.keep(allow(1)); len(late) != 1 {
			t.Error("session 1 is not late after more than one period")
		}
	})
}

// TestS6_WhoWasLateItselfJudgesNobody: a master whose goroutines stood still can
// neither condemn anybody before it has noticed nor after.
func TestS6_WhoWasLateItselfJudgesNobody(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		b.alive(1, 0)
		sleep(testLimit - time.Second)
		time.Sleep(10 * time.Second) // stands still
		if b.condemn(1, testLimit, []uint64{1}) {
			t.Error("condemned right after the standstill")
		}
		if gap := b.tick(); gap != 10*time.Second {
			t.Errorf("noticed a gap of %v", gap)
		}
		sleep(testLimit)
		if late := b.keep(allow(1)); len(late) != 0 || b.condemn(1, testLimit, []uint64{1}) {
			t.Error("no full period was given after the standstill")
		}
		sleep(time.Second)
		if !b.condemn(1, testLimit, []uint64{1}) {
			t.Error("silence is forgiven for ever")
		}
	})
}

// TestS5_CondemnedBeatsAreNotAcknowledged: a beat that comes while the expiry is
// on its way into the log must not tell its node that it is safe; one that came
// before saves it.
func TestS5_CondemnedBeatsAreNotAcknowledged(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		acknowledged := func(session uint64) (yes bool) {
			b.settle(session, beat{1, time.Now()}, nil, time.Second, func() { yes = true })
			return yes
		}
		b.alive(1, 0)
		b.alive(2, 0) // another process of the same node
		sleep(testLimit + time.Second)
		b.alive(1, 5)
		if b.condemn(1, testLimit, []uint64{1, 2}) || !acknowledged(1) {
			t.Error("condemned in spite of a beat")
		}
		sleep(testLimit + time.Second)
		if !b.condemn(1, testLimit, []uint64{1, 2}) {
			t.Fatal("not condemned in spite of silence")
		}
		b.alive(1, 6)
		b.alive(2, 6)
		if acknowledged(1) || acknowledged(2) || !acknowledged(3) {
			t.Error("a condemned node was acknowledged")
		}
		b.pardon([]uint64{1, 2})
		if !acknowledged(1) || !acknowledged(2) {
			t.Error("a pardoned node is not acknowledged")
		}
	})
}

// TestS6_WhoWaitsForThisServerIsNotLate: a stream that is not read since this
// server is busy cannot beat. Sessions that come and go meanwhile leave nothing
// behind that would shield them later.
func TestS6_WhoWaitsForThisServerIsNotLate(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		b.enter(1)
		sleep(2 * testLimit)
		if late := b.keep(allow(1)); len(late) != 0 || b.condemn(1, testLimit, []uint64{1}) {
			t.Error("judged while it waits for this server")
		}
		b.keep(allow()) // not in the state that was looked at
		b.leave(1)
		sleep(testLimit + time.Second)
		if late := b.keep(allow(1)); len(late) != 1 {
			t.Error("session is shielded for ever")
		}
	})
}

// TestS5_SiblingsLiveAndDieTogether: the silence of one process expires its node,
// so beats of the others are not acknowledged unless it beats too.
func TestS5_SiblingsLiveAndDieTogether(t *testing.T) {
	in(t, func(t *testing.T, b *beats, sleep func(time.Duration)) {
		settle := func(session, number uint64, others ...uint64) (yes bool) {
			b.settle(session, beat{number, time.Now()}, others, time.Second, func() { yes = true })
			return yes
		}
		b.alive(1, 0)
		sleep(time.Second)
		if !settle(2, 1, 1) {
			t.Error("beats must not come at the same moment")
		}
		sleep(time.Millisecond)
		if settle(2, 2, 1) {
			t.Error("a beat was acknowledged beside a silent sibling")
		}
		b.alive(1, 0)
		if again := b.take(); again[2].number != 2 || !settle(2, again[2].number, 1) {
			t.Errorf("after the sibling's beat %v is left to be acknowledged", again)
		}
		b.enter(1)
		sleep(testLimit)
		if !settle(2, 3, 1) {
			t.Error("a sibling that waits for this server is not silent")
		}
	})
}

// allow lets sessions be silent for testLimit.
func allow(sessions ...uint64) map[uint64]time.Duration {
	m := map[uint64]time.Duration{}
	for _, s := range sessions {
		m[s] = testLimit
	}
	return m
}

// TestBeats_doomed: who is expired by force is not acknowledged from then on,
// however lively it is, until it is pardoned.
func TestBeats_doomed(t *testing.T) {
	b := newBeats(time.Minute)
	b.alive(1, 1)
	acknowledged := func() (good bool) {
		b.settle(1, beat{1, time.Now()}, nil, time.Second, func() { good = true })
		return good
	}
	if !acknowledged() {
		t.Error("a good beat was not acknowledged")
	}
	b.doom([]uint64{1})
	b.alive(1, 2)
	if acknowledged() {
		t.Error("a beat was acknowledged after the decision")
	}
	b.pardon([]uint64{1})
	if !acknowledged() {
		t.Error("after the pardon a beat was not acknowledged")
	}
}

// TestBeats_startsToCount: a session whose silence begins to count gets a full
// period from then.
func TestBeats_startsToCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBeats(time.Hour)
		b.alive(1, 0)
		b.counts(map[uint64]bool{1: true})
		time.Sleep(time.Minute)
		b.counts(map[uint64]bool{1: true})
		if d := b.silent(map[uint64]time.Duration{1: 0})[1]; d != time.Minute {
			t.Errorf("silent for %v", d)
		}
		b.counts(map[uint64]bool{})
		if d := b.silent(map[uint64]time.Duration{1: 0})[1]; d != 0 {
			t.Errorf("silent for %v when it begins to count", d)
		}
	})
}

// TestBreaker_trips: in small clusters never for one or two, else by number or
// share.
func TestBreaker_trips(t *testing.T) {
	def := Breaker{Nodes: 10, Percent: 50, Window: 30 * time.Second}
	for _, c := range []struct {
		b           Breaker
		missing, of int
		want        bool
	}{
		{def, 1, 1, false},
		{def, 2, 2, false},
		{def, 3, 3, true},
		{def, 3, 5, true},
		{def, 3, 6, false},
		{def, 4, 6, true},
		{def, 10, 100, false},
		{def, 11, 100, true},
		{Breaker{Percent: 50}, 50, 100, false},
		{Breaker{Percent: 50}, 51, 100, true},
		{Breaker{Nodes: 3, Percent: 100}, 4, 4, true},
		{Breaker{Percent: 100}, 100, 100, false},
		{Breaker{}, 100, 100, false},
	} {
		if got := c.b.trips(c.missing, c.of); got != c.want {
			t.Errorf("%+v: %d of %d: %v", c.b, c.missing, c.of, got)
		}
	}
}
