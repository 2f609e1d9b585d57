package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"

	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/fence"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// askLimit bounds what is asked of the lock servers, before and after the fence:
// a node must be fenced also when none of them answers.
const askLimit = 3 * time.Second

// servers are the lock servers, as far as they answer.
type servers struct {
	cluster *tool.Cluster // nil if they cannot be asked
	node    *gulmv1.Node  // nil if they did not answer
	name    string
	stderr  io.Writer
}

// askServers asks the lock servers about the node.
func askServers(ctx context.Context, o options, stdout, stderr io.Writer) *servers {
	s := &servers{name: o.node, stderr: stderr}
	env := &tool.Env{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: io.Discard, Config: o.config, Timeout: askLimit,
		Cert: os.Getenv(tool.EnvCert), Key: os.Getenv(tool.EnvKey), CA: os.Getenv(tool.EnvCA),
	}
	cluster, err := env.Cluster()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		var nodes []*gulmv1.Node
		nodes, err = cluster.Nodes(ctx)
		for _, n := range nodes {
			if n.GetName() == o.node {
				s.node = n
			}
		}
		s.cluster = cluster
	}
	if err != nil {
		s.cluster = nil
		fmt.Fprintf(stderr, "fence_node: the lock servers cannot be asked about %s, and this goes into no record: %v\n", o.node, err)
	}
	return s
}

// confirm lets the operator type the name of a node that is logged in.
func (s *servers) confirm(o options, stdin io.Reader, stdout io.Writer) error {
	if o.sure || s.node.GetState() != gulmv1.NodeState_NODE_STATE_LOGGED_IN {
		return nil
	}
	fmt.Fprintf(stdout, "%s is logged in and holds %s: it will be cut off in the middle of its work.\nType the node's name to confirm: ",
		s.name, tool.Count(s.node.GetLocks(), "lock"))
	const maxAnswer = 4096
	answer, _ := bufio.NewReader(io.LimitReader(stdin, maxAnswer)).ReadString('\n')
	if strings.TrimSpace(answer) == s.name {
		return nil
	}
	fmt.Fprintln(stdout)
	return fmt.Errorf("not confirmed: nothing was done; --yes does not ask")
}

// watchdog returns what the node said at login of its watchdog, and the longest
// expiry time that it was told. Both are 0 unless the servers have expired the
// node: as long as they acknowledge its heartbeats it feeds its watchdog, and
// waiting for that proves nothing.
func (s *servers) watchdog() (timeout, expiry time.Duration) {
	if s.node.GetState() != gulmv1.NodeState_NODE_STATE_EXPIRED {
		return 0, 0
	}
	for _, x := range s.node.GetSessions() {
		timeout = max(timeout, time.Duration(x.GetWatchdogMs())*time.Millisecond)
		expiry = max(expiry, time.Duration(x.GetExpiryMs())*time.Millisecond)
	}
	return timeout, expiry
}

// record puts the run into the servers' ledger.
func (s *servers) record(report fence.Report) {
	if s.cluster == nil {
		return
	}
	f := &gulmv1.ManualFence{Fenced: report.Fenced}
	for _, a := range report.Attempts {
		if a.Outcome.OK() {
			f.By = a.Method + "/" + a.Device
		}
		f.Attempts = append(f.Attempts, &gulmv1.FenceAttempt{
			Method: a.Method, Device: a.Device, Agent: a.Agent + " " + a.Action, Outcome: string(a.Outcome),
			StartMs: a.Start.UnixMilli(), DurationMs: a.Duration.Milliseconds(), Output: strings.TrimSpace(a.Reason + "\n" + a.Tail), Late: a.Late,
		})
	}
	if !report.Fenced {
		f.By = ""
	}
	// Not with the command's own context: a run that was interrupted belongs into
	// the record as well.
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	err := s.cluster.Master(ctx, tool.Call{Do: func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := gulmv1.NewAdminServiceClient(conn).RecordFence(ctx, &gulmv1.RecordFenceRequest{Node: s.name, Operator: tool.Operator(), Fence: f})
		return err
	}})
	switch {
	case errors.Is(err, gulmerr.ErrUnknownNode):
		fmt.Fprintf(s.stderr, "fence_node: this is not in the servers' record, which begins with a node's first login: %s has never logged in\n", s.name)
	case err != nil:
		fmt.Fprintf(s.stderr, "fence_node: this is not in the servers' record, write it down elsewhere: %v\n", err)
	}
}
