package tool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"

	"google.golang.org/grpc"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// Acknowledgement is what Acknowledge did, as it is printed for programs.
type Acknowledgement struct {
	// Node and Incarnation say whose fence it was.
	Node        string `json:"node"`
	Incarnation uint64 `json:"incarnation"`
	// Operator is the name sent for the record; a certificate's name replaces it there.
	Operator string `json:"operator"`
	// Acknowledged is always true.
	Acknowledged bool `json:"acknowledged"`
}

// Acknowledge shows the pending fence of a node, lets the operator confirm by
// typing the node's name unless sure, and acknowledges the fence on the master.
// Errors: gulmerr.ErrUnknownNode; gulmerr.ErrNotPending if nothing is pending or
// what was shown has changed meanwhile; gulmerr.ErrCanceled if the operator did
// not confirm; those of Cluster and Master.
func (e *Env) Acknowledge(ctx context.Context, node string, sure bool) error {
	c, err := e.Cluster()
	if err != nil {
		return err
	}
	shown, err := c.pending(ctx, node)
	if err != nil {
		return err
	}
	out := e.Stdout
	if e.JSON {
		out = e.Stderr
	}
	showPending(out, shown)
	if !sure {
		if err := e.confirm(out, shown); err != nil {
			return err
		}
		if err := c.stillPending(ctx, shown); err != nil {
			return err
		}
	}
	operator := Operator()
	limited, cancel := e.Limit(ctx)
	defer cancel()
	err = c.Master(limited, Call{Do: func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := gulmv1.NewAdminServiceClient(conn).AcknowledgeFence(ctx, &gulmv1.AcknowledgeFenceRequest{
			Node: node, Operator: operator, Incarnation: shown.GetFence().GetIncarnation(),
		})
		return err
	}})
	if err != nil {
		return fmt.Errorf("acknowledge the fence of %s: %w", node, Doubtful(err, node))
	}
	if e.JSON {
		return e.PrintJSON(Acknowledgement{node, shown.GetFence().GetIncarnation(), operator, true})
	}
	fmt.Fprintf(out, "%s: fence acknowledged by %s; its locks are released\n", node, Line(operator))
	return nil
}

// Doubtful adds to the error of a call about a node that got no answer that it
// may have been done.
func Doubtful(err error, node string) error {
	var lost *Unreachable
	if !errors.Is(err, gulmerr.ErrUnavailable) || errors.Is(err, errSilent) || errors.As(err, &lost) && !lost.Doubtful {
		return err
	}
	return &Advised{err, "it may have been done or not: see gulm_tool nodeinfo " + node}
}

// Nodes asks the master for all nodes.
func (c *Cluster) Nodes(ctx context.Context) ([]*gulmv1.Node, error) {
	var nodes []*gulmv1.Node
	err := c.Master(ctx, Call{Again: true, Do: func(ctx context.Context, conn *grpc.ClientConn) error {
		reply, err := gulmv1.NewCoreServiceClient(conn).Nodes(ctx, &gulmv1.NodesRequest{})
		nodes = reply.GetNodes()
		return err
	}})
	return nodes, err
}

// pending returns the node if its fence is pending, or waits for an operator although
// it is proved.
func (c *Cluster) pending(ctx context.Context, name string) (*gulmv1.Node, error) {
	ctx, cancel := c.env.Limit(ctx)
	defer cancel()
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		switch {
		case n.GetName() != name:
		case n.GetFence().GetState() != gulmv1.FenceState_FENCE_STATE_WANTED && !n.GetAwaitsWord():
			return nil, gulmerr.New(gulmerr.ErrNotPending, "no fence of node %s is pending: it is %s%s", name, NodeState(n.GetState()), settled(n.GetFence()))
		default:
			return n, nil
		}
	}
	return nil, gulmerr.New(gulmerr.ErrUnknownNode, "the cluster has no node %q", name)
}

// settled tells how the latest fence ended, "" if there was none.
func settled(f *gulmv1.Fence) string {
	switch f.GetState() {
	case gulmv1.FenceState_FENCE_STATE_PROVED, gulmv1.FenceState_FENCE_STATE_ACKNOWLEDGED, gulmv1.FenceState_FENCE_STATE_LEASE_ENDED:
		return fmt.Sprintf(" (its latest fence was %s by %s at %s)", FenceState(f.GetState()), Line(f.GetBy()), Stamp(f.GetSettledMs()))
	}
	return ""
}

// stillPending refuses if the fence that the operator was shown is not the one
// that would be acknowledged: the node may have come back and expired again
// while they were on the way to it.
func (c *Cluster) stillPending(ctx context.Context, shown *gulmv1.Node) error {
	now, err := c.pending(ctx, shown.GetName())
	if err != nil {
		return err
	}
	if now.GetFence().GetIncarnation() != shown.GetFence().GetIncarnation() || now.GetFence().GetWantedMs() != shown.GetFence().GetWantedMs() {
		return &Advised{
			gulmerr.New(gulmerr.ErrNotPending, "that fence is over: meanwhile node %s was back and expired again (incarnation %d)",
				shown.GetName(), now.GetIncarnation()),
			"look at the machine again, then run this again",
		}
	}
	return nil
}

