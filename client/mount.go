package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// ErrLater is what MountOptions.OnRecover returns if the journal is being
// replayed elsewhere and Mount.RecoveryDone will tell how that ended.
var ErrLater = errors.New("the end of the recovery is told later")

// Recovery is a journal to be replayed.
type Recovery struct {
	// JID is the journal.
	JID int
	// Node and Incarnation tell who left it last.
	Node        string
	Incarnation uint64
}

// MountOptions says how a file system is mounted.
type MountOptions struct {
	// Journals is how many journals the file system has, 1 to 1024. A spectator
	// may leave it 0.
	Journals int
	// Spectator mounts read-only: without a journal, never first, and it replays
	// nothing.
	Spectator bool
	// OnRecover replays the journal of a node that failed, or gave the file system
	// up; all who are not spectators need it. It is called in a goroutine of its
	// own for each journal, after the fence was proved. Locks that it takes
	// DuringRecovery pass what the dead left.
	//
	// nil says that the journal is replayed: what the dead node held is released
	// then. An error hands the journal to another node. ErrLater leaves the word
	// to RecoveryDone.
	//
	// ctx ends when this node must not write any more: with Unmount, Withdraw and
	// Logout, which wait until OnRecover has returned, and when the node's locks
	// are in doubt (cause ErrLost); in that case OnRecover is called again once
	// they are safe.
	OnRecover func(ctx context.Context, r Recovery) error
}

// mountPhase is where a mount is in its life.
type mountPhase uint8

const (
	mountAsked mountPhase = iota
	mountHeld
	mountOver
)

// Mount is a mounted file system. It ends with Unmount or Withdraw, or with the
// node.
type Mount struct {
	space *Lockspace
	opts  MountOptions
	// ctx ends what OnRecover does; replays waits for that.
	ctx     context.Context
	cancel  context.CancelCauseFunc
	replays sync.WaitGroup

	// The node's lock protects the rest.
	phase mountPhase
	req   *request
	// queued: the servers have said that it waits.
	queued bool
	jid    int
	first  bool
	err    error
	// settled is closed when the mount has an answer.
	settled chan struct{}
	// at hand are the journals that are being replayed.
	atHand map[int]bool
}

