package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

func statusCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "status [HOST]",
		Example: "  gulm_tool status --json",
		Short:   "Show all lock servers, nodes, fences, and what is waited for",
		Long: `Asks every lock server at once and shows what they say: each server, the nodes,
pending fences, and everything that is waited for. Servers that contradict each
other are shown first. With HOST, asks that one and those that it names.

With --json prints one object with the keys
  cluster quorate master view quorum disagreements servers nodes pending_fences
  waiting_for breaker counters locks waiters resources lockspaces sessions
Durations (..._ms) are milliseconds, moments (since_ms, wanted_ms, settled_ms,
start_ms) milliseconds since 1970; "view" is the server that said all but "servers".

Exit status: 0 the cluster is quorate and a master serves, 3 it does not,
2 wrong command line or configuration.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := look(cmd.Context(), env, args)
			if err != nil {
				return err
			}
			if env.JSON {
				err = env.PrintJSON(v.json())
			} else {
				err = v.print(env.Stdout)
			}
			if err != nil {
				return err
			}
			return v.problem()
		},
	}
}

// told returns what the best answer says about a server, nil if nothing.
func (v *view) told(name string) *gulmv1.ServerStatus {
	for _, s := range v.best.GetServers() {
		if s.GetName() == name {
			return s
		}
	}
	return nil
}

// waitingFor names everything that is waited for, a master included.
func (v *view) waitingFor() []string {
	var out []string
	if v.serving == nil {
		out = append(out, v.waitForMaster())
	}
	return append(out, v.best.GetWaitingFor()...)
}

func (v *view) waitForMaster() string {
	reached := 0
	for _, a := range v.answers {
		if a.err == nil {
			reached++
		}
	}
	text := fmt.Sprintf("a master: %d of %d lock servers answer", reached, len(v.answers))
	if q := v.best.GetQuorum(); q > 0 {
		text += fmt.Sprintf(", %d are needed", q)
	}
	return text
}

// print writes the status for people.
func (v *view) print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n", v.headline())
	for _, d := range v.disagreements {
		fmt.Fprintf(w, "!! DISAGREEMENT: %s\n", tool.Line(d))
	}
	if b := v.best.GetBreaker(); b.GetPaused() {
		fmt.Fprintf(w, "!! AUTOMATIC FENCING IS PAUSED since %s: %s\n", tool.Stamp(b.GetSinceMs()), tool.Line(b.GetReason()))
	}
	fmt.Fprintln(w)
	if err := tool.Table(w, "", v.serverRows()); err != nil {
		return err
	}
	if v.best == nil {
		return nil
	}
	if v.serving == nil {
		fmt.Fprintf(w, "\nWhat follows is what %s knows; it may be out of date.\n", v.best.GetServer())
	}
	fmt.Fprintln(w)
	if err := tool.Table(w, "", nodeRows(v.best.GetNodes())); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s, %s waiting, on %s in %s; %s\n",
		tool.Count(v.best.GetLocks(), "lock"), tool.Count(v.best.GetWaiters(), "request"), tool.Count(v.best.GetResources(), "resource"),
		tool.Count(v.best.GetLockspaces(), "lockspace"), tool.Count(v.best.GetSessions(), "session"))
	v.printFences(w)
	fmt.Fprint(w, "\nwaiting for:\n")
	waiting := v.waitingFor()
	if len(waiting) == 0 {
		waiting = []string{"nothing"}
	}
	for _, text := range waiting {
		if _, err := fmt.Fprintf(w, "  %s\n", tool.Line(text)); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) headline() string {
	switch {
	case v.best == nil:
		return "no lock server answers"
	case v.serving == nil:
		return fmt.Sprintf("cluster %s: NO MASTER SERVES", tool.Line(v.best.GetCluster()))
	}
	return fmt.Sprintf("cluster %s: quorate, master %s, term %d", tool.Line(v.serving.GetCluster()), v.serving.GetServer(), v.serving.GetTerm())
}

func (v *view) serverRows() [][]string {
	rows := [][]string{{"SERVER", "ADDRESS", "ROLE", "TERM", "QUORUM", "COMMIT", "APPLIED", "UPTIME", "VERSION", "NOTE"}}
	for i := range v.answers {
		a := &v.answers[i]
		told, s := v.told(a.name()), a.status
		note := ""
		if told.GetLoggedOut() {
			note = "logged out"
		}
		if a.err != nil {
			note = strings.TrimPrefix(note+"; "+whyNot(a.err), "; ")
			rows = append(rows, []string{tool.Line(a.name()), a.server.Address, "-", "-", "-", "-", "-", "-", "-", note})
			continue
		}
		rows = append(rows, []string{
			tool.Line(a.name()), a.server.Address, tool.Role(s.GetRole()), strconv.FormatUint(s.GetTerm(), 10), yesNo(s.GetQuorate()),
			strconv.FormatUint(s.GetCommitIndex(), 10), strconv.FormatUint(s.GetAppliedIndex(), 10), tool.Ago(s.GetUptimeMs()),
			tool.Line(s.GetVersion()), note,
		})
	}
	return rows
}

func (v *view) printFences(w io.Writer) {
	fences := v.best.GetPendingFences()
	if len(fences) == 0 {
		return
	}
	fmt.Fprint(w, "\npending fences:\n")
	for _, f := range fences {
		fmt.Fprintf(w, "  %s (incarnation %d) since %s, round %d: %s\n",
			tool.Line(f.GetNode()), f.GetIncarnation(), tool.Stamp(f.GetWantedMs()), f.GetRounds(), tool.Line(f.GetReason()))
		for _, a := range f.GetAttempts() {
			fmt.Fprintf(w, "    %s  %s (%s)\n", tool.Stamp(a.GetStartMs()), tool.Attempt(a), tool.Ago(a.GetDurationMs()))
		}
	}
}

// nodeRows is the table of nodes, by name.
func nodeRows(nodes []*gulmv1.Node) [][]string {
	rows := [][]string{{"NODE", "STATE", "INCARNATION", "SESSIONS", "LOCKS", "LAST BEAT", "SINCE", "NOTE"}}
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b *gulmv1.Node) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, n := range nodes {
		var notes []string
		if n.GetServer() {
			notes = append(notes, "lock server")
		}
		notes = append(notes, services(n)...)
		for _, s := range n.GetSessions() {
			notes = append(notes, troubleWords(s)...)
		}
		if f := n.GetFence(); f.GetState() == gulmv1.FenceState_FENCE_STATE_WANTED {
			notes = append(notes, fmt.Sprintf("fence pending, round %d", f.GetRounds()))
		}
		rows = append(rows, []string{
			tool.Line(n.GetName()), tool.NodeState(n.GetState()), strconv.FormatUint(n.GetIncarnation(), 10),
			strconv.Itoa(len(n.GetSessions())), strconv.FormatUint(n.GetLocks(), 10), tool.Ago(n.GetLastBeatMs()),
			tool.Stamp(n.GetSinceMs()), strings.Join(notes, "; "),
		})
	}
	return rows
}

// services names what is special about the services of a node.
func services(n *gulmv1.Node) []string {
	locked, unimportant := 0, 0
	for _, s := range n.GetSessions() {
		if s.GetLocked() {
			locked++
		}
		if s.GetUnimportant() {
			unimportant++
		}
	}
	var notes []string
	if locked > 0 {
		notes = append(notes, fmt.Sprintf("%d locked", locked))
	}
	if unimportant > 0 {
		notes = append(notes, fmt.Sprintf("%d unimportant", unimportant))
	}
	return notes
}
