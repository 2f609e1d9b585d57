package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// rehearsalTimeout bounds a rehearsal, unless --timeout is longer: each agent may
// take its own time limit.
const rehearsalTimeout = 5 * time.Minute

func fenceListCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Example: "  gulm_tool fence list",
		Short:   "List pending and latest fences, and alarms of fence devices",
		Long: `Lists the pending fences with their round, latest attempt, age, and what they wait
for; the latest fence of every other node; and what is wrong with fence devices.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := ledgers(cmd.Context(), env, "")
			if err != nil {
				return err
			}
			if env.JSON {
				return env.PrintJSON(ledgersToJSON(nodes))
			}
			return printLedgers(env.Stdout, nodes)
		},
	}
}

func fenceShowCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "show NODE",
		Example: "  gulm_tool fence show fs01",
		Short:   "Show the whole fence ledger of a node",
		Long: `Shows all that the servers know of the fencing of NODE: the pending or latest
fence and those before it with what the agents wrote, what the fence devices said
when they were asked last, and fences by hand.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			nodes, err := ledgers(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			if env.JSON {
				return env.PrintJSON(ledgersToJSON(nodes)[0])
			}
			return printLedger(env.Stdout, nodes[0])
		},
	}
}

// ledgers asks the master for the ledger of one node, or of all with "".
func ledgers(ctx context.Context, env *tool.Env, node string) ([]*gulmv1.FenceLedger, error) {
	var nodes []*gulmv1.FenceLedger
	err := direct(ctx, env, func(ctx context.Context, admin gulmv1.AdminServiceClient) error {
		reply, err := admin.Fences(ctx, &gulmv1.FencesRequest{Node: node})
		nodes = reply.GetNodes()
		return err
	})
	if err == nil && node != "" && len(nodes) != 1 {
		err = gulmerr.New(gulmerr.ErrUnknownNode, "the servers know no node %q", node)
	}
	return nodes, err
}

func printLedgers(w io.Writer, nodes []*gulmv1.FenceLedger) error {
	rows := [][]string{{"NODE", "INCARNATION", "FENCE", "ROUND", "AGE", "LATEST ATTEMPT", "WAITS FOR"}}
	for _, n := range nodes {
		f := n.GetFence()
		if f == nil {
			continue
		}
		age, attempt := tool.Stamp(f.GetSettledMs()), "-"
		if f.GetState() == gulmv1.FenceState_FENCE_STATE_WANTED {
			age = tool.Ago(n.GetAgeMs())
		}
		if k := len(f.GetAttempts()); k > 0 {
			attempt = tool.Attempt(f.GetAttempts()[k-1])
		}
		rows = append(rows, []string{
			tool.Line(n.GetNode()), strconv.FormatUint(f.GetIncarnation(), 10), tool.FenceState(f.GetState()),
			strconv.FormatUint(uint64(f.GetRounds()), 10), age, attempt, tool.Line(n.GetWaitsFor()),
		})
	}
	if len(rows) == 1 {
		if _, err := fmt.Fprintln(w, "no node was ever fenced"); err != nil {
			return err
		}
	} else if err := tool.Table(w, "", rows); err != nil {
		return err
	}
	for _, n := range nodes {
		for _, o := range n.GetOutlets() {
			if alarm := outletAlarm(o); alarm != "" {
				fmt.Fprintf(w, "alarm: node %s: outlet %s %s\n", tool.Line(n.GetNode()), outletName(o), alarm)
			}
		}
	}
	return nil
}

// outletAlarm says what is wrong with an outlet, empty if nothing is.
func outletAlarm(o *gulmv1.FenceOutlet) string {
	switch {
	case o.GetWrong():
		return "said off while the node lived, so it is not used: correct fence.ccs or the cabling, then gulm_tool fence rehearse"
	case o.GetPower() == "no answer":
		return "gave no answer at " + tool.Stamp(o.GetStampMs()) + ": " + tool.Line(o.GetReason())
	}
	return ""
}

func outletName(o *gulmv1.FenceOutlet) string {
	if o.GetPlug() == "" {
		return tool.Line(o.GetDevice())
	}
	return tool.Line(o.GetDevice() + "/" + o.GetPlug())
}

