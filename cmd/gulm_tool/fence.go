package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// fenceVerbs build the commands below "fence".
var fenceVerbs = []func(*tool.Env) *cobra.Command{
	fenceListCommand,
	pauseCommand,
	rehearseCommand,
	resumeCommand,
	fenceShowCommand,
}

func fenceCommand(env *tool.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "fence",
		Example: "  gulm_tool fence list",
		Short:   "Show fences, rehearse them, pause and resume automatic fencing",
		Long: `Shows pending and earlier fences, asks the fence devices how things are, and pauses
and resumes automatic expiry and fencing. While it is paused the locks of dead
nodes stay held; "gulm_tool expire" still works, and so does an acknowledgement.`,
	}
	return group(cmd, env, fenceVerbs, "name a command: list, show, rehearse, pause or resume")
}

func pauseCommand(env *tool.Env) *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use:     "pause --reason TEXT",
		Example: "  gulm_tool fence pause --reason \"new firmware for switch 2\"",
		Short:   "Pause automatic expiry and fencing, as for work on a switch",
		Long: `Pauses automatic expiry and fencing of nodes until "gulm_tool fence resume". The
locks of a node that dies meanwhile stay held. Nodes can still be expired by hand.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if strings.TrimSpace(reason) == "" {
				return tool.Usage("--reason is required: it goes into the record")
			}
			err := direct(cmd.Context(), env, func(ctx context.Context, admin gulmv1.AdminServiceClient) error {
				_, err := admin.PauseFencing(ctx, &gulmv1.PauseFencingRequest{Reason: reason, Operator: tool.Operator()})
				return err
			})
			if err != nil {
				return fmt.Errorf("pause fencing: %w", err)
			}
			return printPause(env, true)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why: `TEXT` for the record (required)")
	return cmd
}

func resumeCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "resume",
		Example: "  gulm_tool fence resume",
		Short:   "Resume automatic fencing that was paused",
		Long: `Resumes automatic expiry and fencing: whoever is missing is expired and fenced,
however many they are. The servers pause fencing by themselves when too many nodes
vanish at once (breaker_nodes, breaker_percent and breaker_window in cluster.ccs),
and resume it when the nodes come back.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := direct(cmd.Context(), env, func(ctx context.Context, admin gulmv1.AdminServiceClient) error {
				_, err := admin.ResumeFencing(ctx, &gulmv1.ResumeFencingRequest{Operator: tool.Operator()})
				return err
			})
			if errors.Is(err, gulmerr.ErrNotPending) {
				err = &tool.Advised{Err: err, Advice: "see gulm_tool status"}
			}
			if err != nil {
				return fmt.Errorf("resume fencing: %w", err)
			}
			return printPause(env, false)
		},
	}
}

func direct(ctx context.Context, env *tool.Env, do func(context.Context, gulmv1.AdminServiceClient) error) error {
	c, err := env.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := env.Limit(ctx)
	defer cancel()
	return c.Master(ctx, tool.Call{Do: func(ctx context.Context, conn *grpc.ClientConn) error {
		return do(ctx, gulmv1.NewAdminServiceClient(conn))
	}})
}

func printPause(env *tool.Env, paused bool) error {
	if env.JSON {
		return env.PrintJSON(struct {
			Paused bool `json:"paused"`
		}{paused})
	}
	text := "automatic fencing goes on"
	if paused {
		text = "automatic fencing is paused; gulm_tool fence resume ends that"
	}
	_, err := fmt.Fprintln(env.Stdout, text)
	return err
}

// breakerJSON is whether automatic fencing is paused, and why.
type breakerJSON struct {
	Paused     bool   `json:"paused"`
	Reason     string `json:"reason"`
	Operator   string `json:"operator"`
	SinceMs    int64  `json:"since_ms"`
	Overridden bool   `json:"overridden"`
	Trips      uint64 `json:"trips"`
	Resumes    uint64 `json:"resumes"`
	Missing    uint32 `json:"missing"`
	LoggedIn   uint32 `json:"logged_in"`
}

func breakerToJSON(b *gulmv1.Breaker) breakerJSON {
	return breakerJSON{
		b.GetPaused(), b.GetReason(), b.GetOperator(), b.GetSinceMs(), b.GetOverridden(), b.GetTrips(), b.GetResumes(), b.GetMissing(),
		b.GetLoggedIn(),
	}
}
