package codec

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// Field numbers of raftlog.v1.Command that the batch path needs.
const (
	fieldStamp = 1
	fieldBatch = 3
)

// Encode returns the bytes of a command with the master's stamp, unix
// milliseconds.
func Encode(stamp int64, c state.Command) []byte {
	if b, ok := c.(*state.Batch); ok {
		return encodeBatch(stamp, b)
	}
	m := &raftlogv1.Command{StampMs: stamp}
	setBody(m, c)
	data, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("codec: a %T cannot be encoded: %v", c, err)) // only for texts that are no UTF-8
	}
	return data
}

func setBody(m *raftlogv1.Command, c state.Command) {
	switch c := c.(type) {
	case state.BeginTerm:
		m.Body = &raftlogv1.Command_BeginTerm{BeginTerm: &raftlogv1.BeginTerm{
			Term: c.Term, Server: utf8(c.Server), Limits: limitsToLog(c.Limits),
		}}
	case state.Login:
		m.Body = &raftlogv1.Command_Login{Login: &raftlogv1.Login{
			Node: utf8(c.Node), BootId: utf8(c.BootID), LoginId: c.LoginID[:], Process: utf8(c.Process), ExpiryMs: c.Expiry,
			WatchdogMs: c.Watchdog, Flags: uint32(c.Flags),
			Replaces: c.Replaces,
		}}
	case state.Logout:
		m.Body = &raftlogv1.Command_Logout{Logout: &raftlogv1.Logout{Session: c.Session}}
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
	case state.Deny:
		m.Body = &raftlogv1.Command_Deny{Deny: &raftlogv1.Deny{
			Term: c.Term, Session: c.Session, Lock: uint64(c.Lock), Reason: uint32(c.Reason),
			Since: c.Since, Cycle: stepsToLog(c.Cycle),
		}}
	case state.Check:
		m.Body = &raftlogv1.Command_Check{Check: &raftlogv1.Check{Index: c.Index, Digest: c.Digest}}
	case state.ServerLeft:
		m.Body = &raftlogv1.Command_ServerLeft{ServerLeft: &raftlogv1.ServerLeft{Server: utf8(c.Server)}}
	case state.ServerEntered:
		m.Body = &raftlogv1.Command_ServerEntered{ServerEntered: &raftlogv1.ServerEntered{
			Server: utf8(c.Server), BootId: utf8(c.BootID), Replaces: c.Replaces, Flags: uint32(c.Flags),
		}}
	case state.EndSession:
		m.Body = &raftlogv1.Command_EndSession{EndSession: &raftlogv1.EndSession{
			Term: c.Term, Session: c.Session, SeenIndex: c.Seen, SilentMs: c.Silent,
		}}
	case state.PauseFencing:
		m.Body = &raftlogv1.Command_PauseFencing{PauseFencing: &raftlogv1.PauseFencing{
			Term: c.Term, Reason: utf8(c.Reason), Operator: utf8(c.Operator),
		}}
	case state.ResumeFencing:
		m.Body = &raftlogv1.Command_ResumeFencing{ResumeFencing: &raftlogv1.ResumeFencing{
			Term: c.Term, Operator: utf8(c.Operator), Reason: utf8(c.Reason),
		}}
	case state.FenceStarted, state.FenceSeen, state.FenceReleased, state.FenceManual:
		setLedgerBody(m, c)
	default:
		panic(fmt.Sprintf("codec: unknown command %T", c))
	}
}

// Decode returns the command in data and its stamp. Names in a Batch share
// data's memory. Anything but a whole command that this version knows is an
// error: a server that meets one must stop, or it would diverge from the others.
func Decode(data []byte) (int64, state.Command, error) {
	if stamp, b, ok, err := decodeBatch(data); ok || err != nil {
		return stamp, b, err
	}
	var m raftlogv1.Command
	if err := proto.Unmarshal(data, &m); err != nil {
		return 0, nil, fmt.Errorf("command is damaged: %w", err)
	}
	if err := whole(m.ProtoReflect()); err != nil {
		return 0, nil, fmt.Errorf("command holds more than this version knows, upgrade this server: %w", err)
	}
	c, err := bodyOf(&m)
	return m.GetStampMs(), c, err
}