// showPending tells all that is known of a pending fence.
func showPending(w io.Writer, n *gulmv1.Node) {
	f := n.GetFence()
	if f.GetState() == gulmv1.FenceState_FENCE_STATE_WANTED {
		fmt.Fprintf(w, "node %s is expired (incarnation %d) and its fence is pending\n", Line(n.GetName()), n.GetIncarnation())
	} else {
		fmt.Fprintf(w, "node %s is %s; the fence of its incarnation %d is proved by %s, and what it held under the policy manual waits for your word\n",
			Line(n.GetName()), NodeState(n.GetState()), f.GetIncarnation(), Line(f.GetBy()))
	}
	_ = Table(w, "  ", [][]string{
		{"reason:", Line(f.GetReason())},
		{"since:", Stamp(f.GetWantedMs())},
		{"rounds:", strconv.FormatUint(uint64(f.GetRounds()), 10)},
		{"locks:", locksWord(n)},
		{"attempts:", attemptsWord(f)},
	})
	ShowAttempts(w, "    ", f)
}

// locksWord says how many locks wait, and for what.
func locksWord(n *gulmv1.Node) string {
	switch {
	case !n.GetAwaitsWord():
		return fmt.Sprintf("%d, frozen until the fence is proved or acknowledged", n.GetLocks())
	case n.GetFence().GetState() == gulmv1.FenceState_FENCE_STATE_WANTED && n.GetNoAgents():
		return fmt.Sprintf("%d, frozen until you acknowledge: no agent fences this node", n.GetLocks())
	case n.GetFence().GetState() == gulmv1.FenceState_FENCE_STATE_WANTED:
		return fmt.Sprintf("%d, frozen until the fence is proved or acknowledged, and under the policy manual until it is acknowledged", n.GetLocks())
	}
	return fmt.Sprintf("%d, frozen until you acknowledge", n.GetAwaiting())
}

// AwaitsWord says what an operator has to do for a node that waits for that.
func AwaitsWord(n *gulmv1.Node) string {
	text := "waits for the operator: fence_ack_manual " + Line(n.GetName())
	if n.GetAwaiting() > 0 {
		text += ", for " + Count(n.GetAwaiting(), "lock")
	}
	return text
}

func attemptsWord(f *gulmv1.Fence) string {
	if len(f.GetAttempts()) == 0 {
		return "none yet"
	}
	return fmt.Sprintf("the newest %d, oldest first", len(f.GetAttempts()))
}

// ShowAttempts lists the newest attempts of a fence with what the agents wrote,
// each line after indent.
func ShowAttempts(w io.Writer, indent string, f *gulmv1.Fence) {
	for _, a := range f.GetAttempts() {
		fmt.Fprintf(w, "%s%s  %s (%s)\n", indent, Stamp(a.GetStartMs()), Attempt(a), Ago(a.GetDurationMs()))
		for line := range strings.Lines(Clean(strings.TrimSpace(a.GetOutput()))) {
			fmt.Fprintf(w, "%s    | %s\n", indent, strings.TrimRight(line, " \n"))
		}
	}
}

// Attempt says in one line how an attempt went.
func Attempt(a *gulmv1.FenceAttempt) string {
	return fmt.Sprintf("%s/%s %s: %s", Line(a.GetMethod()), Line(a.GetDevice()), Line(a.GetAgent()), Line(a.GetOutcome()))
}

// maxAnswer bounds the line that an operator types.
const maxAnswer = 4096

// confirm lets the operator type the node's name.
func (e *Env) confirm(w io.Writer, n *gulmv1.Node) error {
	node := n.GetName()
	if n.GetState() == gulmv1.NodeState_NODE_STATE_LOGGED_IN {
		fmt.Fprintf(w, `
By acknowledging you say that you have made sure yourself that nothing of the life of
%[1]s that failed, incarnation %[2]d, can write to the shared disk any more: the machine
has booted since, or it was another one that is off. What that life held then goes to
others. If it still runs, data will be destroyed.
`, node, n.GetFence().GetIncarnation())
	} else {
		fmt.Fprintf(w, `
By acknowledging you say that you have made sure yourself that %[1]s cannot write
to the shared disk any more: it is switched off, or cut off from the disk. Its
locks then go to others. If it still runs, data will be destroyed.
`, node)
	}
	fmt.Fprint(w, "\nType the node's name to confirm: ")
	line, err := bufio.NewReader(io.LimitReader(e.Stdin, maxAnswer)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(w)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	answer := strings.TrimSpace(line)
	switch answer {
	case node:
		return nil
	case "":
		return gulmerr.New(gulmerr.ErrCanceled, "not confirmed: nothing was acknowledged")
	}
	return gulmerr.New(gulmerr.ErrCanceled, "not confirmed: you typed %q, the node is %q; nothing was acknowledged", answer, node)
}

// Operator is who runs this, for the record: user@host, the user before
// sudo if there was one.
func Operator() string {
	name := os.Getenv("SUDO_USER")
	if name == "" {
		name = os.Getenv("USER")
	}
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	if name == "" {
		name = "uid " + strconv.Itoa(os.Getuid())
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return name + "@" + host
}
