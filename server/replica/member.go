package replica

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// caughtUpPoll is how often Add looks whether the new server has caught up.
const caughtUpPoll = 50 * time.Millisecond

// Remove takes the server called name out of the cluster: it neither votes nor
// counts any more. It is the first step of replacing a server's disk and must be
// called on the leader. It returns when the change is committed.
func (r *Replica) Remove(ctx context.Context, name string) error {
	if name == r.cfg.Server {
		return fmt.Errorf("server %s cannot remove itself: hand leadership over and remove it on the new leader", name)
	}
	if err := r.change(ctx, func() raft.Future { return r.raft.RemoveServer(raft.ServerID(name), 0, 0) }); err != nil {
		return fmt.Errorf("server %s not removed: %w", name, err)
	}
	r.log.Info("server removed from the cluster", slog.String("server", name))
	return nil
}

// Add takes a configured server that was removed before into the cluster again:
// it gets the data first and its vote when it has caught up. Call it on the
// leader, after Remove has returned and Readmit was called on every other server.
// It may be repeated after an error.
func (r *Replica) Add(ctx context.Context, name string) error {
	p, ok := r.cfg.peer(name)
	if !ok || name == r.cfg.Server {
		return fmt.Errorf("server %s cannot be added by server %s: give the name of another configured server", name, r.cfg.Server)
	}
	id, addr := raft.ServerID(name), raft.ServerAddress(p.RaftAddr)
	for _, s := range r.raft.GetConfiguration().Configuration().Servers {
		if s.ID == id && s.Suffrage == raft.Voter {
			return fmt.Errorf("server %s is a voter already: remove it first, its new disk does not know what the old one promised", name)
		}
	}
	if err := r.change(ctx, func() raft.Future { return r.raft.AddNonvoter(id, addr, 0, 0) }); err != nil {
		return fmt.Errorf("server %s not added: %w", name, err)
	}
	if err := r.awaitCaughtUp(ctx, name); err != nil {
		return fmt.Errorf("server %s added, but without a vote: %w", name, err)
	}
	if err := r.change(ctx, func() raft.Future { return r.raft.AddVoter(id, addr, 0, 0) }); err != nil {
		return fmt.Errorf("server %s added, but without a vote: %w", name, err)
	}
	r.log.Info("server added to the cluster", slog.String("server", name))
	return nil
}

func (r *Replica) change(ctx context.Context, call func() raft.Future) error {
	if err := r.mayPropose(); err != nil {
		return err
	}
	return r.ask(ctx, call)
}

// awaitCaughtUp waits until the server holds everything that is committed now.
func (r *Replica) awaitCaughtUp(ctx context.Context, name string) error {
	goal := r.raft.CommitIndex()
	for {
		l := r.leadershipNow()
		if !l.Leading {
			return ErrNotLeader
		}
		if c, ok := r.transport.contact(name, l.Term); ok && c.match >= goal {
			return nil
		}
		select {
		case <-time.After(caughtUpPoll):
		case <-r.stop:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
