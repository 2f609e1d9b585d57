package lock

import "testing"

// TestCheck_notices plants one fault each.
func TestCheck_notices(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(t *Table, first *lockRecord, r *resourceRecord)
	}{
		{"a lock of another session in the list", func(_ *Table, first *lockRecord, _ *resourceRecord) { first.session = 2 }},
		{"a lock of an unknown session", func(_ *Table, first *lockRecord, _ *resourceRecord) { first.session = 9 }},
		{"a session that counts wrongly", func(t *Table, _ *lockRecord, _ *resourceRecord) { t.owners[0].locks++ }},
		{"a lock in no queue", func(_ *Table, _ *lockRecord, r *resourceRecord) { r.head = 0 }},
		{"incompatible holders", func(_ *Table, first *lockRecord, _ *resourceRecord) { first.granted = EX }},
		{"modes counted wrongly", func(_ *Table, _ *lockRecord, r *resourceRecord) { r.held[PR-CR]++ }},
		{"a forgotten queue", func(_ *Table, _ *lockRecord, r *resourceRecord) { r.contention = 0 }},
		{"a queue that should have moved", func(t *Table, _ *lockRecord, r *resourceRecord) {
			t.locks.mut(t.contentions.get(r.contention).waitHead).requested = PR
		}},
		{"an arena that counts wrongly", func(t *Table, _ *lockRecord, _ *resourceRecord) { t.locks.used++ }},
	} {
		table := opened(t, 3)
		for s, mode := range []Mode{PR, PR, EX} {
			lockIn(table, Session(s+1), mode)
		}
		if err := deepCheck(table); err != nil {
			t.Fatalf("before %s: %v", c.name, err)
		}
		c.plant(table, table.locks.mut(table.owners[0].head), table.resources.mut(1))
		if table.Check() == nil {
			t.Errorf("%s: not noticed", c.name)
		}
	}
}
