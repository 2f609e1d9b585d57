package state_test

import (
	"fmt"
	"reflect"

	"lock_gulmd/server/journal"
	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// label is a kind of number that only tells one thing from another and before from
// after. Two states that differ in such numbers only, and have them in the same
// order, are the same state under other labels.
type label uint8

const (
	// indexes are places in the log.
	indexes label = iota + 1
	// tokens number grants; orders and arrivals number locks and requests for ranges
	// as they come, over the whole cluster.
	tokens
	orders
	arrivals
)

// labels are the fields that are labels. Any other field of a picture or an answer
// means what it says.
var labels = map[reflect.Type]map[string]label{
	reflect.TypeFor[state.Image]():         {"Index": indexes},
	reflect.TypeFor[state.SessionImage]():  {"Seen": indexes},
	reflect.TypeFor[member.Node]():         {"Seen": indexes},
	reflect.TypeFor[journal.Mount]():       {"Changed": indexes},
	reflect.TypeFor[journal.Journal]():     {"Changed": indexes},
	reflect.TypeFor[lock.LockState]():      {"Changed": indexes, "Since": indexes, "Token": tokens, "Order": orders},
	reflect.TypeFor[lock.EndedState]():     {"Changed": indexes, "Token": tokens},
	reflect.TypeFor[lock.SetState]():       {"Since": indexes},
	reflect.TypeFor[lock.RangeState]():     {"Token": tokens},
	reflect.TypeFor[lock.RangeWaitState](): {"Since": indexes, "Order": arrivals},
	reflect.TypeFor[lock.Reply]():          {"Token": tokens},
	reflect.TypeFor[lock.Event]():          {"Token": tokens},
}

// eachLabel calls visit for every number of a kind in what x points to, always in
// the same order.
func eachLabel(x any, kind label, visit func(*uint64)) {
	walkLabels(reflect.ValueOf(x).Elem(), kind, visit)
}

func walkLabels(v reflect.Value, kind label, visit func(*uint64)) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			walkLabels(v.Index(i), kind, visit)
		}
	case reflect.Struct:
		own := labels[v.Type()]
		for i := range v.NumField() {
			if own[v.Type().Field(i).Name] == kind || kind == orders && v.Type().Field(i).Name == "ID" && inherited(v) {
				visit(v.Field(i).Addr().Convert(reflect.TypeFor[*uint64]()).Interface().(*uint64))
			} else {
				walkLabels(v.Field(i), kind, visit)
			}
		}
	default:
	}
}

// inherited reports whether v is a lock that a node's orphans or remains have: its
// number is that of its arrival there.
func inherited(v reflect.Value) bool {
	if v.Type() != reflect.TypeFor[lock.LockState]() {
		return false
	}
	l := v.Interface().(lock.LockState)
	return l.Session >= lock.OrphansOf(0)
}

// renaming says under which labels another run has the same. 0 stands for none and
// stays.
type renaming map[uint64]uint64

// learn takes what two runs have in the same places. It fails unless equal numbers
// of one are equal in the other.
func (r renaming) learn(from, to any, kind label) error {
	var theirs []uint64
	eachLabel(to, kind, func(n *uint64) { theirs = append(theirs, *n) })
	at := 0
	var err error
	eachLabel(from, kind, func(n *uint64) {
		if at < len(theirs) && err == nil {
			err = r.add(*n, theirs[at])
		}
		at++
	})
	if err == nil && at != len(theirs) {
		err = fmt.Errorf("%d numbers here, %d there", at, len(theirs))
	}
	return err
}

func (r renaming) add(from, to uint64) error {
	if known, ok := r[from]; ok && known != to || (from == 0) != (to == 0) {
		return fmt.Errorf("%d is %d there, and %d elsewhere", from, to, known)
	}
	r[from] = to
	return nil
}

// oneToOne reports whether no two numbers have become one.
func (r renaming) oneToOne() bool {
	seen := map[uint64]bool{}
	for _, to := range r {
		if seen[to] {
			return false
		}
		seen[to] = true
	}
	return true
}

// apply writes the other labels into what x points to.
func (r renaming) apply(x any, kind label) {
	eachLabel(x, kind, func(n *uint64) { *n = r[*n] })
}
