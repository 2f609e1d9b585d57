package main

import (
	"fmt"

	"lock_gulmd/cmd/internal/tool"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

func askedRange(f *gulmv1.RangeFile, r *gulmv1.RangeLock) *asked {
	return &asked{
		key: lockKey{r.GetSession(), r.GetLock()}, id: fmt.Sprintf("%s/%d/%d", tool.Line(r.GetNode()), r.GetSession(), r.GetLock()),
		what: wanted(f.GetFlock(), r.GetStart(), r.GetEnd(), r.GetMode()) + " of " + tool.Line(f.GetLockspace()) + " " + tool.Bytes(f.GetName()),
		age:  r.GetAgeMs(), atMost: r.GetTimeoutMs(), more: r.GetMoreBlockers(),
	}
}

// wanted names a range, or the lock of flock on a whole file.
func wanted(flock bool, start, end uint64, mode gulmv1.Mode) string {
	if flock {
		return "flock " + rangeKind(mode)
	}
	return rangeKind(mode) + " " + offsets(start, end)
}

func keyOfRange(session, owner uint64) ownerKey {
	return ownerKey{session: session, owner: owner, ranges: owner == 0}
}

// rangeKey names what the list has of a file.
type rangeKey struct {
	session, owner, start, end uint64
	waiting, frozen            bool
}

// obstructRanges notes what the requests for a file's ranges wait for.
func (c *chains) obstructRanges(f *gulmv1.RangeFile) {
	ranges := map[rangeKey]*gulmv1.RangeLock{}
	for _, r := range f.GetRanges() {
		ranges[rangeKey{r.GetSession(), r.GetOwner(), r.GetStart(), r.GetEnd(), r.GetWaiting(), r.GetFrozen()}] = r
	}
	for _, r := range f.GetRanges() {
		x := c.byKey[lockKey{r.GetSession(), r.GetLock()}]
		if !r.GetWaiting() || x == nil {
			continue
		}
		for _, b := range r.GetBlockers() {
			by := ranges[rangeKey{b.GetSession(), b.GetOwner(), b.GetStart(), b.GetEnd(), b.GetWaiting(), b.GetFrozen()}]
			x.by = append(x.by, c.rangeObstacle(f.GetFlock(), by, b))
		}
	}
}

// rangeObstacle is lockObstacle of a range or a request for one.
func (c *chains) rangeObstacle(flock bool, r *gulmv1.RangeLock, b *gulmv1.RangeConflict) obstacle {
	what, who := wanted(flock, b.GetStart(), b.GetEnd(), b.GetMode()), rangeOwner(b.GetNode(), b.GetSession(), b.GetOwner())
	age := ""
	if r != nil {
		age = " for " + tool.Ago(r.GetAgeMs())
	}
	switch {
	case b.GetWaiting() && r != nil:
		return obstacle{
			text: fmt.Sprintf("behind %s/%d/%d, which wants %s%s", tool.Line(b.GetNode()), b.GetSession(), r.GetLock(), what, age),
			next: []lockKey{{r.GetSession(), r.GetLock()}}, self: true,
		}
	case b.GetWaiting():
		return obstacle{text: "behind owner " + who + ", who wants " + what}
	case b.GetFrozen():
		return obstacle{text: what + " held by owner " + who + age, end: frozenEnd(r.GetHeldFor(), b.GetNode())}
	}
	return obstacle{
		text: what + " held by owner " + who + age, end: runs,
		next: c.waits[keyOfRange(b.GetSession(), b.GetOwner())],
	}
}
