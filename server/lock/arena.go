package lock

const (
	pageBits = 9
	pageSize = 1 << pageBits
	pageMask = pageSize - 1
)

// arena is a growing array of records without pointers, in pages. Slot 0 is
// never given out, so that 0 can mean none.
//
// A clone shares all pages; whoever writes to a page that it shares copies the
// page first. The epoch tells: a page belongs to the arena whose epoch it
// carries.
type arena[T any] struct {
	pages []*page[T]
	free  []uint32
	next  uint32 // lowest slot never used, 0 before the first
	used  int
	epoch uint64
}

type page[T any] struct {
	epoch   uint64
	records [pageSize]T
}

// get returns the record for reading. It is valid until the next mut of its page.
func (a *arena[T]) get(slot uint32) *T {
	return &a.pages[slot>>pageBits].records[slot&pageMask]
}

// mut returns the record for writing. It is valid until the next clone.
func (a *arena[T]) mut(slot uint32) *T {
	p := a.pages[slot>>pageBits]
	if p.epoch != a.epoch {
		p = a.own(slot >> pageBits)
	}
	return &p.records[slot&pageMask]
}

func (a *arena[T]) own(n uint32) *page[T] {
	p := &page[T]{epoch: a.epoch, records: a.pages[n].records}
	a.pages[n] = p
	return p
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
		a.pages = append(a.pages, &page[T]{epoch: a.epoch})
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
	return arena[T]{pages: append([]*page[T](nil), a.pages...), next: a.next, used: a.used}
}
