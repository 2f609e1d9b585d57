package rpc

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/master"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// flagsOf returns what a login says about its service.
func flagsOf(req *gulmv1.LoginRequest) (flags member.SessionFlags) {
	if req.GetUnimportant() {
		flags |= member.Unimportant
	}
	if req.GetLocked() {
		flags |= member.Locked
	}
	if req.GetContainer() {
		flags |= member.Container
	}
	return flags
}

func (e *Edge) lifeOf(node string) (n member.Node) {
	e.cfg.Machine.View(func(s *state.State) { n, _ = s.Members().Node(node) })
	return n
}

// noteReboot tells if a login has settled an earlier life, be it that the new one
// has to wait for something else yet.
func (e *Edge) noteReboot(node string, earlier member.Node, result state.Result) {
	if len(result.Ended) > 0 {
		e.cfg.Master.Rebooted(node, earlier)
	}
}

// loginRefused says why, and which life is in the way.
func (e *Edge) loginRefused(node string, why reason.Reason) error {
	var err *gulmerr.Error
	n := e.lifeOf(node)
	switch why {
	case reason.Unsettled:
		held, _ := e.cfg.Master.HeldFor(node)
		return gulmerr.New(gulmerr.ErrNotFenced,
			"node %s: its earlier life is fenced, but an attempt that was given up may still cut the machine off: it may log in after about %v",
			node, held.Round(time.Second))
	case reason.NotFenced:
		if text := e.leaseInTheWay(node); text != "" {
			err = gulmerr.New(gulmerr.ErrNotFenced, "node %s: its earlier life is expired; it may log in after the %s, or a reboot", node, text)
			break
		}
		err = gulmerr.New(gulmerr.ErrNotFenced, "node %s: its earlier life is expired and its fence is not proved yet", node)
	case reason.StaleIncarnation:
		err = gulmerr.New(gulmerr.ErrStaleIncarnation,
			"node %s is logged in with another boot id: that life must log out, or expire and be fenced, first", node)
	case reason.FenceLied:
		e.cfg.Master.FenceLied(node)
		return gulmerr.New(gulmerr.ErrFenceLied,
			"node %s: its power was cut by %s, as was said, yet it has the same boot id: the method does not fence it. "+
				"Correct the method, and boot the node; if the agent only cuts the node off, write proves = \"access\" for its device", node, n.Fence.By)
	default:
		return master.Refused(why, "login of node %s", node)
	}
	err.Meta = map[string]string{gulmerr.MetaIncarnation: strconv.FormatUint(n.Incarnation, 10)}
	return err
}

// nodesInTheWay returns an error if services are logged in that would be left
// without quorum, those first that must be gone before.
func (e *Edge) nodesInTheWay(server string) error {
	var locked, others []string
	e.cfg.Machine.View(func(s *state.State) {
		for _, x := range s.Members().Sessions() {
			text := fmt.Sprintf("%s: %s (session %d, %d locks)", x.Node, x.Process, x.Number, s.Locks().Locks(lock.Session(x.Number)))
			switch {
			case x.Flags.Has(member.Server):
			case x.Flags.Has(member.Locked):
				locked = append(locked, text)
			default:
				others = append(others, text)
			}
		}
	})
	switch {
	case len(locked) > 0:
		return gulmerr.New(gulmerr.ErrLastQuorum, "without %s the lock servers have no quorum, and these services must be gone first: %s; "+
			"end them, or use --force", server, list(locked))
	case len(others) > 0:
		return gulmerr.New(gulmerr.ErrLastQuorum, "without %s the lock servers have no quorum and nodes are logged in (%s): "+
			"unmount there first, or use --force", server, list(others))
	}
	return nil
}

// list joins the first few texts.
func list(texts []string) string {
	const most = 8
	if len(texts) > most {
		return strings.Join(texts[:most], ", ") + fmt.Sprintf(" and %d more", len(texts)-most)
	}
	return strings.Join(texts, ", ")
}

// nobody is in the record for an operator who gave no name, which development mode
// allows.
const nobody = "unknown (no certificate)"

// operator returns who asks: the certificate's name, or the one given.
func operator(ctx context.Context, given string) (string, error) {
	if name := caller(ctx).Name; name != "" {
		return name, nil
	}
	if given = strings.TrimSpace(given); given == "" {
		return "", gulmerr.New(gulmerr.ErrInvalid, "the operator's name is required: it goes into the record")
	}
	return given, nil
}

// PauseFencing pauses automatic expiry and fencing.
func (e *Edge) PauseFencing(ctx context.Context, req *gulmv1.PauseFencingRequest) (*gulmv1.PauseFencingReply, error) {
	who, err := operator(ctx, req.GetOperator())
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(req.GetReason()) == "" {
		return nil, gulmerr.New(gulmerr.ErrInvalid, "a reason is required: it goes into the record")
	}
	return &gulmv1.PauseFencingReply{}, e.cfg.Master.PauseFencing(ctx, who, req.GetReason())
}

// ResumeFencing ends a pause.
func (e *Edge) ResumeFencing(ctx context.Context, req *gulmv1.ResumeFencingRequest) (*gulmv1.ResumeFencingReply, error) {
	who, err := operator(ctx, req.GetOperator())
	if err != nil {
		return nil, err
	}
	return &gulmv1.ResumeFencingReply{}, e.cfg.Master.ResumeFencing(ctx, who)
}

func (e *Edge) breaker(b state.Breaker) *gulmv1.Breaker {
	missing, loggedIn := e.cfg.Master.Missing()
	return &gulmv1.Breaker{
		Paused: b.Paused, Reason: b.Reason, Operator: b.Operator, SinceMs: b.Since, Overridden: b.Overridden, Trips: b.Trips,
		Resumes: b.Resumes, Missing: uint32(missing), LoggedIn: uint32(loggedIn),
	}
}

// waitForResume names a pause of automatic fencing.
func waitForResume(b *gulmv1.Breaker) []string {
	if !b.GetPaused() {
		return nil
	}
	who := ""
	if b.GetOperator() != "" {
		who = " by " + b.GetOperator()
	}
	return []string{fmt.Sprintf("automatic fencing is PAUSED%s: %s; %d of %d nodes are missing; locks of the missing ones stay held; "+
		"gulm_tool fence resume goes on", who, b.GetReason(), b.GetMissing(), b.GetLoggedIn())}
}

// services counts the sessions but for those of the lock servers themselves.
func services(s *state.State) (n uint64) {
	for _, x := range s.Members().Sessions() {
		if !x.Flags.Has(member.Server) {
			n++
		}
	}
	return n
}
