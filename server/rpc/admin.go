package rpc

import (
	"bytes"
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/master"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/state"
)

const (
	// maxResources is how many resources one Locks call lists at most.
	maxResources = 100_000
	// resourcesPerMessage bounds one message of a Locks call.
	resourcesPerMessage = 256
)

// Status returns this server's view of itself and the cluster.
func (e *Edge) Status(context.Context, *gulmv1.StatusRequest) (*gulmv1.StatusReply, error) {
	s := e.cfg.Replica.Status()
	reply := &gulmv1.StatusReply{
		Cluster: e.cfg.Cluster.Name, Server: e.cfg.Server, Role: roleToWire(e.cfg.Master.Role(s)), Term: s.Term, Master: s.Leader,
		Quorate: s.Quorate, Quorum: uint32(e.cfg.Cluster.Quorum()), CommitIndex: s.CommitIndex, AppliedIndex: s.AppliedIndex,
		UptimeMs: time.Since(e.started).Milliseconds(), Version: e.cfg.Version, Durability: e.cfg.Cluster.Lock.Durability,
	}
	e.cfg.Machine.View(func(st *state.State) {
		counts := st.Locks().Counts()
		reply.Locks, reply.Waiters = uint64(counts.Locks), uint64(counts.Waiting+counts.Converting)
		reply.Resources, reply.Lockspaces = uint64(counts.Resources), uint64(counts.Lockspaces)
		ranges := st.Locks().RangeCounts()
		reply.Ranges, reply.RangeWaiters, reply.RangeFiles = uint64(ranges.Ranges), uint64(ranges.Waiting), uint64(ranges.Files)
		reply.Sessions, reply.Digest = services(st), st.Digest()
		reply.Servers = e.serverStatus(s, st.ServersLeft())
		reply.Breaker = e.breaker(st.Breaker())
	})
	reply.Nodes = e.nodes()
	for _, n := range reply.GetNodes() {
		if n.GetState() == gulmv1.NodeState_NODE_STATE_EXPIRED {
			reply.PendingFences = append(reply.PendingFences, n.GetFence())
		}
	}
	reply.Counters = e.cfg.Master.Counters()
	reply.WaitingFor = append(waitForResume(reply.GetBreaker()), waitingFor(s.Quorate, reply.GetNodes(), reply.GetWaiters(), e.needed)...)
	reply.WaitingFor = append(reply.WaitingFor, e.waitForJournals()...)
	return reply, nil
}

func (e *Edge) serverStatus(s replica.Status, left []string) []*gulmv1.ServerStatus {
	contacts := map[string]time.Duration{}
	for _, p := range s.Peers {
		contacts[p.Name] = p.LastContact
	}
	var out []*gulmv1.ServerStatus
	for _, server := range e.cfg.Cluster.Servers() {
		x := &gulmv1.ServerStatus{Name: server.Name, Address: server.CoreAddr, LastContactMs: -1}
		contact, known := contacts[server.Name]
		switch {
		case server.Name == e.cfg.Server:
			contact, known = 0, true
		case !s.Leading && server.Name == s.Leader:
			contact = s.LastContact
		case !s.Leading:
			known = false
		}
		if known && contact >= 0 {
			x.LastContactMs, x.Reachable = contact.Milliseconds(), contact < master.ContactLimit
		}
		for _, name := range left {
			x.LoggedOut = x.LoggedOut || name == server.Name
		}
		out = append(out, x)
	}
	return out
}

// Shutdown logs this server out and stops it.
func (e *Edge) Shutdown(ctx context.Context, req *gulmv1.ShutdownRequest) (*gulmv1.ShutdownReply, error) {
	e.log.Info("shutdown asked for", "server", e.cfg.Server, "caller", caller(ctx).Name, "force", req.GetForce())
	if err := e.cfg.Leave(ctx, req.GetForce()); err != nil {
		return nil, err
	}
	return &gulmv1.ShutdownReply{}, nil
}

// ForceExpire declares a node dead.
func (e *Edge) ForceExpire(ctx context.Context, req *gulmv1.ForceExpireRequest) (*gulmv1.ForceExpireReply, error) {
	if strings.TrimSpace(req.GetReason()) == "" {
		return nil, gulmerr.New(gulmerr.ErrInvalid, "a reason is required: it goes into the record")
	}
	who, err := operator(ctx, req.GetOperator())
	if err != nil {
		who = nobody
	}
	if err := e.cfg.Master.ForceExpire(ctx, req.GetNode(), who, req.GetReason()); err != nil {
		return nil, err
	}
	return &gulmv1.ForceExpireReply{}, nil
}

