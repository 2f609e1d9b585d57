package lock

// links are the neighbours of a record in a list within its arena, 0 for none.
// The queues of locks do the same by hand: through these functions a lock and its
// unlock take a quarter longer.
type links struct{ next, prev uint32 }

func (l *links) chain() *links { return l }

// chained is a pointer to a record with links.
type chained[T any] interface {
	*T
	chain() *links
}

// pushBack appends a record to the list with these ends.
func pushBack[T any, P chained[T]](a *arena[T], head, tail *uint32, slot uint32) {
	*P(a.mut(slot)).chain() = links{prev: *tail}
	if *tail == 0 {
		*head = slot
	} else {
		P(a.mut(*tail)).chain().next = slot
	}
	*tail = slot
}

// pushFront puts a record at the head of a list; tail is nil if it keeps none.
func pushFront[T any, P chained[T]](a *arena[T], head, tail *uint32, slot uint32) {
	*P(a.mut(slot)).chain() = links{next: *head}
	if *head != 0 {
		P(a.mut(*head)).chain().prev = slot
	} else if tail != nil {
		*tail = slot
	}
	*head = slot
}

// unlink takes a record out of its list; tail is nil if that keeps none.
func unlink[T any, P chained[T]](a *arena[T], head, tail *uint32, slot uint32) {
	l := P(a.mut(slot)).chain()
	if l.prev == 0 {
		*head = l.next
	} else {
		P(a.mut(l.prev)).chain().next = l.next
	}
	if l.next != 0 {
		P(a.mut(l.next)).chain().prev = l.prev
	} else if tail != nil {
		*tail = l.prev
	}
	*l = links{}
}
