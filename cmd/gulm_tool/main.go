// Command gulm_tool asks and directs the lock servers: who serves, who holds and
// who waits, which fences are pending; expire a node, acknowledge a fence, shut a
// server down. "gulm_tool --help" lists its verbs; each has a file of its own.
package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/fence"
)

func main() {
	fence.Supervise() // as the lock server of the demo
	if code, played := playPart(); played {
		os.Exit(code)
	}
	os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Main runs one command line and returns the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return tool.Main(args, stdin, stdout, stderr, rootCommand)
}

// verbs build the commands. A new verb is a file with its builder, and a line
// here.
var verbs = []func(*tool.Env) *cobra.Command{
	ackCommand,
	demoCommand,
	expireCommand,
	fenceCommand,
	journalsCommand,
	locksCommand,
	nodeinfoCommand,
	nodelistCommand,
	shutdownCommand,
	statusCommand,
	timeoutsCommand,
	versionCommand,
}

func rootCommand(env *tool.Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "gulm_tool",
		Short: "Ask and direct the lock servers",
		Long: `gulm_tool asks and directs the lock servers. It finds the master by itself.

The lock servers are those of the configuration, or those named with --server.
HOST is the name of a configured server, an address, or either with :PORT.
Plain text is used only towards loopback addresses; others need a certificate.

Tables are for people and may change; programs use --json, whose keys stay, and
the exit status.

` + tool.ExitHelp,
		Example: "  gulm_tool status",
	}
	return group(root, env, verbs, "name a command")
}

// group makes a command one that does nothing but hold others: without one of them
// it says what is missing.
func group(cmd *cobra.Command, env *tool.Env, verbs []func(*tool.Env) *cobra.Command, missing string) *cobra.Command {
	cmd.RunE = func(*cobra.Command, []string) error { return tool.Usage("%s", missing) }
	for _, verb := range verbs {
		cmd.AddCommand(verb(env))
	}
	return cmd
}