func bodyOf(m *raftlogv1.Command) (state.Command, error) {
	life := func(x interface {
		GetNode() string
		GetIncarnation() uint64
	},
	) member.Life {
		return member.Life{Node: x.GetNode(), Incarnation: x.GetIncarnation()}
	}
	switch b := m.GetBody().(type) {
	case *raftlogv1.Command_BeginTerm:
		return state.BeginTerm{
			Term: b.BeginTerm.GetTerm(), Server: b.BeginTerm.GetServer(), Limits: limitsFromLog(b.BeginTerm.GetLimits()),
		}, nil
	case *raftlogv1.Command_Login:
		req := member.LoginRequest{Node: b.Login.GetNode(), BootID: b.Login.GetBootId(), Process: b.Login.GetProcess(), Expiry: b.Login.GetExpiryMs()}
		req.Watchdog = b.Login.GetWatchdogMs()
		id := b.Login.GetLoginId()
		if copy(req.LoginID[:], id) != len(req.LoginID) || len(id) != len(req.LoginID) {
			return nil, fmt.Errorf("command is damaged: login id of %d bytes", len(id))
		}
		var err error
		req.Replaces = b.Login.GetReplaces()
		req.Flags, err = flagsFromLog(b.Login.GetFlags())
		return state.Login{LoginRequest: req}, err
	case *raftlogv1.Command_Logout:
		return state.Logout{Session: b.Logout.GetSession()}, nil
	case *raftlogv1.Command_Expire:
		x := b.Expire
		return state.Expire{
			Term: x.GetTerm(), Life: life(x), Seen: x.GetSeenIndex(), Silent: x.GetSilentMs(), Reason: x.GetReason(),
			Session: x.GetSession(), Operator: x.GetOperator(),
		}, nil
	case *raftlogv1.Command_FenceBegin:
		return state.FenceBegin{Term: b.FenceBegin.GetTerm(), Life: life(b.FenceBegin)}, nil
	case *raftlogv1.Command_FenceAttempted:
		x := b.FenceAttempted
		return state.FenceAttempted{Term: x.GetTerm(), Life: life(x), Attempt: attemptFromLog(x)}, nil
	case *raftlogv1.Command_FenceProved:
		x := b.FenceProved
		return state.FenceProved{Term: x.GetTerm(), Life: life(x), By: x.GetBy(), Power: x.GetPower()}, nil
	case *raftlogv1.Command_FenceAcknowledged:
		x := b.FenceAcknowledged
		return state.FenceAcknowledged{Term: x.GetTerm(), Life: life(x), Operator: x.GetOperator()}, nil
	case *raftlogv1.Command_Deny:
		x := b.Deny
		if x.GetReason() >= uint32(reason.Count) {
			return nil, fmt.Errorf("command denies a lock for a reason that this version does not know: upgrade this server")
		}
		return state.Deny{
			Term: x.GetTerm(), Session: x.GetSession(), Lock: lock.ID(x.GetLock()), Reason: reason.Reason(x.GetReason()),
			Since: x.GetSince(), Cycle: stepsFromLog(x.GetCycle()),
		}, nil
	case *raftlogv1.Command_Check:
		return state.Check{Index: b.Check.GetIndex(), Digest: b.Check.GetDigest()}, nil
	case *raftlogv1.Command_ServerLeft:
		return state.ServerLeft{Server: b.ServerLeft.GetServer()}, nil
	case *raftlogv1.Command_ServerEntered:
		x := b.ServerEntered
		flags, err := flagsFromLog(x.GetFlags())
		return state.ServerEntered{Server: x.GetServer(), BootID: x.GetBootId(), Replaces: x.GetReplaces(), Flags: flags}, err
	case *raftlogv1.Command_EndSession:
		x := b.EndSession
		return state.EndSession{Term: x.GetTerm(), Session: x.GetSession(), Seen: x.GetSeenIndex(), Silent: x.GetSilentMs()}, nil
	case *raftlogv1.Command_PauseFencing:
		x := b.PauseFencing
		return state.PauseFencing{Term: x.GetTerm(), Reason: x.GetReason(), Operator: x.GetOperator()}, nil
	case *raftlogv1.Command_ResumeFencing:
		x := b.ResumeFencing
		return state.ResumeFencing{Term: x.GetTerm(), Operator: x.GetOperator(), Reason: x.GetReason()}, nil
	}
	if c := ledgerBodyOf(m); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("command is of a kind that this version does not know: upgrade this server")
}

// flagsFromLog refuses flags of which no version of a session knows.
func flagsFromLog(n uint32) (member.SessionFlags, error) {
	if n > 0xff {
		return 0, fmt.Errorf("command is damaged: session flags %#x", n)
	}
	return member.SessionFlags(n), nil
}

func limitsToLog(l state.Limits) *raftlogv1.Limits {
	return &raftlogv1.Limits{
		Locks: l.Locks, Resources: l.Resources, Sessions: l.Sessions, InFlight: l.InFlight, Lockspaces: l.Lockspaces,
	}
}

func limitsFromLog(l *raftlogv1.Limits) state.Limits {
	return state.Limits{
		Locks: l.GetLocks(), Resources: l.GetResources(), Sessions: l.GetSessions(), InFlight: l.GetInFlight(),
		Lockspaces: l.GetLockspaces(),
	}
}

// appendUint appends a varint field, nothing for zero, as proto3 does.
func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}
