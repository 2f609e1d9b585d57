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

// Workload is what the nodes of a campaign do: they take locks in all modes,
// convert, try, give up, and write to the Disk what only the holder may write.
type Workload struct {
	// Cluster is where it runs.
	Cluster *Cluster
	// Seed gives every worker its own random numbers.
	Seed *Seed
	// Resources is how many there are, 4 if 0.
	Resources int
	// Workers run on every node, 2 if 0.
	Workers int
	// Careful workers look at lock.Valid before each write, as the library
	// asks; careless ones rely on the servers alone, which must suffice as long
	// as fences are true.
	Careful bool
	// Journals, if not 0, is how many journals the file system has: nodes mount it,
	// write records, unmount, withdraw, and replay what others left.
	Journals int

	mu     sync.Mutex
	done   map[string]int // completed rounds by node
	calmed chan struct{}  // closed by Calm
}

// Calm lets nodes give up no mounts any more.
func (w *Workload) Calm() { close(w.calm()) }

func (w *Workload) calm() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calmed == nil {
		w.calmed = make(chan struct{})
	}
	return w.calmed
}

// Rounds returns how many rounds the workers of a node have completed.
func (w *Workload) Rounds(node string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done[node]
}

// Boot switches a node on with this workload; false if it is on already.
func (w *Workload) Boot(node string) bool {
	defaultTo(&w.Resources, 4)
	defaultTo(&w.Workers, 2)
	return w.Cluster.Node(node).Boot(w.run)
}

// run is the program of one life. It ends with the life, or some time after the
// servers have expired it, when an operator would look.
func (w *Workload) run(ctx context.Context, life *Life) {
	n, err := life.Dial(ctx)
	if err != nil {
		return
	}
	var all sync.WaitGroup
	all.Go(func() { w.watch(ctx, n) })
	if w.Journals > 0 {
		w.sail(ctx, life, n)
	} else {
		w.crew(ctx, life, n)
	}
	all.Wait()
	if ctx.Err() == nil {
		sleepCtx(ctx, 20*time.Second)
	}
}

// crew works without a mount.
func (w *Workload) crew(ctx context.Context, life *Life, n *client.Node) {
	ls, err := n.Join(ctx, "fs", client.JoinOptions{OnBlocking: func(*client.Lock, client.Mode) { w.hit("asked to give way") }})
	if err != nil {
		return
	}
	var workers sync.WaitGroup
	for i := range w.Workers {
		x := w.worker(life, ls, i, nil)
		workers.Go(func() { x.work(ctx, ctx) })
	}
	workers.Wait()
}

func (w *Workload) hit(name string) { w.Seed.Campaign.Sometimes.Hit(name) }

// watch counts what the library tells its user.
func (w *Workload) watch(ctx context.Context, n *client.Node) {
	lost := false
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-n.Events():
			if !ok {
				return
			}
			w.hit("node told " + e.Kind.String())
			switch e.Kind {
			case client.EventLost:
				lost = true
			case client.EventSafe:
				if lost {
					w.hit("locks regained after lost")
				}
				lost = false
			case client.EventExpired:
				return
			}
		}
	}
}

// worker is one program of a node.
type worker struct {
	w      *Workload
	life   *Life
	ls     *client.Lockspace
	holder Holder
	rnd    *rand.Rand
	berth  *berth // nil without a mount
}

func (w *Workload) worker(life *Life, ls *client.Lockspace, number int, b *berth) *worker {
	name := life.Node().Name
	actor := fmt.Sprintf("%s/%s/%d", name, life.bootID, number)
	if b != nil {
		actor = fmt.Sprintf("%s/%d", actor, b.number)
	}
	return &worker{
		w: w, life: life, ls: ls, rnd: w.Seed.Rand(actor), berth: b,
		holder: Holder{Node: name, Incarnation: ls.Node().Incarnation(), Owner: fmt.Sprintf("w%d", number)},
	}
}

// work does rounds until the life or the incarnation ends, or ask does, after which
// it asks for nothing more.
func (x *worker) work(ctx, ask context.Context) {
	name := x.life.Node().Name
	for ask.Err() == nil {
		err := x.round(ctx, ask)
		if overForGood(err) {
			return
		}
		if err == nil {
			x.w.mu.Lock()
			if x.w.done == nil {
				x.w.done = map[string]int{}
			}
			x.w.done[name]++
			x.w.mu.Unlock()
		}
		sleepCtx(ask, time.Duration(x.rnd.IntN(300))*time.Millisecond)
	}
}

