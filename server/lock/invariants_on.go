//go:build invariants

package lock

import "fmt"

// invariants is true with the build tag of that name: every call that changes a
// table ends with Check.
const invariants = true

// sampled is when a large table is checked the next time.
type sampled struct{ calls int }

// mustHold panics if the table is not consistent. Of a table with many locks it
// looks at every call that comes after one for each few of them, so that the work
// stays in proportion to the calls.
func (t *Table) mustHold() {
	const always, each = 512, 16
	t.sampled.calls++
	if n := t.locks.used; n > always && t.sampled.calls < n/each {
		return
	}
	t.sampled.calls = 0
	if err := t.Check(); err != nil {
		panic(fmt.Sprintf("lock: at log index %d: %v", t.now.index, err))
	}
}
