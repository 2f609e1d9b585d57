package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/tool"
)

func versionCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Example: "  gulm_tool version",
		Short:   "Show the version of gulm_tool",
		Long:    "Shows the version of gulm_tool. The versions of the servers are in gulm_tool status.",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if env.JSON {
				return env.PrintJSON(struct {
					Version string `json:"version"`
					Go      string `json:"go"`
				}{tool.Version(), runtime.Version()})
			}
			_, err := fmt.Fprintf(env.Stdout, "gulm_tool %s\n", tool.Version())
			return err
		},
	}
}
