package lock

// needsFence reports whether the locks of a failed node in a lockspace of this
// policy wait for a fence or for an operator.
func (p Policy) needsFence() bool { return p != PolicyLease }

// NeedsFence reports whether a session has joined a lockspace whose policy asks for a
// fence before its locks may go to others. It has locks nowhere else, and they are not
// looked at: the master asks this for every beat.
func (t *Table) NeedsFence(s Session) bool {
	for i := range t.spaces {
		if t.spaces[i].policy.needsFence() && t.spaces[i].joined(s) {
			return true
		}
	}
	return false
}

// LongestLease returns the longest time-to-live, milliseconds, of the lockspaces under
// PolicyLease that a session has joined; 0 for none. Like NeedsFence it looks at no
// lock.
func (t *Table) LongestLease(s Session) uint32 {
	longest := uint32(0)
	for i := range t.spaces {
		if t.spaces[i].joined(s) {
			longest = max(longest, t.spaces[i].lease)
		}
	}
	return longest
}