// AcknowledgeFence settles a pending fence on an operator's word.
func (e *Edge) AcknowledgeFence(ctx context.Context, req *gulmv1.AcknowledgeFenceRequest) (*gulmv1.AcknowledgeFenceReply, error) {
	who, err := operator(ctx, req.GetOperator())
	if err != nil {
		return nil, err
	}
	if err := e.cfg.Master.Acknowledge(ctx, req.GetNode(), req.GetIncarnation(), who); err != nil {
		return nil, err
	}
	return &gulmv1.AcknowledgeFenceReply{}, nil
}

// Locks streams resources with their holders and waiters, from a copy of the
// state.
func (e *Edge) Locks(req *gulmv1.LocksRequest, stream grpc.ServerStreamingServer[gulmv1.LocksReply]) error {
	w := &lockLister{edge: e, req: req, stream: stream, names: map[uint32]string{}, nodes: map[lock.Session]string{}, now: time.Now().UnixMilli()}
	w.left = maxResources
	if limit := int(req.GetLimit()); limit > 0 {
		w.left = min(limit, maxResources)
	}
	s := e.cfg.Machine.Clone()
	for _, sp := range s.Locks().Spaces() {
		w.names[sp.Number] = strings.ToValidUTF8(sp.Name, "\uFFFD") // names are bytes
	}
	for _, x := range s.Members().Sessions() {
		w.nodes[lock.Session(x.Number)] = x.Node
	}
	for _, n := range s.Members().Nodes() {
		w.nodes[lock.OrphansOf(n.Number)], w.nodes[lock.RemainsOf(n.Number)] = n.Name, n.Name
		w.nodes[lock.AwaitOf(n.Number)], w.nodes[lock.AwaitGivenOf(n.Number)] = n.Name, n.Name
	}
	w.state = s
	s.Locks().WalkWaits(lockBlockers+1, w.add)
	if w.err == nil {
		s.Locks().WalkRanges(w.addRanges)
	}
	w.addDeadlocks()
	w.flush(true)
	return w.err
}

type lockLister struct {
	edge   *Edge
	req    *gulmv1.LocksRequest
	stream grpc.ServerStreamingServer[gulmv1.LocksReply]
	names  map[uint32]string
	nodes  map[lock.Session]string
	now    int64
	left   int
	state  *state.State // for frozen locks
	listed int          // ranges in reply
	reply  gulmv1.LocksReply
	err    error
}

func (w *lockLister) add(r *lock.View) bool {
	contended := len(r.Locks) > 0 && r.Locks[len(r.Locks)-1].Queue != lock.QueueGranted
	space := w.names[r.Lockspace]
	if w.req.GetLockspace() != "" && w.req.GetLockspace() != space || w.req.GetContended() && !contended ||
		!bytes.HasPrefix(r.Name, w.req.GetPrefix()) || !w.concernsLocks(r.Locks) || !w.room() {
		return true
	}
	out := &gulmv1.Resource{Lockspace: space, Name: bytes.Clone(r.Name)}
	out.Policy, out.LeaseMs = w.policy(r.Lockspace)
	for i := range r.Locks {
		l := &r.Locks[i]
		out.Locks = append(out.Locks, &gulmv1.Lock{
			Node: w.nodes[l.Session], Session: uint64(l.Session), Lock: uint64(l.ID), Queue: gulmv1.Queue(l.Queue),
			Granted: gulmv1.Mode(l.Granted), Requested: gulmv1.Mode(l.Requested), Token: l.Token,
			AgeMs: max(0, w.now-l.Stamp), Frozen: l.Frozen, HeldFor: w.heldFor(l.Frozen, r.Lockspace, l.Session, lock.Session(l.Origin)),
			Owner: l.Owner, TimeoutMs: l.Timeout, Set: uint64(l.Set),
		})
	}
	w.addBlockers(out, r)
	w.reply.Resources = append(w.reply.Resources, out)
	w.flush(false)
	return w.err == nil
}

// heldFor says for what a lock or range waits that is frozen, "" if it is not.
func (w *lockLister) heldFor(frozen bool, lockspace uint32, owner, origin lock.Session) string {
	if !frozen {
		return ""
	}
	if text := w.heldForLease(lockspace, w.nodes[owner]); text != "" {
		return text
	}
	return heldFor(w.state, lockspace, owner, origin, w.nodes[owner])
}

func (w *lockLister) flush(last bool) {
	if w.err != nil || !last && len(w.reply.Resources) < resourcesPerMessage && w.listed < rangesPerMessage {
		return
	}
	w.err = w.stream.Send(&gulmv1.LocksReply{
		Resources: w.reply.Resources, Truncated: w.reply.Truncated, RangeFiles: w.reply.RangeFiles,
		Deadlocks: w.reply.Deadlocks, MoreDeadlocks: w.reply.MoreDeadlocks, LeftOut: w.reply.LeftOut,
	})
	w.reply.Resources, w.reply.RangeFiles, w.listed = nil, nil, 0
}
