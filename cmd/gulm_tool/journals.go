package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

func journalsCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "journals [LOCKSPACE]",
		Example: "  gulm_tool journals farm7:data",
		Short:   "Show who has which journal mounted, and who replays whose",
		Long: `Shows the journals and mounts of all lockspaces that have some, or of one, as the
master knows them, and what each of them waits for.

With --json prints one object with the key lockspaces; each has lockspace,
policy, journals (jid, state, node, incarnation, recoverer, age_ms, begun, error,
waits_for) and mounts (node, incarnation, session, spectator, state, jid, age_ms,
dead, waits_for).`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return journals(cmd.Context(), env, strings.Join(args, ""))
		},
	}
}

func journals(ctx context.Context, env *tool.Env, lockspace string) error {
	c, err := env.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := env.Limit(ctx)
	defer cancel()
	var reply *gulmv1.JournalsReply
	err = c.Master(ctx, tool.Call{Again: true, Do: func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		reply, err = gulmv1.NewAdminServiceClient(conn).Journals(ctx, &gulmv1.JournalsRequest{Lockspace: lockspace})
		return err
	}})
	if err != nil {
		return fmt.Errorf("list journals: %w", err)
	}
	if env.JSON {
		return env.PrintJSON(journalsToJSON(reply))
	}
	return printJournals(env.Stdout, reply)
}

func printJournals(w io.Writer, reply *gulmv1.JournalsReply) error {
	for _, sp := range reply.GetLockspaces() {
		fmt.Fprintf(w, "%s (policy %s)\n", tool.Line(sp.GetLockspace()), tool.Policy(sp.GetPolicy()))
		rows := [][]string{{"JOURNAL", "STATE", "NODE", "SINCE", "WAITS FOR"}}
		for _, j := range sp.GetJournals() {
			rows = append(rows, []string{
				strconv.Itoa(int(j.GetJid())), tool.JournalState(j.GetState()), life(j.GetNode(), j.GetIncarnation()), tool.Ago(j.GetAgeMs()),
				tool.Line(j.GetWaitsFor()),
			})
		}
		if err := tool.Table(w, "  ", rows); err != nil {
			return err
		}
		rows = [][]string{{"MOUNT", "STATE", "JOURNAL", "SINCE", "WAITS FOR"}}
		for _, m := range sp.GetMounts() {
			jid := "-"
			if m.GetJid() >= 0 {
				jid = strconv.Itoa(int(m.GetJid()))
			}
			rows = append(rows, []string{
				life(m.GetNode(), m.GetIncarnation()), mountWord(m), jid, tool.Ago(m.GetAgeMs()), tool.Line(m.GetWaitsFor()),
			})
		}
		if err := tool.Table(w, "  ", rows); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintln(w, tool.Count(uint64(len(reply.GetLockspaces())), "lockspace")+" with journals")
	return err
}

// life names one life of a node, "-" for nobody.
func life(node string, incarnation uint64) string {
	if node == "" {
		return "-"
	}
	return fmt.Sprintf("%s/%d", tool.Line(node), incarnation)
}

// mountWord is the state of a mount.
func mountWord(m *gulmv1.MountInfo) string {
	word := tool.MountState(m.GetState())
	if m.GetSpectator() {
		word += ", spectator"
	}
	if m.GetDead() {
		word += ", dead"
	}
	return word
}

// journalsJSON is the object of "gulm_tool journals --json".
type journalsJSON struct {
	Lockspaces []journalSpaceJSON `json:"lockspaces"`
}

type journalSpaceJSON struct {
	Policy    string        `json:"policy"`
	Lockspace string        `json:"lockspace"`
	Journals  []journalJSON `json:"journals"`
	Mounts    []mountJSON   `json:"mounts"`
}

type journalJSON struct {
	JID         uint32 `json:"jid"`
	State       string `json:"state"`
	Node        string `json:"node"`
	Incarnation uint64 `json:"incarnation"`
	Recoverer   string `json:"recoverer"`
	AgeMs       int64  `json:"age_ms"`
	Begun       uint32 `json:"begun"`
	Error       string `json:"error"`
	WaitsFor    string `json:"waits_for"`
}

type mountJSON struct {
	Node        string `json:"node"`
	Incarnation uint64 `json:"incarnation"`
	Session     uint64 `json:"session"`
	Spectator   bool   `json:"spectator"`
	State       string `json:"state"`
	JID         int32  `json:"jid"`
	AgeMs       int64  `json:"age_ms"`
	Dead        bool   `json:"dead"`
	WaitsFor    string `json:"waits_for"`
}

func journalsToJSON(reply *gulmv1.JournalsReply) journalsJSON {
	out := journalsJSON{Lockspaces: []journalSpaceJSON{}}
	for _, sp := range reply.GetLockspaces() {
		s := journalSpaceJSON{Lockspace: sp.GetLockspace(), Policy: tool.Policy(sp.GetPolicy()), Journals: []journalJSON{}, Mounts: []mountJSON{}}
		for _, j := range sp.GetJournals() {
			s.Journals = append(s.Journals, journalJSON{
				j.GetJid(), tool.JournalState(j.GetState()), j.GetNode(), j.GetIncarnation(), j.GetRecoverer(), j.GetAgeMs(), j.GetBegun(),
				j.GetError(), j.GetWaitsFor(),
			})
		}
		for _, m := range sp.GetMounts() {
			s.Mounts = append(s.Mounts, mountJSON{
				m.GetNode(), m.GetIncarnation(), m.GetSession(), m.GetSpectator(), tool.MountState(m.GetState()), m.GetJid(), m.GetAgeMs(),
				m.GetDead(), m.GetWaitsFor(),
			})
		}
		out.Lockspaces = append(out.Lockspaces, s)
	}
	return out
}
