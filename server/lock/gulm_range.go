package lock

import (
	"fmt"

	"lock_gulmd/server/reason"
)

// Parts of keys. A request with GulmRange is about the offsets Start to End of its
// key: exclusive is to write, shared to read, unlocked gives up what the holder has
// of that part, whatever it is, and be it nothing. The arithmetic, the order of
// those who wait and the search for deadlocks are those of byte ranges; a holder's
// requests for one key wait one at a time.
//
// The flags: GulmTry fails instead of waiting, GulmNoExp passes remains, GulmAny
// makes shared out of deferred, which there is not for a part. The others change
// nothing: nobody is asked to give way to a range, as nobody who takes the locks of
// fcntl has a use for it, none of those overtakes, and value blocks take no part.
//
// # Parts and wholes
//
// A key that somebody has, or waits for, is used either as a whole or in parts.
// Parts of one that is used as a whole are refused with InUse, since what is done
// there (callbacks, demotion, deferred) is not known of parts. A request for the
// whole of one that is used in parts, without GulmRange, is one for the offsets 0 to
// RangeMax, and replaces the holder's parts; deferred is refused with InUse. Its
// unlock gives up all that the holder has there and waits for. A hold of the value
// block uses a key in neither way. Locks that are not of this layer use it as a
// whole, and are refused with InUse where it is used in parts.
//
// Who waited for a whole and was granted it so uses the number of the lock for its
// next request, which acknowledges the grant.

// fits reports whether a request has a possible part for what it is about.
func (req *GulmRequest) fits(mark Flags) bool {
	if req.Flags&GulmRange == 0 {
		return req.Start == 0 && req.End == 0
	}
	return mark == gulmLock && req.Start <= req.End && req.End <= RangeMax
}

// asRange is the request for a range that a request amounts to.
func (req *GulmRequest) asRange() RangeRequest {
	r := RangeRequest{
		ID: req.ID, Lockspace: req.Lockspace, Name: req.Key, Owner: req.Sub, Start: req.Start, End: req.End, Flags: gulmLock,
	}
	if req.Flags&GulmRange == 0 {
		r.End = RangeMax
	}
	if req.Flags&GulmTry != 0 {
		r.Flags |= NoQueue
	}
	if req.Flags&GulmNoExp != 0 {
		r.Flags |= Recovery
	}
	if req.Mode == CW || req.Mode > PR { // deferred meets both others
		r.Kind = RangeWrite
	}
	return r
}

// gulmRangesOn reports whether a name is used in parts by users of the layer.
func (t *Table) gulmRangesOn(lockspace uint32, name []byte) bool {
	return t.gulmFile(&GulmRequest{Lockspace: lockspace, Key: name}) != 0
}

// gulmFile returns the file with the parts of a key, 0 if it has none.
func (t *Table) gulmFile(req *GulmRequest) uint32 {
	if t.rangeNames.used == 0 {
		return 0
	}
	return t.findRangeName(&RangeRequest{Lockspace: req.Lockspace, Name: req.Key, Flags: gulmLock})
}

// gulmRanged reports whether a request is for the table of ranges.
func (t *Table) gulmRanged(req *GulmRequest) bool {
	return req.Flags&GulmRange != 0 || t.gulmFile(req) != 0
}

// usedWhole reports whether somebody has a lock on a name, or waits for one, which
// is not a hold of its value block.
func (t *Table) usedWhole(lockspace uint32, name []byte) bool {
	if slot := t.findResource(lockspace, name); slot != 0 {
		r := t.resources.get(slot)
		if r.contention != 0 || !t.eachHolder(r, func(_ uint32, l *lockRecord) bool { return l.flags&gulmHold != 0 }) {
			return true
		}
	}
	return t.wants[wanted{lockspace, string(name)}] > 0 // a set that waits is going to ask for it
}

// gulmPart returns what a holder has of a file, 0 if that is nothing.
func (t *Table) gulmPart(s Session, sub uint64, file uint32) uint32 {
	return t.ranges.holderOf(t.ranges.findParty(RangeOwner{Session: s, Number: sub}), t.ranges.findFile(file))
}

// gulmRange is Gulm for a part of a key, or the whole of one that is used in parts;
// slot is the holder's lock on the whole, if it has one.
func (t *Table) gulmRange(s Session, slot uint32, req *GulmRequest) Reply {
	file := t.gulmFile(req)
	t.acknowledge(s, req.ID)
	status := Status(0)
	if req.Mode == CW && req.Flags&GulmAny != 0 {
		req.Mode, status = PR, AltMode
	}
	holder := t.gulmPart(s, req.Sub, file)
	switch {
	case req.Mode == NL:
		return t.gulmRangeUnlock(s, slot, req, file)
	case req.Mode == CW && req.Flags&GulmRange == 0:
		return refuse(reason.InUse)
	case req.Mode != PR && req.Mode != EX:
		return refuse(reason.Invalid)
	case holder != 0 && t.ranges.holders.get(holder).waiting > 0:
		return refuse(reason.Busy)
	case file == 0 && t.usedWhole(req.Lockspace, req.Key):
		return refuse(reason.InUse)
	case req.ID == 0 || t.inUse(t.owner(s), req.ID):
		return refuse(reason.Invalid)
	}
	r := req.asRange()
	reply := t.lockRange(s, &r, file)
	if reply.Outcome == Granted {
		reply.Status = status
	}
	return reply
}