// Mount mounts the file system that the lockspace stands for, and waits as long
// as ctx allows until that may begin: for the first mounter, who replays all
// journals, and for the fences of those who had it mounted before. The first
// mounter (Mount.First) replays all journals and then calls OthersMayMount.
//
// Errors: ErrInvalid; ErrMounted if this node has mounted it already, be it in
// another process; ErrNoJournal if every journal belongs to a live node;
// gulmerr.ErrPolicy if the file system had more journals before; gulmerr.ErrNoProof
// under PolicyLease; ErrNoLockspace;
// ctx's, after which the request is withdrawn; what ended the session.
func (ls *Lockspace) Mount(ctx context.Context, opts MountOptions) (*Mount, error) {
	m, err := ls.startMount(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("mount %q: %w", ls.name, err)
	}
	n := ls.node
	select {
	case <-m.settled:
	case <-ctx.Done():
		if m.giveUp() {
			return nil, fmt.Errorf("mount %q: %w", ls.name, context.Cause(ctx))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.err != nil {
		return nil, fmt.Errorf("mount %q: %w", ls.name, m.err)
	}
	n.log.Info("mounted", "lockspace", ls.name, "jid", m.jid, "first", m.first)
	return m, nil
}

func (ls *Lockspace) startMount(ctx context.Context, opts MountOptions) (*Mount, error) {
	if opts.Journals < 0 || !opts.Spectator && (opts.Journals == 0 || opts.OnRecover == nil) {
		return nil, gulmerr.New(ErrInvalid, "a mount needs Journals and OnRecover, unless it is a spectator's")
	}
	slot, err := ls.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.end()
	n := ls.node
	if ls.mount != nil {
		return nil, ErrMounted
	}
	m := &Mount{space: ls, opts: opts, jid: -1, settled: make(chan struct{}), atHand: map[int]bool{}}
	m.ctx, m.cancel = context.WithCancelCause(n.ctx)
	flags := gulmv1.MountFlag_MOUNT_FLAG_NONE
	if opts.Spectator {
		flags = gulmv1.MountFlag_MOUNT_FLAG_SPECTATOR
	}
	m.req = &request{slot: slot.use(), done: m.answered, msg: &gulmv1.Request{
		Op: gulmv1.Op_OP_MOUNT, Lockspace: ls.number, Flags: uint32(flags), Journals: uint32(opts.Journals),
	}}
	ls.mount = m
	n.pipe.push(m.req)
	return m, nil
}

// answered takes the reply to MOUNT.
func (m *Mount) answered(reply *gulmv1.Reply, err error) {
	switch {
	case m.phase != mountAsked:
	case err == nil && reply.GetOutcome() == gulmv1.Outcome_OUTCOME_QUEUED:
		m.queued = true
	default:
		if err = refusal(reply, err, gulmv1.Outcome_OUTCOME_MOUNTED); err != nil {
			m.end(err)
			return
		}
		first := gulmv1.Status(reply.GetStatus())&gulmv1.Status_STATUS_FIRSTMOUNTER != 0
		m.begin(int(reply.GetNumber()), first)
	}
}

// begin: the mount has its journal.
func (m *Mount) begin(jid int, first bool) {
	m.phase, m.first = mountHeld, first
	if !m.opts.Spectator {
		m.jid = jid
	}
	close(m.settled)
}

// end forgets the mount.
func (m *Mount) end(err error) {
	if m.phase == mountAsked {
		close(m.settled)
	}
	m.phase, m.err = mountOver, err
	if m.space.mount == m {
		m.space.mount = nil
	}
	m.cancel(err)
}

// giveUp withdraws a mount that nobody waits for any more. It returns false if it
// has an answer.
func (m *Mount) giveUp() bool {
	n := m.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.phase != mountAsked {
		return false
	}
	if !n.pipe.withdraw(m.req) {
		n.pipe.push(&request{msg: &gulmv1.Request{Op: gulmv1.Op_OP_UNMOUNT, Lockspace: m.space.number}})
	}
	m.end(gulmerr.ErrCanceled)
	return true
}

// journalEvent takes news about a mount. What is said at the begin of a stream may
// be about a mount before the present one, which the servers do not know yet.
func (n *Node) journalEvent(e *gulmv1.JournalEvent) {
	for _, ls := range n.spaces {
		m := ls.mount
		if m == nil || ls.number != e.GetLockspace() {
			continue
		}
		known := m.queued || m.req.sent && m.req.msg.GetSeq() <= n.applied
		switch {
		case e.GetKind() == gulmv1.JournalEventKind_JOURNAL_EVENT_KIND_MOUNTED && m.phase == mountAsked && known:
			m.begin(int(e.GetJid()), e.GetFirst())
		case e.GetKind() == gulmv1.JournalEventKind_JOURNAL_EVENT_KIND_RECOVER && m.phase == mountHeld:
			m.recover(Recovery{JID: int(e.GetJid()), Node: e.GetNode(), Incarnation: e.GetIncarnation()})
		}
	}
}

// recover starts the replay of a journal, unless it is a repetition.
func (m *Mount) recover(r Recovery) {
	if m.atHand[r.JID] || m.opts.OnRecover == nil || m.ctx.Err() != nil {
		return
	}
	m.atHand[r.JID] = true
	m.replays.Add(1)
	m.space.node.replays.Go(func() {
		defer m.replays.Done()
		m.replay(r)
	})
}

// replay calls OnRecover and tells the servers how that ended.
func (m *Mount) replay(r Recovery) {
	n := m.space.node
	log := n.log.With("lockspace", m.space.name, "jid", r.JID, "failed", r.Node, "incarnation", r.Incarnation)
	for {
		if n.live.wait(m.ctx) != nil {
			return
		}
		log.Info("journal recovery begins")
		_, alive := n.live.current()
		ctx, cancel := context.WithCancelCause(m.ctx)
		stop := context.AfterFunc(alive, func() { cancel(context.Cause(alive)) })
		err := m.opts.OnRecover(ctx, r)
		doubtful := ctx.Err() != nil && m.ctx.Err() == nil
		stop()
		cancel(nil)
		switch {
		case errors.Is(err, ErrLater), m.ctx.Err() != nil:
			return
		case err != nil && doubtful:
			continue // it was this node that could not, for the moment
		}
		log.Info("journal recovery ended", "err", err)
		if err := m.RecoveryDone(m.ctx, r.JID, err); err != nil && m.ctx.Err() == nil {
			log.Warn("end of the journal recovery is not accepted", "err", err)
		}
		return
	}
}

// RecoveryDone tells how the recovery of a journal ended for which OnRecover
// returned ErrLater: failure nil says that the journal is replayed. Errors:
// gulmerr.ErrNotRecovering if the journal is not at hand; ctx's, after which it
// goes on by itself; what ended the mount or the session.
func (m *Mount) RecoveryDone(ctx context.Context, jid int, failure error) error {
	var text []byte
	if failure != nil {
		text = []byte(failure.Error())
		if len(text) == 0 {
			text = []byte("failed without a reason")
		}
		text = text[:min(len(text), maxValueLen)]
	}
	msg := &gulmv1.Request{Op: gulmv1.Op_OP_RECOVERED, Jid: uint32(jid), Value: text}
	err := m.ask(ctx, msg, func(error) { delete(m.atHand, jid) })
	if err != nil {
		return fmt.Errorf("recovery of journal %d of %q: %w", jid, m.space.name, err)
	}
	return nil
}

// OthersMayMount is for the first mounter: all journals are replayed. What failed
// nodes held in the lockspace is released, and others may mount. Errors:
// gulmerr.ErrNotRecovering if this is not the first mounter; ctx's, after which
// it goes on by itself; what ended the mount or the session.
func (m *Mount) OthersMayMount(ctx context.Context) error {
	err := m.ask(ctx, &gulmv1.Request{Op: gulmv1.Op_OP_MOUNTED}, func(err error) {
		if err == nil {
			m.first = false
		}
	})
	if err != nil {
		return fmt.Errorf("mount %q: %w", m.space.name, err)
	}
	return nil
}

// Unmount ends the mount cleanly: the caller has stopped all I/O and its journal
// needs no replay. Journals that it was replaying go to other nodes. The locks
// and the membership of the lockspace stay. Errors: ErrNotMounted if it has ended
// before; ctx's, after which it goes on by itself; what ended the session. Not to
// be called in OnRecover. After an error other than ErrNotMounted it can be called
// again.
func (m *Mount) Unmount(ctx context.Context) error {
	if err := m.stop(ctx); err != nil {
		return fmt.Errorf("unmount %q: %w", m.space.name, err)
	}
	if err := m.ask(ctx, &gulmv1.Request{Op: gulmv1.Op_OP_UNMOUNT}, m.ended); err != nil {
		return fmt.Errorf("unmount %q: %w", m.space.name, err)
	}
	return nil
}

// Withdraw gives the lockspace up as if the node had died there only: its journal
// is replayed by another node, and until then its locks there stay. The caller has
// stopped all I/O to the file system; it is not fenced for that. Locks and
// lockspace end at once for this process. The node cannot mount it again before
// its journal is recovered, but as the first mounter. Errors as of Unmount.
func (m *Mount) Withdraw(ctx context.Context) error {
	if err := m.stop(ctx); err != nil {
		return fmt.Errorf("withdraw from %q: %w", m.space.name, err)
	}
	ls := m.space
	n := ls.node
	n.mu.Lock()
	var ends []context.CancelCauseFunc
	if n.err == nil && m.phase == mountHeld {
		ls.phase, ls.settled = spaceLeaving, make(chan struct{})
		ends = ls.forgetLocks()
	}
	n.mu.Unlock()
	for _, end := range ends {
		end(ErrUnlocked)
	}
	err := m.ask(ctx, &gulmv1.Request{Op: gulmv1.Op_OP_WITHDRAW}, func(err error) {
		m.ended(err)
		ls.end(ErrNoLockspace)
	})
	if err != nil {
		return fmt.Errorf("withdraw from %q: %w", ls.name, err)
	}
	n.log.Warn("withdrawn", "lockspace", ls.name, "jid", m.jid)
	return nil
}

// ended takes the answer to UNMOUNT or WITHDRAW.
func (m *Mount) ended(error) {
	if m.phase != mountOver {
		m.end(ErrNotMounted)
	}
}

// stop ends what OnRecover does, and waits for it.
func (m *Mount) stop(ctx context.Context) error {
	n := m.space.node
	n.mu.Lock() // so that no replay begins meanwhile
	m.cancel(ErrNotMounted)
	n.mu.Unlock()
	over := make(chan struct{})
	go func() {
		m.replays.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask sends a request about the mount and waits for its answer; taken is called
// with it, the node's lock held.
func (m *Mount) ask(ctx context.Context, msg *gulmv1.Request, taken func(error)) error {
	n := m.space.node
	n.mu.Lock()
	if n.err != nil || m.phase != mountHeld {
		defer n.mu.Unlock()
		if n.err != nil {
			return n.err
		}
		return ErrNotMounted
	}
	msg.Lockspace = m.space.number
	answer := n.push(&request{msg: msg}, gulmv1.Outcome_OUTCOME_NOTED, taken)
	n.mu.Unlock()
	_, err := await(ctx, answer)
	return err
}

// JID returns the mount's journal, -1 for a spectator.
func (m *Mount) JID() int { return m.jid }

// First reports whether this mounter still has to replay all journals and to call
// OthersMayMount.
func (m *Mount) First() bool {
	n := m.space.node
	n.mu.Lock()
	defer n.mu.Unlock()
	return m.first
}

// Lockspace returns the lockspace that is mounted.
func (m *Mount) Lockspace() *Lockspace { return m.space }
