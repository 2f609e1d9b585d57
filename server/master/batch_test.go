package master

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"lock_gulmd/server/state"
)

// group makes a group of a session with requests from to to-1.
func group(session uint64, from, to int) state.Group {
	g := state.Group{Session: session}
	for seq := from; seq < to; seq++ {
		g.Requests = append(g.Requests, state.Request{Seq: uint64(seq)})
	}
	return g
}

func testBatcher(queued int) *batcher {
	return newBatcher(&term{m: New(Config{MaxQueued: queued, MaxBatch: 8})})
}

func submit(t *testing.T, b *batcher, g state.Group) {
	t.Helper()
	if err := b.submit(t.Context(), g); err != nil {
		t.Fatal(err)
	}
}

// TestBatcher_KeepsOrder: requests come out once each, in the order in which
// they went in, however groups are cut.
func TestBatcher_KeepsOrder(t *testing.T) {
	b := testBatcher(1000)
	submit(t, b, group(1, 1, 6))
	submit(t, b, group(2, 1, 21))
	submit(t, b, group(1, 6, 7))
	var got []uint64
	for {
		groups := b.take(8)
		if groups == nil {
			break
		}
		n := 0
		for _, g := range groups {
			for _, r := range g.Requests {
				got = append(got, g.Session*100+r.Seq)
				n++
			}
		}
		if n > 8 {
			t.Errorf("an entry carries %d requests, more than 8", n)
		}
	}
	var want []uint64
	for _, g := range []state.Group{group(1, 1, 6), group(2, 1, 21), group(1, 6, 7)} {
		for _, r := range g.Requests {
			want = append(want, g.Session*100+r.Seq)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("requests came out as %v, want %v", got, want)
	}
}

// TestBatcher_FullQueueStaysBalanced: a group that is cut while somebody waits
// for room gives back as much as it took, no more.
func TestBatcher_FullQueueStaysBalanced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBatcher(21)
		submit(t, b, group(1, 1, 21)) // with its confirmation, all there is
		waits := make(chan error, 1)
		go func() { waits <- b.submit(context.Background(), group(2, 1, 16)) }()
		synctest.Wait()
		requests := 0
		for range 10 {
			for _, g := range b.take(8) {
				requests += len(g.Requests)
			}
			synctest.Wait()
		}
		if err := <-waits; err != nil || requests != 35 {
			t.Errorf("%d requests came out (%v), want 35", requests, err)
		}
		if !b.room.TryAcquire(21) || b.room.TryAcquire(1) {
			t.Error("the empty queue has another size than at first")
		}
	})
}

// TestBatcher_BareConfirmationsDoNotMakeAnEntryTooLarge for the log, which would
// end the term: any node could do that.
func TestBatcher_BareConfirmationsDoNotMakeAnEntryTooLarge(t *testing.T) {
	b := testBatcher(1000)
	for i := range 500 {
		submit(t, b, state.Group{Session: 1, Confirmed: uint64(i)})
	}
	if n := len(b.take(8)); n > 8 {
		t.Errorf("an entry carries %d groups", n)
	}
}
