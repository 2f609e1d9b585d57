package lock

// links are the neighbours of a record in a list within its arena, 0 for none.
// The queues of locks do the same by hand: through these functions a lock and its
// unlock take a quarter longer.
type links struct{ next, prev uint32 }

func (l *links) chain() *links { return l }

// watchList is the ends and the length of a list of requests that wait and are
// watched, oldest first.
type watchList struct {
	head, tail uint32
	count      int
}

// pushBack appends a record to the list with these ends; of says which of its
// links are those of the list.
func pushBack[T any](a *arena[T], of func(*T) *links, head, tail *uint32, slot uint32) {
	*of(a.mut(slot)) = links{prev: *tail}
	if *tail == 0 {
		*head = slot
	} else {
		of(a.mut(*tail)).next = slot
	}
	*tail = slot
}

// pushFront puts a record at the head of a list; tail is nil if it keeps none.
func pushFront[T any](a *arena[T], of func(*T) *links, head, tail *uint32, slot uint32) {
	*of(a.mut(slot)) = links{next: *head}
	if *head != 0 {
		of(a.mut(*head)).prev = slot
	} else if tail != nil {
		*tail = slot
	}
	*head = slot
}

// unlink takes a record out of its list; tail is nil if that keeps none.
func unlink[T any](a *arena[T], of func(*T) *links, head, tail *uint32, slot uint32) {
	l := of(a.mut(slot))
	if l.prev == 0 {
		*head = l.next
	} else {
		of(a.mut(l.prev)).next = l.next
	}
	if l.next != 0 {
		of(a.mut(l.next)).prev = l.prev
	} else if tail != nil {
		*tail = l.prev
	}
	*l = links{}
}

// enlist appends a record to a list of watched requests, delist takes it out.
func enlist[T any](a *arena[T], of func(*T) *links, l *watchList, slot uint32) {
	pushBack(a, of, &l.head, &l.tail, slot)
	l.count++
}

func delist[T any](a *arena[T], of func(*T) *links, l *watchList, slot uint32) {
	unlink(a, of, &l.head, &l.tail, slot)
	l.count--
}
