package gulmtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"lock_gulmd/client"
)

// berth is one mount of one life: the crew works on it until it is given up.
type berth struct {
	w      *Workload
	life   *Life
	node   *client.Node
	number int        // of the life's mounts
	rnd    *rand.Rand // of the captain
	ls     *client.Lockspace
	mount  *client.Mount
	holder Holder
	jid    int // -1 for a spectator
	// ready is closed when mount is set: a journal may be handed out before.
	ready chan struct{}

	mu      sync.Mutex
	replays *rand.Rand // of those who replay
}

// sail is the program of one life with a file system that has journals: mount, work,
// and give it up by an unmount or a withdrawal now and then, until the life ends or
// the servers have expired it.
func (w *Workload) sail(ctx context.Context, life *Life, n *client.Node) {
	rnd := w.Seed.Rand(fmt.Sprintf("captain %s/%s", life.Node().Name, life.bootID))
	var ls *client.Lockspace
	for number := 0; ctx.Err() == nil; number++ {
		b := &berth{
			w: w, life: life, node: n, number: number, rnd: rnd, ls: ls, jid: -1, ready: make(chan struct{}),
			replays: rand.New(rand.NewPCG(rnd.Uint64(), 1)), holder: Holder{Node: life.Node().Name, Incarnation: n.Incarnation()},
		}
		err := b.board(ctx)
		ls = b.ls
		if err == nil {
			err = b.voyage(ctx)
			ls = b.ls
		} else {
			sleepCtx(ctx, time.Second)
		}
		if overForGood(err) {
			return
		}
	}
}

// overForGood reports whether an error says that the life's session is over.
func overForGood(err error) bool {
	return errors.Is(err, client.ErrNodeExpired) || errors.Is(err, client.ErrNoSession) || errors.Is(err, client.ErrStaleIncarnation)
}

// board joins and mounts; the first mounter replays all journals.
func (b *berth) board(ctx context.Context) error {
	w := b.w
	if b.ls == nil {
		ls, err := b.node.Join(ctx, "fs", client.JoinOptions{OnBlocking: func(*client.Lock, client.Mode) { w.hit("asked to give way") }})
		if err != nil {
			return err
		}
		b.ls = ls
	}
	opts := client.MountOptions{Journals: w.Journals, OnRecover: b.recover}
	if !b.steady() && b.rnd.IntN(8) == 0 {
		opts.Spectator, opts.Journals = true, 0
	}
	w.Cluster.Disk.Mounting(b.holder)
	m, err := b.ls.Mount(ctx, opts)
	if err != nil {
		return err
	}
	if err := b.life.Await(ctx); err != nil {
		return err
	}
	b.mount, b.jid = m, m.JID()
	if opts.Spectator {
		w.hit("spectator mounted")
	} else {
		w.Cluster.Disk.Mounted(b.holder, b.jid, m.First())
	}
	close(b.ready)
	if !m.First() {
		return nil
	}
	w.hit("first mounter replayed all")
	return b.replayAll(ctx)
}

// readOnly reports whether the mount has no journal.
func (b *berth) readOnly() bool { return b != nil && b.jid < 0 }

// steady nodes never fail to replay, are no spectators and never withdraw: a journal
// that all others could not replay waits for them.
func (b *berth) steady() bool { return b.holder.Node == "n1" }

// mayFail reports whether a replay may fail: not without so many journals that a
// steady node can mount beside all that are in use and all that wait for it.
func (b *berth) mayFail() bool {
	return !b.steady() && b.w.Journals >= 2*len(b.w.Cluster.NodeNames())
}

// replayAll is what the first mounter does before others may mount.
func (b *berth) replayAll(ctx context.Context) error {
	for jid := 0; jid < b.w.Journals; {
		err := b.replay(ctx, ctx, jid, "")
		switch {
		case err == nil:
			jid++
		case ctx.Err() != nil || errors.Is(err, ErrFenced) || errors.Is(err, ErrHostDown) || overForGood(b.node.Err()):
			return client.ErrNoSession
		default:
			sleepCtx(ctx, 200*time.Millisecond) // in doubt: once it is safe again
		}
	}
	return b.mount.OthersMayMount(ctx)
}

// replay replays one journal, which takes a while, step by step. A careful node
// stops as soon as `valid` ends.
func (b *berth) replay(ctx, valid context.Context, jid int, left string) error {
	disk := b.w.Cluster.Disk
	b.mu.Lock()
	steps := 1 + b.replays.IntN(12)
	b.mu.Unlock()
	if err := b.mayReplay(ctx, valid); err != nil {
		return err
	}
	if err := disk.BeginReplay(b.holder, jid, left); err != nil {
		return err
	}
	for range steps {
		sleepCtx(ctx, 250*time.Millisecond)
		if err := b.mayReplay(ctx, valid); err != nil {
			_ = disk.EndReplay(b.holder, jid, false) // a dead one's has ended: the disk knows
			return err
		}
	}
	return disk.EndReplay(b.holder, jid, true)
}

