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
	holder, converts, waits, behind := lockOf(1, granted, cr, cr), lockOf(2, converting, pr, ex), lockOf(3, waiting, nl, ex), lockOf(4, waiting, nl, cr)
	converts.Blockers, waits.Blockers, behind.Blockers = blockedBy(holder, frozen), blockedBy(holder, frozen, converts), blockedBy(waits)
	return []*gulmv1.LocksReply{
		{Resources: []*gulmv1.Resource{{
			Lockspace: "alpha:gfs01", Name: []byte("\x00\x02inode\xff\x1b[2J\"x"),
			Locks: []*gulmv1.Lock{
				holder, frozen, converts, waits, behind,
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
	c.Servers[0].Set(func(s *tooltest.Script) { s.Locks = chained() })
	golden(t, c, "locks/chained.txt", 0, on(c, "locks", "--blocked"))
	golden(t, c, "locks/chained.json", 0, on(c, "locks", "--json"))
	c.Servers[0].Set(func(s *tooltest.Script) { s.Locks = mixed() })
	golden(t, c, "locks/mixed.txt", 0, on(c, "locks", "--blocked"))
	golden(t, c, "locks/mixed.json", 0, on(c, "locks", "--json"))
}

// mixed has chains through locks and byte ranges: fs01 wants a range of fs02, who
// wants a lock of fs03, who wants a range of a dead node; and fs05 and fs06 wait for
// each other, one for a lock, one for a part of a key.
func mixed() []*gulmv1.LocksReply {
	held, wants := lockOf(3, granted, ex, ex), lockOf(2, waiting, nl, pr)
	held.Owner, wants.Owner, wants.Lock = 3, 2, 20
	wants.Blockers = blockedBy(held)
	whole, asks := lockOf(5, granted, ex, ex), lockOf(6, waiting, nl, ex)
	whole.Owner, asks.Owner, asks.Lock = 7, 7, 60
	asks.Blockers = blockedBy(whole)
	rng := func(n, owner, start, end uint64, mode gulmv1.Mode) *gulmv1.RangeLock {
		return &gulmv1.RangeLock{Node: fmt.Sprintf("fs%02d", n), Session: n, Owner: owner, Start: start, End: end, Mode: mode, Token: 10 * n, AgeMs: int64(n) * 700}
	}
	wait := func(r *gulmv1.RangeLock, id uint64, by ...*gulmv1.RangeLock) *gulmv1.RangeLock {
		r.Waiting, r.Lock, r.Token = true, id, 0
		for _, b := range by {
			r.Blockers = append(r.Blockers, &gulmv1.RangeConflict{
				Node: b.GetNode(), Session: b.GetSession(), Owner: b.GetOwner(), Start: b.GetStart(), End: b.GetEnd(), Mode: b.GetMode(),
				Frozen: b.GetFrozen(), Waiting: b.GetWaiting(),
			})
		}
		return r
	}
	two, dead, part, idle := rng(2, 2, 0, 99, ex), rng(4, 4, 0, 1<<63-1, pr), rng(6, 7, 0, 9, ex), rng(7, 0, 200, 299, pr)
	dead.Frozen, dead.HeldFor = true, "fence of node fs04"
	one := wait(rng(1, 1, 50, 59, pr), 10, two)
	one.TimeoutMs = 4000
	return []*gulmv1.LocksReply{{
		Resources: []*gulmv1.Resource{
			{Lockspace: "alpha:gfs01", Name: []byte("a"), Locks: []*gulmv1.Lock{held, wants}},
			{Lockspace: "alpha:gfs01", Name: []byte("whole"), Locks: []*gulmv1.Lock{whole, asks}},
		},
		RangeFiles: []*gulmv1.RangeFile{
			{Lockspace: "alpha:gfs01", Name: []byte("file"), Ranges: []*gulmv1.RangeLock{two, idle, one, wait(rng(8, 8, 0, 300, ex), 80, two, idle, one)}},
			{Lockspace: "alpha:gfs01", Name: []byte("flock"), Flock: true, Ranges: []*gulmv1.RangeLock{dead, wait(rng(3, 3, 0, 1<<63-1, ex), 30, dead)}},
			{Lockspace: "alpha:gfs01", Name: []byte("parts"), Gulm: true, Ranges: []*gulmv1.RangeLock{part, wait(rng(5, 7, 4, 4, ex), 50, part)}},
		},
		Deadlocks: []*gulmv1.Deadlock{{
			Text: "fs05 wants to write 4-4 of parts, fs06 writes 0-9; fs06 wants EX on whole, fs05 holds EX", Node: "fs05", Session: 5, Lock: 50,
		}},
	}}
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

// chained waits for a lock that waits itself; its owner holds what others want.
func chained() []*gulmv1.LocksReply {
	frozen := lockOf(1, granted, ex, ex)
	frozen.Frozen, frozen.HeldFor = true, "journal 2 of node fs01: recovery by node fs04"
	held, wants := lockOf(2, granted, ex, ex), lockOf(2, waiting, nl, pr)
	held.Owner, wants.Owner, wants.Lock, wants.TimeoutMs = 7, 7, 2, 9000
	wants.Blockers = blockedBy(frozen)
	last := lockOf(3, waiting, nl, pr)
	last.Blockers = blockedBy(held)
	one, two := lockOf(4, granted, ex, ex), lockOf(5, granted, ex, ex)
	first, second := lockOf(4, waiting, nl, cr), lockOf(5, waiting, nl, cr)
	first.Lock, second.Lock = 2, 2
	for _, l := range []*gulmv1.Lock{one, two, first, second} {
		l.Owner = 9
	}
	first.Blockers, second.Blockers = blockedBy(two), blockedBy(one)
	resource := func(name string, locks ...*gulmv1.Lock) *gulmv1.Resource {
		return &gulmv1.Resource{Lockspace: "alpha:gfs01", Name: []byte(name), Locks: locks}
	}
	return []*gulmv1.LocksReply{{Resources: []*gulmv1.Resource{
		resource("a", frozen, wants), resource("b", held, last), resource("x", one, second), resource("y", two, first),
	}, Truncated: true, LeftOut: 12}}
}

func blockedBy(locks ...*gulmv1.Lock) (list []*gulmv1.LockBlocker) {
	for _, l := range locks {
		list = append(list, &gulmv1.LockBlocker{Node: l.GetNode(), Session: l.GetSession(), Lock: l.GetLock(), Behind: l.GetQueue() == waiting})
	}
	return list
}

func TestLocks_streamBreaks(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Refuse = map[string]error{"Locks": gulmerr.ErrPermission} })
	if r := on(c, "locks", "--json"); r.Code != gulmerr.ExitRefused || r.Stdout != "" || !strings.Contains(r.Stderr, "gulm://CLUSTER/admin/NAME") {
		t.Errorf("%+v", r)
	}
}
