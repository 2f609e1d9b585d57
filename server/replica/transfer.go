package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// TransferLeadership hands leadership to the most up-to-date voter and returns
// nil when this server no longer leads. It is tried at most once per term and
// only towards a server heard from within TransferContact whose log holds every
// committed entry: a second attempt, or one towards a server that does not
// answer, can leave a leader that refuses commands for ever (raft issue 696).
// ErrTransferRefused: nothing was tried. While it runs, Propose answers ErrNotLeader.
func (r *Replica) TransferLeadership(ctx context.Context) error {
	if err := r.mayPropose(); err != nil {
		return err
	}
	target, err := r.claimTransfer()
	if err != nil {
		return err
	}
	r.log.Info("handing leadership over", slog.String("server", target.Name))
	err = r.ask(ctx, func() raft.Future {
		return r.raft.LeadershipTransferToServer(raft.ServerID(target.Name), raft.ServerAddress(target.Addr))
	})
	if r.raft.State() != raft.Leader || errors.Is(err, ErrNotLeader) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("leadership not handed over to %s: %w", target.Name, err)
	}
	return nil
}

// claimTransfer uses up this term's attempt and picks the target.
func (r *Replica) claimTransfer() (PeerStatus, error) {
	r.transferMu.Lock()
	defer r.transferMu.Unlock()
	l := r.leadershipNow()
	if !l.Leading {
		return PeerStatus{}, ErrNotLeader
	}
	if r.transferTerm == l.Term {
		return PeerStatus{}, fmt.Errorf("%w: it was tried before in term %d", ErrTransferRefused, l.Term)
	}
	committed := r.raft.CommitIndex()
	var best PeerStatus
	for _, p := range r.peerStatus(l) {
		ok := p.Voter && !p.Self && p.LastContact >= 0 && p.LastContact < r.cfg.TransferContact && p.MatchIndex >= committed
		if ok && (best.Name == "" || p.MatchIndex > best.MatchIndex) {
			best = p
		}
	}
	if best.Name == "" {
		return PeerStatus{}, fmt.Errorf("%w: no other server has answered within %v and holds all %d entries", ErrTransferRefused, r.cfg.TransferContact, committed)
	}
	r.transferTerm = l.Term
	return best, nil
}

// stallWatch notices a leader that refuses commands because of a hand-over that
// never ends.
type stallWatch struct {
	mu    sync.Mutex
	since time.Time
}

func (w *stallWatch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Time{}
}

// observe takes raft's answer to a command.
func (w *stallWatch) observe(r *Replica, err error) {
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		w.reset()
		return
	}
	w.mu.Lock()
	now := time.Now()
	if w.since.IsZero() {
		w.since = now
	}
	stuck := now.Sub(w.since)
	w.mu.Unlock()
	if stuck > r.cfg.TransferStallLimit {
		r.Fail(fmt.Errorf("this server leads and has refused every command for %v because of a hand-over that does not end", stuck))
	}
}
