// Command fence_node fences one node by hand, with the methods that the master
// would use: one round over all of them.
//
//	fence_node [-h] [-V] [-v] [--yes] [--config DIR] NODE
//
// It asks the lock servers first how the node is: of one that is logged in, the
// operator has to type the name, unless --yes is given. What an expired one said of
// its watchdog counts, as it does for the master; one that is logged in feeds its
// watchdog. What they know of its outlets does not count: one that is off already,
// or off by an agent's word, is taken at that. Afterwards the run goes into their
// ledger. It proves nothing to them: if they have expired the
// node, they fence it themselves and count only their own success, or an
// acknowledgement by fence_ack_manual. If they do not answer, the node is fenced
// all the same, with a word about it.
//
// Exit status: 0 the node is fenced, 1 it is not, 2 wrong usage or an unusable
// configuration, 4 nodes.ccs knows no such node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"lock_gulmd/ccs"
	"lock_gulmd/fence"
)

// Exit statuses.
const (
	exitFenced      = 0
	exitNotFenced   = 1
	exitUsage       = 2
	exitUnknownNode = 4
)

// defaultPath is where agents are looked for after the caller's PATH, which for
// ordinary users lacks the folders that agents are installed in.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const usage = `usage: fence_node [-h] [-V] [-v] [--yes] [--config DIR] NODE
Fences NODE with the methods of nodes.ccs, in order, until one succeeds.
  --config DIR  folder of cluster.ccs, nodes.ccs and fence.ccs
  --yes         do not ask, even if the node is logged in
  -v            show what the agents write
  -V            show the version
  -h            show this text
Exit status: 0 fenced, 1 not fenced, 2 usage or configuration, 4 unknown node.
`

func main() {
	fence.Supervise()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the command line.
type options struct {
	config        string
	help, version bool
	verbose, sure bool
	node          string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("fence_node", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.config, "config", "", "")
	flags.BoolVar(&o.verbose, "v", false, "")
	flags.BoolVar(&o.version, "V", false, "")
	flags.BoolVar(&o.sure, "yes", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		o.help = true
		return o, nil
	case err != nil:
		return o, err
	case !o.version && flags.NArg() != 1:
		return o, fmt.Errorf("want the name of one node, got %d", flags.NArg())
	}
	o.node = flags.Arg(0)
	return o, nil
}

// run is the whole command; it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "fence_node: %v\n%s", err, usage)
		return exitUsage
	case o.help:
		fmt.Fprint(stdout, usage)
		return exitFenced
	case o.version:
		fmt.Fprintf(stdout, "fence_node %s\n", version())
		return exitFenced
	}
	cfg, err := load(o.config)
	if err != nil {
		fmt.Fprintf(stderr, "fence_node: %v\n", err)
		return exitUsage
	}
	plan, ok := cfg.FencePlan(o.node)
	if !ok {
		fmt.Fprintf(stderr, "fence_node: nodes.ccs knows no node %q\n", o.node)
		return exitUnknownNode
	}
	s := askServers(ctx, o, stdout, stderr)
	if err := s.confirm(o, stdin, stdout); err != nil {
		fmt.Fprintf(stderr, "fence_node: %v\n", err)
		return exitNotFenced
	}
	return carryOut(ctx, o, s, plan, stdout, stderr)
}

func load(flag string) (*ccs.Config, error) {
	dir, _, err := ccs.Find(flag)
	if err != nil {
		return nil, err
	}
	return ccs.Load(dir)
}

// carryOut runs the plan once and tells how it goes.
func carryOut(ctx context.Context, o options, s *servers, plan fence.Plan, stdout, stderr io.Writer) int {
	runner := &fence.Runner{Path: searchList(os.Getenv("PATH")), Supervisor: fence.SelfSupervisor}
	if o.verbose {
		runner.Log = slog.New(slog.NewTextHandler(stderr, nil))
	}
	plan.Watchdog, plan.Expiry = s.watchdog()
	report, err := runner.Run(ctx, plan, fence.Hooks{End: func(a fence.Attempt) { show(stdout, a) }})
	s.record(report)
	if report.Fenced {
		fmt.Fprintf(stdout, "%s: fenced by %s\n", plan.Node, report.Method)
		return exitFenced
	}
	if errors.Is(err, fence.ErrPlan) && len(report.Attempts) == 0 {
		fmt.Fprintf(stderr, "fence_node: %v\n", err)
		return exitUsage
	}
	why := "no method succeeded"
	if ctx.Err() != nil {
		why = context.Cause(ctx).Error() + "; the agent was killed, but what it had sent to the device may still take effect"
	}
	fmt.Fprintf(stderr, "%s: not fenced: %s\n", plan.Node, why)
	return exitNotFenced
}

// show prints an attempt, and of a failed one what the agent wrote last.
func show(w io.Writer, a fence.Attempt) {
	fmt.Fprintf(w, "%v (%v)\n", a, a.Duration.Round(time.Millisecond))
	if a.Outcome.OK() || a.Tail == "" {
		return
	}
	for line := range strings.Lines(a.Tail) {
		fmt.Fprintf(w, "    %s\n", strings.TrimSuffix(line, "\n"))
	}
}

// searchList returns the caller's PATH and after it the usual folders.
func searchList(path string) string {
	if path == "" {
		return defaultPath
	}
	return path + ":" + defaultPath
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown version)"
	}
	return info.Main.Version
}
