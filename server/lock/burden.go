package lock

// needsFence reports whether the locks of a failed node in a lockspace of this
// policy wait for a fence or for an operator.
func (p Policy) needsFence() bool { return p != PolicyLease }

// NeedsFence reports whether a session has joined a lockspace, or has a lock in
// one, whose policy asks for a fence before its locks may go to others.
func (t *Table) NeedsFence(s Session) bool {
	for i := range t.spaces {
		if t.spaces[i].policy.needsFence() && t.joined(t.spaces[i].number, s) {
			return true
		}
	}
	o := t.owner(s)
	if o == nil {
		return false
	}
	for slot := o.head; slot != 0; slot = t.locks.get(slot).after {
		number := t.resources.get(t.locks.get(slot).resource).lockspace
		if sp := t.space(number); sp == nil || sp.policy.needsFence() {
			return true
		}
	}
	return false
}
