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

	mu   sync.Mutex
	done map[string]int // completed rounds by node
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
	ls, err := n.Join(ctx, "fs", client.JoinOptions{OnBlocking: func(*client.Lock, client.Mode) { w.hit("asked to give way") }})
	if err != nil {
		return
	}
	var workers sync.WaitGroup
	for i := range w.Workers {
		workers.Go(func() { w.work(ctx, life, ls, i) })
	}
	workers.Go(func() { w.watch(ctx, n) })
	workers.Wait()
	if ctx.Err() == nil {
		sleepCtx(ctx, 20*time.Second)
	}
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

// work does rounds until the life or the incarnation ends.
func (w *Workload) work(ctx context.Context, life *Life, ls *client.Lockspace, number int) {
	name := life.Node().Name
	rnd := w.Seed.Rand(fmt.Sprintf("%s/%s/%d", name, life.bootID, number))
	holder := Holder{Node: name, Incarnation: ls.Node().Incarnation(), Owner: fmt.Sprintf("w%d", number)}
	for ctx.Err() == nil {
		err := w.round(ctx, life, ls, holder, rnd)
		if errors.Is(err, client.ErrNodeExpired) || errors.Is(err, client.ErrNoSession) || errors.Is(err, client.ErrStaleIncarnation) {
			return
		}
		if err == nil {
			w.mu.Lock()
			if w.done == nil {
				w.done = map[string]int{}
			}
			w.done[name]++
			w.mu.Unlock()
		}
		sleepCtx(ctx, time.Duration(rnd.IntN(300))*time.Millisecond)
	}
}

// round takes one lock, uses it, and gives it back.
func (w *Workload) round(ctx context.Context, life *Life, ls *client.Lockspace, h Holder, rnd *rand.Rand) error {
	resource := fmt.Sprintf("r%d", rnd.IntN(w.Resources))
	mode := []client.Mode{client.EX, client.EX, client.PW, client.PR, client.CW, client.CR}[rnd.IntN(6)]
	lockCtx, cancel := ctx, context.CancelFunc(func() {})
	if rnd.IntN(4) == 0 { // this one will not wait for ever
		lockCtx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(2000))*time.Millisecond)
	}
	defer cancel()
	take := ls.Lock
	if rnd.IntN(6) == 0 {
		take = ls.TryLock
	}
	l, err := take(lockCtx, resource, mode)
	if err != nil {
		w.countRefusal(err)
		return err
	}
	defer func() { _ = l.Unlock() }() // fails only when the session is over
	if err := w.use(ctx, life, l, h, rnd); err != nil {
		return err
	}
	if rnd.IntN(3) != 0 {
		return nil
	}
	return w.convert(ctx, life, l, h, rnd)
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
func (w *Workload) convert(ctx context.Context, life *Life, l *client.Lock, h Holder, rnd *rand.Rand) error {
	wanted := []client.Mode{client.NL, client.CR, client.PR, client.EX}[rnd.IntN(4)]
	w.Cluster.Disk.Granted(h, l.Name(), Mode(client.NL), l.Token())
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := l.Convert(limited, wanted); err != nil {
		w.Cluster.Disk.Released(h, l.Name())
		return err
	}
	w.hit("converted")
	return w.use(ctx, life, l, h, rnd)
}

// use writes under a lock that is held, and tells the disk so.
func (w *Workload) use(ctx context.Context, life *Life, l *client.Lock, h Holder, rnd *rand.Rand) error {
	if err := life.Await(ctx); err != nil {
		return err
	}
	disk, mode := w.Cluster.Disk, Mode(l.Mode())
	if w.Careful && l.Valid() != nil {
		return nil
	}
	disk.Granted(h, l.Name(), mode, l.Token())
	defer disk.Released(h, l.Name())
	for range 1 + rnd.IntN(4) {
		sleepCtx(ctx, time.Duration(rnd.IntN(150))*time.Millisecond)
		if err := life.Await(ctx); err != nil {
			return err
		}
		if w.Careful && l.Valid() != nil {
			w.hit("holder stopped in time")
			return nil
		}
		if !mode.Writes() {
			continue
		}
		write := Write{Holder: h, Resource: l.Name(), Mode: mode, Token: l.Token(), Data: []byte(h.String())}
		var err error
		if mode.Exclusive() {
			_, err = disk.Increment(write)
		} else {
			err = disk.Write(write)
		}
		if err != nil {
			return err
		}
	}
	return nil
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
