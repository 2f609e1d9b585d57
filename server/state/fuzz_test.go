package state_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lock_gulmd/server/state"
)

// bytesSource reads choices from data, and chooses 0 when it ends.
func bytesSource(data *[]byte) source {
	return func(n int) int {
		value := 0
		for most := n - 1; most > 0; most >>= 8 {
			if len(*data) == 0 {
				return 0
			}
			value = value<<8 | int((*data)[0])
			*data = (*data)[1:]
		}
		return value % n
	}
}

// FuzzApply turns bytes into commands, possible and impossible ones, and applies
// each to a state and, as the log brings it, to a second one, which becomes a
// snapshot now and then and comes back: both answer alike and stay sound.
func FuzzApply(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b := state.New(), state.New()
		data = data[:min(len(data), 4000)]
		index := uint64(0)
		for pick := bytesSource(&data); len(data) > 0; {
			index++
			c := choose(pick, a)
			pending := a.Members().Pending()
			again, err := decoded(c)
			if err != nil {
				t.Fatalf("%T %+v: %v", c, c, err)
			}
			r, q := a.Apply(index, 1, c), b.Apply(index, 1, again)
			if !reflect.DeepEqual(r, q) || a.Digest() != b.Digest() {
				t.Fatalf("%T %+v: %s", c, c, cmp.Diff(r, q))
			}
			if err := a.Check(); err != nil {
				t.Fatalf("after %T %+v: %v", c, c, err)
			}
			if err := stillPending(pending, a, c); err != nil {
				t.Fatal(err)
			}
			if pick(16) == 0 {
				if b, err = reread(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := same(a, b); err != nil {
			t.Fatal(err)
		}
	})
}
