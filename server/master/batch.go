package master

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"lock_gulmd/server/codec"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/state"
)

// busyPause is before an entry is proposed again that found the log full.
const busyPause = 5 * time.Millisecond

// batcher gathers the requests of all streams into log entries. While entries
// are under way the next one fills up; nothing ever waits for a timer.
type batcher struct {
	t        *term
	room     *semaphore.Weighted // requests that may still be queued
	capacity int64
	wake     chan struct{}
	slots    chan struct{} // entries that may be under way
	futures  chan *replica.Future

	mu     sync.Mutex
	groups []state.Group
}

func newBatcher(t *term) *batcher {
	cfg := &t.m.cfg
	return &batcher{
		t: t, room: semaphore.NewWeighted(int64(cfg.MaxQueued)), capacity: int64(cfg.MaxQueued), wake: make(chan struct{}, 1),
		slots: make(chan struct{}, cfg.MaxInFlight), futures: make(chan *replica.Future, cfg.MaxInFlight),
	}
}

// weight is what a group takes of the queue; a bare confirmation counts too.
func (b *batcher) weight(g *state.Group) int64 { return min(b.capacity, int64(len(g.Requests))+1) }

// submit queues a group, waiting while the queue is full.
func (b *batcher) submit(ctx context.Context, g state.Group) error {
	if err := b.room.Acquire(ctx, b.weight(&g)); err != nil {
		return err
	}
	b.mu.Lock()
	b.groups = append(b.groups, g)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns up to limit requests, of up to limit groups, in the order in which
// they came. Room is given back for what it returns, and not for the rest of a
// group that it cuts.
func (b *batcher) take(limit int) []state.Group {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, requests := 0, 0
	var room int64
	for n < len(b.groups) && n < limit && requests < limit {
		requests += len(b.groups[n].Requests)
		room += b.weight(&b.groups[n])
		n++
	}
	if n == 0 {
		return nil
	}
	taken := b.groups[:n:n]
	b.groups = b.groups[n:]
	if requests > limit {
		last := &taken[n-1]
		keep := len(last.Requests) - (requests - limit)
		rest := state.Group{Session: last.Session, Confirmed: last.Confirmed, Requests: last.Requests[keep:]}
		last.Requests = last.Requests[:keep:keep]
		b.groups = append([]state.Group{rest}, b.groups...)
		room -= b.weight(&rest)
	}
	b.room.Release(room)
	return taken
}

// propose writes entry after entry, as many at a time as there are slots.
func (b *batcher) propose(ctx context.Context) error {
	defer close(b.futures)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		}
		for {
			select {
			case <-ctx.Done():
				return nil
			case b.slots <- struct{}{}:
			}
			groups := b.take(b.t.m.cfg.MaxBatch)
			if groups == nil {
				<-b.slots
				break
			}
			f, err := b.write(ctx, codec.Encode(time.Now().UnixMilli(), &state.Batch{Groups: groups}))
			if err != nil {
				return translate(err)
			}
			b.futures <- f
		}
	}
}

// write proposes an entry. That the log is full is no reason to end the term: it
// waits until there is room.
func (b *batcher) write(ctx context.Context, entry []byte) (*replica.Future, error) {
	for {
		f, err := b.t.m.cfg.Replica.Propose(entry)
		if !errors.Is(err, replica.ErrBusy) || !sleep(ctx, busyPause) {
			return f, err
		}
	}
}

// finish frees the slots of entries in the order in which they were written. An
// entry that failed ends the term: what was in it is in doubt, and the sessions
// must send it again to whoever is master then.
func (b *batcher) finish(ctx context.Context) error {
	for f := range b.futures {
		value, _, err := f.Wait(ctx)
		if err != nil {
			return translate(err)
		}
		b.t.stirs.applied(value)
		<-b.slots
	}
	return nil
}
