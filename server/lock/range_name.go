package lock

import "fmt"

// rangeName is the name of a file with ranges; its slot is the file's number in
// the range table. It exists as long as the file does.
type rangeName struct {
	lockspace uint32
	sum       uint32
	class     rangeClass
	storedName
}

func (r *rangeName) hash() uint32 { return r.sum }

// rangeClass tells apart the files of one name, which do not meet each other.
type rangeClass uint8

const (
	posixRanges rangeClass = iota
	flockRanges
	gulmRanges
)

// class says which of the files of its name a request is about.
func (req *RangeRequest) class() rangeClass {
	return classOf(req.Flags&RangeFlock != 0, req.Flags&gulmLock != 0)
}

func classOf(flock, gulm bool) rangeClass {
	switch {
	case gulm:
		return gulmRanges
	case flock:
		return flockRanges
	}
	return posixRanges
}

// RangeFileState is one file with ranges.
type RangeFileState struct {
	Lockspace uint32
	Name      []byte
	// Flock is true for the locks of flock on this name, which do not meet those
	// of fcntl.
	Flock bool
	// Gulm is true for the ranges of the GULM layer, which meet neither.
	Gulm bool
	// Ranges are held, by start and owner; Waits are asked for, in the order in
	// which they are granted.
	Ranges []RangeState
	Waits  []RangeWaitState
}

// RangeFile is a file during a walk.
type RangeFile struct {
	RangeFileState

	table *rangeTable
	slot  uint32
}

// fileSum hashes what names a file.
func fileSum(lockspace uint32, name []byte, class rangeClass) uint32 {
	sum := resourceHash(lockspace, name)
	switch class {
	case flockRanges:
		return ^sum
	case gulmRanges:
		return sum ^ 0x9e3779b9
	}
	return sum
}

// findRangeName returns the file that a request is about, 0 if nobody has anything
// there.
func (t *Table) findRangeName(req *RangeRequest) uint32 {
	class := req.class()
	sum := fileSum(req.Lockspace, req.Name, class)
	return rangeFind(&t.rangeNameIndex, &t.rangeNames, sum, func(r *rangeName) bool {
		return r.sum == sum && r.lockspace == req.Lockspace && r.class == class && string(t.nameOf(&r.storedName)) == string(req.Name)
	})
}

// addRangeName makes a file that does not exist yet. If it does not get a range or
// a request it must be swept.
func (t *Table) addRangeName(req *RangeRequest) uint32 {
	slot, r := t.rangeNames.alloc()
	r.lockspace, r.class = req.Lockspace, req.class()
	r.sum = fileSum(r.lockspace, req.Name, r.class)
	t.setName(&r.storedName, req.Name)
	insert(&t.rangeNameIndex, &t.rangeNames, slot)
	t.space(r.lockspace).files++
	return slot
}

// sweepRangeName forgets the name of a file where nobody has anything. It may be
// called twice.
func (t *Table) sweepRangeName(slot uint32) {
	r := t.rangeNames.get(slot)
	if r.lockspace == 0 || t.ranges.findFile(slot) != 0 {
		return
	}
	lockspace := r.lockspace
	t.dropName(&r.storedName)
	remove(&t.rangeNameIndex, &t.rangeNames, slot)
	t.rangeNames.release(slot)
	t.space(lockspace).files--
	t.sweepSpace(lockspace)
}

// rangeFileSum names a file in digests.
func (t *Table) rangeFileSum(file uint32) uint64 {
	r := t.rangeNames.get(file)
	h := newHash(4).num(uint64(r.lockspace)).bytes(t.nameOf(&r.storedName)).flag(r.class == flockRanges)
	if r.class == gulmRanges {
		h = h.flag(true)
	}
	return h.sum()
}

// Ranges returns how many ranges a session holds.
func (t *Table) Ranges(s Session) int { return t.ranges.Held(s) }

// WalkRanges calls yield for every file with ranges until it returns false. The
// order is unspecified and differs between servers. The state and its slices are
// valid only during the call.
func (t *Table) WalkRanges(yield func(*RangeFile) bool) {
	t.ranges.Walk(func(f *rangeFileState) bool {
		r := t.rangeNames.get(f.File)
		return yield(&RangeFile{
			RangeFileState{r.lockspace, t.nameOf(&r.storedName), r.class == flockRanges, r.class == gulmRanges, f.Ranges, f.Waits}, &t.ranges, f.slot,
		})
	})
}