func printLedger(w io.Writer, n *gulmv1.FenceLedger) error {
	rows := [][]string{{"node:", tool.Line(n.GetNode())}, {"state:", tool.NodeState(n.GetState())}, {"fence:", fenceWords(n.GetFence())}}
	if n.GetWaitsFor() != "" {
		rows = append(rows, []string{"waits for:", tool.Line(n.GetWaitsFor())})
	}
	if err := tool.Table(w, "", rows); err != nil {
		return err
	}
	tool.ShowAttempts(w, "  ", n.GetFence())
	for i := len(n.GetPast()) - 1; i >= 0; i-- {
		f := n.GetPast()[i]
		fmt.Fprintf(w, "\nbefore that: %s\n", fenceWords(f))
		tool.ShowAttempts(w, "  ", f)
	}
	for _, m := range n.GetManual() {
		how := "not fenced"
		if m.GetFenced() {
			how = "fenced by " + tool.Line(m.GetBy())
		}
		fmt.Fprintf(w, "\nby hand, by %s at %s (incarnation %d): %s\n", tool.Line(m.GetOperator()), tool.Stamp(m.GetStampMs()), m.GetIncarnation(), how)
		tool.ShowAttempts(w, "  ", &gulmv1.Fence{Attempts: m.GetAttempts()})
	}
	if len(n.GetOutlets()) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows = [][]string{{"OUTLET", "SAID", "AT", "TRUSTED", "ALARM"}}
	for _, o := range n.GetOutlets() {
		rows = append(rows, []string{outletName(o), tool.Line(o.GetPower()), tool.Stamp(o.GetStampMs()), yesNo(o.GetTrusted()), tool.Line(outletAlarm(o))})
	}
	return tool.Table(w, "", rows)
}

func rehearseCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "rehearse [NODE]",
		Example: "  gulm_tool fence rehearse fs01",
		Short:   "Ask the fence devices how things are, before the day it matters",
		Long: `Asks every fence device of NODE, or of all nodes that are logged in, for the status
of the node, and prints what they said. That a device gives no answer, or says off
for a node that lives, is an alarm. Nothing is switched.

Exit status 1 if there is an alarm.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var said []*gulmv1.FenceRehearsal
			if err := rehearse(cmd.Context(), env, strings.Join(args, ""), &said); err != nil {
				return fmt.Errorf("rehearse: %w", err)
			}
			alarms := 0
			for _, x := range said {
				if x.GetAlarm() != "" {
					alarms++
				}
			}
			if err := printRehearsal(env, said); err != nil {
				return err
			}
			if alarms > 0 {
				return fmt.Errorf("%s of %d: such a node could not be fenced now", tool.Count(uint64(alarms), "alarm"), len(said))
			}
			return nil
		},
	}
}

func rehearse(ctx context.Context, env *tool.Env, node string, said *[]*gulmv1.FenceRehearsal) error {
	c, err := env.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, max(env.Timeout, rehearsalTimeout))
	defer cancel()
	return c.Master(ctx, tool.Call{Again: true, Do: func(ctx context.Context, conn *grpc.ClientConn) error {
		reply, err := gulmv1.NewAdminServiceClient(conn).RehearseFence(ctx, &gulmv1.RehearseFenceRequest{Node: node})
		*said = reply.GetOutlets()
		return err
	}})
}

func printRehearsal(env *tool.Env, said []*gulmv1.FenceRehearsal) error {
	if env.JSON {
		return env.PrintJSON(rehearsalToJSON(said))
	}
	if len(said) == 0 {
		_, err := fmt.Fprintln(env.Stdout, "there is nothing to ask: no node is logged in, or none has a device that can be asked")
		return err
	}
	rows := [][]string{{"NODE", "METHOD", "OUTLET", "AGENT", "SAYS", "NODE LIVES", "TIME", "ALARM"}}
	for _, x := range said {
		rows = append(rows, []string{
			tool.Line(x.GetNode()), tool.Line(x.GetMethod()), outletName(x.GetOutlet()), tool.Line(x.GetAgent()),
			tool.Line(x.GetOutlet().GetPower()), yesNo(x.GetLive()), tool.Ago(x.GetDurationMs()), tool.Line(x.GetAlarm()),
		})
	}
	return tool.Table(env.Stdout, "", rows)
}
