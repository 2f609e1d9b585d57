package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

func shutdownCommand(env *tool.Env) *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:     "shutdown HOST [--force]",
		Example: "  gulm_tool shutdown lk3",
		Short:   "Log one lock server out and stop it",
		Long: `Logs the lock server HOST out cleanly and stops it: it is not fenced, and if it
is the master, another server takes over. Refused with exit status 5 if the
cluster would lose its quorum while nodes are logged in.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return shutdown(cmd.Context(), env, args[0], force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "even if the cluster loses its quorum: all locks then stop")
	return cmd
}

func shutdown(ctx context.Context, env *tool.Env, host string, force bool) error {
	c, err := env.Cluster(host)
	if err != nil {
		return err
	}
	ctx, cancel := env.Limit(ctx)
	defer cancel()
	server, name := c.Servers[0], ""
	err = c.Ask(ctx, server, func(ctx context.Context, conn *grpc.ClientConn) error {
		who, err := gulmv1.NewCoreServiceClient(conn).Locate(ctx, &gulmv1.LocateRequest{})
		if err != nil {
			return err
		}
		if err := c.CheckCluster(server, who.GetCluster()); err != nil {
			return err
		}
		// Two servers may have swapped their addresses since the file was written.
		if name = who.GetServer(); server.Name != "" && name != server.Name {
			return gulmerr.New(gulmerr.ErrBadConfig, "%s answers as lock server %q, not %q; nothing was shut down", server.Address, name, server.Name)
		}
		_, err = gulmv1.NewAdminServiceClient(conn).Shutdown(ctx, &gulmv1.ShutdownRequest{Force: force})
		return err
	})
	if errors.Is(err, gulmerr.ErrLastQuorum) {
		err = fmt.Errorf("refused: the cluster would lose its quorum: %w", err)
	}
	if err != nil {
		return fmt.Errorf("shut down %s: %w", host, err)
	}
	if env.JSON {
		return env.PrintJSON(struct {
			Server   string `json:"server"`
			Shutdown bool   `json:"shutdown"`
		}{name, true})
	}
	_, err = fmt.Fprintf(env.Stdout, "%s has logged out and stops\n", name)
	return err
}
