package server

import (
	"context"
	"errors"
	"strconv"

	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/proto/life"
	"lock_gulmd/server/member"
	"lock_gulmd/server/replica"
	"lock_gulmd/server/state"
)

// identify fills in what this machine says of its own life.
func (o *Options) identify() error {
	if o.Container == nil {
		in := life.InContainer()
		o.Container = &in
	}
	if o.BootID != "" || !o.Cluster.Lock.FenceServers {
		return nil
	}
	id, err := life.BootID()
	o.BootID = id
	return err
}

// announce tells the master that this server has started, and again whenever the
// state does not know of it although it should: its machine was fenced, and it
// lives.
func (s *Server) announce(ctx context.Context) {
	var replaces uint64
	var told error
	for entered := false; wait(ctx, announcePeriod); {
		st := s.replica.Status()
		switch {
		case s.leaving.Load(), entered && s.known(), st.Leading, st.Leader == "":
			if s.master.Serving() {
				entered = true // its term has begun in the state
			}
			continue
		}
		err := s.peers.enter(ctx, st.Leader, replaces)
		entered = err == nil
		replaces = inTheWay(err)
		switch {
		case err == nil:
			told = nil
		case errors.Is(err, gulmerr.ErrBadConfig):
			s.peers.mismatch(replica.Mismatch{Peer: st.Leader, Field: "config", Err: err})
		case replaces != 0 || errors.Is(err, gulmerr.ErrFenceLied):
			if told == nil || told.Error() != err.Error() {
				s.log.Warn("this server is not logged in yet", "server", s.opt.Name, "err", err)
			}
			told = err
		}
	}
}

// known reports whether the state, as far as it is known here, has this server
// logged in, or need not.
func (s *Server) known() (known bool) {
	s.machine.View(func(st *state.State) {
		n, _ := st.Members().Node(s.opt.Name)
		_, in := st.Members().ServerSession(s.opt.Name)
		known = !s.opt.Cluster.Lock.FenceServers || in && n.State == member.LoggedIn && n.BootID == s.opt.BootID
	})
	return known
}

// inTheWay returns the life of this machine that kept it from entering, 0 if none
// did.
func inTheWay(err error) uint64 {
	n, parse := strconv.ParseUint(gulmerr.Meta(err, gulmerr.MetaIncarnation), 10, 64)
	if parse != nil {
		return 0
	}
	return n
}
