package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// maxRedirects is how many times in a row a redirect is followed without a
// pause: two servers that each take the other for the master must not keep us
// busy.
const maxRedirects = 3

// locator knows the servers and finds the master among them.
type locator struct {
	cfg *Config

	mu      sync.Mutex
	servers []string // configured first, then learned
}

// learn adds addresses that a server told. In plain text only loopback
// addresses are believed.
func (l *locator) learn(servers ...*gulmv1.ServerAddress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range servers {
		addr := s.GetAddress()
		if addr != "" && l.usable(addr) && !slices.Contains(l.servers, addr) {
			l.servers = append(l.servers, addr)
		}
	}
}

// usable says whether it is allowed to connect to addr.
func (l *locator) usable(addr string) bool { return l.cfg.TLS != nil || isLoopback(addr) }

// known returns all servers.
func (l *locator) known() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.servers)
}

// probe is what one server said about the master.
type probe struct {
	addr  string
	reply *gulmv1.LocateReply
	err   error
}

// find asks all servers who the master is, and returns its address. The answer
// may be out of date; a server that failed lately is given as avoid and is
// chosen only if nobody names another.
func (l *locator) find(ctx context.Context, avoid string) (string, error) {
	servers := l.known()
	ctx, cancel := context.WithTimeout(ctx, l.cfg.ProbeLimit)
	answers := make(chan probe, len(servers))
	var probes sync.WaitGroup
	defer probes.Wait()
	defer cancel()
	for _, addr := range servers {
		probes.Go(func() { answers <- l.probe(ctx, addr) })
	}
	votes := map[string]int{}
	var said []string
	answered := false
	for range servers {
		p := <-answers
		if p.err != nil {
			if errors.Is(p.err, ErrWrongCluster) {
				return "", p.err
			}
			said = append(said, fmt.Sprintf("%s: %v", p.addr, p.err))
			continue
		}
		answered = true
		l.learn(p.reply.GetServers()...)
		if p.reply.GetRole() == gulmv1.ServerRole_SERVER_ROLE_MASTER && p.addr != avoid {
			return p.addr, nil
		}
		said = append(said, p.addr+": "+roleName(p.reply.GetRole()))
		if named := l.named(p); named != "" {
			votes[named]++
			if named != avoid && votes[named] > len(servers)/2 {
				return named, nil // without waiting for the last, which may hang
			}
		}
	}
	if addr := elect(votes, avoid); addr != "" {
		return addr, nil
	}
	slices.Sort(said)
	if answered {
		return "", gulmerr.New(ErrNoQuorum, "no server knows a master (%s)", strings.Join(said, "; "))
	}
	return "", gulmerr.New(ErrUnavailable, "no server answers (%s)", strings.Join(said, "; "))
}

// named returns the address of the master that a server named, "" for none.
func (l *locator) named(p probe) string {
	if p.reply.GetRole() == gulmv1.ServerRole_SERVER_ROLE_MASTER {
		return p.addr
	}
	if addr := p.reply.GetMaster().GetAddress(); l.usable(addr) {
		return addr
	}
	return ""
}

// elect returns the address with most votes; avoid only if there is no other.
func elect(votes map[string]int, avoid string) string {
	best := ""
	for addr, n := range votes {
		if best == "" || best == avoid || (addr != avoid && n > votes[best]) {
			best = addr
		}
	}
	return best
}

// probe asks one server.
func (l *locator) probe(ctx context.Context, addr string) probe {
	conn, err := newConn(l.cfg, addr)
	if err != nil {
		return probe{addr: addr, err: err}
	}
	defer conn.Close()
	reply, err := gulmv1.NewCoreServiceClient(conn).Locate(ctx, &gulmv1.LocateRequest{})
	if err != nil {
		return probe{addr: addr, err: gulmerr.FromStatus(err)}
	}
	if c := reply.GetCluster(); c != l.cfg.Cluster {
		return probe{addr: addr, err: gulmerr.New(ErrWrongCluster,
			"server %s belongs to cluster %q, not %q: correct Config.Cluster or Config.Servers", addr, c, l.cfg.Cluster)}
	}
	return probe{addr: addr, reply: reply}
}

// roleName is the word for a role.
func roleName(r gulmv1.ServerRole) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "SERVER_ROLE_"))
}

// withMaster runs one call against the master, following it, until it succeeds,
// is refused for good, or ctx ends; the error then says what it waited for.
// It returns the master's address.
func (l *locator) withMaster(ctx context.Context, what string, call func(context.Context, *grpc.ClientConn) error) (string, error) {
	var at course
	pause := pauses{min: l.cfg.PauseMin, max: l.cfg.PauseMax}
	for {
		addr, err := l.next(ctx, &at)
		if err == nil {
			if err = l.once(ctx, addr, call); err == nil {
				return addr, nil
			}
			l.failed(&at, addr, err)
		}
		if ctx.Err() == nil && !passing(err) {
			return "", fmt.Errorf("%s: %w", what, err)
		}
		l.cfg.Log.Debug("waiting for the master", "err", err)
		if !at.redirected && !pause.wait(ctx) || ctx.Err() != nil {
			return "", fmt.Errorf("%s: %w; waited for: %w", what, context.Cause(ctx), err)
		}
	}
}

// once runs call on a connection of its own, within the limit for one try.
func (l *locator) once(ctx context.Context, addr string, call func(context.Context, *grpc.ClientConn) error) error {
	conn, err := newConn(l.cfg, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, l.cfg.CallLimit)
	defer cancel()
	return gulmerr.FromStatus(call(ctx, conn))
}

// passing says whether a refusal may pass by itself.
func passing(err error) bool {
	for _, e := range []error{
		gulmerr.ErrNotMaster, ErrNoQuorum, ErrUnavailable, gulmerr.ErrShuttingDown, ErrNodeExpired, ErrNotFenced,
		ErrStaleIncarnation, gulmerr.ErrStaleTerm, gulmerr.ErrSessionTaken, gulmerr.ErrOutOfOrder, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// course is where to look for the master next.
type course struct {
	hint  string // the address to try, "" to ask around
	avoid string // the address that failed lately
	// redirected: hint comes from a server just now, no pause is needed.
	redirected bool
	redirects  int // in a row
}

// next returns the address to try.
func (l *locator) next(ctx context.Context, at *course) (string, error) {
	at.redirected = false
	if at.hint != "" {
		return at.hint, nil
	}
	return l.find(ctx, at.avoid)
}

// failed takes the lesson of a failure at addr.
func (l *locator) failed(at *course, addr string, err error) {
	at.hint, at.avoid = "", addr
	told := gulmerr.Meta(err, gulmerr.MetaAddress)
	if !errors.Is(err, gulmerr.ErrNotMaster) || told == "" || told == addr || !l.usable(told) {
		return
	}
	l.learn(&gulmv1.ServerAddress{Address: told})
	if at.redirects++; at.redirects <= maxRedirects {
		at.hint, at.redirected = told, true
		return
	}
	at.redirects = 0
}

// pauses grow from min to max. The zero next is min.
type pauses struct {
	min, max, next time.Duration
}

// wait pauses, and returns false if ctx ended first.
func (p *pauses) wait(ctx context.Context) bool {
	p.next = min(max(p.next, p.min), p.max)
	d := p.next/2 + rand.N(p.next/2+1)
	p.next *= 2
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset starts again at min.
func (p *pauses) reset() { p.next = 0 }
