package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"lock_gulmd/client"
)

// writePause is between the look at the lock and the write that follows it: the
// moment in which a machine that stops is dangerous.
const writePause = 10 * time.Millisecond

// signalTime is more than a signal needs to reach its own process.
const signalTime = 20 * time.Millisecond

// locker is the lock that the nodes write under: lock_gulmd's, or the lease that
// it is compared with.
type locker interface {
	lock(ctx context.Context) (held, error)
	close() error
}

// held is a lock that was granted.
type held interface {
	// valid returns nil while the holder may believe that it holds the lock.
	valid() error
	token() uint64
	unlock() error
}

// NodeMain is the program of one node. It does as it is told on standard input:
// "work" (lock, write, unlock, again and again), "hold" (lock and keep writing),
// "freeze" (stop in the middle of the next write, as SIGSTOP stops a machine),
// "release", "quit". With --journals it mounts a file system: see mounted.
func NodeMain(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	n := &node{out: json.NewEncoder(stdout), commands: make(chan string)}
	flags := flag.NewFlagSet(AsNode, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&n.name, "name", "", "this node")
	flags.IntVar(&n.life, "life", 1, "which life of it")
	path := flags.String("disk", "", "the shared file")
	servers := flags.String("servers", "", "lock servers, or nothing")
	lease := flags.String("lease", "", "the lease server, or nothing")
	journals := flags.Int("journals", 0, "mount a file system with so many journals in the folder of the disk")
	if flags.Parse(args) != nil {
		return 2
	}
	run := func(ctx context.Context) error { return n.run(ctx, *path, *servers, *lease) }
	if *journals > 0 {
		run = func(ctx context.Context) error { return n.runMounted(ctx, *path, *servers, *journals) }
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go n.read(stdin, cancel) // ends with the process: a read of standard input cannot be given up
	if err := run(ctx); err != nil {
		n.say(message{What: "failed", Text: err.Error()})
		fmt.Fprintln(stderr, err)
		return 1
	}
	n.say(message{What: "done"})
	return 0
}

type node struct {
	name     string
	life     int
	seq      int
	disk     *disk
	locks    locker
	commands chan string

	mu  sync.Mutex
	out *json.Encoder
}

// say tells the demo something, with the time.
func (n *node) say(m message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m.At = time.Now().UnixMilli()
	_ = n.out.Encode(m) // a demo that has gone needs no more news
}

func (n *node) run(ctx context.Context, path, servers, lease string) error {
	var err error
	if n.disk, err = openDisk(path); err != nil {
		return err
	}
	if lease != "" {
		n.locks = &leaseLocker{address: lease, node: n.name}
	} else {
		space, err := n.dial(ctx, servers)
		if err != nil {
			return err
		}
		n.locks = &gulmLocker{space}
	}
	n.say(message{What: "ready"})
	if err := n.obey(ctx); err != nil {
		return err
	}
	return n.locks.close()
}

// read hands the commands on; the end of standard input means that the demo has
// gone.
func (n *node) read(stdin io.Reader, cancel context.CancelFunc) {
	defer cancel()
	for scanner := bufio.NewScanner(stdin); scanner.Scan(); {
		n.commands <- scanner.Text()
	}
}

// obey does what it is told until "quit".
func (n *node) obey(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case command := <-n.commands:
			var err error
			switch command {
			case "work":
				err = n.work(ctx)
			case "hold":
				err = n.hold(ctx)
			case "quit":
				return nil
			}
			if errors.Is(err, errQuit) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

var errQuit = errors.New("told to quit")

// work locks, writes three records and unlocks, until told to rest or quit.
func (n *node) work(ctx context.Context) error {
	for {
		h, err := n.locks.lock(ctx)
		if err != nil {
			return err
		}
		for range 3 {
			if err := n.write(h, false); err != nil {
				return err
			}
		}
		if err := h.unlock(); err != nil {
			return err
		}
		select {
		case command := <-n.commands:
			n.say(message{What: "resting"})
			if command == "quit" {
				return errQuit
			}
			return nil
		default:
		}
	}
}

// hold locks and keeps writing until told to release the lock.
func (n *node) hold(ctx context.Context) error {
	n.say(message{What: "waiting"})
	h, err := n.locks.lock(ctx)
	if err != nil {
		return err
	}
	n.say(message{What: "granted", Token: h.token()})
	for {
		freeze := false
		select {
		case command := <-n.commands:
			if command == "release" {
				err := h.unlock()
				n.say(message{What: "released"})
				return err
			}
			freeze = command == "freeze"
		default:
		}
		if err := h.valid(); err != nil {
			n.say(message{What: "lost", Text: err.Error()})
			return nil
		}
		if err := n.write(h, freeze); err != nil {
			return err
		}
	}
}

// write appends one record. A careful holder has looked at its lock just
// before; what happens between the look and the write, it cannot know.
func (n *node) write(h held, freeze bool) error {
	if err := n.linger(freeze, h.token()); err != nil {
		return err
	}
	n.seq++
	return n.disk.append(record{Node: n.name, Life: n.life, Seq: n.seq, Token: h.token()})
}

// linger takes the time of a write, and stops in the middle of it if it is to.
func (n *node) linger(freeze bool, token uint64) error {
	time.Sleep(writePause / 2)
	if freeze {
		if err := n.freeze(message{What: "frozen", Token: token}); err != nil {
			return err
		}
		n.say(message{What: "thawed", Token: token})
	}
	time.Sleep(writePause / 2)
	return nil
}

// freeze says so and stops the process, until somebody continues it.
func (n *node) freeze(last message) error {
	n.say(last)
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(signalTime)
	return nil
}

// dial logs in with the client library and joins the demo's lockspace.
func (n *node) dial(ctx context.Context, servers string) (*client.Lockspace, error) {
	cl, err := client.Dial(ctx, client.Config{
		Cluster: clusterName, Node: n.name, Servers: strings.Split(servers, ","),
		BootID: fmt.Sprintf("%s-%d", n.name, n.life), Process: AsNode,
	})
	if err != nil {
		return nil, err
	}
	return cl.Join(ctx, lockspaceName, client.JoinOptions{})
}

// gulmLocker takes lock_gulmd's locks.
type gulmLocker struct{ space *client.Lockspace }

func (g *gulmLocker) lock(ctx context.Context) (held, error) {
	l, err := g.space.Lock(ctx, "journal", client.EX)
	if err != nil {
		return nil, err
	}
	return gulmHeld{l}, nil
}

func (g *gulmLocker) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return g.space.Node().Logout(ctx)
}

type gulmHeld struct{ lock *client.Lock }

func (h gulmHeld) valid() error  { return h.lock.Valid() }
func (h gulmHeld) token() uint64 { return h.lock.Token() }
func (h gulmHeld) unlock() error { return h.lock.Unlock() }
