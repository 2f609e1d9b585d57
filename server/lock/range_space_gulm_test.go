package lock

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"lock_gulmd/server/reason"
)

// Users of the GULM layer beside those of byte ranges, in the naive twin: parts of
// keys are files of their own class, wholes a list of who has which key.

// naiveWhole is what one holder has of a whole key.
type naiveWhole struct {
	owner Session // the session, or the remains of its node
	from  Session // who left it, with remains
	sub   uint64
	file  uint32 // of its parts, if it had any
	mode  Mode
}

func (w *spaceTwins) wholesOn(file uint32) bool {
	return slices.ContainsFunc(w.wholes, func(x naiveWhole) bool { return x.file == file })
}

// hasParts reports whether anybody has, or waits for, a part of a key.
func (w *spaceTwins) hasParts(file uint32) bool {
	return slices.ContainsFunc(w.naive.held, func(h naiveHeld) bool { return h.file == file }) ||
		slices.ContainsFunc(w.naive.waits, func(u naiveWait) bool { return u.file == file })
}

// gulm asks for something of a key, in GULM's way: a part of it mostly.
func (w *spaceTwins) gulm(s Session) {
	r, q := w.request()
	space, n := r.Lockspace, int(r.Name[len(r.Name)-1]-'0')
	q.File, q.Owner, q.Recovery = fileKey(space, n, gulmRanges), RangeOwner{Session: s, Number: r.Owner}, false
	req := GulmRequest{
		ID: r.ID, Lockspace: space, Key: r.Name, Sub: r.Owner, Mode: [...]Mode{NL, NL, PR, PR, EX, EX, CW}[w.pick(7)],
		Start: naiveBounds[0], End: RangeMax,
	}
	for i, flag := range []GulmFlags{GulmTry, GulmNoExp, GulmAny, GulmDoCB | GulmPriority, GulmNoCallBacks | GulmHasLVB} {
		if w.pick([...]int{3, 4, 6, 6, 6}[i]) == 0 {
			req.Flags |= flag
		}
	}
	if part := w.pick(6) != 0; part {
		req.Flags |= GulmRange
		from := w.pick(naiveCells)
		req.Start, req.End = naiveBounds[from], cellEnd(min(from+w.pick(6), naiveCells-1))
	} else if !w.hasParts(q.File) {
		req.Start, req.End, req.Flags = 0, 0, req.Flags&^(GulmNoExp|GulmDoCB)|GulmTry // a whole: nobody waits, or is asked
	}
	q.Start, q.End, q.Wait = req.Start, req.End, req.Flags&GulmTry == 0
	q.Recovery = req.Flags&GulmNoExp != 0
	switch n := w.pick(12); {
	case n < 9:
		if req.Flags&GulmRange == 0 && w.hasParts(q.File) {
			req.Start, req.End = 0, 0
		}
		w.expect("gulm", w.table.Gulm(s, req), w.naiveGulm(s, req, q), nil)
	case n < 10:
		req.Start, req.End, req.Flags = 0, 0, 0
		w.expect("gulm cancel", w.table.GulmCancel(s, req), w.naiveGulmCancel(s, req, q), nil)
	case n < 11:
		if req.Flags&GulmRange == 0 {
			req.Start, req.End = 0, 0
		}
		w.query(s, req, q)
	default:
		w.dlm(s, r, q.File)
	}
	w.events(nil)
}

// dlm asks for a lock that is not GULM's on a key.
func (w *spaceTwins) dlm(s Session, r RangeRequest, file uint32) {
	if !w.hasParts(file) {
		return // it would be a lock that the naive twin does not know of
	}
	want := rangeRefuse(reason.InUse)
	if w.naive.frozen(s) {
		want = rangeRefuse(reason.NodeExpired)
	}
	w.expect("lock beside parts", w.table.Lock(s, LockRequest{ID: r.ID, Lockspace: r.Lockspace, Name: r.Name, Mode: NL}), want, nil)
	set := SetRequest{ID: r.ID + 1, Lockspace: r.Lockspace, Entries: []SetEntry{{ID: r.ID, Name: r.Name, Mode: NL}}}
	w.expect("set beside parts", w.table.LockSet(s, set), want, nil)
}

