// Command fence_ack_manual tells the lock servers that an operator has made sure
// that a node cannot write any more, where no fence agent could prove it:
//
//	fence_ack_manual [-h] [-V] [--yes] [--config DIR] NODE
//
// It shows what is pending for the node, asks the operator to type the node's
// name, and acknowledges the fence on the master, which writes it into its audit
// log.
//
// Exit status: 0 acknowledged, 1 not confirmed or failed, 2 wrong usage or
// configuration, 3 no master answers, 4 no such node or nothing pending, 5 refused.
package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/tool"
)

func main() {
	os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Main runs one command line and returns the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return tool.Main(args, stdin, stdout, stderr, command)
}

func command(env *tool.Env) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "fence_ack_manual [--yes] [--config DIR] NODE",
		Short: "Acknowledge by hand that a node is fenced",
		Long: `Acknowledges the pending fence of NODE: you say that you have made sure yourself
that the machine is switched off, or cut off from the shared disk. Its locks
then go to others. Your name goes into the record.

` + tool.ExitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.Acknowledge(cmd.Context(), args[0], yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask: you are sure that the machine cannot write")
	return cmd
}
