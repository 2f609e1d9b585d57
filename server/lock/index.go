package lock

// index finds slots by hash: open addressing with linear probing over slot
// numbers. It holds no hashes; records know or compute theirs.
type index struct {
	slots []uint32
	used  int
}

const minIndex = 64

// mask is valid once the index has room.
func (x *index) mask() uint32 { return uint32(len(x.slots) - 1) }

// hashed is a record that an index can hold.
type hashed[T any] interface {
	*T
	hash() uint32
}

// insert adds a slot that is not in the index yet.
func insert[T any, P hashed[T]](x *index, a *arena[T], slot uint32) {
	if (x.used+1)*4 > len(x.slots)*3 {
		grow[T, P](x, a)
	}
	x.used++
	x.place(P(a.get(slot)).hash(), slot)
}

func (x *index) place(h, slot uint32) {
	i := h & x.mask()
	for x.slots[i] != 0 {
		i = (i + 1) & x.mask()
	}
	x.slots[i] = slot
}

func grow[T any, P hashed[T]](x *index, a *arena[T]) {
	old := x.slots
	x.slots = make([]uint32, max(minIndex, 2*len(old)))
	for _, slot := range old {
		if slot != 0 {
			x.place(P(a.get(slot)).hash(), slot)
		}
	}
}

// remove takes out a slot that is in the index, and closes the gap: every
// later entry of the same run that may stand at the gap moves into it.
func remove[T any, P hashed[T]](x *index, a *arena[T], slot uint32) {
	mask := x.mask()
	gap := P(a.get(slot)).hash() & mask
	for x.slots[gap] != slot {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; x.slots[i] != 0; i = (i + 1) & mask {
		home := P(a.get(x.slots[i])).hash() & mask
		if (i-home)&mask >= (i-gap)&mask {
			x.slots[gap] = x.slots[i]
			gap = i
		}
	}
	x.slots[gap] = 0
	x.used--
}

// mix64 spreads the bits of a number; the finishing steps of splitmix64.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
