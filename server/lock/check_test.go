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
		{"denied requests counted wrongly", func(t *Table, _ *lockRecord, _ *resourceRecord) { t.ended++ }},
		{"locks of a session out of order", func(t *Table, first *lockRecord, _ *resourceRecord) {
			t.lastOrder++
			first.order = 0
		}},
		{"an owner of remains without any", func(t *Table, _ *lockRecord, _ *resourceRecord) { t.open(RemainsOf(1), 1) }},
		{"a session in doubt", func(t *Table, _ *lockRecord, _ *resourceRecord) { t.owners[0].doubted = true }},
		{"remains that are not frozen", func(t *Table, _ *lockRecord, _ *resourceRecord) {
			t.FreezeIn(1, 1, nil)
			t.owner(RemainsOf(1)).frozen = false
		}},
		{"a crossed resource without a crossing", func(_ *Table, _ *lockRecord, r *resourceRecord) { r.strong |= crossed }},
		{"an owner of orphans without any", func(t *Table, _ *lockRecord, _ *resourceRecord) { t.open(OrphansOf(1), 1) }},
		{"an empty lockspace", func(t *Table, _ *lockRecord, _ *resourceRecord) {
			t.spaces = append(t.spaces, space{number: 2, name: "empty"})
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

// TestDeepCheck_notices plants faults that only the tests look for.
func TestDeepCheck_notices(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(t *Table, r *resourceRecord, c *contentionRecord)
	}{
		{"a leaked value block", func(t *Table, _ *resourceRecord, _ *contentionRecord) { t.values.alloc() }},
		{"a leaked contention record", func(t *Table, _ *resourceRecord, _ *contentionRecord) { t.contentions.alloc() }},
		{"a value of another length", func(t *Table, r *resourceRecord, _ *contentionRecord) { t.values.mut(r.value).length++ }},
		{"wanted modes counted wrongly", func(_ *Table, _ *resourceRecord, c *contentionRecord) { c.wanted[CW]++ }},
		{"requests of recovery counted wrongly", func(_ *Table, _ *resourceRecord, c *contentionRecord) { c.recovery++ }},
		{"conversions counted wrongly", func(_ *Table, _ *resourceRecord, c *contentionRecord) { c.convertTo[CW]++ }},
		{"held modes of conversions counted wrongly", func(_ *Table, _ *resourceRecord, c *contentionRecord) { c.convertFrom[CW]++ }},
		{"a request without order that nobody finds", func(_ *Table, _ *resourceRecord, c *contentionRecord) { c.jumps = 0 }},
		{"requests without order that rank wrongly", func(t *Table, _ *resourceRecord, c *contentionRecord) {
			t.jumps.mut(t.jumpClasses.get(c.jumps).head).rank = 99
		}},
		{"a leaked record of a request without order", func(t *Table, _ *resourceRecord, _ *contentionRecord) { t.jumps.alloc() }},
		{"a leaked class of requests without order", func(t *Table, _ *resourceRecord, _ *contentionRecord) { t.jumpClasses.alloc() }},
		{"a request in another class", func(t *Table, _ *resourceRecord, c *contentionRecord) {
			t.jumpClasses.mut(c.jumps).kind.granted++
		}},
		{"somebody who was not told", func(_ *Table, _ *resourceRecord, c *contentionRecord) { c.told |= 1 << EX }},
		{"a lock that is denied", func(t *Table, _ *resourceRecord, _ *contentionRecord) {
			t.owners[0].ended.add(endedLock{id: 1, why: 1, changed: 1})
			t.ended++
		}},
		{"a lock that somebody left", func(t *Table, _ *resourceRecord, _ *contentionRecord) {
			t.locks.mut(t.owners[0].head).origin = 1
		}},
	} {
		table := opened(t, 3)
		lockIn(table, 1, EX)
		table.Convert(1, ConvertRequest{ID: 1, Mode: PR, Flags: ValBlk, Value: []byte("v")})
		lockIn(table, 2, CW)
		for id := range ID(2) {
			table.Lock(3, LockRequest{ID: id + 1, Lockspace: 1, Name: []byte("r"), Mode: CW, Flags: NoOrder})
		}
		if err := deepCheck(table); err != nil {
			t.Fatalf("before %s: %v", c.name, err)
		}
		r := table.resources.mut(1)
		c.plant(table, r, table.contentions.mut(r.contention))
		if deepCheck(table) == nil {
			t.Errorf("%s: not noticed", c.name)
		}
	}
}
