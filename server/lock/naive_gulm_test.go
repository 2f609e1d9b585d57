package lock

import (
	"slices"

	"lock_gulmd/server/reason"
)

// gulmOf finds what a holder has on a key: its lock, or with hold its hold of the
// value block.
func (n *naive) gulmOf(s Session, req GulmRequest, hold bool) *naiveLock {
	for _, l := range n.locks {
		if l.Session != s || l.resource.space.Number != req.Lockspace || l.resource.name != string(req.Key) {
			continue
		}
		if hold && l.Flags&gulmHold != 0 || !hold && l.Flags&gulmLock != 0 && l.Sub == req.Sub {
			return l
		}
	}
	return nil
}

// gulmFault says why a request is impossible.
func (n *naive) gulmFault(s Session, req GulmRequest) reason.Reason {
	sp, o := n.space(req.Lockspace), n.session(s)
	switch {
	case o == nil:
		return reason.NoSession
	case n.dead(s):
		return reason.NodeExpired
	case len(req.Key) < 1, len(req.Key) > 255, req.Flags&^0x15f != 0:
		return reason.Invalid
	case sp == nil || !slices.Contains(sp.Members, s):
		return reason.NoLockspace
	case len(req.Value) > sp.length():
		return reason.Invalid
	}
	return reason.None
}

// gulmFlags are the flags of the lock that a request asks for.
func (req *GulmRequest) naiveFlags() Flags {
	f := NoDlckWt
	if req.Flags&GulmDoCB != 0 {
		f |= NoQueueBast
	}
	if req.Flags&GulmTry != 0 {
		f |= NoQueue
	}
	if req.Flags&GulmAny != 0 {
		f |= map[Mode]Flags{PR: AltCW, CW: AltPR}[req.Mode]
	}
	if req.Flags&GulmNoExp != 0 {
		f |= Recovery
	}
	if req.Flags&GulmHasLVB != 0 {
		f |= ValBlk
	}
	if req.Flags&GulmPriority != 0 {
		f |= HeadQue | NoOrder
	}
	if req.Flags&GulmNoCallBacks != 0 {
		f |= NoCallbacks
	}
	return f
}

func (n *naive) Gulm(s Session, req GulmRequest) Reply {
	if why := n.gulmFault(s, req); why != reason.None {
		return refuse(why)
	}
	l := n.gulmOf(s, req, false)
	switch {
	case req.Mode == NL && l == nil:
		return refuse(reason.NotHeld)
	case req.Mode == NL:
		if l.Granted == EX && req.Flags&GulmHasLVB != 0 && n.gulmOf(s, req, true) != nil {
			l.resource.write(ValBlk, req.Value)
		}
		n.remove(l)
		n.grant(l.resource)
		n.sweep()
		return Reply{Outcome: Unlocked}
	case !slices.Contains([]Mode{CW, PR, EX}, req.Mode):
		return refuse(reason.Invalid)
	case l == nil:
		ask := LockRequest{ID: req.ID, Lockspace: req.Lockspace, Name: req.Key, Mode: req.Mode, Flags: req.naiveFlags()}
		ask.Owner = req.Sub
		return n.lockAs(s, ask, &naiveLock{LockState: LockState{Flags: gulmLock, Sub: req.Sub}})
	case l.Queue != QueueGranted:
		return refuse(reason.Busy)
	}
	flags := req.naiveFlags()
	if flags&NoQueue == 0 {
		flags |= ConvDeadlk
	}
	return n.convert(l, ConvertRequest{Mode: req.Mode, Flags: flags, Value: req.Value})
}

func (n *naive) GulmCancel(s Session, req GulmRequest) Reply {
	why := n.gulmFault(s, req)
	l := n.gulmOf(s, req, false)
	if why == reason.None && l == nil {
		why = reason.NotHeld
	}
	if why != reason.None {
		return refuse(why)
	}
	return n.Cancel(s, l.ID)
}

