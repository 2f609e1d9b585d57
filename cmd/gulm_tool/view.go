package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// digestChecks is how often servers whose states seem to differ are asked: an
// answer's index and digest may be of two moments under load, so that only a
// difference that stays is one.
const digestChecks = 3

// answer is what one server said about itself and the cluster.
type answer struct {
	server tool.Server
	status *gulmv1.StatusReply // nil if there is an error
	err    error
}

// name is the server's as it says, or as we know it.
func (a *answer) name() string {
	if a.status != nil {
		return a.status.GetServer()
	}
	return a.server.String()
}

// view is what all servers said.
type view struct {
	answers []answer // in rank order
	best    *gulmv1.StatusReply
	// serving is the master's answer, nil if no server serves with quorum.
	serving       *gulmv1.StatusReply
	disagreements []string
}

// look asks all servers. The error is only about what keeps from asking.
func look(ctx context.Context, env *tool.Env, hosts []string) (*view, error) {
	c, err := env.Cluster(hosts...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := env.Limit(ctx)
	defer cancel()
	v := &view{answers: askAll(ctx, c)}
	differ := digestsDiffer(v.answers)
	for range digestChecks - 1 {
		if differ == nil || ctx.Err() != nil {
			break
		}
		v.answers = askAll(ctx, c)
		differ = digestsDiffer(v.answers)
	}
	v.choose()
	v.disagreements = append(disagreements(c, v.answers), differ...)
	return v, nil
}

// askAll asks every server for its status, and those that it tells of.
func askAll(ctx context.Context, c *tool.Cluster) []answer {
	var answers []answer
	for len(answers) < len(c.Servers) {
		from := len(answers)
		servers := slices.Clone(c.Servers[from:])
		fresh := make([]answer, len(servers))
		c.Each(ctx, servers, func(ctx context.Context, i int, s tool.Server) {
			fresh[i] = ask(ctx, c, s)
		})
		for _, a := range fresh {
			c.Learn(a.server, a.status.GetServer(), addresses(a.status))
		}
		answers = append(answers, fresh...)
	}
	return answers
}

func ask(ctx context.Context, c *tool.Cluster, s tool.Server) answer {
	a := answer{server: s}
	a.err = c.Ask(ctx, s, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		a.status, err = gulmv1.NewAdminServiceClient(conn).Status(ctx, &gulmv1.StatusRequest{})
		return err
	})
	if a.err != nil {
		a.status = nil
	}
	return a
}

func addresses(s *gulmv1.StatusReply) []*gulmv1.ServerAddress {
	var list []*gulmv1.ServerAddress
	for _, x := range s.GetServers() {
		list = append(list, &gulmv1.ServerAddress{Name: x.GetName(), Address: x.GetAddress()})
	}
	return list
}

// choose finds the answer that knows most: the master's, or else that of the
// server which is furthest, and sorts the answers by rank.
func (v *view) choose() {
	weight := func(s *gulmv1.StatusReply) int {
		switch {
		case s.GetRole() == gulmv1.ServerRole_SERVER_ROLE_MASTER && s.GetQuorate():
			return 2
		case s.GetRole() == gulmv1.ServerRole_SERVER_ROLE_MASTER:
			return 1
		}
		return 0
	}
	for _, a := range v.answers {
		s := a.status
		if s == nil {
			continue
		}
		if v.best == nil || cmp.Or(
			cmp.Compare(weight(s), weight(v.best)), cmp.Compare(s.GetTerm(), v.best.GetTerm()),
			cmp.Compare(s.GetAppliedIndex(), v.best.GetAppliedIndex()),
		) > 0 {
			v.best = s
		}
	}
	if v.best != nil && weight(v.best) == 2 {
		v.serving = v.best
	}
	rank := func(a answer) int {
		i := slices.IndexFunc(v.best.GetServers(), func(s *gulmv1.ServerStatus) bool { return s.GetName() == a.name() })
		if i < 0 {
			return len(v.best.GetServers())
		}
		return i
	}
	slices.SortStableFunc(v.answers, func(a, b answer) int { return cmp.Compare(rank(a), rank(b)) })
}

// problem is nil if a master serves with quorum, else the error to end with.
func (v *view) problem() error {
	if v.serving != nil {
		return nil
	}
	var said []string
	for _, a := range v.answers {
		switch {
		case a.err != nil:
			said = append(said, a.name()+" is "+whyNot(a.err))
		default:
			said = append(said, a.name()+" is "+tool.Role(a.status.GetRole()))
		}
	}
	if v.best == nil {
		return gulmerr.New(gulmerr.ErrUnavailable, "no lock server answers: %s", strings.Join(said, "; "))
	}
	return gulmerr.New(gulmerr.ErrNoQuorum, "no master serves: %s", strings.Join(said, "; "))
}

// disagreements lists what servers say that cannot all be true.
func disagreements(c *tool.Cluster, answers []answer) []string {
	var out, masters []string
	named := map[uint64]map[string][]string{} // term, master: who says so
	for _, a := range answers {
		s := a.status
		if s == nil {
			continue
		}
		if err := c.CheckCluster(a.server, s.GetCluster()); err != nil {
			out = append(out, err.Error())
		}
		if a.server.Name != "" && a.server.Name != s.GetServer() {
			out = append(out, fmt.Sprintf("%s answers as lock server %q, not %q", a.server.Address, s.GetServer(), a.server.Name))
		}
		if s.GetRole() == gulmv1.ServerRole_SERVER_ROLE_MASTER {
			masters = append(masters, fmt.Sprintf("%s (term %d)", s.GetServer(), s.GetTerm()))
		}
		if s.GetMaster() != "" {
			if named[s.GetTerm()] == nil {
				named[s.GetTerm()] = map[string][]string{}
			}
			named[s.GetTerm()][s.GetMaster()] = append(named[s.GetTerm()][s.GetMaster()], s.GetServer())
		}
	}
	if len(masters) > 1 {
		out = append(out, fmt.Sprintf("%d servers claim to be master: %s; only the one with the highest term can commit anything",
			len(masters), strings.Join(masters, ", ")))
	}
	for _, term := range sortedKeys(named) {
		if len(named[term]) < 2 {
			continue
		}
		var sides []string
		for _, master := range sortedKeys(named[term]) {
			sides = append(sides, fmt.Sprintf("%s (says %s)", master, strings.Join(named[term][master], ", ")))
		}
		out = append(out, fmt.Sprintf("servers name different masters in term %d: %s", term, strings.Join(sides, ", ")))
	}
	return out
}

// digestsDiffer lists servers that have applied the same log to different
// states.
func digestsDiffer(answers []answer) []string {
	at := map[uint64]map[uint64][]string{} // applied index, digest: servers
	for _, a := range answers {
		s := a.status
		if s == nil {
			continue
		}
		if at[s.GetAppliedIndex()] == nil {
			at[s.GetAppliedIndex()] = map[uint64][]string{}
		}
		at[s.GetAppliedIndex()][s.GetDigest()] = append(at[s.GetAppliedIndex()][s.GetDigest()], s.GetServer())
	}
	var out []string
	for _, index := range sortedKeys(at) {
		if len(at[index]) < 2 {
			continue
		}
		var sides []string
		for _, digest := range sortedKeys(at[index]) {
			sides = append(sides, fmt.Sprintf("%s on %s", hexDigest(digest), strings.Join(at[index][digest], ", ")))
		}
		out = append(out, fmt.Sprintf("states differ at index %d: digest %s; the one that differs from the others must not serve: stop it and look at its log",
			index, strings.Join(sides, ", ")))
	}
	return out
}
