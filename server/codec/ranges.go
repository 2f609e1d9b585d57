package codec

import (
	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
)

// ranges writes the files with byte ranges, as many in a record as have
// locksPerRecord ranges and requests together.
func (o *recordWriter) ranges(t *lock.Table) {
	group, n := &raftlogv1.RangeFiles{}, 0
	flush := func() {
		if n > 0 {
			o.write(&raftlogv1.Record{Body: &raftlogv1.Record_RangeFiles{RangeFiles: group}})
		}
		group, n = &raftlogv1.RangeFiles{}, 0
	}
	t.WalkRanges(func(f *lock.RangeFile) bool {
		group.Files = append(group.Files, rangeFileToLog(&f.RangeFileState))
		if n += len(f.Ranges) + len(f.Waits); n >= locksPerRecord {
			flush()
		}
		return o.err == nil
	})
	flush()
}

func rangeFileToLog(f *lock.RangeFileState) *raftlogv1.RangeFile {
	out := &raftlogv1.RangeFile{Lockspace: f.Lockspace, Name: f.Name, Flock: f.Flock, Gulm: f.Gulm}
	for i := range f.Ranges {
		r := &f.Ranges[i]
		out.Ranges = append(out.Ranges, &raftlogv1.Range{
			Owner: rangeOwnerToLog(r.Owner), Start: r.Start, End: r.End, Kind: uint32(r.Kind), Token: r.Token, StampMs: r.Stamp,
		})
	}
	for i := range f.Waits {
		w := &f.Waits[i]
		out.Waits = append(out.Waits, &raftlogv1.RangeWait{
			Owner: rangeOwnerToLog(w.Owner), Lock: uint64(w.ID), Start: w.Start, End: w.End, Kind: uint32(w.Kind), Order: w.Order,
			Ahead: w.Ahead, StampMs: w.Stamp, Recovery: w.Recovery, Since: w.Since, TimeoutMs: w.Timeout, Spared: w.Spared,
		})
	}
	return out
}

func rangeFileFromLog(f *raftlogv1.RangeFile, ok *bool) lock.RangeFileState {
	out := lock.RangeFileState{Lockspace: f.GetLockspace(), Name: f.GetName(), Flock: f.GetFlock(), Gulm: f.GetGulm()}
	for _, r := range f.GetRanges() {
		out.Ranges = append(out.Ranges, lock.RangeState{
			Owner: rangeOwnerFromLog(r.GetOwner()), Start: r.GetStart(), End: r.GetEnd(),
			Kind: narrow[lock.RangeKind](r.GetKind(), ok), Token: r.GetToken(), Stamp: r.GetStampMs(),
		})
	}
	for _, w := range f.GetWaits() {
		out.Waits = append(out.Waits, lock.RangeWaitState{
			Owner: rangeOwnerFromLog(w.GetOwner()), ID: lock.ID(w.GetLock()), Start: w.GetStart(), End: w.GetEnd(),
			Kind: narrow[lock.RangeKind](w.GetKind(), ok), Order: w.GetOrder(), Ahead: w.GetAhead(), Stamp: w.GetStampMs(),
			Recovery: w.GetRecovery(), Since: w.GetSince(), Timeout: w.GetTimeoutMs(), Spared: w.GetSpared(),
		})
	}
	return out
}

func rangeOwnerToLog(o lock.RangeOwner) *raftlogv1.RangeOwner {
	return &raftlogv1.RangeOwner{Session: uint64(o.Session), Number: o.Number, Origin: uint64(o.Origin)}
}

func rangeOwnerFromLog(o *raftlogv1.RangeOwner) lock.RangeOwner {
	return lock.RangeOwner{Session: lock.Session(o.GetSession()), Number: o.GetNumber(), Origin: lock.Session(o.GetOrigin())}
}

func conflictsToLog(c *lock.RangeConflicts) *raftlogv1.RangeConflicts {
	if c == nil {
		return nil
	}
	out := &raftlogv1.RangeConflicts{More: c.More}
	for _, x := range c.List {
		out.List = append(out.List, &raftlogv1.RangeConflict{
			Owner: rangeOwnerToLog(x.Owner), Start: x.Start, End: x.End, Kind: uint32(x.Kind), Frozen: x.Frozen, Waiting: x.Waiting,
		})
	}
	return out
}

func conflictsFromLog(c *raftlogv1.RangeConflicts, ok *bool) *lock.RangeConflicts {
	if c == nil {
		return nil
	}
	out := &lock.RangeConflicts{More: c.GetMore()}
	for _, x := range c.GetList() {
		out.List = append(out.List, lock.RangeConflict{
			Owner: rangeOwnerFromLog(x.GetOwner()), Start: x.GetStart(), End: x.GetEnd(),
			Kind: narrow[lock.RangeKind](x.GetKind(), ok), Frozen: x.GetFrozen(), Waiting: x.GetWaiting(),
		})
	}
	return out
}