// round takes one lock, uses it, and gives it back.
func (x *worker) round(ctx, ask context.Context) error {
	rnd := x.rnd
	resource := fmt.Sprintf("r%d", rnd.IntN(x.w.Resources))
	mode := []client.Mode{client.EX, client.EX, client.PW, client.PR, client.CW, client.CR}[rnd.IntN(6)]
	if x.berth.readOnly() {
		mode = client.PR
	}
	lockCtx, cancel := ask, context.CancelFunc(func() {})
	if rnd.IntN(4) == 0 { // this one will not wait for ever
		lockCtx, cancel = context.WithTimeout(ask, time.Duration(rnd.IntN(2000))*time.Millisecond)
	}
	defer cancel()
	take := x.ls.Lock
	if rnd.IntN(6) == 0 {
		take = x.ls.TryLock
	}
	l, err := take(lockCtx, resource, mode)
	if err != nil {
		x.w.countRefusal(err)
		return err
	}
	if err = x.use(ctx, l); err == nil && rnd.IntN(3) == 0 {
		err = x.convert(ctx, l)
	}
	if err == nil || x.berth == nil {
		_ = l.Unlock() // fails only when the session is over
	}
	return err
}

func (w *Workload) countRefusal(err error) {
	switch {
	case errors.Is(err, client.ErrTryFailed):
		w.hit("try failed")
	case errors.Is(err, context.DeadlineExceeded):
		w.hit("request withdrawn")
	}
}

// convert changes the mode of a held lock and uses it again. The disk believes
// in the weaker of the two modes meanwhile.
func (x *worker) convert(ctx context.Context, l *client.Lock) error {
	disk, h := x.w.Cluster.Disk, x.holder
	wanted := []client.Mode{client.NL, client.CR, client.PR, client.EX}[x.rnd.IntN(4)]
	if x.berth.readOnly() {
		wanted = min(wanted, client.PR)
	}
	disk.Granted(h, l.Name(), Mode(client.NL), l.Token())
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := l.Convert(limited, wanted); err != nil {
		disk.Released(h, l.Name())
		if ctx.Err() == nil && !overForGood(err) {
			_ = l.Unlock() // nothing was changed since the last flush
		}
		return err
	}
	x.w.hit("converted")
	return x.use(ctx, l)
}

// use writes under a lock that is held, and tells the disk so. With a journal it
// returns when nothing of that is in the journal only, or an error.
func (x *worker) use(ctx context.Context, l *client.Lock) error {
	if err := x.life.Await(ctx); err != nil {
		return err
	}
	if x.w.Careful && l.Valid() != nil {
		return nil
	}
	if err := x.writeAll(ctx, l); err != nil {
		return err
	}
	return x.berth.flush(ctx, x.holder, l)
}

func (x *worker) writeAll(ctx context.Context, l *client.Lock) error {
	disk, h, mode := x.w.Cluster.Disk, x.holder, Mode(l.Mode())
	disk.Granted(h, l.Name(), mode, l.Token())
	defer disk.Released(h, l.Name())
	for range 1 + x.rnd.IntN(4) {
		sleepCtx(ctx, time.Duration(x.rnd.IntN(150))*time.Millisecond)
		if err := x.life.Await(ctx); err != nil {
			return err
		}
		if x.w.Careful && l.Valid() != nil {
			x.w.hit("holder stopped in time")
			return nil
		}
		if !mode.Writes() {
			continue
		}
		if err := x.write(l, mode); err != nil {
			return err
		}
	}
	return nil
}

// write changes what the lock protects, after a record of that in the journal.
func (x *worker) write(l *client.Lock, mode Mode) error {
	disk, h := x.w.Cluster.Disk, x.holder
	if err := x.berth.record(h, l.Name(), mode); err != nil {
		return err
	}
	write := Write{Holder: h, Resource: l.Name(), Mode: mode, Token: l.Token(), Data: []byte(h.String())}
	if mode.Exclusive() {
		_, err := disk.Increment(write)
		return err
	}
	return disk.Write(write)
}

// sleepCtx sleeps for d or until ctx ends.
func sleepCtx(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
