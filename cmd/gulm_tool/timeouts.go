package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"lock_gulmd/ccs"
	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/rpc"
)

func timeoutsCommand(env *tool.Env) *cobra.Command {
	root := &cobra.Command{
		Use:     "timeouts",
		Example: "  gulm_tool timeouts explain",
		Short:   "Say how long things take",
		Long:    "Says how long it takes until the locks of a failed node are granted to others, and why.",
		RunE:    func(*cobra.Command, []string) error { return tool.Usage("name a command: timeouts explain") },
	}
	offline := false
	explain := &cobra.Command{
		Use:     "explain [NODE]",
		Example: "  gulm_tool timeouts explain fs01 --offline",
		Short:   "Show the time from the failure of a node to the grant of its locks, term by term",
		Long: `Shows what the time consists of between the failure of a node, be it a crash, a
power cut or a partition, and the moment when the next one gets its lock: each term
with its best and its worst case, as the master's settings have it, what is usual
as far as it was measured lately, and the settings that it follows from. Nodes for
which all is the same share a table. One sum is for a node that fails alone; others
are for fence methods that fail as well, and for a master that dies with the node or
at any moment before the grant.

With --offline says what the files of the configuration mean; no server is asked.
With --json prints one object with the keys
  cluster server settings nodes
All times are milliseconds, -1 where there is no bound.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, nodes, err := timeoutsOf(cmd.Context(), env, offline)
			if err != nil {
				return err
			}
			list, err := explainAll(settings, nodes, args)
			switch {
			case err != nil:
				return err
			case env.JSON:
				return env.PrintJSON(timeoutsToJSON(settings, list))
			}
			return printTimeouts(env.Stdout, settings, list)
		},
	}
	explain.Flags().BoolVar(&offline, "offline", false, "read the configuration only, ask no server")
	root.AddCommand(explain)
	return root
}

// timeoutsOf returns the master's settings and what it knows of the nodes, or
// those of the configuration and nothing.
func timeoutsOf(ctx context.Context, env *tool.Env, offline bool) (*gulmv1.TimeoutsReply, []*gulmv1.Node, error) {
	if offline {
		dir, _, err := ccs.Find(env.Config)
		if err != nil {
			return nil, nil, gulmerr.New(gulmerr.ErrBadConfig, "%v", err)
		}
		c, err := ccs.Load(dir)
		if err != nil {
			return nil, nil, gulmerr.New(gulmerr.ErrBadConfig, "%v", err)
		}
		return rpc.TimeoutsOf(c, 0, 0), nil, nil
	}
	c, err := env.Cluster()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := env.Limit(ctx)
	defer cancel()
	var settings *gulmv1.TimeoutsReply
	var nodes *gulmv1.NodesReply
	err = c.Master(ctx, tool.Call{Again: true, Do: func(ctx context.Context, conn *grpc.ClientConn) error {
		var err error
		if settings, err = gulmv1.NewAdminServiceClient(conn).Timeouts(ctx, &gulmv1.TimeoutsRequest{}); err == nil {
			nodes, err = gulmv1.NewCoreServiceClient(conn).Nodes(ctx, &gulmv1.NodesRequest{})
		}
		return err
	}})
	return settings, nodes.GetNodes(), err
}

// explainAll explains the nodes that are asked for, or all; those with equal
// terms are put together.
func explainAll(s *gulmv1.TimeoutsReply, known []*gulmv1.Node, names []string) ([]*explanation, error) {
	seen := measure(known)
	var list []*explanation
	for _, n := range s.GetNodes() {
		if len(names) > 0 && !slices.Contains(names, n.GetNode()) {
			continue
		}
		i := slices.IndexFunc(known, func(k *gulmv1.Node) bool { return k.GetName() == n.GetNode() })
		var now *gulmv1.Node
		if i >= 0 {
			now = known[i]
		}
		e, err := explain(s, n, now, seen)
		if err != nil {
			return nil, err
		}
		if same := slices.IndexFunc(list, e.equal); same >= 0 {
			list[same].nodes = append(list[same].nodes, n.GetNode())
			continue
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, gulmerr.New(gulmerr.ErrUnknownNode, "cluster %s has no node %s in nodes.ccs", s.GetCluster(), strings.Join(names, ", "))
	}
	return list, nil
}

func printTimeouts(w io.Writer, s *gulmv1.TimeoutsReply, list []*explanation) error {
	source := "as its configuration says"
	if s.GetServer() != "" {
		source = "as its master " + tool.Line(s.GetServer()) + " has it"
	}
	fmt.Fprintf(w, "cluster %s, %s: a heartbeat every %v, and a node is expired after a silence of %v\n",
		tool.Line(s.GetCluster()), source, ms(s.GetHeartbeatRateMs()), ms(s.GetExpiryMs()))
	for _, e := range list {
		if err := printExplanation(w, e); err != nil {
			return err
		}
	}
	return nil
}

func printExplanation(w io.Writer, e *explanation) error {
	group := func(title string, terms []term, sums ...[]string) error {
		if len(terms) == 0 {
			return nil
		}
		fmt.Fprintf(w, "  %s\n", title)
		return tool.Table(w, "    ", append(append([][]string{{"TERM", "BEST", "USUAL", "WORST", "SET BY", ""}}, termRows(terms)...), sums...))
	}
	sumRow := func(name string, s total, text string) []string {
		return []string{name, span(s.best), span(s.usual), span(s.worst), "", text}
	}
	fmt.Fprintf(w, "\n%s: from its failure to the grant of its locks\n", tool.Line(strings.Join(e.nodes, ", ")))
	return errors.Join(
		group("nothing else fails", e.grant, sumRow("= sum", e.sum, sumWords(e))),
		group("if the first fence method fails, on top", e.methods, sumRow("= sum", e.sumMethods, "all in all, if all but the last fail at their limits")),
		group("if the master dies with it, instead of silence", e.takeover,
			sumRow("= sum", e.sumTakeover, "all in all, then"),
			sumRow("any moment", e.sumMoment, "all in all, if the master dies at any moment between the failure and the grant")),
		group("in lockspaces under the policy lease, all in all", e.leases),
		group("what may come on top", e.extra),
		group("the node itself knows first, counted from its newest heartbeat that was acknowledged", e.own),
	)
}

func sumWords(e *explanation) string {
	if e.sum.usual < 0 {
		return "usual is what was slowest lately; this fence was not measured yet"
	}
	return "usual is what was slowest lately"
}

func termRows(terms []term) [][]string {
	var rows [][]string
	for _, t := range terms {
		rows = append(rows, []string{t.Key, span(t.best), span(t.usual), span(t.worst), t.Settings, tool.Line(t.Text)})
	}
	return rows
}
