package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// defaultLimit is how many resources are listed unless --limit says otherwise.
const defaultLimit = 1000

func locksCommand(env *tool.Env) *cobra.Command {
	var req gulmv1.LocksRequest
	prefix := ""
	cmd := &cobra.Command{
		Use:     "locks",
		Example: "  gulm_tool locks --blocked --lockspace farm7:data",
		Short:   "Show who holds and who waits, and who blocks whom",
		Long: `Shows resources with their holders and waiters, as the master knows them. Names
of resources are bytes, so they are quoted. A lock is called NODE/SESSION/LOCK.
A waiter that conflicts with no holder waits behind others in the queue.

Files with byte ranges follow; an owner of ranges is NODE/SESSION/NUMBER. Then
come, for each request that waits, those in its way, what these wait for, and so on
to the end, through locks and ranges; and all deadlocks of the cluster, each spelled
out: who waits for whom on what.

With --json prints one object with the keys resources, range_files, truncated, left_out,
deadlocks (text, node, session, lock) and more_deadlocks; a resource
has lockspace, name (quoted), name_hex, policy, lease_ms and locks; a lock has id, node, session,
lock, queue, granted, requested, token, age_ms, frozen, blocked_by, behind, more_blockers, held_for, owner, set and
timeout_ms.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req.Prefix = []byte(prefix)
			return locks(cmd.Context(), env, &req)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&req.Lockspace, "lockspace", "", "only lockspace `L`")
	flags.StringVar(&prefix, "prefix", "", "only resources whose name begins with `P`")
	flags.BoolVar(&req.Contended, "contended", false, "only resources with somebody waiting")
	flags.BoolVar(&req.Contended, "blocked", false, "the same as --contended")
	flags.StringVar(&req.Node, "node", "", "only resources where node `NODE` holds or waits")
	flags.Uint32Var(&req.Limit, "limit", defaultLimit, "at most `N` resources, 0 for as many as the server lists")
	return cmd
}

func locks(ctx context.Context, env *tool.Env, req *gulmv1.LocksRequest) error {
	c, err := env.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := env.Limit(ctx)
	defer cancel()
	var resources []*gulmv1.Resource
	var files []*gulmv1.RangeFile
	var knots knots
	truncated := false
	err = c.Master(ctx, tool.Call{Again: true, Do: func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		resources, files, truncated, err = listLocks(ctx, conn, req, &knots)
		return err
	}})
	if err != nil {
		return fmt.Errorf("list locks: %w", err)
	}
	if env.JSON {
		out := locksToJSON(resources, truncated)
		out.RangeFiles, out.Deadlocks, out.MoreDeadlocks, out.LeftOut = rangesToJSON(files), knots.json(), knots.more, knots.leftOut
		return env.PrintJSON(out)
	}
	if err := printLocks(env.Stdout, resources, files, truncated, knots.leftOut); err != nil {
		return err
	}
	return knots.print(env.Stdout)
}

// listLocks receives the whole list.
func listLocks(
	ctx context.Context, conn *grpc.ClientConn, req *gulmv1.LocksRequest, found *knots,
) (list []*gulmv1.Resource, files []*gulmv1.RangeFile, truncated bool, err error) {
	stream, err := gulmv1.NewAdminServiceClient(conn).Locks(ctx, req)
	if err != nil {
		return nil, nil, false, err
	}
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list, files, truncated, nil
		}
		if err != nil {
			return nil, nil, false, err
		}
		list, files = append(list, reply.GetResources()...), append(files, reply.GetRangeFiles()...)
		truncated = truncated || reply.GetTruncated()
		found.add(reply)
	}
}

func printLocks(w io.Writer, resources []*gulmv1.Resource, files []*gulmv1.RangeFile, truncated bool, leftOut uint64) error {
	for _, r := range resources {
		fmt.Fprintf(w, "%s %s%s\n", tool.Line(r.GetLockspace()), tool.Bytes(r.GetName()), policyWords(r))
		rows := [][]string{{"LOCK", "QUEUE", "MODE", "AGE", "TOKEN", "NOTE"}}
		for _, l := range r.GetLocks() {
			rows = append(rows, []string{
				lockID(l), tool.Queue(l.GetQueue()), modes(l), tool.Ago(l.GetAgeMs()), token(l), strings.Join(notes(r, l), "; "),
			})
		}
		if err := tool.Table(w, "  ", rows); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if err := printRanges(w, files); err != nil {
		return err
	}
	if err := newChains(w, resources, files).print(); err != nil {
		return err
	}
	text := tool.Count(uint64(len(resources)), "resource")
	if len(files) > 0 {
		text += ", " + tool.Count(uint64(len(files)), "file") + " with ranges"
	}
	if truncated {
		more := "there are more"
		if leftOut > 0 {
			more = strconv.FormatUint(leftOut, 10) + " more are left out"
		}
		text += "; " + more + ": raise --limit, or narrow it with --lockspace, --prefix, --node or --blocked"
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// lockID names a lock: session numbers are the cluster's, lock numbers the
// session's.
func lockID(l *gulmv1.Lock) string {
	return fmt.Sprintf("%s/%d/%d", tool.Line(l.GetNode()), l.GetSession(), l.GetLock())
}

// modes shows what is held and what is wanted.
func modes(l *gulmv1.Lock) string {
	switch l.GetQueue() {
	case gulmv1.Queue_QUEUE_CONVERTING:
		return tool.Mode(l.GetGranted()) + " -> " + tool.Mode(l.GetRequested())
	case gulmv1.Queue_QUEUE_WAITING:
		return tool.Mode(l.GetRequested())
	}
	return tool.Mode(l.GetGranted())
}

func token(l *gulmv1.Lock) string {
	if l.GetToken() == 0 {
		return "-"
	}
	return strconv.FormatUint(l.GetToken(), 10)
}

// notes says what keeps a lock from being granted, and whether it is frozen.
func notes(r *gulmv1.Resource, l *gulmv1.Lock) []string {
	var out []string
	switch {
	case l.GetHeldFor() != "" && l.GetHeldFor() != "fence of node "+l.GetNode():
		out = append(out, "frozen for "+tool.Line(l.GetHeldFor()))
	case l.GetFrozen():
		out = append(out, "frozen until "+tool.Line(l.GetNode())+" is fenced")
	}
	by, behind := blockers(r, l)
	var list []string
	for _, b := range by {
		frozen := ""
		if b.GetFrozen() {
			frozen = ", frozen"
		}
		list = append(list, fmt.Sprintf("%s (%s%s)", lockID(b), tool.Mode(b.GetGranted()), frozen))
	}
	if len(list) > 0 {
		out = append(out, "blocked by "+strings.Join(list, ", "))
	}
	if behind != nil {
		out = append(out, "behind "+lockID(behind)+" in the queue")
	}
	return out
}

// locksJSON is the object of "gulm_tool locks --json"; see json.go.
type locksJSON struct {
	Resources []resourceJSON `json:"resources"`
	// RangeFiles are files with byte ranges; see ranges.go.
	RangeFiles []rangeFileJSON `json:"range_files"`
	// Truncated tells that --limit cut the list.
	Truncated bool `json:"truncated"`
	// LeftOut is how many resources and files that were.
	LeftOut uint64 `json:"left_out"`
	// Deadlocks are all of the cluster; see deadlocks.go.
	Deadlocks     []deadlockJSON `json:"deadlocks"`
	MoreDeadlocks bool           `json:"more_deadlocks"`
}

// resourceJSON is one resource; its name is bytes.
type resourceJSON struct {
	Lockspace string     `json:"lockspace"`
	Name      string     `json:"name"`
	NameHex   string     `json:"name_hex"`
	Locks     []lockJSON `json:"locks"`
	policyJSON
}

// lockJSON is one lock. BlockedBy are the ids of the locks that it conflicts
// with, Behind is the id of the one that it queues behind, or empty.
type lockJSON struct {
	ID        string   `json:"id"`
	Node      string   `json:"node"`
	Session   uint64   `json:"session"`
	Lock      uint64   `json:"lock"`
	Queue     string   `json:"queue"`
	Granted   string   `json:"granted"`
	Requested string   `json:"requested"`
	Token     uint64   `json:"token"`
	AgeMs     int64    `json:"age_ms"`
	Frozen    bool     `json:"frozen"`
	BlockedBy []string `json:"blocked_by"`
	Behind    string   `json:"behind"`
	// MoreBlockers tells that BlockedBy is not all.
	MoreBlockers bool `json:"more_blockers"`
	// HeldFor is what a frozen lock waits for.
	HeldFor   string `json:"held_for"`
	Owner     uint64 `json:"owner"`
	Set       uint64 `json:"set"`
	TimeoutMs uint32 `json:"timeout_ms"`
}

func locksToJSON(resources []*gulmv1.Resource, truncated bool) locksJSON {
	out := locksJSON{Resources: []resourceJSON{}, Truncated: truncated}
	for _, r := range resources {
		x := resourceJSON{r.GetLockspace(), tool.Bytes(r.GetName()), hex.EncodeToString(r.GetName()), []lockJSON{}, policyToJSON(r)}
		for _, l := range r.GetLocks() {
			by, behind := blockers(r, l)
			y := lockJSON{
				ID: lockID(l), Node: l.GetNode(), Session: l.GetSession(), Lock: l.GetLock(), Queue: tool.Queue(l.GetQueue()),
				Granted: tool.Mode(l.GetGranted()), Requested: tool.Mode(l.GetRequested()), Token: l.GetToken(), AgeMs: l.GetAgeMs(),
				Frozen: l.GetFrozen(), BlockedBy: []string{}, MoreBlockers: l.GetMoreBlockers(), HeldFor: l.GetHeldFor(),
				Owner: l.GetOwner(), Set: l.GetSet(), TimeoutMs: l.GetTimeoutMs(),
			}
			for _, b := range by {
				y.BlockedBy = append(y.BlockedBy, lockID(b))
			}
			if behind != nil {
				y.Behind = lockID(behind)
			}
			x.Locks = append(x.Locks, y)
		}
		out.Resources = append(out.Resources, x)
	}
	return out
}
