//go:build invariants

package lock

import "testing"

// TestInvariants_panic: with the build tag, a call on a table that is not
// consistent panics, and one on a large table sooner or later.
func TestInvariants_panic(t *testing.T) {
	for _, locks := range []int{1, 5000} {
		table := opened(t, 2)
		var name []byte
		for i := range locks {
			name = glock(name, i)
			table.Lock(1, LockRequest{ID: ID(i + 1), Lockspace: 1, Name: name, Mode: PR})
		}
		table.resources.mut(1).held[PR-CR]++
		panicked := false
		func() {
			defer func() { panicked = recover() != nil }()
			for range locks {
				table.Cancel(1, 1)
			}
		}()
		if !panicked {
			t.Errorf("%d locks: nobody noticed", locks)
		}
	}
}