// naiveGulm is what Gulm does.
func (w *spaceTwins) naiveGulm(s Session, req GulmRequest, q rangeRequest) rangeReply {
	part, parts := req.Flags&GulmRange != 0, w.hasParts(q.File)
	if w.naive.frozen(s) {
		return rangeRefuse(reason.NodeExpired)
	}
	if !part && !parts {
		return w.naiveWhole(s, req, q.File)
	}
	if req.Mode == CW && req.Flags&GulmAny != 0 {
		req.Mode = PR
	}
	own := slices.ContainsFunc(w.wholes, func(x naiveWhole) bool { return x.owner == s && x.sub == req.Sub && x.file == q.File })
	waits := slices.ContainsFunc(w.naive.waits, func(u naiveWait) bool { return u.owner == q.Owner && u.file == q.File })
	switch {
	case req.Mode == NL && own:
		return rangeRefuse(reason.InUse)
	case req.Mode == NL && part:
		return w.naive.Unlock(q.Owner, q.File, q.Start, q.End)
	case req.Mode == NL && !waits && w.naive.cells(q.Owner, q.File) == (cells{}):
		return rangeRefuse(reason.NotHeld)
	case req.Mode == NL:
		return w.naive.CloseFile(q.Owner, q.File)
	case req.Mode == CW && !part:
		return rangeRefuse(reason.InUse)
	case req.Mode == CW:
		return rangeRefuse(reason.Invalid)
	case waits:
		return rangeRefuse(reason.Busy)
	case w.wholesOn(q.File):
		return rangeRefuse(reason.InUse)
	}
	q.Kind = RangeRead
	if req.Mode == EX {
		q.Kind = RangeWrite
	}
	if !part {
		q.Start, q.End = 0, RangeMax
	}
	return w.naive.Lock(q)
}

// naiveWhole is Gulm with GulmTry for a key that nobody uses in parts.
func (w *spaceTwins) naiveWhole(s Session, req GulmRequest, file uint32) rangeReply {
	own := slices.IndexFunc(w.wholes, func(x naiveWhole) bool { return x.owner == s && x.sub == req.Sub && x.file == file })
	switch {
	case req.Mode == NL && own < 0:
		return rangeRefuse(reason.NotHeld)
	case req.Mode == NL:
		w.wholes = slices.Delete(w.wholes, own, own+1)
		return rangeReply{Outcome: Unlocked}
	}
	modes := []Mode{req.Mode}
	if req.Flags&GulmAny != 0 && req.Mode != EX {
		modes = []Mode{req.Mode, PR + CW - req.Mode}
	}
	for _, mode := range modes {
		taken := slices.ContainsFunc(w.wholes, func(x naiveWhole) bool {
			return x.file == file && (x.owner != s || x.sub != req.Sub) && !compatible[x.mode][mode]
		})
		// To weaken what one has needs no leave.
		if taken && !(own >= 0 && weaker(w.wholes[own].mode, mode)) {
			continue
		}
		if own < 0 {
			w.wholes = append(w.wholes, naiveWhole{owner: s, sub: req.Sub, file: file})
			own = len(w.wholes) - 1
		}
		w.wholes[own].mode = mode
		w.naive.token++
		w.seen["whole"]++
		return rangeReply{Outcome: Granted, Token: w.naive.token}
	}
	return rangeRefuse(reason.TryFailed)
}

func (w *spaceTwins) naiveGulmCancel(s Session, req GulmRequest, q rangeRequest) rangeReply {
	for _, u := range w.naive.waits {
		if u.owner == q.Owner && u.file == q.File {
			return w.naiveCancel(u)
		}
	}
	own := slices.IndexFunc(w.wholes, func(x naiveWhole) bool { return x.owner == s && x.sub == req.Sub && x.file == q.File })
	switch {
	case w.naive.frozen(s):
		return rangeRefuse(reason.NodeExpired)
	case own < 0:
		return rangeRefuse(reason.NotHeld)
	}
	return rangeReply{Outcome: Granted, Token: w.tokenOf(s, req)}
}

// naiveCancel withdraws a request. Who has the whole of a key, and asked for it in
// another state, is told what is left.
func (w *spaceTwins) naiveCancel(u naiveWait) rangeReply {
	reply := w.naive.Cancel(u.owner.Session, u.id)
	h := w.naive.has(u.owner, u.file)
	if runs, first := h.cells.runs(); len(runs) == 1 && runs[0].start == 0 && runs[0].end == RangeMax && isGulmFile(u.file) {
		reply.Token = h.tokens[first[0]]
	}
	return reply
}

// isGulmFile reports whether a file has parts of keys.
func isGulmFile(key uint32) bool { return rangeClass(key%100/spaceFiles) == gulmRanges }

// tokenOf returns the token of a whole, which the naive twin does not keep.
func (w *spaceTwins) tokenOf(s Session, req GulmRequest) uint64 {
	slot := w.table.findGulm(s, w.table.findResource(req.Lockspace, req.Key), req.Sub, gulmLock)
	return w.table.locks.get(slot).token
}

