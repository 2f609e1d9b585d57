package replica

import (
	"time"

	"github.com/hashicorp/raft"
)

// Status is what a replica knows about itself and the cluster at one moment.
//
// The server's role follows from it and from whether the layer above has taken
// over: Leading and taken over, master; Leading or Candidate otherwise,
// arbitrating; a Leader that is another server, standby; none, pending.
type Status struct {
	Server    string
	Leading   bool   // raft's leader; may be stale by up to LeaderLease
	Candidate bool   // in an election
	Leader    string // name of the leader as far as known, or ""
	Term      uint64

	CommitIndex  uint64
	AppliedIndex uint64 // last command the machine has applied; entries of raft's own do not count
	LastIndex    uint64

	// LastContact is the time since this follower heard from a leader; 0 for the
	// leader, negative if it never did.
	LastContact time.Duration
	// Quorate: a leader with a majority that answered within LeaderLease, or a
	// follower that heard from its leader within HeartbeatTimeout.
	Quorate  bool
	InFlight int // commands proposed and not yet answered
	Peers    []PeerStatus
	Failed   error // why the replica stopped, if it did
}

// PeerStatus is one server of the log's configuration.
type PeerStatus struct {
	Name  string
	Addr  string
	Voter bool
	Self  bool
	// Of the leader only: time since the peer's last answer (negative: none in
	// this term) and the index up to which its log is known to agree.
	LastContact time.Duration
	MatchIndex  uint64
}

// Leadership says whether this server leads. When Term grows between two values
// that both say Leading, leadership was lost and won again in between.
type Leadership struct {
	Leading bool
	Term    uint64
}

// leadershipNow reads state and term as of one moment: while a server leads, its
// term does not change.
func (r *Replica) leadershipNow() Leadership {
	for {
		term := r.raft.CurrentTerm()
		leading := r.raft.State() == raft.Leader
		if r.raft.CurrentTerm() == term {
			return Leadership{leading && !r.hasFailed(), term}
		}
	}
}

// Leadership delivers the newest value after each change, and the first one at
// the start. Values that were not read in time are replaced, the newest never is
// lost. There is one channel: use it from one place.
func (r *Replica) Leadership() <-chan Leadership { return r.leadership }

func (r *Replica) watchLeadership() {
	var last *Leadership
	for {
		now := r.leadershipNow()
		if last == nil || last.Leading != now.Leading || now.Leading && last.Term != now.Term {
			r.publish(now)
			last = &now
		}
		if !now.Leading {
			r.stall.reset()
		}
		select {
		case <-r.notify:
		case <-r.stop:
			r.publish(Leadership{})
			return
		}
	}
}

func (r *Replica) publish(l Leadership) {
	select {
	case <-r.leadership:
	default:
	}
	r.leadership <- l // room for one, and only this goroutine writes
}

// Status reports where this server and, if it leads, its peers stand.
func (r *Replica) Status() Status {
	l := r.leadershipNow()
	state := r.raft.State()
	_, leader := r.raft.LeaderWithID()
	s := Status{
		Server:       r.cfg.Server,
		Leading:      l.Leading,
		Candidate:    state == raft.Candidate,
		Leader:       string(leader),
		Term:         l.Term,
		CommitIndex:  r.raft.CommitIndex(),
		AppliedIndex: r.fsm.applied.Load(),
		LastIndex:    r.raft.LastIndex(),
		LastContact:  -1,
		InFlight:     r.inflight.load(),
	}
	if p := r.failure.Load(); p != nil {
		s.Failed = *p
	}
	if at := r.raft.LastContact(); !at.IsZero() {
		s.LastContact = time.Since(at)
	}
	if l.Leading {
		s.LastContact = 0
	}
	s.Peers = r.peerStatus(l)
	s.Quorate = r.quorate(s)
	return s
}

func (a *admission) load() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

func (r *Replica) peerStatus(l Leadership) []PeerStatus {
	var out []PeerStatus
	for _, srv := range r.raft.GetConfiguration().Configuration().Servers {
		p := PeerStatus{
			Name:        string(srv.ID),
			Addr:        string(srv.Address),
			Voter:       srv.Suffrage == raft.Voter,
			Self:        string(srv.ID) == r.cfg.Server,
			LastContact: -1,
		}
		if c, ok := r.transport.contact(p.Name, l.Term); ok && l.Leading {
			p.LastContact, p.MatchIndex = time.Since(c.when), c.match
		}
		out = append(out, p)
	}
	return out
}

func (r *Replica) quorate(s Status) bool {
	if s.Failed != nil {
		return false
	}
	if !s.Leading {
		return s.Leader != "" && s.LastContact >= 0 && s.LastContact <= r.cfg.HeartbeatTimeout
	}
	voters, heard := 0, 0
	for _, p := range s.Peers {
		if !p.Voter {
			continue
		}
		voters++
		if p.Self || p.LastContact >= 0 && p.LastContact <= r.cfg.LeaderLease {
			heard++
		}
	}
	return heard > voters/2
}

// MasterSilence is how long a leader may be silent before another one is elected,
// at least; each server waits for up to twice as long.
func (r *Replica) MasterSilence() time.Duration { return r.cfg.HeartbeatTimeout }

// Election is the length of one election, at least; up to twice as long.
func (r *Replica) Election() time.Duration { return r.cfg.ElectionTimeout }
