package gulmtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"lock_gulmd/client"
)

// Node is one simulated machine that uses locks. Each Boot begins a life, which
// ends when its power is cut, when it is killed, or when its program ends.
type Node struct {
	// Name is the node's.
	Name string

	c *Cluster

	mu          sync.Mutex
	lives       int
	incarnation uint64
	life        *Life
	cancel      context.CancelFunc // of the present life
	done        chan struct{}      // closed when the present life has ended
}

func newNode(c *Cluster, name string) *Node { return &Node{Name: name, c: c} }

// Incarnation returns the newest one that has logged in, 0 if none ever did.
func (n *Node) Incarnation() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.incarnation
}

// Up reports whether a life is running.
func (n *Node) Up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.done != nil && !isClosed(n.done)
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// Boot switches the node on and runs program in a new life; ctx ends when the
// life does. A node that is up is left alone, and false returned.
func (n *Node) Boot(program func(ctx context.Context, life *Life)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done != nil && !isClosed(n.done) {
		return false
	}
	n.c.Net.Host(n.Name).Start()
	// What earlier lives did not end cannot go on on a machine that boots.
	n.c.Disk.Fenced(n.Name, n.incarnation)
	n.lives++
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.cancel, n.done = cancel, done
	life := &Life{node: n, ctx: ctx, bootID: fmt.Sprintf("boot-%s-%d", n.Name, n.lives)}
	n.life = life
	go func() {
		defer close(done)
		defer cancel()
		program(ctx, life)
		life.end()
	}()
	return true
}

// clients returns what the present life has dialled.
func (n *Node) clients() []*client.Node {
	n.mu.Lock()
	life := n.life
	n.mu.Unlock()
	if life == nil {
		return nil
	}
	life.mu.Lock()
	defer life.mu.Unlock()
	return slices.Clone(life.clients)
}

// die ends the present life without waiting: nothing of it acts any more.
func (n *Node) die() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cancel != nil {
		n.cancel()
	}
}

// Kill ends the present life as a crash of the machine does: silently.
func (n *Node) Kill() {
	n.die()
	n.c.Net.Host(n.Name).PowerOff()
	n.c.Disk.Died(n.Name, n.Incarnation())
}

// wait waits until the present life has ended.
func (n *Node) wait() {
	n.mu.Lock()
	done := n.done
	n.mu.Unlock()
	if done != nil {
		<-done
	}
}

// Life is one life of a node.
type Life struct {
	node   *Node
	ctx    context.Context // ends with the life
	bootID string

	mu      sync.Mutex
	clients []*client.Node
}

// Node returns the machine that lives.
func (l *Life) Node() *Node { return l.node }

// Dial logs in with the real client library. The client is closed, without a
// logout, when the life ends. change may change its configuration before.
func (l *Life) Dial(ctx context.Context, change ...func(*client.Config)) (*client.Node, error) {
	var servers []string
	for _, s := range l.node.c.Config.Servers() {
		servers = append(servers, s.CoreAddr)
	}
	cfg := client.Config{
		Cluster: l.node.c.Config.Name, Node: l.node.Name, Servers: servers, BootID: l.bootID, Process: "sim", Container: new(bool),
		Probes: []client.Probe{}, Dialer: l.node.c.dialer(l.node.Name), Log: l.node.c.opt.Log.With("host", l.node.Name),
	}
	for _, f := range change {
		f(&cfg)
	}
	cl, err := client.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	l.node.mu.Lock()
	l.node.incarnation = max(l.node.incarnation, cl.Incarnation())
	l.node.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients = append(l.clients, cl)
	return cl, nil
}

// Await returns while the machine is not paused, or with an error once the life
// has ended. Call it before every act that a stopped machine could not do.
func (l *Life) Await(ctx context.Context) error { return l.node.c.Net.Host(l.node.Name).Await(ctx) }

// end closes what the life opened.
func (l *Life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, cl := range l.clients {
		_ = cl.Close() // the machine is off: there is nobody to tell
	}
}
