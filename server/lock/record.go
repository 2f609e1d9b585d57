package lock

import "lock_gulmd/server/reason"

// queue is where a lock stands on its resource. The numbers stand in snapshots.
type queue uint8

const (
	granted queue = iota
	converting
	waiting
)

// lockRecord is one lock. It holds no pointers; links are slots.
type lockRecord struct {
	id      ID
	session Session
	token   uint64
	order   uint64 // in which locks came to their sessions
	changed uint64 // log index of the last change that the session must know
	stamp   int64  // when it entered its queue, by the master's clock; display only

	resource   uint32
	next, prev uint32 // in its queue
	after      uint32 // next of the same session
	before     uint32
	flags      Flags  // of the newest request; NoCallbacks of the first
	origin     uint32 // of an orphan or remains: the session that left it; of a marked lock: its gulmRecord
	note       uint32 // slot of the noteRecord, 0 for most locks

	granted   Mode // held; NL while waiting
	requested Mode // wanted; equals granted in the granted queue
	queue     queue
	blocking  modeSet       // modes for which a blocking callback is outstanding
	status    Status        // of the newest grant, without ValNotValid; Demoted while it waits
	denied    reason.Reason // why the newest request is over without a grant
}

func (l *lockRecord) hash() uint32 { return lockHash(l.session, l.id) }

func lockHash(s Session, id ID) uint32 {
	return uint32(mix64(uint64(s)*0x9e3779b97f4a7c15 + uint64(id)))
}

// inlineName is how many bytes of a name fit into the resource's record.
const inlineName = 26

// resourceRecord is one resource; it exists as long as a lock refers to it.
type resourceRecord struct {
	lockspace  uint32
	sum        uint32 // hash of lockspace and name
	head, tail uint32 // granted queue
	contention uint32 // slot of the contention record, 0 while nobody waits
	value      uint32 // slot of the value block, 0 while there is none
	held       [3]uint32
	strong     modeSet // PW and EX, which only one lock can hold unless it is crossed
	storedName
}

// storedName is a name in a record.
type storedName struct {
	nameLen uint8
	name    [inlineName]byte // or the slot of a longName, little endian
}

func (r *resourceRecord) hash() uint32 { return r.sum }

// contentionRecord is what a resource has only while somebody converts or waits.
type contentionRecord struct {
	convertHead, convertTail uint32
	waitHead, waitTail       uint32
	wanted                   [modes]uint32 // queued requests by requested mode
	convertTo, convertFrom   [modes]uint32 // conversions by requested mode, and by the one that they hold
	told                     modeSet       // modes for which every holder has been asked to give way
	recovery                 uint32        // queued requests that pass remains
	passed                   uint32        // requests that came before earlier ones, since one of those was granted
	jumps                    uint32        // first class of requests with NoOrder
	firstRank, lastRank      int64         // given to them
}

type longName struct{ bytes [MaxName]byte }

// owner is what the table knows of one session, or of a node's orphans or
// remains.
type owner struct {
	session    Session
	node       uint32 // number of the node, for orphans and remains
	head, tail uint32 // its locks in their order
	locks      int
	frozen     bool
	doubted    bool // remains that nobody may pass
	ended      roll[endedLock]
	sets       roll[lockSet] // that wait
	named      idSet         // by sets: they and their locks; a clone has none
	told       []told        // oldest first
}

// idSet has numbers of a session's locks: looking through all that wait, or have
// ended, for each request would cost what nobody limits.
type idSet map[ID]struct{}

func (s idSet) has(id ID) bool {
	_, ok := s[id]
	return ok
}

// add adds a number and reports whether it is new.
func (s *idSet) add(id ID) bool {
	if *s == nil {
		*s = idSet{}
	}
	n := len(*s)
	(*s)[id] = struct{}{}
	return len(*s) > n
}

// heldSet returns the modes held on r, leaving out one lock that holds `own`.
// NL claims nothing and never shows.
func (r *resourceRecord) heldSet(own Mode) modeSet {
	s := r.strong
	for m := CR; m <= PR; m++ {
		n := r.held[m-CR]
		if m == own {
			n--
		}
		if n > 0 {
			s |= 1 << m
		}
	}
	if own >= PW {
		s &^= 1 << own
	}
	return s
}

// hold counts a lock of mode m in; drop counts it out.
func (r *resourceRecord) hold(m Mode) {
	switch {
	case m == NL:
	case m <= PR:
		r.held[m-CR]++
	default:
		r.strong |= 1 << m
	}
}

func (r *resourceRecord) drop(m Mode) {
	switch {
	case m == NL:
	case m <= PR:
		r.held[m-CR]--
	default:
		r.strong &^= 1 << m
	}
}

// first returns the slot of the queued request whose turn is next.
func (c *contentionRecord) first() uint32 {
	if c.convertHead != 0 {
		return c.convertHead
	}
	return c.waitHead
}

// wantedSet returns the modes that are queued for.
func (c *contentionRecord) wantedSet() modeSet { return counted(&c.wanted) }

// counted returns the modes of which there is at least one.
func counted(by *[modes]uint32) modeSet {
	var s modeSet
	for m := range by {
		if by[m] > 0 {
			s |= 1 << m
		}
	}
	return s
}
