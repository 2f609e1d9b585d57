package state

import (
	"cmp"
	"slices"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
)

// Image is everything in the state but for the resources, as values: what a
// snapshot begins with. Resources are walked with Locks().Walk, since they are
// many.
type Image struct {
	Index, Term uint64
	Master      string
	Limits      Limits
	Left        []string
	Breaker     Breaker
	Vanished    []member.Life
	Digest      uint64
	Counters    lock.Counters
	LastSession uint64
	Nodes       []member.Node
	Sessions    []SessionImage
	Spaces      []lock.SpaceState
	// Journals are the lockspaces with journals.
	Journals []journal.Space
	// Owners are the sessions and the nodes' orphans and remains as the lock table
	// has them.
	Owners []lock.OwnerState
	// RangeFiles are what FromImage takes; Image leaves them out, since they are
	// many: they are walked with Locks().WalkRanges.
	RangeFiles []lock.RangeFileState
}

// SessionImage is one session with its request numbers.
type SessionImage struct {
	member.Session
	Applied, Confirmed uint64
	// Seen is the log index of the last command in which it took part.
	Seen uint64
	// Kept are the unconfirmed replies, in order; Seq counts from Confirmed+1.
	Kept []Reply
}

// Image returns the state's image for reading only, until the next change.
func (s *State) Image() Image {
	img := Image{
		Index: s.index, Term: s.term, Master: s.master, Limits: s.limits, Left: s.left, Breaker: s.breaker, Digest: s.digest,
		Vanished: s.vanished,
		Counters: s.locks.Counters(), LastSession: s.members.LastSession(),
		Nodes: s.members.Nodes(), Spaces: s.locks.Spaces(), Owners: s.locks.Owners(),
		Journals: s.journals.Copy(),
	}
	for _, session := range s.members.Sessions() {
		n := s.findNumbers(session.Number)
		si := SessionImage{Session: session, Applied: n.applied, Confirmed: n.confirmed, Seen: n.seen}
		for _, k := range n.kept {
			si.Kept = append(si.Kept, Reply{session.Number, k.seq, k.Reply})
		}
		img.Sessions = append(img.Sessions, si)
	}
	return img
}

// FromImage rebuilds a state; next returns the resources one by one and false
// after the last. It reports false if that is not a possible state. The state
// takes the image's slices over.
func FromImage(img Image, next func(*lock.ResourceState) bool) (*State, bool) {
	limits := lock.Limits{Locks: img.Limits.Locks, Resources: img.Limits.Resources, Lockspaces: img.Limits.Lockspaces}
	s := &State{
		index: img.Index, term: img.Term, master: img.Master, limits: img.Limits,
		left: slices.Sorted(slices.Values(img.Left)), breaker: img.Breaker, digest: img.Digest,
	}
	restore := lock.NewRestore(limits)
	restore.SetCounters(img.Counters)
	for _, sp := range img.Spaces {
		restore.Space(sp)
	}
	for _, o := range img.Owners {
		restore.Owner(o)
	}
	sound := img.countsSpaces() && img.ownsAll()
	sessions := make([]member.Session, 0, len(img.Sessions))
	for _, si := range img.Sessions {
		sessions = append(sessions, si.Session)
		n := numbers{session: si.Number, applied: si.Applied, confirmed: si.Confirmed, seen: si.Seen}
		for _, k := range si.Kept {
			n.kept = append(n.kept, kept{k.Seq, k.Reply})
		}
		s.numbers = append(s.numbers, n)
	}
	sound = s.members.Restore(img.Nodes, sessions, img.LastSession) && sound
	sound = s.restoreVanished(img.Vanished) && sound
	slices.SortFunc(s.numbers, func(a, b numbers) int { return cmp.Compare(a.session, b.session) })
	var r lock.ResourceState
	for i := range img.RangeFiles {
		restore.RangeFile(&img.RangeFiles[i])
	}
	for next(&r) {
		sound = sound && img.counts(&r)
		restore.Resource(&r)
	}
	table, ok := restore.Finish()
	s.locks = table
	sound = s.journals.Restore(img.Journals) && sound
	return s, ok && sound && s.checkNumbers() == nil && s.checkJournals() == nil
}

// countsSpaces reports whether the lockspaces are within the counter, and their
// members are sessions.
func (img *Image) countsSpaces() bool {
	known := make(map[lock.Session]bool, len(img.Sessions))
	for i := range img.Sessions {
		known[lock.Session(img.Sessions[i].Number)] = true
	}
	for _, sp := range img.Spaces {
		if sp.Number > img.Counters.Lockspace {
			return false
		}
		for _, m := range sp.Members {
			if !known[m] {
				return false
			}
		}
	}
	return true
}

// ownsAll reports whether the owners are exactly the sessions, frozen alike, and
// orphans and remains of known nodes, which are in doubt while those are expired.
func (img *Image) ownsAll() bool {
	nodes := map[string]uint32{}
	frozen, doubted := map[lock.Session]bool{}, map[lock.Session]bool{}
	for _, n := range img.Nodes {
		nodes[n.Name] = n.Number
		expired := n.State == member.Expired
		frozen[lock.OrphansOf(n.Number)], frozen[lock.RemainsOf(n.Number)] = expired, true
		doubted[lock.RemainsOf(n.Number)] = expired
		for _, waits := range []lock.Session{lock.AwaitOf(n.Number), lock.AwaitGivenOf(n.Number)} {
			frozen[waits], doubted[waits] = true, true
		}
	}
	homes := make(map[lock.Session]uint32, len(img.Sessions))
	for _, si := range img.Sessions {
		frozen[lock.Session(si.Number)] = si.Frozen
		homes[lock.Session(si.Number)] = nodes[si.Node]
	}
	sessions := 0
	for _, o := range img.Owners {
		want, known := frozen[o.Session]
		if !known || o.Frozen != want || o.Doubted != doubted[o.Session] {
			return false
		}
		if home, ok := homes[o.Session]; ok {
			if home != o.Node {
				return false
			}
			sessions++
		}
	}
	return sessions == len(img.Sessions)
}

// counts reports whether the locks of a resource are within the counters: else
// an order or a token would be given out twice.
func (img *Image) counts(r *lock.ResourceState) bool {
	for i := range r.Locks {
		if r.Locks[i].Order > img.Counters.Order || r.Locks[i].Token > img.Counters.Token || r.Locks[i].Changed > img.Index {
			return false
		}
	}
	return true
}