func (n *naive) GulmHold(s Session, req GulmRequest) Reply {
	req.Flags = 0
	if why := n.gulmFault(s, req); why != reason.None {
		return refuse(why)
	}
	if l := n.gulmOf(s, req, true); l != nil {
		value, stale := l.resource.readGulm()
		return Reply{Outcome: Granted, Token: l.Token, Value: value, Status: stale}
	}
	ask := LockRequest{ID: req.ID, Lockspace: req.Lockspace, Name: req.Key, Flags: Expedite | NoCallbacks}
	return n.lockAs(s, ask, &naiveLock{LockState: LockState{Flags: gulmHold}})
}

func (n *naive) GulmUnhold(s Session, req GulmRequest) Reply {
	why := n.gulmFault(s, req)
	l := n.gulmOf(s, req, true)
	if why == reason.None && l == nil {
		why = reason.NotHeld
	}
	if why != reason.None {
		return refuse(why)
	}
	n.remove(l)
	n.sweep()
	return Reply{Outcome: Unlocked}
}

func (n *naive) GulmSync(s Session, req GulmRequest) Reply {
	why := n.gulmFault(s, req)
	l := n.gulmOf(s, req, false)
	if why == reason.None && (l == nil || l.Granted != EX || n.gulmOf(s, req, true) == nil) {
		why = reason.NotHeld
	}
	if why != reason.None {
		return refuse(why)
	}
	l.resource.write(ValBlk, req.Value)
	return Reply{Outcome: Granted, Mode: EX, Token: l.Token}
}

func (n *naive) GulmQuery(s Session, req GulmRequest) Reply {
	why := n.gulmFault(s, req)
	if why == reason.None && req.Mode > EX {
		why = reason.Invalid
	}
	if why != reason.None {
		return refuse(why)
	}
	var found GulmHolders
	own := n.gulmOf(s, req, false)
	for _, r := range n.space(req.Lockspace).resources {
		if r.name != string(req.Key) {
			continue
		}
		for _, l := range r.holders() {
			if l == own || compatible[l.Granted][req.Mode] {
				continue
			}
			h := GulmHolder{Session: l.Session, Sub: l.Sub, Mode: l.Granted, End: 1<<63 - 1, Frozen: n.dead(l.Session)}
			if l.Origin != 0 {
				h.Session, h.Node = Session(l.Origin), n.session(l.Session).Node
			}
			found.List = append(found.List, h)
		}
	}
	if len(found.List) == 0 {
		return Reply{Outcome: Granted, Mode: req.Mode}
	}
	return Reply{Outcome: Refused, Reason: reason.TryFailed, Holders: &found}
}

// readGulm is what somebody reads who uses the GULM layer.
func (r *naiveResource) readGulm() ([]byte, Status) {
	switch {
	case r.value == nil:
		return nil, 0
	case r.stale:
		return make([]byte, len(r.value)), ValNotValid
	}
	return slices.Clone(r.value), 0
}

// gulmValue is what a grant does with the value block.
func (n *naive) gulmValue(l *naiveLock, held, mode Mode, value []byte) ([]byte, Status) {
	r := l.resource
	holds := slices.ContainsFunc(n.locks, func(h *naiveLock) bool {
		return h.Session == l.Session && h.resource == r && h.Flags&gulmHold != 0
	})
	if l.Flags&gulmHold != 0 && r.value == nil {
		r.value = make([]byte, r.space.length())
	}
	if held == EX && mode != EX && l.Flags&ValBlk != 0 && holds {
		r.write(ValBlk, value)
	}
	return r.readGulm()
}

// isGulm says whether a lock is one of the GULM layer.
func isGulm(l *naiveLock) bool { return l.Flags&(gulmLock|gulmHold) != 0 && l.Session < 1<<63 }

// unhold destroys a value block that nobody holds any more.
func (n *naive) unhold(gone *naiveLock) {
	r := gone.resource
	if gone.Flags&gulmHold == 0 || r.space.KeepValues {
		return
	}
	for _, h := range r.holders() {
		if h.Flags&gulmHold != 0 {
			return
		}
	}
	r.value, r.writes, r.stale = nil, 0, false
}
