package lock

import "lock_gulmd/server/reason"

// GulmHolder is somebody who holds a key, or a part of it.
type GulmHolder struct {
	// Session is who holds it; or who left it, if that is remains.
	Session Session
	// Node is the number of the node whose remains or orphans these are, else 0.
	Node uint32
	Sub  uint64
	Mode Mode
	// Start and End are the part, 0 and RangeMax for all of the key.
	Start, End uint64
	// Frozen is true for somebody who was declared dead or has withdrawn.
	Frozen bool
}

// GulmHolders answer GulmQuery.
type GulmHolders struct {
	List []GulmHolder
	// More is true if there are others than those.
	More bool
}

// MaxHolders is how many holders one GulmQuery returns at most.
const MaxHolders = 256

// GulmQuery says who else holds a key in a state that conflicts with the one of
// the request, in the order in which they came to it: Granted without a token if
// nobody does; Refused with TryFailed and Holders otherwise, of whom it returns
// MaxHolders at most; or Refused with Invalid or NoLockspace. It does not speak of
// those who wait.
func (t *Table) GulmQuery(s Session, req GulmRequest) Reply { return t.gulmQuery(s, &req, MaxHolders) }

func (t *Table) gulmQuery(s Session, req *GulmRequest, limit int) Reply {
	own, why := t.gulm(s, req, gulmLock)
	switch {
	case why != reason.None:
		return refuse(why)
	case req.Mode >= modes || req.Mode == CW && req.Flags&GulmRange != 0:
		return refuse(reason.Invalid)
	}
	var found GulmHolders
	if t.gulmFile(req) != 0 {
		return t.gulmRangeQuery(s, req, limit)
	}
	if resource := t.findResource(req.Lockspace, req.Key); resource != 0 {
		t.eachHolder(t.resources.get(resource), func(slot uint32, l *lockRecord) bool {
			switch {
			case slot == own || !conflicts[req.Mode].has(l.granted):
			case len(found.List) == limit:
				found.More = true
			default:
				found.List = append(found.List, t.gulmHolder(l))
			}
			return !found.More
		})
	}
	if len(found.List) == 0 {
		return Reply{Outcome: Granted, Mode: req.Mode}
	}
	return Reply{Outcome: Refused, Reason: reason.TryFailed, Holders: &found}
}

func (t *Table) gulmHolder(l *lockRecord) GulmHolder {
	o := t.owner(l.session)
	h := GulmHolder{Session: l.session, Sub: t.sub(l), Mode: l.granted, End: RangeMax, Frozen: o.frozen}
	if l.session.ofNode() {
		h.Session, h.Node = Session(l.left()), o.node
	}
	return h
}
