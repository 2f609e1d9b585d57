package lock

// rangeRecord is one held range. It stands in the tree of its file, where
// conflicts are looked up, and in that of its holder, where its owner finds it.
type rangeRecord struct {
	start, end uint64
	token      uint64 // of the newest grant that had a part in it
	stamp      int64  // when it became what it is; display only
	// reach is one more than the furthest end in the subtree of the file's tree,
	// 0 for none: of all ranges, and of write ranges.
	reach    [rangeKinds]uint64
	inFile   avlLinks
	inHolder avlLinks
	holder   uint32
	kind     RangeKind
	gone     bool // about to be removed, during a rebuild
}

// rangeWait is one waiting request. It stands in a tree of its file and in the
// list of its owner.
type rangeWait struct {
	start, end uint64
	rank       uint64
	id         ID
	session    Session
	stamp      int64              // when it came; display only
	since      uint64             // log index at which it came
	reach      [rangeKinds]uint64 // as in rangeRecord
	least      [rangeKinds]uint64 // lowest rank in the subtree, lastRank for none
	inFile     avlLinks
	holder     uint32
	links             // of the same owner
	timeout    uint32 // milliseconds, 0 for ever
	byTime     links  // in the list of those with a time-out
	kind       RangeKind
	recovery   bool // passes remains
	spared     bool // never the victim of a deadlock
	due        bool // among the candidates for a grant, during settle
}

// A waiting request's rank is the number of its arrival, with rankLate set
// unless it goes ahead of those who wait for its owner.
const (
	rankLate = 1 << 63
	lastRank = 1<<64 - 1
)

// rangeFile is one file. It exists as long as it has ranges or waiting requests.
type rangeFile struct {
	key           uint32 // the caller's
	ranges, waits uint32 // roots
	held, waiting uint32 // how many
	live          bool
}

// rangeHolder is one owner's part in one file.
type rangeHolder struct {
	party, file   uint32
	ranges        uint32 // root
	held, waiting uint32 // how many
	links                // of the same owner
}

// rangeParty is one owner.
type rangeParty struct {
	owner              RangeOwner
	seat               uint32 // its session
	holders            uint32
	waitHead, waitTail uint32 // in order of arrival
	links                     // of the same session
}

// rangeSession is one session. It exists as long as it has owners or is frozen.
type rangeSession struct {
	session Session
	parties uint32
	frozen  bool
	doubted bool // remains that nobody may pass
}

// timed are the links in the list of requests with a time-out.
func (w *rangeWait) timed() *links { return &w.byTime }

func rangeHash(a, b uint64) uint32 { return uint32(mix64(a*0x9e3779b97f4a7c15 + b)) }

func (w *rangeWait) hash() uint32   { return rangeHash(uint64(w.session), uint64(w.id)) }
func (f *rangeFile) hash() uint32   { return rangeHash(1, uint64(f.key)) }
func (h *rangeHolder) hash() uint32 { return rangeHash(uint64(h.party), uint64(h.file)) }
func (p *rangeParty) hash() uint32 {
	return rangeHash(uint64(p.owner.Session^p.owner.Origin), p.owner.Number)
}
func (s *rangeSession) hash() uint32 { return rangeHash(1, uint64(s.session)) }

// rangeFind returns the slot of the record with hash h for which same is true, 0
// if there is none.
func rangeFind[T any](x *index, a *arena[T], h uint32, same func(*T) bool) uint32 {
	if x.used == 0 {
		return 0
	}
	for i := h & x.mask(); x.slots[i] != 0; i = (i + 1) & x.mask() {
		if same(a.get(x.slots[i])) {
			return x.slots[i]
		}
	}
	return 0
}

func (t *rangeTable) findWait(s Session, id ID) uint32 {
	h := (&rangeWait{session: s, id: id}).hash()
	return rangeFind(&t.waitIndex, &t.waits, h, func(w *rangeWait) bool { return w.id == id && w.session == s })
}

func (t *rangeTable) findFile(key uint32) uint32 {
	h := (&rangeFile{key: key}).hash()
	return rangeFind(&t.fileIndex, &t.files, h, func(f *rangeFile) bool { return f.key == key })
}

