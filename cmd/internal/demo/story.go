package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// stepLimit bounds each wait of the story; far more than a step takes.
const stepLimit = 30 * time.Second

// story is one run of the demo's main story.
type story struct {
	*report
	c      *cluster
	master string
}

// tell runs the whole story.
func (s *story) tell(ctx context.Context) error {
	return run(ctx, s.begin, s.work, s.stopInTheMiddle, s.killMasterInRecovery, s.rejoin, s.finish)
}

// run takes one step after the other.
func run(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// begin starts servers and nodes.
func (s *story) begin(ctx context.Context) error {
	for _, name := range s.c.servers {
		if err := s.c.startServer(name); err != nil {
			return err
		}
	}
	s.note("servers", "three lock_gulmd started: %v", s.c.servers)
	st, err := s.c.await(ctx, stepLimit, "a master", func(*gulmv1.StatusReply) bool { return true })
	if err != nil {
		return err
	}
	s.master = st.GetServer()
	s.note("master", "%s is elected master (term %d)", s.master, st.GetTerm())
	for _, name := range s.c.nodes {
		p, err := s.c.startNode(name)
		if err != nil {
			return err
		}
		if _, err := p.await(stepLimit, "ready"); err != nil {
			return err
		}
	}
	disk := "file"
	if s.c.journals > 0 {
		disk = "folder"
	}
	s.note("nodes", "nodes %v logged in; they share one %s as their disk", s.c.nodes, disk)
	return nil
}

// work lets all nodes take turns for a moment.
func (s *story) work(ctx context.Context) error {
	for _, name := range s.c.nodes {
		if err := s.c.proc(name).say("work"); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
	}
	for _, name := range s.c.nodes {
		p := s.c.proc(name)
		if err := p.say("rest"); err != nil {
			return err
		}
		if _, err := p.await(stepLimit, "resting"); err != nil {
			return err
		}
	}
	v, err := checkDisk(s.c.disk())
	s.note("work", "the nodes took turns under one exclusive lock: %d records", v.Records)
	return err
}

// hold makes a node take the lock and keep writing.
func (s *story) hold(name string) (message, error) {
	p := s.c.proc(name)
	if err := p.say("hold"); err != nil {
		return message{}, err
	}
	return p.await(stepLimit, "granted")
}

// queue makes a node ask for the lock that another one holds.
func (s *story) queue(ctx context.Context, name string) error {
	if err := s.c.proc(name).say("hold"); err != nil {
		return err
	}
	_, err := s.c.await(ctx, stepLimit, "a waiter", func(st *gulmv1.StatusReply) bool { return st.GetWaiters() > 0 })
	if err == nil {
		s.note("waiting", "%s asks for the lock and waits", name)
	}
	return err
}

// freeze stops a node in the middle of a write.
func (s *story) freeze(name string) error {
	p := s.c.proc(name)
	if err := p.say("freeze"); err != nil {
		return err
	}
	m, err := p.await(stepLimit, "frozen")
	if err == nil {
		s.noteAt(m.At, "stopped", "%s is stopped (SIGSTOP) between looking at its lock and writing; it believes that it holds token %d", name, m.Token)
	}
	return err
}

// expired waits until a node is declared dead.
func (s *story) expired(ctx context.Context, name string) error {
	st, err := s.c.await(ctx, stepLimit, "the expiry of "+name, func(st *gulmv1.StatusReply) bool {
		return nodeOf(st, name).GetState() != gulmv1.NodeState_NODE_STATE_LOGGED_IN
	})
	if err == nil {
		n := nodeOf(st, name)
		s.noteAt(n.GetFence().GetWantedMs(), "expired", "%s declares %s dead: %s; its locks stay frozen, its fence is wanted",
			st.GetServer(), name, n.GetFence().GetReason())
	}
	return err
}

// handover waits until a dead node's fence is proved and the waiter has the
// lock, and checks the order of the two.
func (s *story) handover(ctx context.Context, dead, waiter string) error {
	granted, err := s.c.proc(waiter).await(stepLimit, "granted")
	if err != nil {
		return err
	}
	st, err := s.c.await(ctx, stepLimit, "the proof of the fence of "+dead, func(st *gulmv1.StatusReply) bool {
		return nodeOf(st, dead).GetFence().GetState() == gulmv1.FenceState_FENCE_STATE_PROVED
	})
	if err != nil {
		return err
	}
	f := nodeOf(st, dead).GetFence()
	proof := s.tellAttempts(dead, f)
	s.noteAt(f.GetSettledMs(), "fenced", "the fence of %s is proved by %s and committed; its locks are released", dead, f.GetBy())
	s.noteAt(granted.At, "granted", "%s gets the lock with token %d", waiter, granted.Token)
	s.promise(proof > 0 && proof <= f.GetSettledMs() && f.GetSettledMs() <= granted.At,
		"the fence of %s succeeded before %s got its lock", dead, waiter)
	p := s.c.proc(dead)
	if err := p.ended(stepLimit); err != nil {
		return err
	}
	err = p.signal(syscall.SIGCONT)
	s.promise(errors.Is(err, os.ErrProcessDone), "the late writes of %s are impossible: SIGCONT finds nobody (%v)", dead, err)
	s.fences++
	return nil
}

// tellAttempts tells what the fence of a node came through and returns when an
// agent succeeded, 0 if none did.
func (s *story) tellAttempts(node string, f *gulmv1.Fence) int64 {
	proof := int64(0)
	for _, a := range f.GetAttempts() {
		end := a.GetStartMs() + a.GetDurationMs()
		s.noteAt(end, "fence", "%s by %s/%s: %s (%s)", node, a.GetMethod(), a.GetDevice(), a.GetAgent(), a.GetOutcome())
		if a.GetOutcome() == "ok" {
			proof = end
		}
	}
	return proof
}

// stopInTheMiddle is the first recovery.
func (s *story) stopInTheMiddle(ctx context.Context) error {
	m, err := s.hold("n1")
	if err != nil {
		return err
	}
	s.noteAt(m.At, "granted", "n1 takes the exclusive lock with token %d and keeps writing", m.Token)
	if err := s.queue(ctx, "n2"); err != nil {
		return err
	}
	if err := s.freeze("n1"); err != nil {
		return err
	}
	if err := s.expired(ctx, "n1"); err != nil {
		return err
	}
	return s.handover(ctx, "n1", "n2")
}

// killMasterInRecovery is the second recovery, which one master begins and
// another one finishes.
func (s *story) killMasterInRecovery(ctx context.Context) error {
	if err := s.queue(ctx, "n3"); err != nil {
		return err
	}
	if err := s.freeze("n2"); err != nil {
		return err
	}
	if err := s.expired(ctx, "n2"); err != nil {
		return err
	}
	old := s.master
	s.c.proc(old).kill()
	s.note("killed", "%s, the master, is killed (SIGKILL) while it fences n2", old)
	st, err := s.c.await(ctx, stepLimit, "the next master", func(st *gulmv1.StatusReply) bool { return st.GetServer() != old })
	if err != nil {
		return err
	}
	s.master = st.GetServer()
	s.note("master", "%s is the next master (term %d); it finds the fence of n2 wanted and not proved", s.master, st.GetTerm())
	if err := s.handover(ctx, "n2", "n3"); err != nil {
		return err
	}
	if err := s.c.startServer(old); err != nil {
		return err
	}
	_, err = s.c.await(ctx, stepLimit, "the return of "+old, func(*gulmv1.StatusReply) bool {
		st, err := s.c.status(ctx, old)
		return err == nil && st.GetRole() == gulmv1.ServerRole_SERVER_ROLE_STANDBY
	})
	if err == nil {
		s.note("standby", "%s is back and follows %s", old, s.master)
	}
	return err
}

// rejoin boots the dead nodes again.
func (s *story) rejoin(ctx context.Context) error {
	if err := s.c.proc("n3").say("release"); err != nil {
		return err
	}
	for _, name := range []string{"n1", "n2"} {
		p, err := s.c.startNode(name)
		if err != nil {
			return err
		}
		if _, err := p.await(stepLimit, "ready"); err != nil {
			return err
		}
	}
	s.note("nodes", "n1 and n2 have booted and logged in as new incarnations")
	return s.work(ctx)
}

// stopAll ends everything in good order.
func (s *story) stopAll() error {
	for _, name := range s.c.nodes {
		p := s.c.proc(name)
		if err := p.say("quit"); err != nil {
			return err
		}
		if _, err := p.await(stepLimit, "done"); err != nil {
			return err
		}
		if err := p.ended(stepLimit); err != nil {
			return err
		}
	}
	if err := s.c.stopServers(); err != nil {
		return err
	}
	s.note("stopped", "nodes logged out, servers stopped")
	return nil
}

// finish ends everything and checks the file.
func (s *story) finish(context.Context) error {
	if err := s.stopAll(); err != nil {
		return err
	}
	v, err := checkDisk(s.c.disk())
	if err != nil {
		return err
	}
	s.Disk = v
	s.promise(v.Records > 0 && v.Unprotected == 0, "records whose lock was not held: %d of %d", v.Unprotected, v.Records)
	s.promise(v.Gaps == 0, "records lost: %d", v.Gaps)
	return nil
}

// leaseStory is the first part of the story with a lease instead of a fence. It
// returns what the check of the file found.
func (s *story) leaseStory(ctx context.Context) error {
	server, err := newLeaseServer()
	if err != nil {
		return err
	}
	defer server.close()
	path := filepath.Join(s.c.dir, "lease-disk")
	startNode := func(name string) (*child, error) {
		p, err := start("lease-"+name, s.c.bin(AsNode), s.c.log("lease-"+name), true, "--name", name, "--disk", path, "--lease", server.address())
		if err == nil {
			s.c.keep(p)
			_, err = p.await(stepLimit, "ready")
		}
		return p, err
	}
	n1, err := startNode("n1")
	if err != nil {
		return err
	}
	n2, err := startNode("n2")
	if err != nil {
		return err
	}
	if err := s.leaseTurns(ctx, n1, n2); err != nil {
		return err
	}
	v, err := checkDisk(path)
	if err != nil {
		return err
	}
	s.Lease = &v
	s.note("lease", "records whose lock was not held: %d of %d", v.Unprotected, v.Records)
	for _, e := range v.Examples {
		s.note("lease", "%s", e)
	}
	return nil
}

// leaseTurns stops the holder, lets its lease end, and wakes it up again.
func (s *story) leaseTurns(ctx context.Context, n1, n2 *child) error {
	if err := n1.say("hold"); err != nil {
		return err
	}
	first, err := n1.await(stepLimit, "granted")
	if err != nil {
		return err
	}
	s.noteAt(first.At, "lease", "the same with a lease of %v: n1 takes it with token %d", leaseTime, first.Token)
	if err := errors.Join(n2.say("hold"), n1.say("freeze")); err != nil {
		return err
	}
	stopped, err := n1.await(stepLimit, "frozen")
	if err != nil {
		return err
	}
	s.noteAt(stopped.At, "lease", "n1 is stopped (SIGSTOP) between looking at its lease and writing")
	second, err := n2.await(stepLimit, "granted")
	if err != nil {
		return err
	}
	s.noteAt(second.At, "lease", "the timer ends and n2 gets the lease with token %d: nobody has asked what n1 is about to do", second.Token)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(500 * time.Millisecond): // n2 writes
	}
	if err := n1.signal(syscall.SIGCONT); err != nil {
		return err
	}
	thawed, err := n1.await(stepLimit, "thawed")
	if err != nil {
		return err
	}
	s.noteAt(thawed.At, "lease", "n1 goes on where it was, and writes")
	if _, err := n1.await(stepLimit, "lost"); err != nil {
		return err
	}
	if err := n2.say("release"); err != nil {
		return err
	}
	if _, err := n2.await(stepLimit, "released"); err != nil {
		return err
	}
	for _, p := range []*child{n1, n2} {
		if err := p.say("quit"); err != nil {
			return err
		}
		if err := p.ended(stepLimit); err != nil {
			return fmt.Errorf("lease story: %w", err)
		}
	}
	return nil
}
