package lock

import (
	"cmp"
	"slices"
)

// What a restore does to a million records at once: following an index or a list
// from one to the next would wait for the memory each time, sorting does not.

// keyed is a slot with what it is sorted by.
type keyed struct {
	key  uint64
	slot uint32
}

// sorter sorts slots by keys; spare is as long as there are keys.
type sorter struct{ keys, spare []keyed }

func (s *sorter) clear() { s.keys = s.keys[:0] }

func (s *sorter) add(key uint64, slot uint32) { s.keys = append(s.keys, keyed{key, slot}) }

// few keys are not worth the counters of a pass.
const few = 256

// digitBits is how much of a key one pass of sort looks at.
const digitBits = 11

// sort sorts by the keys without their lowest bits, and keeps the order of those
// that are equal. The result is valid until the next clear.
func (s *sorter) sort(lowest uint) []keyed {
	if len(s.keys) < few {
		slices.SortStableFunc(s.keys, func(a, b keyed) int { return cmp.Compare(a.key>>lowest, b.key>>lowest) })
		return s.keys
	}
	all, some := ^uint64(0), uint64(0)
	for _, k := range s.keys {
		all, some = all&k.key, some|k.key
	}
	differ := all ^ some
	for shift := lowest; shift < 64; shift += digitBits {
		if differ>>shift&(1<<digitBits-1) != 0 {
			s.pass(shift)
		}
	}
	return s.keys
}

// pass sorts by one digit.
func (s *sorter) pass(shift uint) {
	const mask = 1<<digitBits - 1
	var at [1 << digitBits]uint32
	for _, k := range s.keys {
		at[k.key>>shift&mask]++
	}
	sum := uint32(0)
	for d, n := range at {
		at[d] = sum
		sum += n
	}
	out := s.spare[:len(s.keys)]
	for _, k := range s.keys {
		d := k.key >> shift & mask
		out[at[d]] = k
		at[d]++
	}
	s.keys, s.spare = out, s.keys[:cap(s.keys)]
}

// build makes the index of all records of an arena that never lost one. It
// reports false if two of them are the same.
func build[T any, P hashed[T]](x *index, a *arena[T], keys *sorter, same func(a, b *T) bool) bool {
	size := minIndex
	for a.used*4 > size*3 {
		size *= 2
	}
	x.slots, x.used = make([]uint32, size), a.used
	keys.clear()
	for slot := uint32(1); slot < a.next; slot++ {
		h := P(a.get(slot)).hash()
		keys.add(uint64(h&x.mask())<<32|uint64(h), slot)
	}
	sorted := keys.sort(32)
	first := 0 // of those with the same place
	for i, k := range sorted {
		if sorted[first].key>>32 != k.key>>32 {
			first = i
		}
		for _, before := range sorted[first:i] {
			if before.key == k.key && same(a.get(before.slot), a.get(k.slot)) {
				return false
			}
		}
		x.place(uint32(k.key), k.slot)
	}
	return true
}
