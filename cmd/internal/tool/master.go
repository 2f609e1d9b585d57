package tool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

const (
	// maxRedirects is how often in a row a server's word about the master is
	// followed without asking around.
	maxRedirects = 3
	// electionPause is between two looks for a master.
	electionPause = 200 * time.Millisecond
)

// Call is one call to the master.
type Call struct {
	// Do makes the call.
	Do func(context.Context, *grpc.ClientConn) error
	// Again tells that the call may be repeated even if it is not known whether
	// it took effect: it only reads.
	Again bool
}

// Master makes a call on the master: it asks all servers who that is, follows
// NOT_MASTER, and waits for an election until ctx ends. Errors: what the master
// refused with; gulmerr.ErrUnavailable if no server answers, or if a call that
// must not be repeated got no answer; gulmerr.ErrNoQuorum if the servers had no
// master in time.
func (c *Cluster) Master(ctx context.Context, call Call) error {
	var before error
	for {
		master, err := c.locate(ctx)
		if before != nil && errors.Is(err, errSilent) {
			err = before // they answered a moment ago: the time is up, or they start anew
		}
		if err == nil {
			err = c.follow(ctx, master, call.Do)
		}
		if err == nil || !mayPass(err, call.Again) {
			return err
		}
		if !pause(ctx, electionPause) {
			if before != nil {
				err = before // the last look may have been cut short
			}
			return gulmerr.New(gulmerr.ErrNoQuorum, "no master served within %v: %v", c.env.Timeout, err)
		}
		before = err
	}
}

// follow makes the call, and again where it is sent on to.
func (c *Cluster) follow(ctx context.Context, s Server, do func(context.Context, *grpc.ClientConn) error) error {
	err := c.Ask(ctx, s, do)
	for range maxRedirects {
		address := gulmerr.Meta(err, gulmerr.MetaAddress)
		if !errors.Is(err, gulmerr.ErrNotMaster) || address == "" || address == s.Address {
			return err
		}
		s = Server{gulmerr.Meta(err, gulmerr.MetaMaster), address}
		err = c.Ask(ctx, s, do)
	}
	return err
}

// errSilent marks that no server answered at all, so that waiting is no use.
var errSilent = errors.New("no lock server answers")

// mayPass tells whether the call did not happen and may succeed a moment later.
func mayPass(err error, again bool) bool {
	var lost *Unreachable
	switch {
	case errors.Is(err, errSilent):
		return false
	case errors.Is(err, gulmerr.ErrNotMaster), errors.Is(err, gulmerr.ErrNoQuorum):
		return true
	case errors.As(err, &lost) && !lost.Doubtful:
		return true
	}
	return again && (errors.Is(err, gulmerr.ErrUnavailable) || errors.Is(err, gulmerr.ErrShuttingDown))
}

// locate asks all servers who the master is.
func (c *Cluster) locate(ctx context.Context) (Server, error) {
	type answer struct {
		reply *gulmv1.LocateReply
		err   error
	}
	servers := slices.Clone(c.Servers)
	answers := make([]answer, len(servers))
	c.Each(ctx, servers, func(ctx context.Context, i int, s Server) {
		a := &answers[i]
		a.err = c.Ask(ctx, s, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
			a.reply, err = gulmv1.NewCoreServiceClient(conn).Locate(ctx, &gulmv1.LocateRequest{})
			return err
		})
	})
	var said []string
	var named, claims []Server // who a server takes for the master; who takes itself for it
	heard := 0
	for i, a := range answers {
		if a.err != nil {
			said = append(said, a.err.Error())
			continue
		}
		if err := c.CheckCluster(servers[i], a.reply.GetCluster()); err != nil {
			return Server{}, err
		}
		heard++
		c.Learn(servers[i], a.reply.GetServer(), a.reply.GetServers())
		switch m := a.reply.GetMaster(); {
		case a.reply.GetRole() == gulmv1.ServerRole_SERVER_ROLE_MASTER:
			self := Server{a.reply.GetServer(), servers[i].Address}
			claims, named = append(claims, self), append(named, self)
		case m.GetAddress() != "":
			named = append(named, Server{m.GetName(), m.GetAddress()})
		}
		said = append(said, fmt.Sprintf("%s is %s", a.reply.GetServer(), Role(a.reply.GetRole())))
	}
	switch {
	case len(claims) > 0:
		return mostNamed(claims, named), nil
	case len(named) > 0:
		return mostNamed(named, named), nil
	case heard == 0:
		return Server{}, fmt.Errorf("%w: %w", errSilent, gulmerr.New(gulmerr.ErrUnavailable, "%s", strings.Join(said, "; ")))
	}
	return Server{}, gulmerr.New(gulmerr.ErrNoQuorum, "%s", strings.Join(said, "; "))
}

// mostNamed returns the candidate that most servers name, the first of them if
// several are. A master that was cut off from the others may not know it yet:
// it has only its own voice.
func mostNamed(candidates, named []Server) Server {
	votes := map[string]int{}
	for _, s := range named {
		votes[s.Name]++
	}
	best := candidates[0]
	for _, s := range candidates {
		if votes[s.Name] > votes[best.Name] {
			best = s
		}
	}
	return best
}

// CheckCluster refuses, with gulmerr.ErrWrongCluster, a server that belongs to
// another cluster than the configuration or the certificate.
func (c *Cluster) CheckCluster(s Server, name string) error {
	if c.Name == "" || name == c.Name {
		return nil
	}
	return gulmerr.New(gulmerr.ErrWrongCluster, "lock server %s belongs to cluster %q, not %q", s.described(), name, c.Name)
}

// pause waits, and returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
