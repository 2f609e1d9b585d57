package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/daemon"
	"lock_gulmd/cmd/internal/demo"
	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/fence/process"
)

func demoCommand(env *tool.Env) *cobra.Command {
	var opt demo.Options
	cmd := &cobra.Command{
		Use:     "demo",
		Example: "  gulm_tool demo --story recovery",
		Short:   "Watch a node die while it writes, and nothing get lost",
		Long: `Starts three real lock servers and three nodes on loopback addresses and in a
temporary folder. The nodes share one file as their disk and write records under
an exclusive lock. A node is stopped while it holds the lock; it is expired and
fenced, and only then a waiting node gets the lock; the master is killed in the
middle of the next recovery, and the next one finishes it. At the end the file
is checked. Needs nothing, takes less than a minute, leaves nothing behind.

Exit status 1 if a promise was broken.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			opt.JSON = env.JSON
			return demo.Run(ctx, opt, env.Stdout)
		},
	}
	cmd.Flags().StringVar(&opt.Story, "story", demo.StoryFence, "which story: fence, or recovery (journals; two nodes die together, and one that replays)")
	cmd.Flags().BoolVar(&opt.ShowLease, "show-lease", false, "tell the story again with a lease that ends by a timer, and show the overlapping writes")
	cmd.Flags().BoolVar(&opt.Keep, "keep", false, "leave the temporary folder with its logs")
	return cmd
}

// playPart runs another program if this executable was started under its name,
// as the demo does, and reports whether it did.
func playPart() (code int, played bool) {
	switch args := os.Args[1:]; filepath.Base(os.Args[0]) {
	case demo.AsServer:
		return daemon.Main(args, os.Stdout, os.Stderr), true
	case demo.AsAgent:
		return process.Main(os.Stdin, os.Stdout, os.Stderr, args), true
	case demo.AsNode:
		return demo.NodeMain(args, os.Stdin, os.Stdout, os.Stderr), true
	default:
		return 0, false
	}
}
