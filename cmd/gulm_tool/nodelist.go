package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/tool"
)

func nodelistCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "nodelist [HOST]",
		Example: "  gulm_tool nodelist",
		Short:   "List all nodes with their states",
		Long: `Lists all nodes as the master knows them. Without a master, what another server
knows is shown, and the exit status is 3. With --json prints one object with
"view" (the server that said it), "quorate" and "nodes".`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := look(cmd.Context(), env, args)
			if err != nil {
				return err
			}
			switch {
			case env.JSON:
				err = env.PrintJSON(struct {
					View    string     `json:"view"`
					Quorate bool       `json:"quorate"`
					Nodes   []nodeJSON `json:"nodes"`
				}{v.best.GetServer(), v.serving != nil, nodesToJSON(v.best.GetNodes())})
			case v.best != nil:
				if v.serving == nil {
					fmt.Fprintf(env.Stderr, "warning: no master serves; this is what %s knows\n", v.best.GetServer())
				}
				err = tool.Table(env.Stdout, "", nodeRows(v.best.GetNodes()))
			}
			if err != nil {
				return err
			}
			return v.problem()
		},
	}
}
