package main

import (
	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/tool"
)

func ackCommand(env *tool.Env) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:     "ack NODE",
		Example: "  gulm_tool ack fs01",
		Short:   "Acknowledge by hand that a node is fenced",
		Long: `Acknowledges the pending fence of NODE: you say that you have made sure yourself
that the machine is switched off, or cut off from the shared disk. Its locks
then go to others. The same as fence_ack_manual.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.Acknowledge(cmd.Context(), args[0], yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask: you are sure that the machine cannot write")
	return cmd
}
