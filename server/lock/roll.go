package lock

import "slices"

// roll is a list in the order of arrival whose members are found, and leave, by
// their numbers. Looking through a list of what waits, or has ended, for each
// request would cost what nobody limits: a session may have as many as there may be
// locks. The zero value is empty.
type roll[T numbered] struct {
	list   []T           // those with number 0 have left
	places map[ID]uint32 // from 1; a clone has none
	left   int           // members of list that have left
}

// numbered is a member of a roll; the zero value has number 0.
type numbered interface{ number() ID }

func (r *roll[T]) count() int { return len(r.list) - r.left }

func (r *roll[T]) has(id ID) bool { return r.places[id] != 0 }

// get returns the member of that number, nil if there is none. It is valid until
// one is added or leaves.
func (r *roll[T]) get(id ID) *T {
	if place := r.places[id]; place != 0 {
		return &r.list[place-1]
	}
	return nil
}

// add adds a member as the last one, and reports whether its number is new.
func (r *roll[T]) add(member T) bool {
	if r.has(member.number()) {
		return false
	}
	if r.places == nil {
		r.places = map[ID]uint32{}
	}
	r.list = append(r.list, member)
	r.places[member.number()] = uint32(len(r.list))
	return true
}

// remove lets a member leave. Its place is closed when half of them are empty, so
// that all of this costs no more than what was added.
func (r *roll[T]) remove(id ID) bool {
	place := r.places[id]
	if place == 0 {
		return false
	}
	var none T
	r.list[place-1] = none
	delete(r.places, id)
	if r.left++; 2*r.left < len(r.list) {
		return true
	}
	r.list, r.left = slices.DeleteFunc(r.list, func(m T) bool { return m.number() == 0 }), 0
	for i, m := range r.list {
		r.places[m.number()] = uint32(i + 1)
	}
	return true
}

// all yields the members in their order.
func (r *roll[T]) all(yield func(*T) bool) {
	for i := range r.list {
		if r.list[i].number() != 0 && !yield(&r.list[i]) {
			return
		}
	}
}

// clone returns a copy for walks only.
func (r *roll[T]) clone() roll[T] { return roll[T]{list: slices.Clone(r.list), left: r.left} }

// sound reports whether every member is found in its place.
func (r *roll[T]) sound() bool {
	left := 0
	for i, m := range r.list {
		if m.number() == 0 {
			left++
		} else if r.places != nil && r.places[m.number()] != uint32(i+1) {
			return false
		}
	}
	return left == r.left && (r.places == nil || len(r.places) == r.count())
}
