package state

// totals condenses how much there is and how far the counters have come, for the
// running digest: a difference between two states mostly shows here before it does
// in an answer.
func (s *State) totals() uint64 {
	n, c := s.locks.Counts(), s.locks.Counters()
	h := uint64(0)
	for _, v := range [...]uint64{
		uint64(n.Locks), uint64(n.Converting)<<32 ^ uint64(n.Waiting), uint64(n.Resources)<<32 ^ uint64(n.Lockspaces),
		c.Token, c.Order, uint64(c.Lockspace)<<32 ^ c.RangeOrder, s.members.LastSession(), s.term,
	} {
		h = (h ^ v) * 0xff51afd7ed558ccd
		h ^= h >> 33
	}
	return h
}
