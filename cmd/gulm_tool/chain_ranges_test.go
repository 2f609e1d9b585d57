package main

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"

	"lock_gulmd/client"
	"lock_gulmd/cmd/internal/tool/tooltest"
)

// TestRealChain_ranges: on a real lock_gulmd the chain of who waits for whom goes on
// from a lock to a byte range and back, to the end, and a circle through both is shown
// as a deadlock.
func TestRealChain_ranges(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	dir, address, _ := realServer(t)
	args := func(more ...string) []string { return append([]string{"--config", dir}, more...) }
	eventually(t, "a master", func(r tooltest.Result) bool { return r.Code == 0 }, args("status")...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	one, two := login(ctx, t, "fs01", address), login(ctx, t, "fs02", address)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lock := func(ls *client.Lockspace, owner uint64, name string) error {
		_, err := ls.Lock(ctx, name, client.EX, client.WithOwner(owner), client.NoVictim)
		return err
	}
	write := func(ls *client.Lockspace, owner client.RangeOwner, name string, start, end uint64) error {
		_, err := ls.RangeLock(ctx, name, client.Range{Owner: owner, Start: start, End: end, Kind: client.RangeWrite}, client.NoVictim)
		return err
	}
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	must(lock(one, 1, "a"))
	must(write(two, 2, "file", 0, 99))
	must(lock(two, 3, "b"))
	waiting.Go(func() { _ = lock(two, 2, "a") })               // owner 2, who has a range, waits for owner 1, who runs
	waiting.Go(func() { _ = write(one, 4, "file", 50, 59) })   // owner 4 waits for that range
	must(write(one, 4, "other", 0, 0))                         // and has another range
	waiting.Go(func() { _ = write(two, 3, "other", 0, 4096) }) // for which owner 3 waits, who has b
	waiting.Go(func() { _ = lock(one, 5, "b") })               // for which owner 5 waits

	must(lock(one, 6, "x"))
	must(write(two, 6, "y", 0, 9))
	waiting.Go(func() { _ = lock(two, 6, "x") })
	waiting.Go(func() { _ = write(one, 6, "y", 9, 9) })

	r := eventually(t, "all to wait", func(r tooltest.Result) bool {
		return strings.Count(r.Stdout, "\n  fs0") >= 6 && strings.Contains(r.Stdout, "DEADLOCK: ") && strings.Contains(r.Stdout, `waits for EX on farm7:data "b"`) &&
			strings.Contains(r.Stdout, `waits for write 0-4096 of farm7:data "other"`)
	}, args("locks", "--blocked")...)
	for _, want := range []string{
		`(?m)^  fs01/\d+/\d+ waits for EX on farm7:data "b" for [^\n]*\n` +
			`    held in EX by fs02/\d+/\d+ for [^\n]*\n` +
			`      and waits for write 0-4096 of farm7:data "other" for [^\n]*\n` +
			`        write 0-0 held by owner fs01/\d+/4 for [^\n]*\n` +
			`          and waits for write 50-59 of farm7:data "file" for [^\n]*\n` +
			`            write 0-99 held by owner fs02/\d+/2 for [^\n]*\n` +
			`              and waits for EX on farm7:data "a" for [^\n]*\n` +
			`                held in EX by fs01/\d+/\d+ for [^\n]*, which runs`,
		`(?m)^  fs02/\d+/\d+ waits for EX on farm7:data "x" for [^\n]*\n` +
			`    held in EX by fs01/\d+/\d+ for [^\n]*\n` +
			`      and waits for write 9-9 of farm7:data "y" for [^\n]*\n` +
			`        write 0-9 held by owner fs02/\d+/6 for [^\n]*\n` +
			`          and waits for EX on farm7:data "x" for [^\n]*\n` +
			`            which is a deadlock: fs02/\d+/\d+ waits for itself`,
		`DEADLOCK: [^\n]*all of them asked to be spared`,
	} {
		if !regexp.MustCompile(want).MatchString(r.Stdout) {
			t.Errorf("%s does not match:\n%s", want, r.Stdout)
		}
	}
}