// gulmRangeUnlock gives up a part, or all of a holder's parts.
func (t *Table) gulmRangeUnlock(s Session, slot uint32, req *GulmRequest, file uint32) Reply {
	me, part := RangeOwner{Session: s, Number: req.Sub}, req.Flags&GulmRange != 0
	switch {
	case slot != 0:
		return refuse(reason.InUse) // it has the whole, which it gives up as a whole
	case part && file == 0:
		return Reply{Outcome: Unlocked}
	case !part && t.gulmPart(s, req.Sub, file) == 0:
		return refuse(reason.NotHeld)
	}
	t.enterRanges()
	defer t.leaveRanges()
	var r rangeReply
	if part {
		r = t.ranges.Unlock(me, file, req.Start, req.End)
	} else {
		r = t.ranges.CloseFile(me, file)
	}
	return Reply{Outcome: r.Outcome, Reason: r.Reason}
}

// gulmRangeCancel withdraws the request of a holder that waits, whatever part of
// the key it is for: Cancelled, or Refused with NotHeld if there is none.
func (t *Table) gulmRangeCancel(s Session, req *GulmRequest) Reply {
	holder := t.gulmPart(s, req.Sub, t.gulmFile(req))
	if holder == 0 || t.ranges.holders.get(holder).waiting == 0 {
		return refuse(reason.NotHeld)
	}
	slot := t.ranges.parties.get(t.ranges.holders.get(holder).party).waitHead
	for t.ranges.waits.get(slot).holder != holder {
		slot = t.ranges.waits.get(slot).next
	}
	return t.cancelRange(s, t.ranges.waits.get(slot).id)
}

// gulmKeeps returns the mode and token that a holder keeps whose request for a key
// is withdrawn, if it has the whole of it; NL for other requests.
func (t *Table) gulmKeeps(s Session, id ID) (Mode, uint64) {
	wait := t.ranges.findWait(s, id)
	if wait == 0 {
		return NL, 0
	}
	holder := t.ranges.waits.get(wait).holder
	key := t.ranges.files.get(t.ranges.holders.get(holder).file).key
	slot, r := t.ranges.ownAt(holder, 0)
	if t.rangeNames.get(key).class != gulmRanges || slot == 0 || r.end != RangeMax {
		return NL, 0
	}
	return rangeMode(Granted, r.kind), r.token
}

// gulmRangeQuery is GulmQuery for a key that is used in parts.
func (t *Table) gulmRangeQuery(s Session, req *GulmRequest, limit int) Reply {
	file := t.ranges.findFile(t.gulmFile(req))
	if req.Mode == NL {
		return Reply{Outcome: Granted}
	}
	r := req.asRange()
	holder := t.ranges.holderOf(t.ranges.findParty(RangeOwner{Session: s, Number: req.Sub}), file)
	list := conflictList{limit: limit}
	// Rank 0: nobody who waits is before that.
	q := rangeQuery{file: file, holder: holder, rangeSpan: rangeSpan{r.Start, r.End, r.Kind}}
	t.ranges.conflicts(q, func(uint32) bool { return true }, &list)
	if len(list.found) == 0 {
		return Reply{Outcome: Granted, Mode: req.Mode}
	}
	found := GulmHolders{More: list.more}
	for _, c := range list.found {
		h := GulmHolder{
			Session: c.Owner.Session, Sub: c.Owner.Number, Mode: rangeMode(Granted, c.Kind), Start: c.Start, End: c.End, Frozen: c.Frozen,
		}
		if c.Owner.Origin != 0 {
			h.Session, h.Node = c.Owner.Origin, t.owner(c.Owner.Session).node
		}
		found.List = append(found.List, h)
	}
	return Reply{Outcome: Refused, Reason: reason.TryFailed, Holders: &found}
}

// checkGulmRanges checks that no key is used as a whole and in parts. Clones have
// no indexes, so it looks through all resources.
func (t *Table) checkGulmRanges() error {
	type key struct {
		lockspace uint32
		name      string
	}
	parts := map[key]bool{}
	for slot := uint32(1); slot < t.ranges.files.next; slot++ {
		if f := t.ranges.files.get(slot); f.live && t.rangeNames.get(f.key).class == gulmRanges {
			r := t.rangeNames.get(f.key)
			parts[key{r.lockspace, string(t.nameOf(&r.storedName))}] = true
		}
	}
	if len(parts) == 0 {
		return nil
	}
	for slot := uint32(1); slot < t.resources.next; slot++ {
		r := t.resources.get(slot)
		if r.lockspace == 0 || !parts[key{r.lockspace, string(t.name(r))}] {
			continue
		}
		if r.contention != 0 || !t.eachHolder(r, func(_ uint32, l *lockRecord) bool { return l.flags&gulmHold != 0 }) {
			return fmt.Errorf("resource %q has locks, and parts of it are held through the GULM layer", t.name(r))
		}
	}
	return t.checkSetsBeside(func(lockspace uint32, name []byte) bool { return parts[key{lockspace, string(name)}] })
}

// checkSetsBeside checks that no set that waits is going to ask for a lock on a name
// that is used in parts.
func (t *Table) checkSetsBeside(parts func(lockspace uint32, name []byte) bool) error {
	for i := range t.owners {
		for set := range t.owners[i].sets.all {
			for k := range set.entries {
				if name := set.entries[k].Name; parts(set.lockspace, name) {
					return fmt.Errorf("a set waits for resource %q, parts of which are held through the GULM layer", name)
				}
			}
		}
	}
	return nil
}