// mayReplay returns why a node must not go on with a replay, if it knows.
func (b *berth) mayReplay(ctx, valid context.Context) error {
	if err := b.life.Await(ctx); err != nil {
		return err
	}
	if !b.w.Careful {
		return nil
	}
	if valid.Err() != nil {
		return context.Cause(valid)
	}
	return b.node.Valid()
}

// recover is OnRecover. Now and then it cannot, or passes the word itself.
func (b *berth) recover(valid context.Context, r client.Recovery) error {
	ctx, w := b.life.ctx, b.w
	b.mu.Lock()
	fails, later := b.mayFail() && b.replays.IntN(5) == 0, b.replays.IntN(2) == 0
	b.mu.Unlock()
	left := fmt.Sprintf("%s/%d", r.Node, r.Incarnation)
	if err := b.replay(ctx, valid, r.JID, left); err != nil {
		return err
	}
	if fails {
		w.hit("replay failed")
		return errors.New("bad block")
	}
	w.hit("journal replayed by another")
	if !later {
		return nil
	}
	select {
	case <-b.ready:
	case <-valid.Done():
		return nil
	}
	if b.mount.RecoveryDone(valid, r.JID, nil) == nil {
		w.Cluster.Disk.Recovered(r.JID, left)
	}
	return client.ErrLater
}

// voyage works until the life ends or the mount is given up.
func (b *berth) voyage(ctx context.Context) error {
	work, stopWork := context.WithCancel(ctx) // ends when the crew is to give up where it stands
	defer stopWork()
	ask, stopAsking := context.WithCancel(work) // ends when it is to finish what it has
	defer stopAsking()
	var crew sync.WaitGroup
	over := make(chan struct{})
	for i := range b.w.Workers {
		x := b.w.worker(b.life, b.ls, i, b)
		crew.Go(func() { x.work(work, ask) })
	}
	go func() {
		crew.Wait()
		close(over)
	}()
	if !b.tires(over) {
		<-over // the session is, or the life
		return client.ErrNoSession
	}
	if b.rnd.IntN(2) == 0 || b.steady() {
		stopAsking()
		<-over
		return b.unmount(ctx)
	}
	stopWork()
	<-over
	return b.withdraw(ctx)
}

// tires waits until it is time to give the mount up, sooner while somebody replays a
// journal; false if the crew is done first, or is not to give up any more.
func (b *berth) tires(over <-chan struct{}) bool {
	calm := b.w.calm()
	for seconds := 8 + b.rnd.IntN(50); seconds > 0; seconds-- {
		select {
		case <-over:
			return false
		case <-calm:
			return false
		case <-time.After(time.Second):
		}
		if b.w.Cluster.Disk.Replaying() && b.rnd.IntN(12) == 0 {
			return true
		}
	}
	return true
}

func (b *berth) unmount(ctx context.Context) error {
	if err := b.life.Await(ctx); err != nil {
		return err
	}
	if b.w.Cluster.Disk.Replaying() {
		b.w.hit("unmounted during a replay")
	}
	if b.jid >= 0 {
		b.w.Cluster.Disk.Unmounted(b.holder, b.jid)
	}
	b.w.hit("node unmounted")
	for {
		err := b.mount.Unmount(ctx)
		if err == nil || errors.Is(err, client.ErrNotMounted) || overForGood(err) || ctx.Err() != nil {
			return err
		}
		sleepCtx(ctx, time.Second)
	}
}

func (b *berth) withdraw(ctx context.Context) error {
	if err := b.life.Await(ctx); err != nil {
		return err
	}
	if b.jid >= 0 && b.w.Cluster.Disk.Withdrew(b.holder, b.jid) {
		b.w.hit("withdrew while another recovers")
	}
	b.w.hit("node withdrew")
	defer func() { b.ls = nil }()
	for {
		err := b.mount.Withdraw(ctx)
		if err == nil || errors.Is(err, client.ErrNotMounted) || overForGood(err) || ctx.Err() != nil {
			return err
		}
		sleepCtx(ctx, time.Second)
	}
}

// record writes a record before a change; without a journal it does nothing.
func (b *berth) record(h Holder, resource string, mode Mode) error {
	if b == nil || b.jid < 0 {
		return nil
	}
	return b.w.Cluster.Disk.Record(h, b.jid, resource, mode)
}

// flush brings all changes to their place, as soon as the lock is good for a careful
// node; it fails if the life or the session is over before, or the mount is given up.
func (b *berth) flush(ctx context.Context, h Holder, l *client.Lock) error {
	if b == nil || b.jid < 0 {
		return nil
	}
	for {
		if err := b.life.Await(ctx); err != nil {
			return err
		}
		err := l.Valid()
		if err == nil || !b.w.Careful {
			return b.w.Cluster.Disk.Flush(h, b.jid, l.Name())
		}
		if overForGood(err) {
			return err
		}
		sleepCtx(ctx, 200*time.Millisecond)
	}
}
