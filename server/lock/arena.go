package lock

// A page is small enough to be copied in a few microseconds, and of a size that
// the allocator wastes little of: 256 records of 64, 80, 96 or 112 bytes fill one
// of its size classes.
const (
	pageBits = 8
	pageSize = 1 << pageBits
	pageMask = pageSize - 1
)

// arena is a growing array of records without pointers, in pages. Slot 0 is
// never given out, so that 0 can mean none.
//
// A clone shares all pages; whoever writes to a page that it shares copies the
// page first. The epochs tell: a page belongs to the arena if its epoch is that
// of the arena.
type arena[T any] struct {
	pages  []*[pageSize]T
	epochs []uint64 // of the pages; a clone, which is not written to, has none
	free   []uint32
	next   uint32 // lowest slot never used, 0 before the first
	used   int
	epoch  uint64
}

// get returns the record for reading. It is valid until the next mut of its page.
func (a *arena[T]) get(slot uint32) *T {
	return &a.pages[slot>>pageBits][slot&pageMask]
}

// mut returns the record for writing. It is valid until the next clone.
func (a *arena[T]) mut(slot uint32) *T {
	n := slot >> pageBits
	if a.epochs[n] != a.epoch {
		a.own(n)
	}
	return &a.pages[n][slot&pageMask]
}

func (a *arena[T]) own(n uint32) {
	p := *a.pages[n]
	a.pages[n], a.epochs[n] = &p, a.epoch
}

// alloc returns a zeroed record and its slot.
func (a *arena[T]) alloc() (uint32, *T) {
	a.used++
	if n := len(a.free); n > 0 {
		slot := a.free[n-1]
		a.free = a.free[:n-1]
		r := a.mut(slot)
		var zero T
		*r = zero
		return slot, r
	}
	if a.next == 0 {
		a.next = 1
	}
	slot := a.next
	a.next++
	if int(slot>>pageBits) == len(a.pages) {
		a.pages = append(a.pages, new([pageSize]T))
		a.epochs = append(a.epochs, a.epoch)
	}
	return slot, a.mut(slot)
}

// release zeroes the record and keeps the slot for the next alloc.
func (a *arena[T]) release(slot uint32) {
	var zero T
	*a.mut(slot) = zero
	a.free = append(a.free, slot)
	a.used--
}

// clone returns a copy for reading only; it costs one pointer per page.
func (a *arena[T]) clone() arena[T] {
	a.epoch++
	return arena[T]{pages: append([]*[pageSize]T(nil), a.pages...), next: a.next, used: a.used}
}
