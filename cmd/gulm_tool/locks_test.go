package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

const (
	nl, cr, cw = gulmv1.Mode_MODE_NL, gulmv1.Mode_MODE_CR, gulmv1.Mode_MODE_CW
	pr, pw, ex = gulmv1.Mode_MODE_PR, gulmv1.Mode_MODE_PW, gulmv1.Mode_MODE_EX

	granted, converting, waiting = gulmv1.Queue_QUEUE_GRANTED, gulmv1.Queue_QUEUE_CONVERTING, gulmv1.Queue_QUEUE_WAITING
)

// lockOf makes a lock of node fsNN with session NN.
func lockOf(n uint64, q gulmv1.Queue, held, wanted gulmv1.Mode) *gulmv1.Lock {
	l := &gulmv1.Lock{
		Node: fmt.Sprintf("fs%02d", n), Session: n, Lock: 1, Queue: q, Granted: held, Requested: wanted, AgeMs: int64(n) * 1500,
	}
	if q != waiting {
		l.Token = 100 + n
	}
	return l
}

func busyResources() []*gulmv1.LocksReply {
	frozen := lockOf(5, granted, pr, pr)
	frozen.Frozen = true
	return []*gulmv1.LocksReply{
		{Resources: []*gulmv1.Resource{{
			Lockspace: "alpha:gfs01", Name: []byte("\x00\x02inode\xff\x1b[2J\"x"),
			Locks: []*gulmv1.Lock{
				lockOf(1, granted, cr, cr), frozen, lockOf(2, converting, pr, ex), lockOf(3, waiting, nl, ex), lockOf(4, waiting, nl, cr),
			},
		}}},
		{Resources: []*gulmv1.Resource{{
			Lockspace: "alpha:gfs01", Name: []byte("größe"), Locks: []*gulmv1.Lock{lockOf(1, granted, ex, ex)},
		}}},
		{RangeFiles: []*gulmv1.RangeFile{
			{Lockspace: "alpha:gfs01", Name: []byte("inode 7"), Ranges: []*gulmv1.RangeLock{
				{Node: "fs01", Session: 1, Owner: 4711, End: 4095, Mode: pr, Token: 300, AgeMs: 9000, Frozen: true},
				{Node: "fs02", Session: 2, Owner: 5, Start: 4096, End: 1<<63 - 1, Mode: ex, Token: 301, AgeMs: 800},
				{Node: "fs03", Session: 3, Owner: 6, Start: 4000, End: 5000, Mode: ex, AgeMs: 700, Waiting: true, Lock: 9, Blockers: []*gulmv1.RangeConflict{
					{Node: "fs01", Session: 1, Owner: 4711, End: 4095, Mode: pr, Frozen: true},
					{Node: "fs02", Session: 2, Owner: 5, Start: 4096, End: 1<<63 - 1, Mode: ex},
					{Node: "fs04", Session: 4, Owner: 1, Start: 4000, End: 4000, Mode: pr, Waiting: true},
				}, MoreBlockers: true},
			}},
			{Lockspace: "alpha:gfs01", Name: []byte("inode 8"), Flock: true, Truncated: true, Ranges: []*gulmv1.RangeLock{
				{Node: "fs02", Session: 2, Owner: 1 << 63, End: 1<<63 - 1, Mode: pr, Token: 302},
			}},
		}},
		{Truncated: true},
	}
}

func TestLocks_golden(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	golden(t, c, "locks/none.txt", 0, on(c, "locks"))
	golden(t, c, "locks/none.json", 0, on(c, "locks", "--json"))
	c.Servers[0].Set(func(s *tooltest.Script) { s.Locks = busyResources() })
	golden(t, c, "locks/busy.txt", 0, on(c, "locks"))
	golden(t, c, "locks/busy.json", 0, on(c, "locks", "--json"))
}

func TestLocks_filtersGoToTheServer(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	on(c, "locks")
	on(c, "locks", "--lockspace", "alpha:gfs01", "--prefix", "inode", "--contended", "--limit", "7")
	on(c, "locks", "--limit", "0")
	want := []string{
		"Locks limit:1000",
		`Locks lockspace:"alpha:gfs01" prefix:"inode" contended:true limit:7`,
		"Locks",
	}
	if got := c.Servers[0].Requests(); !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
}

func TestBlockers(t *testing.T) {
	r := &gulmv1.Resource{Locks: []*gulmv1.Lock{
		lockOf(1, granted, pr, pr), lockOf(2, granted, cr, cr), // 0 1
		lockOf(3, converting, nl, pw), lockOf(4, converting, cr, ex), // 2 3
		lockOf(5, waiting, nl, pr), lockOf(6, waiting, nl, ex), lockOf(7, waiting, nl, nl), // 4 5 6
	}}
	tests := []struct {
		lock   int
		by     []int
		behind int // -1 for none
	}{
		{0, nil, -1},
		{2, []int{0}, -1},
		{3, []int{0, 1}, -1},
		{4, nil, 3},
		{5, []int{0, 1, 3}, -1},
		{6, nil, 5},
	}
	for _, test := range tests {
		by, behind := blockers(r, r.Locks[test.lock])
		var got []int
		for _, b := range by {
			got = append(got, slices.Index(r.Locks, b))
		}
		if at := slices.Index(r.Locks, behind); !slices.Equal(got, test.by) || at != test.behind {
			t.Errorf("lock %d: blocked by %v behind %d, want %v behind %d", test.lock, got, at, test.by, test.behind)
		}
	}
	unknown := &gulmv1.Resource{Locks: []*gulmv1.Lock{lockOf(1, granted, 9, 9), lockOf(2, waiting, nl, nl), lockOf(3, waiting, nl, -1)}}
	for _, waiter := range unknown.Locks[1:] {
		if by, _ := blockers(unknown, waiter); len(by) != 1 {
			t.Errorf("an unknown mode must conflict: %v", by)
		}
	}
}

func TestBlockers_dlmTable(t *testing.T) {
	modes := []gulmv1.Mode{nl, cr, cw, pr, pw, ex}
	rows := []string{"yyyyyy", "yyyyyn", "yyynnn", "yynynn", "yynnnn", "ynnnnn"}
	for i, a := range modes {
		for j, b := range modes {
			if compatible(a, b) != (rows[i][j] == 'y') {
				t.Errorf("%v beside %v: %v", a, b, compatible(a, b))
			}
		}
	}
}

func TestLocks_streamBreaks(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Refuse = map[string]error{"Locks": gulmerr.ErrPermission} })
	if r := on(c, "locks", "--json"); r.Code != gulmerr.ExitRefused || r.Stdout != "" || !strings.Contains(r.Stderr, "gulm://CLUSTER/admin/NAME") {
		t.Errorf("%+v", r)
	}
}