// query compares who is said to be in the way.
func (w *spaceTwins) query(s Session, req GulmRequest, q rangeRequest) {
	w.t.Helper()
	got := w.table.GulmQuery(s, req)
	if w.naive.frozen(s) || req.Mode == CW && req.Flags&GulmRange != 0 {
		if got.Outcome != Refused || got.Reason == reason.TryFailed {
			w.t.Fatalf("step %d: %+v of what cannot be asked: %+v", w.index, req, got)
		}
		return
	}
	start, end := req.Start, req.End
	if req.Flags&GulmRange == 0 {
		start, end = 0, RangeMax
	}
	var want []GulmHolder
	for _, x := range w.wholes {
		if x.file == q.File && (x.owner != s || x.sub != req.Sub) && !compatible[x.mode][req.Mode] {
			want = append(want, w.holder(x.owner, x.from, x.sub, x.mode, 0, RangeMax))
		}
	}
	for _, r := range w.naive.file(q.File).Ranges {
		mode := rangeMode(Granted, r.Kind)
		if r.Owner != q.Owner && r.Start <= end && start <= r.End && !compatible[mode][req.Mode] {
			want = append(want, w.holder(r.Owner.Session, r.Owner.Origin, r.Owner.Number, mode, r.Start, r.End))
		}
	}
	var list []GulmHolder
	if got.Holders != nil {
		list = got.Holders.List
	}
	same := len(list) == len(want)
	for _, h := range want {
		same = same && slices.Contains(list, h)
	}
	if !same || (len(want) == 0) != (got.Outcome == Granted) {
		w.t.Fatalf("step %d: %+v is answered by %+v %+v, want %+v", w.index, req, got, list, want)
	}
	w.seen["query"]++
}

func (w *spaceTwins) holder(owner, from Session, sub uint64, mode Mode, start, end uint64) GulmHolder {
	h := GulmHolder{Session: owner, Sub: sub, Mode: mode, Start: start, End: end, Frozen: w.naive.frozen(owner)}
	if from != 0 {
		h.Session, h.Node, h.Frozen = from, nodeOf(from), true
	}
	return h
}

// dropWholes removes the wholes of an owner in a lockspace, 0 for all, and returns
// how many there were.
func (w *spaceTwins) dropWholes(owner Session, space uint32) int {
	before := len(w.wholes)
	w.wholes = slices.DeleteFunc(w.wholes, func(x naiveWhole) bool {
		return x.owner == owner && (space == 0 || inSpace(space)(x.file))
	})
	return before - len(w.wholes)
}

// leaveWholes makes remains of a session's wholes in a lockspace, and returns how
// many there are.
func (w *spaceTwins) leaveWholes(s, heir Session, space uint32) int {
	n := 0
	for i := range w.wholes {
		if x := &w.wholes[i]; x.owner == s && inSpace(space)(x.file) {
			x.owner, x.from, x.sub = heir, s, 0 // nobody asks for remains of wholes by their sub-id
			n++
		}
	}
	return n
}

// settleDoubt forgets that a node is in doubt whose remains are gone.
func (w *spaceTwins) settleDoubt() {
	for heir := range w.doubted {
		has := slices.ContainsFunc(w.wholes, func(x naiveWhole) bool { return x.owner == heir }) ||
			slices.ContainsFunc(w.naive.held, func(h naiveHeld) bool { return h.owner.Session == heir })
		if !has {
			delete(w.doubted, heir)
		}
	}
}

// compareWholes compares who has which key as a whole.
func (w *spaceTwins) compareWholes() {
	w.t.Helper()
	var got []naiveWhole
	for _, r := range resourcesOf(w.table) {
		for _, l := range r.Locks {
			x := naiveWhole{l.Session, Session(l.Origin), l.Sub, fileKey(r.Lockspace, int(r.Name[len(r.Name)-1]-'0'), gulmRanges), l.Granted}
			if got = append(got, x); l.Queue != QueueGranted {
				w.t.Fatalf("step %d: %+v waits", w.index, x)
			}
		}
	}
	same := len(got) == len(w.wholes)
	for _, x := range w.wholes {
		same = same && slices.Contains(got, x)
	}
	if !same {
		w.t.Fatalf("step %d: wholes %+v, want %+v", w.index, got, w.wholes)
	}
}

// TestRangeSpace_shrinks lets rapid look for a short sequence that tells the table
// and the naive twin apart.
func TestRangeSpace_shrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newSpaceTwins(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") })
		t.Repeat(map[string]func(*rapid.T){
			"step": func(*rapid.T) { w.step() },
			"":     func(*rapid.T) { w.compare() },
		})
	})
}