func (t *rangeTable) findParty(o RangeOwner) uint32 {
	h := (&rangeParty{owner: o}).hash()
	return rangeFind(&t.partyIndex, &t.parties, h, func(p *rangeParty) bool { return p.owner == o })
}

func (t *rangeTable) findSession(s Session) uint32 {
	h := (&rangeSession{session: s}).hash()
	return rangeFind(&t.sessionIndex, &t.sessions, h, func(r *rangeSession) bool { return r.session == s })
}

// holderOf returns the holder of a party in a file, 0 if there is none; either
// slot may be 0.
func (t *rangeTable) holderOf(party, file uint32) uint32 {
	if party == 0 || file == 0 {
		return 0
	}
	h := (&rangeHolder{party: party, file: file}).hash()
	return rangeFind(&t.holderIndex, &t.holders, h, func(r *rangeHolder) bool { return r.party == party && r.file == file })
}

func (t *rangeTable) ownerOf(holder uint32) RangeOwner {
	return t.parties.get(t.holders.get(holder).party).owner
}

// makeHolder returns the holder of an owner in a file, making what is missing.
// It must get a range or a waiting request at once.
func (t *rangeTable) makeHolder(o RangeOwner, key uint32) uint32 {
	file, party := t.findFile(key), t.findParty(o)
	if holder := t.holderOf(party, file); holder != 0 {
		return holder
	}
	if file == 0 {
		var f *rangeFile
		file, f = t.files.alloc()
		f.key, f.live = key, true
		insert(&t.fileIndex, &t.files, file)
	}
	if party == 0 {
		party = t.makeParty(o)
	}
	holder, h := t.holders.alloc()
	p := t.parties.mut(party)
	h.party, h.file = party, file
	pushFront(&t.holders, (*rangeHolder).chain, &p.holders, nil, holder)
	insert(&t.holderIndex, &t.holders, holder)
	return holder
}

func (t *rangeTable) makeParty(o RangeOwner) uint32 {
	seat := t.makeSession(o.Session)
	party, p := t.parties.alloc()
	s := t.sessions.mut(seat)
	p.owner, p.seat = o, seat
	pushFront(&t.parties, (*rangeParty).chain, &s.parties, nil, party)
	insert(&t.partyIndex, &t.parties, party)
	return party
}

func (t *rangeTable) makeSession(s Session) uint32 {
	seat := t.findSession(s)
	if seat == 0 {
		var r *rangeSession
		seat, r = t.sessions.alloc()
		r.session = s
		insert(&t.sessionIndex, &t.sessions, seat)
	}
	return seat
}

// sweepHolder forgets a holder without ranges and requests, and then its owner
// and session if they have nothing else. The file stays until sweepFile.
func (t *rangeTable) sweepHolder(holder uint32) {
	h := *t.holders.get(holder)
	if h.held+h.waiting != 0 {
		return
	}
	unlink(&t.holders, (*rangeHolder).chain, &t.parties.mut(h.party).holders, nil, holder)
	remove(&t.holderIndex, &t.holders, holder)
	t.holders.release(holder)
	t.sweepParty(h.party)
}

func (t *rangeTable) sweepParty(party uint32) {
	p := *t.parties.get(party)
	if p.holders != 0 {
		return
	}
	unlink(&t.parties, (*rangeParty).chain, &t.sessions.mut(p.seat).parties, nil, party)
	remove(&t.partyIndex, &t.parties, party)
	t.parties.release(party)
	t.sweepSession(p.seat)
}

func (t *rangeTable) sweepSession(seat uint32) {
	if s := t.sessions.get(seat); s.parties == 0 && !s.frozen {
		remove(&t.sessionIndex, &t.sessions, seat)
		t.sessions.release(seat)
	}
}

// sweepFile forgets a file without ranges and requests. It may be called twice.
func (t *rangeTable) sweepFile(file uint32) {
	if f := t.files.get(file); f.live && f.held+f.waiting == 0 {
		t.swept = append(t.swept, f.key)
		remove(&t.fileIndex, &t.files, file)
		t.files.release(file)
	}
}
