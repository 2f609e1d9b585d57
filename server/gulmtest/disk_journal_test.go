package gulmtest_test

import (
	"errors"
	"testing"

	"lock_gulmd/server/gulmtest"
)

// took takes a lock in EX, with a record in a journal.
func took(t *testing.T, d *gulmtest.Disk, h gulmtest.Holder, jid int, token uint64) {
	t.Helper()
	d.Granted(h, "r", gulmtest.EX, token)
	if err := d.Record(h, jid, "r", gulmtest.EX); err != nil {
		t.Fatal(err)
	}
}

func replayed(t *testing.T, d *gulmtest.Disk, h gulmtest.Holder, jid int, left string) {
	t.Helper()
	if err := d.BeginReplay(h, jid, left); err != nil {
		t.Fatal(err)
	}
	if err := d.EndReplay(h, jid, true); err != nil {
		t.Fatal(err)
	}
}

// TestDisk_journals: what the disk says about faults with journals, and about honest
// runs that look like one.
func TestDisk_journals(t *testing.T) {
	for name, c := range map[string]struct {
		run  func(t *testing.T, d *gulmtest.Disk)
		want gulmtest.Kind // "" for nothing
	}{
		"released after a flush": {func(t *testing.T, d *gulmtest.Disk) {
			took(t, d, n1, 0, 1)
			if err := d.Flush(n1, 0, "r"); err != nil {
				t.Fatal(err)
			}
			d.Released(n1, "r")
			d.Granted(n2, "r", gulmtest.EX, 2)
		}, ""},
		"fenced and replayed": {func(t *testing.T, d *gulmtest.Disk) {
			took(t, d, n1, 0, 1)
			d.Fenced("n1", 1)
			replayed(t, d, n2, 0, "n1/1")
			d.Granted(n2, "r", gulmtest.EX, 2)
		}, ""},
		"fenced and not replayed": {func(t *testing.T, d *gulmtest.Disk) {
			took(t, d, n1, 0, 1)
			d.Fenced("n1", 1)
			d.Granted(n2, "r", gulmtest.PR, 2)
		}, gulmtest.GrantBeforeReplay},
		"beside a record": {func(t *testing.T, d *gulmtest.Disk) {
			d.Granted(n1, "r", gulmtest.CW, 1)
			_ = d.Record(n1, 0, "r", gulmtest.CW)
			d.Fenced("n1", 1)
			d.Granted(n2, "r", gulmtest.CW, 2)
		}, ""},
		"withdrawn and not replayed": {func(t *testing.T, d *gulmtest.Disk) {
			took(t, d, n1, 0, 1)
			d.Withdrew(n1, 0)
			d.Granted(n2, "r", gulmtest.EX, 2)
		}, gulmtest.GrantBeforeReplay},
		"its own record after a withdrawal": {func(t *testing.T, d *gulmtest.Disk) {
			took(t, d, n1, 0, 1)
			d.Withdrew(n1, 0)
			d.Mounted(n1, 2, false)
			again := n1
			again.Owner = "w1"
			d.Granted(again, "r", gulmtest.EX, 2)
		}, gulmtest.GrantBeforeReplay},
		"dirty journal mounted": {func(t *testing.T, d *gulmtest.Disk) {
			took(t, d, n1, 0, 1)
			d.Fenced("n1", 1)
			d.Mounted(n2, 0, false)
		}, gulmtest.GrantBeforeReplay},
		"dirty journal mounted first": {func(t *testing.T, d *gulmtest.Disk) {
			took(t, d, n1, 0, 1)
			d.Fenced("n1", 1)
			d.Mounted(n2, 0, true)
			replayed(t, d, n2, 0, "")
		}, ""},
		"replay of the living": {func(t *testing.T, d *gulmtest.Disk) {
			replayed(t, d, n2, 0, "n1/1")
		}, gulmtest.JournalShared},
		"replay after the word of a fencer": {func(t *testing.T, d *gulmtest.Disk) {
			d.FenceReported("n1", 1)
			replayed(t, d, n2, 0, "n1/1")
		}, ""},
		"a record after that": {func(t *testing.T, d *gulmtest.Disk) {
			d.FenceReported("n1", 1)
			_ = d.Record(n1, 0, "r", gulmtest.EX)
		}, gulmtest.WriteAfterFence},
		"a record in a journal of another": {func(t *testing.T, d *gulmtest.Disk) {
			_ = d.Record(n1, 1, "r", gulmtest.EX)
		}, gulmtest.JournalShared},
		"two recoverers": {func(t *testing.T, d *gulmtest.Disk) {
			d.Fenced("n1", 1)
			_ = d.BeginReplay(n2, 0, "n1/1")
			_ = d.BeginReplay(n1b, 0, "n1/1")
		}, gulmtest.JournalShared},
		"recoverer dies": {func(t *testing.T, d *gulmtest.Disk) {
			took(t, d, n1, 0, 1)
			d.Fenced("n1", 1)
			_ = d.BeginReplay(n2, 0, "n1/1")
			d.Fenced("n2", 1)
			if err := d.EndReplay(n2, 0, true); !errors.Is(err, gulmtest.ErrFenced) || d.Unreplayed() == "" || d.RecoverersDied() != 1 {
				t.Errorf("a dead one's replay ends with %v, left %q", err, d.Unreplayed())
			}
			replayed(t, d, n1b, 0, "n1/1")
		}, ""},
		"given up and handed on": {func(t *testing.T, d *gulmtest.Disk) {
			d.Fenced("n1", 1)
			_ = d.BeginReplay(n2, 0, "n1/1")
			_ = d.EndReplay(n2, 0, false)
			replayed(t, d, n1b, 0, "n1/1")
		}, ""},
		"again although it is known": {func(t *testing.T, d *gulmtest.Disk) {
			d.Fenced("n1", 1)
			replayed(t, d, n2, 0, "n1/1")
			d.Recovered(0, "n1/1")
			replayed(t, d, n1b, 0, "n1/1")
		}, gulmtest.ReplayedAgain},
		"again since it may have mounted it": {func(t *testing.T, d *gulmtest.Disk) {
			d.Withdrew(n1, 0)
			d.Mounting(n1)
			replayed(t, d, n2, 0, "n1/1")
			d.Recovered(0, "n1/1")
			d.Fenced("n1", 1)
			replayed(t, d, n2, 0, "n1/1")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := gulmtest.NewDisk(1)
			d.Mounted(n1, 0, true)
			c.run(t, d)
			v := d.Violations()
			switch {
			case c.want == "" && len(v) > 0:
				t.Errorf("flagged: %v", v[0])
			case c.want != "" && (len(v) == 0 || v[0].Kind != c.want):
				t.Errorf("want %q, flagged %v", c.want, v)
			}
		})
	}
}
