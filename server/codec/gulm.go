package codec

import (
	raftlogv1 "lock_gulmd/proto/raftlog/v1"
	"lock_gulmd/server/lock"
)

func holdersToLog(h *lock.GulmHolders) *raftlogv1.GulmHolders {
	if h == nil {
		return nil
	}
	out := &raftlogv1.GulmHolders{More: h.More}
	for i := range h.List {
		x := &h.List[i]
		out.List = append(out.List, &raftlogv1.GulmHolder{
			Session: uint64(x.Session), Node: x.Node, Sub: x.Sub, Mode: uint32(x.Mode), Start: x.Start, End: x.End, Frozen: x.Frozen,
		})
	}
	return out
}

func holdersFromLog(h *raftlogv1.GulmHolders, ok *bool) *lock.GulmHolders {
	if h == nil {
		return nil
	}
	out := &lock.GulmHolders{More: h.GetMore()}
	for _, x := range h.GetList() {
		out.List = append(out.List, lock.GulmHolder{
			Session: lock.Session(x.GetSession()), Node: x.GetNode(), Sub: x.GetSub(), Mode: narrow[lock.Mode](x.GetMode(), ok),
			Start: x.GetStart(), End: x.GetEnd(), Frozen: x.GetFrozen(),
		})
	}
	return out
}
