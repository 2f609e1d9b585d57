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

func expireCommand(env *tool.Env) *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use:     "expire NODE --reason TEXT",
		Example: "  gulm_tool expire fs01 --reason \"hangs since 12:40, ticket 311\"",
		Aliases: []string{"forceexpire"},
		Short:   "Declare a logged-in node dead: it is fenced",
		Long: `Declares NODE dead. Its locks freeze at once and it is fenced; only then others
get its locks. Use it for a node that still sends heartbeats but does no work.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return tool.Usage("--reason is required: it goes into the record of the fence")
			}
			return expire(cmd.Context(), env, args[0], reason)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why: `TEXT` for the record (required)")
	return cmd
}

func expire(ctx context.Context, env *tool.Env, node, reason string) error {
	c, err := env.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := env.Limit(ctx)
	defer cancel()
	err = c.Master(ctx, tool.Call{Do: func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := gulmv1.NewAdminServiceClient(conn).ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: node, Reason: reason, Operator: tool.Operator()})
		return err
	}})
	switch {
	case errors.Is(err, gulmerr.ErrWrongState):
		err = &tool.Advised{Err: err, Advice: "only a logged-in node can be expired; see gulm_tool nodeinfo " + node}
	case errors.Is(err, gulmerr.ErrUnknownNode):
		err = &tool.Advised{Err: err, Advice: "only a logged-in node can be expired; gulm_tool nodelist shows all names and who is logged in"}
	}
	if err != nil {
		return fmt.Errorf("expire %s: %w", node, tool.Doubtful(err, node))
	}
	if env.JSON {
		return env.PrintJSON(struct {
			Node    string `json:"node"`
			Reason  string `json:"reason"`
			Expired bool   `json:"expired"`
		}{node, reason, true})
	}
	_, err = fmt.Fprintf(env.Stdout, "%s is expired and will be fenced; gulm_tool status shows how far that is\n", node)
	return err
}
