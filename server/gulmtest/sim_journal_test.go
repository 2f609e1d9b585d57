package gulmtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lock_gulmd/client"
)

// volume judges what nodes do with a file system that has journals: it knows what
// each life held when it died, and whether its journal was replayed since.
type volume struct {
	c *Cluster

	mu        sync.Mutex
	dead      map[string]bool   // lives that were ended
	held      map[string]string // resource: life that has it
	owed      map[string]string // resource: dead life whose journal is not replayed
	replaying map[int]string    // jid: life that replays it
	faults    []string
	locked    int
	replayed  int
	firsts    int
}

func lifeName(node string, incarnation uint64) string { return fmt.Sprintf("%s/%d", node, incarnation) }

func (v *volume) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

// took is called when a lock was granted.
func (v *volume) took(life, resource string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.locked++
	if dead := v.owed[resource]; dead != "" {
		v.fault("%s was granted %s, which %s held when it died, and its journal is not replayed", life, resource, dead)
	}
	if other := v.held[resource]; other != "" {
		v.fault("%s was granted %s, which %s holds", life, resource, other)
	}
	v.held[resource] = life
}

func (v *volume) gives(life, resource string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.held[resource] == life {
		delete(v.held, resource)
	}
}

// kill ends a node's life; what it holds is owed.
func (v *volume) kill(node string) {
	v.c.Node(node).Kill()
	v.mu.Lock()
	defer v.mu.Unlock()
	life := lifeName(node, v.c.Node(node).Incarnation())
	v.dead[life] = true
	for resource, holder := range v.held {
		if holder == life {
			v.owed[resource] = life
			delete(v.held, resource)
		}
	}
	for jid, by := range v.replaying {
		if by == life {
			delete(v.replaying, jid)
		}
	}
}

// replay replays a journal, which takes a while.
func (v *volume) replay(ctx context.Context, rnd *rand.Rand, me string, r client.Recovery) error {
	v.mu.Lock()
	dead := lifeName(r.Node, r.Incarnation)
	if !v.dead[dead] {
		v.fault("%s is to replay journal %d of %s, which runs", me, r.JID, dead)
	}
	if other := v.replaying[r.JID]; other != "" {
		v.fault("%s replays journal %d while %s does", me, r.JID, other)
	}
	v.replaying[r.JID] = me
	pause := time.Duration(rnd.IntN(4000)) * time.Millisecond
	v.mu.Unlock()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pause):
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	delete(v.replaying, r.JID)
	v.clean(func(owner string) bool { return owner == dead })
	v.replayed++
	return nil
}

// clean forgets what is owed by some dead lives.
func (v *volume) clean(whose func(life string) bool) {
	for resource, life := range v.owed {
		if whose(life) {
			delete(v.owed, resource)
		}
	}
}

// run is what a node does from its boot on.
func (v *volume) run(ctx context.Context, life *Life, rnd *rand.Rand, journals int) error {
	n, err := life.Dial(ctx)
	if err != nil {
		return err
	}
	ls, err := n.Join(ctx, "gfs", client.JoinOptions{})
	if err != nil {
		return err
	}
	me := lifeName(n.Name(), n.Incarnation())
	m, err := ls.Mount(ctx, client.MountOptions{Journals: journals, OnRecover: func(ctx context.Context, r client.Recovery) error {
		return v.replay(ctx, rnd, me, r)
	}})
	if err != nil {
		return err
	}
	if m.First() {
		v.mu.Lock()
		v.clean(func(string) bool { return true })
		v.firsts++
		v.mu.Unlock()
		if err := m.OthersMayMount(ctx); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		v.mu.Lock()
		resource, hold := fmt.Sprint("r", rnd.IntN(6)), time.Duration(rnd.IntN(1500))*time.Millisecond
		v.mu.Unlock()
		l, err := ls.Lock(ctx, resource, client.EX)
		if err != nil {
			return err
		}
		v.took(me, resource)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(hold):
		}
		v.gives(me, resource)
		if err := l.Unlock(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// boot switches a node on.
func (v *volume) boot(name string, seed uint64, journals int) {
	v.c.Node(name).Boot(func(ctx context.Context, life *Life) {
		_ = v.run(ctx, life, rand.New(rand.NewPCG(seed, hashOf(name))), journals)
	})
}

// TestSimulation_journals: S2 while nodes that have a file system mounted, and
// masters, die at any moment: nobody gets what a dead node held before its journal
// is replayed, no journal is replayed by two, none of a node that runs, and all go
// on in the end.
func TestSimulation_journals(t *testing.T) {
	const nodes = 4
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	replayed, firsts := 0, 0
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			c := NewCluster(t, seed, ClusterOptions{Nodes: nodes})
			defer c.Close()
			c.StartAll()
			c.AwaitMaster(time.Minute)
			v := &volume{c: c, dead: map[string]bool{}, held: map[string]string{}, owed: map[string]string{}, replaying: map[int]string{}}
			rnd := rand.New(rand.NewPCG(seed, 7))
			for _, name := range c.NodeNames() {
				v.boot(name, seed, nodes)
			}
			for i := range 25 {
				time.Sleep(time.Duration(1000+rnd.IntN(14_000)) * time.Millisecond)
				name := c.NodeNames()[rnd.IntN(nodes)]
				switch master := c.Master(); {
				case rnd.IntN(6) == 0 && master != "":
					c.KillServer(master)
					time.Sleep(time.Duration(rnd.IntN(8000)) * time.Millisecond)
					c.StartServer(master)
				case c.Node(name).Up():
					v.kill(name)
				default:
					v.boot(name, seed+uint64(i)*100, nodes)
				}
			}
			for _, name := range c.NodeNames() {
				if !c.Node(name).Up() {
					v.boot(name, seed+9999, nodes)
				}
			}
			time.Sleep(2 * time.Minute)
			v.mu.Lock()
			before := v.locked
			v.mu.Unlock()
			time.Sleep(time.Minute)
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.locked < before+20 || len(v.owed) > 0 {
				t.Errorf("seed %d: %d locks in a minute, owed %v", seed, v.locked-before, v.owed)
			}
			for _, f := range v.faults {
				t.Errorf("seed %d: %s", seed, f)
			}
			replayed, firsts = replayed+v.replayed, firsts+v.firsts
		})
	}
	t.Logf("%d journals replayed by survivors, %d first mounters", replayed, firsts)
	if replayed < int(seeds) {
		t.Error("hardly any journal was ever replayed")
	}
}
