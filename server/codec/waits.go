package codec

import (
	"google.golang.org/protobuf/encoding/protowire"

	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/reason"
)

// entriesSize is an upper bound of the encoded size.
func entriesSize(entries []lock.SetEntry) int {
	if len(entries) == 0 {
		return 0
	}
	size := maxTag
	for i := range entries {
		size += 2*maxTag + 20 + len(entries[i].Name)
	}
	return size
}

// appendEntries appends the locks of a set, each as a field of a raftlog.v1
// message.
func appendEntries(b []byte, field protowire.Number, entries []lock.SetEntry) []byte {
	for i := range entries {
		e := &entries[i]
		b = protowire.AppendTag(b, field, protowire.BytesType)
		b = appendSized(b, func(p []byte) []byte {
			p = appendBytes(appendUint(p, 1, uint64(e.ID)), 2, e.Name)
			return appendUint(appendUint(p, 3, uint64(e.Mode)), 4, uint64(e.Flags))
		})
	}
	return b
}

func readEntry(data []byte, entries *[]lock.SetEntry) error {
	var e lock.SetEntry
	f := fields{data: data, bytes: 1 << 2}
	for f.next() {
		switch f.field {
		case 1:
			e.ID = lock.ID(f.v)
		case 2:
			e.Name = f.sub
		case 3:
			e.Mode = lock.Mode(f.uint8())
		case 4:
			e.Flags = lock.Flags(f.uint32())
		default:
			f.unknown("SetEntry")
		}
	}
	*entries = append(*entries, e)
	return f.err
}

func stepsToLog(steps []lock.Step) []*raftlogv1.Step {
	var out []*raftlogv1.Step
	for _, s := range steps {
		out = append(out, &raftlogv1.Step{
			Session: uint64(s.Session), Lock: uint64(s.ID), BySession: uint64(s.BySession), ByLock: uint64(s.ByID),
			ByOwner: s.ByOwner,
		})
	}
	return out
}

func stepsFromLog(steps []*raftlogv1.Step) []lock.Step {
	var out []lock.Step
	for _, s := range steps {
		out = append(out, lock.Step{
			Session: lock.Session(s.GetSession()), ID: lock.ID(s.GetLock()),
			BySession: lock.Session(s.GetBySession()), ByID: lock.ID(s.GetByLock()), ByOwner: s.GetByOwner(),
		})
	}
	return out
}

func endedToLog(e lock.EndedState) *raftlogv1.Ended {
	return &raftlogv1.Ended{
		Lock: uint64(e.ID), Reason: uint32(e.Reason), Changed: e.Changed, Detail: utf8(e.Detail), Mode: uint32(e.Mode), Token: e.Token,
	}
}

func endedFromLog(e *raftlogv1.Ended, ok *bool) lock.EndedState {
	return lock.EndedState{
		ID: lock.ID(e.GetLock()), Reason: narrow[reason.Reason](e.GetReason(), ok), Changed: e.GetChanged(), Detail: e.GetDetail(),
		Mode: narrow[lock.Mode](e.GetMode(), ok), Token: e.GetToken(),
	}
}

func setToLog(s *lock.SetState) *raftlogv1.LockSet {
	out := &raftlogv1.LockSet{
		Set: uint64(s.ID), Lockspace: s.Lockspace, Flags: uint32(s.Flags), Owner: s.Owner, TimeoutMs: s.Timeout, Since: s.Since,
		Asked: uint32(s.Asked),
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		out.Entries = append(out.Entries, &raftlogv1.SetEntry{
			Lock: uint64(e.ID), Name: e.Name, Mode: uint32(e.Mode), Flags: uint32(e.Flags),
		})
	}
	return out
}

func setFromLog(s *raftlogv1.LockSet, ok *bool) lock.SetState {
	out := lock.SetState{
		ID: lock.ID(s.GetSet()), Lockspace: s.GetLockspace(), Flags: lock.Flags(s.GetFlags()),
		Terms: lock.Terms{Owner: s.GetOwner(), Timeout: s.GetTimeoutMs()}, Since: s.GetSince(), Asked: int(s.GetAsked()),
	}
	for _, e := range s.GetEntries() {
		out.Entries = append(out.Entries, lock.SetEntry{
			ID: lock.ID(e.GetLock()), Name: e.GetName(), Mode: narrow[lock.Mode](e.GetMode(), ok), Flags: lock.Flags(e.GetFlags()),
		})
	}
	return out
}
