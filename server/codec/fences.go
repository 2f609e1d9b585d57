package codec

import (
	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// setFenceBody is setBody for the decisions about life and death.
func setFenceBody(m *raftlogv1.Command, c state.Command) {
	switch c := c.(type) {
	case state.Expire:
		m.Body = &raftlogv1.Command_Expire{Expire: &raftlogv1.Expire{
			Term: c.Term, Node: utf8(c.Node), Incarnation: c.Incarnation, SeenIndex: c.Seen, SilentMs: c.Silent, Reason: utf8(c.Reason),
			Session: c.Session, Operator: utf8(c.Operator),
		}}
	case state.FenceBegin:
		m.Body = &raftlogv1.Command_FenceBegin{FenceBegin: &raftlogv1.FenceBegin{
			Term: c.Term, Node: utf8(c.Node), Incarnation: c.Incarnation,
		}}
	case state.FenceAttempted:
		m.Body = &raftlogv1.Command_FenceAttempted{FenceAttempted: attemptToLog(c.Term, c.Life, c.Attempt)}
	case state.FenceProved:
		m.Body = &raftlogv1.Command_FenceProved{FenceProved: &raftlogv1.FenceProved{
			Term: c.Term, Node: utf8(c.Node), Incarnation: c.Incarnation, By: utf8(c.By), Power: c.Power,
		}}
	case state.FenceAcknowledged:
		m.Body = &raftlogv1.Command_FenceAcknowledged{FenceAcknowledged: &raftlogv1.FenceAcknowledged{
			Term: c.Term, Node: utf8(c.Node), Incarnation: c.Incarnation, Operator: utf8(c.Operator),
		}}
	case state.LeaseEnded:
		m.Body = &raftlogv1.Command_LeaseEnded{LeaseEnded: &raftlogv1.LeaseEnded{
			Term: c.Term, Node: utf8(c.Node), Incarnation: c.Incarnation, SilentMs: c.Silent,
		}}
	case state.PauseFencing:
		m.Body = &raftlogv1.Command_PauseFencing{PauseFencing: &raftlogv1.PauseFencing{
			Term: c.Term, Reason: utf8(c.Reason), Operator: utf8(c.Operator),
		}}
	case state.ResumeFencing:
		m.Body = &raftlogv1.Command_ResumeFencing{ResumeFencing: &raftlogv1.ResumeFencing{
			Term: c.Term, Operator: utf8(c.Operator), Reason: utf8(c.Reason),
		}}
	case state.ForgetVanished:
		m.Body = &raftlogv1.Command_ForgetVanished{ForgetVanished: &raftlogv1.ForgetVanished{Term: c.Term, Lives: livesToLog(c.Lives)}}
	}
}

// fenceBodyOf is bodyOf for the same commands, nil if it is none of them.
func fenceBodyOf(m *raftlogv1.Command) state.Command {
	switch b := m.GetBody().(type) {
	case *raftlogv1.Command_Expire:
		x := b.Expire
		return state.Expire{
			Term: x.GetTerm(), Life: lifeOf(x), Seen: x.GetSeenIndex(), Silent: x.GetSilentMs(), Reason: x.GetReason(),
			Session: x.GetSession(), Operator: x.GetOperator(),
		}
	case *raftlogv1.Command_FenceBegin:
		return state.FenceBegin{Term: b.FenceBegin.GetTerm(), Life: lifeOf(b.FenceBegin)}
	case *raftlogv1.Command_FenceAttempted:
		x := b.FenceAttempted
		return state.FenceAttempted{Term: x.GetTerm(), Life: lifeOf(x), Attempt: attemptFromLog(x)}
	case *raftlogv1.Command_FenceProved:
		x := b.FenceProved
		return state.FenceProved{Term: x.GetTerm(), Life: lifeOf(x), By: x.GetBy(), Power: x.GetPower()}
	case *raftlogv1.Command_FenceAcknowledged:
		x := b.FenceAcknowledged
		return state.FenceAcknowledged{Term: x.GetTerm(), Life: lifeOf(x), Operator: x.GetOperator()}
	case *raftlogv1.Command_LeaseEnded:
		x := b.LeaseEnded
		return state.LeaseEnded{Term: x.GetTerm(), Life: lifeOf(x), Silent: x.GetSilentMs()}
	case *raftlogv1.Command_PauseFencing:
		x := b.PauseFencing
		return state.PauseFencing{Term: x.GetTerm(), Reason: x.GetReason(), Operator: x.GetOperator()}
	case *raftlogv1.Command_ResumeFencing:
		x := b.ResumeFencing
		return state.ResumeFencing{Term: x.GetTerm(), Operator: x.GetOperator(), Reason: x.GetReason()}
	case *raftlogv1.Command_ForgetVanished:
		return state.ForgetVanished{Term: b.ForgetVanished.GetTerm(), Lives: livesFromLog(b.ForgetVanished.GetLives())}
	}
	return nil
}

// lifeOf returns the life that a message speaks of.
func lifeOf(x interface {
	GetNode() string
	GetIncarnation() uint64
},
) member.Life {
	return member.Life{Node: x.GetNode(), Incarnation: x.GetIncarnation()}
}
