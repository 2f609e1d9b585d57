package codec

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
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
	case state.Deny:
		m.Body = &raftlogv1.Command_Deny{Deny: &raftlogv1.Deny{
			Term: c.Term, Session: c.Session, Lock: uint64(c.Lock), Reason: uint32(c.Reason),
			Since: c.Since, Cycle: stepsToLog(c.Cycle),
		}}
	case state.Check:
		m.Body = &raftlogv1.Command_Check{Check: &raftlogv1.Check{Index: c.Index, Digest: c.Digest}}
	default:
		setSessionBody(m, c)
		setFenceBody(m, c)
		setLedgerBody(m, c)
	}
	if m.Body == nil {
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
	switch b := m.GetBody().(type) {
	case *raftlogv1.Command_BeginTerm:
		return state.BeginTerm{
			Term: b.BeginTerm.GetTerm(), Server: b.BeginTerm.GetServer(), Limits: limitsFromLog(b.BeginTerm.GetLimits()),
		}, nil
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
	}
	if c := fenceBodyOf(m); c != nil {
		return c, nil
	}
	if c := ledgerBodyOf(m); c != nil {
		return c, nil
	}
	if c, err := sessionBodyOf(m); c != nil || err != nil {
		return c, err
	}
	return nil, fmt.Errorf("command is of a kind that this version does not know: upgrade this server")
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
