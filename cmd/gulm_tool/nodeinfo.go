package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

func nodeinfoCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "nodeinfo NODE",
		Example: "  gulm_tool nodeinfo fs01",
		Short:   "Show all that is known of one node",
		Long: `Shows one node as the master knows it: its processes, each with the silence after
which it was told that the node is expired and the watchdog that it has armed, its
pending or latest fence with what the agents wrote, what is waited for on its
account, and which probes of its processes fail, so that its heartbeats will stop. Without a master, what another server knows is
shown, and the exit status is 3. With --json prints the node as one object.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := look(cmd.Context(), env, nil)
			if err != nil {
				return err
			}
			if v.best == nil {
				return v.problem()
			}
			i := slices.IndexFunc(v.best.GetNodes(), func(n *gulmv1.Node) bool { return n.GetName() == args[0] })
			if i < 0 {
				return gulmerr.New(gulmerr.ErrUnknownNode, "cluster %s has no node %q", v.best.GetCluster(), args[0])
			}
			if v.serving == nil {
				fmt.Fprintf(env.Stderr, "warning: no master serves; this is what %s knows\n", v.best.GetServer())
			}
			if env.JSON {
				err = env.PrintJSON(nodeToJSON(v.best.GetNodes()[i]))
			} else {
				err = printNode(env.Stdout, v.best.GetNodes()[i], waitsFor(v, args[0]))
			}
			if err != nil {
				return err
			}
			return v.problem()
		},
	}
}

func printNode(w io.Writer, n *gulmv1.Node, waiting []string) error {
	rows := [][]string{
		{"node:", tool.Line(n.GetName())},
		{"address:", tool.Line(n.GetAddress())},
		{"lock server:", yesNo(n.GetServer())},
		{"state:", tool.NodeState(n.GetState())},
		{"since:", tool.Stamp(n.GetSinceMs())},
		{"incarnation:", strconv.FormatUint(n.GetIncarnation(), 10)},
		{"boot id:", tool.Line(n.GetBootId())},
		{"last beat:", tool.Ago(n.GetLastBeatMs())},
		{"locks:", strconv.FormatUint(n.GetLocks(), 10)},
		{"fence:", fenceWords(n.GetFence())},
	}
	if n.GetAwaitsWord() {
		rows = append(rows, []string{"operator:", tool.AwaitsWord(n)})
	}
	if err := tool.Table(w, "", rows); err != nil {
		return err
	}
	tool.ShowAttempts(w, "  ", n.GetFence())
	for _, text := range waiting {
		fmt.Fprintf(w, "waiting for:  %s\n", tool.Line(text))
	}
	if len(n.GetSessions()) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows = [][]string{{"SESSION", "LOCKS", "ATTACHED", "SERVICE", "LAST BEAT", "EXPIRY", "WATCHDOG", "PROCESS"}}
	for _, s := range n.GetSessions() {
		rows = append(rows, []string{
			strconv.FormatUint(s.GetSession(), 10), strconv.FormatUint(s.GetLocks(), 10), yesNo(s.GetAttached()), service(s),
			tool.Ago(s.GetLastBeatMs()), tool.Ago(s.GetExpiryMs()), watchdogWords(s), tool.Line(s.GetProcess()),
		})
	}
	if err := tool.Table(w, "", rows); err != nil {
		return err
	}
	for _, s := range n.GetSessions() {
		for _, text := range troubleWords(s) {
			fmt.Fprintf(w, "session %d: %s\n", s.GetSession(), text)
		}
	}
	return nil
}

// watchdogWords says after what time without a sign of life the watchdog has reset
// the machine.
func watchdogWords(s *gulmv1.Session) string {
	if s.GetWatchdogMs() == 0 {
		return "none"
	}
	return "after " + tool.Ago(s.GetExpiryMs()+s.GetWatchdogMs())
}

// waitsFor returns what a cluster waits for that has to do with a node.
func waitsFor(v *view, node string) []string {
	var out []string
	for _, text := range v.waitingFor() {
		if slices.Contains(strings.FieldsFunc(text, notInName), node) {
			out = append(out, text)
		}
	}
	return out
}

// notInName reports whether a character ends the name of a node.
func notInName(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_' && r != '.'
}

// fenceWords says in one line how the pending or latest fence stands.
func fenceWords(f *gulmv1.Fence) string {
	switch f.GetState() {
	case gulmv1.FenceState_FENCE_STATE_NONE:
		return "never"
	case gulmv1.FenceState_FENCE_STATE_WANTED:
		return fmt.Sprintf("pending since %s, round %d: %s", tool.Stamp(f.GetWantedMs()), f.GetRounds(), tool.Line(f.GetReason()))
	}
	text := fmt.Sprintf("%s by %s at %s (incarnation %d: %s)",
		tool.FenceState(f.GetState()), tool.Line(f.GetBy()), tool.Stamp(f.GetSettledMs()), f.GetIncarnation(), tool.Line(f.GetReason()))
	if f.GetWord() != "" {
		text += ", acknowledged by " + tool.Line(f.GetWord())
	}
	return text
}

// service says what kind of service a session is.
func service(s *gulmv1.Session) string {
	words := []string{"important"}
	if s.GetUnimportant() {
		words[0] = "unimportant"
	}
	if s.GetLocked() {
		words = append(words, "locked")
	}
	if s.GetContainer() {
		words = append(words, "container")
	}
	if s.GetServer() {
		words = append(words, "server")
	}
	return strings.Join(words, ",")
}