// Blockers returns what one of the waiting requests waits for, at most limit
// unless that is 0: ranges that are held, by start and owner, then requests that
// go before it; and whether there is more.
func (f *RangeFile) Blockers(w *RangeWaitState, limit int) (found []RangeConflict, more bool) {
	t := f.table
	t.eachWait(t.files.get(f.slot).waits, w.Start, w.Start, w.Kind, w.rank()+1, func(slot uint32, o *rangeWait) bool {
		if o.rank != w.rank() {
			return true
		}
		found, more = t.blockers(slot, limit)
		return false
	})
	return found, more
}

// RangeFile adds a file with its ranges and requests.
func (r *Restore) RangeFile(state *RangeFileState) {
	t := r.table
	req := RangeRequest{Lockspace: state.Lockspace, Name: state.Name}
	if state.Flock {
		req.Flags = RangeFlock
	}
	if state.Gulm {
		req.Flags |= gulmLock
	}
	if state.Flock && state.Gulm || len(state.Name) == 0 || len(state.Name) > MaxName || t.space(state.Lockspace) == nil || t.findRangeName(&req) != 0 {
		r.broken = true
		return
	}
	for i := range state.Ranges {
		r.rangeOwner(state.Lockspace, state.Ranges[i].Owner)
	}
	for i := range state.Waits {
		w := &state.Waits[i]
		r.rangeOwner(state.Lockspace, w.Owner)
		o := t.owner(w.Owner.Session)
		r.broken = r.broken || o == nil || o.hasEnded(w.ID)
	}
	if !r.broken {
		r.ranges.File(&rangeFileState{File: t.addRangeName(&req), Ranges: state.Ranges, Waits: state.Waits})
	}
}

// rangeOwner makes the session of an owner known to the range table.
func (r *Restore) rangeOwner(lockspace uint32, who RangeOwner) {
	t := r.table
	o := t.owner(who.Session)
	switch {
	case o == nil || who.Session.remains() != (who.Origin != 0) || who.Session.orphans():
		r.broken = true
	case who.Origin == 0 && !t.joined(lockspace, who.Session):
		r.broken = true
	case t.ranges.findSession(who.Session) == 0:
		r.ranges.Session(rangeSessionState{Session: who.Session, Doubted: o.doubted})
	}
}

// finishRanges reports whether the ranges are possible beside all else.
func (r *Restore) finishRanges() bool {
	t := r.table
	if _, ok := r.ranges.Finish(); !ok {
		return false
	}
	for slot := uint32(1); slot < t.ranges.waits.next; slot++ {
		if w := t.ranges.waits.get(slot); t.findLock(w.session, w.id) != 0 {
			return false
		}
	}
	return t.checkNames() == nil
}

// checkRanges checks the ranges and the names of their files.
func (t *Table) checkRanges() error {
	if err := t.ranges.Check(); err != nil {
		return fmt.Errorf("ranges: %w", err)
	}
	return t.checkNames()
}

// checkNames checks that what has ranges exists.
func (t *Table) checkNames() error {
	files := map[uint32]int{}
	for slot := uint32(1); slot < t.ranges.files.next; slot++ {
		f := t.ranges.files.get(slot)
		if !f.live {
			continue
		}
		r := t.rangeNames.get(f.key)
		if r.nameLen == 0 || t.space(r.lockspace) == nil {
			return fmt.Errorf("file %q with ranges is in lockspace %d, which does not exist", t.nameOf(&r.storedName), r.lockspace)
		}
		files[r.lockspace]++
	}
	for slot := uint32(1); slot < t.ranges.ranges.next; slot++ {
		if r := t.ranges.ranges.get(slot); r.holder != 0 && (r.token == 0 || r.token > t.lastToken) {
			return fmt.Errorf("range %+v has token %d, the newest is %d", r.span(), r.token, t.lastToken)
		}
	}
	sum := 0
	for _, sp := range t.spaces {
		if sum += sp.files; sp.files != files[sp.number] {
			return fmt.Errorf("lockspace %q counts %d files with ranges, has %d", sp.name, sp.files, files[sp.number])
		}
	}
	if sum != t.rangeNames.used {
		return fmt.Errorf("%d files with ranges are named, there are %d", t.rangeNames.used, sum)
	}
	if err := t.checkGulmRanges(); err != nil {
		return err
	}
	for _, s := range t.ranges.Sessions() {
		if o := t.owner(s.Session); o == nil || o.doubted != s.Doubted || o.frozen != (s.Frozen || s.Session.remains()) {
			return fmt.Errorf("session %d has ranges, and is unknown or not frozen alike", s.Session)
		}
	}
	return nil
}
