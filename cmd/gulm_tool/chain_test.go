package main

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"testing"

	"lock_gulmd/client"
	"lock_gulmd/cmd/internal/tool/tooltest"
)

// TestRealChain builds a chain of three and a deadlock of requests that asked to be
// spared on a real lock_gulmd, and looks at both.
func TestRealChain(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	dir, address, _ := realServer(t)
	args := func(more ...string) []string { return append([]string{"--config", dir}, more...) }
	eventually(t, "a master", func(r tooltest.Result) bool { return r.Code == 0 }, args("status")...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	one, two := login(ctx, t, "fs01", address), login(ctx, t, "fs02", address)
	take := func(ls *client.Lockspace, owner uint64, name string) {
		if _, err := ls.Lock(ctx, name, client.EX, client.WithOwner(owner)); err != nil {
			t.Fatal(err)
		}
	}
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	ask := func(ls *client.Lockspace, owner uint64, name string) {
		waiting.Go(func() { _, _ = ls.Lock(ctx, name, client.PR, client.WithOwner(owner), client.NoVictim) })
	}
	take(one, 1, "a")
	take(two, 2, "b")
	take(one, 3, "free")
	ask(two, 2, "a") // owner 2 waits for owner 1, who runs
	ask(one, 3, "b") // and owner 3 for owner 2
	take(one, 4, "x")
	take(two, 4, "y")
	ask(one, 4, "y")
	ask(two, 4, "x")
	r := eventually(t, "all to wait", func(r tooltest.Result) bool {
		return strings.Count(r.Stdout, `waits for PR on farm7:data "`) == 4+1+2*2 && strings.Contains(r.Stdout, "DEADLOCK: ")
	}, args("locks", "--blocked")...)
	for _, want := range []string{
		`(?m)^  fs02/\d+/\d+ waits for PR on farm7:data "a" for [^\n]*\n    held in EX by fs01/\d+/\d+ for [^\n]*, which runs`,
		`(?m)^  fs01/\d+/\d+ waits for PR on farm7:data "b" for [^\n]*\n    held in EX by fs02/\d+/\d+ for [^\n]*\n      and waits for PR on farm7:data "a" for [^\n]*\n` +
			`        held in EX by fs01/\d+/\d+ for [^\n]*, which runs`,
		`which is a deadlock: fs0[12]/\d+/\d+ waits for itself`,
	} {
		if !regexp.MustCompile(want).MatchString(r.Stdout) {
			t.Errorf("%s does not match:\n%s", want, r.Stdout)
		}
	}
	if strings.Contains(r.Stdout, `"free"`) {
		t.Errorf("nobody waits for free:\n%s", r.Stdout)
	}
	if r := run(args("locks", "--node", "fs02")...); strings.Contains(r.Stdout, `"free"`) || !strings.Contains(r.Stdout, `farm7:data "x"`) {
		t.Errorf("resources of fs02:\n%s", r.Stdout)
	}
	if r := run(args("locks", "--limit", "1")...); !strings.Contains(r.Stdout, "1 resource; 4 more are left out") {
		t.Errorf("one of five resources:\n%s", r.Stdout)
	}
	var out locksJSON
	if err := json.Unmarshal([]byte(run(args("locks", "--json")...).Stdout), &out); err != nil || len(out.Deadlocks) != 1 || len(out.Resources) != 5 {
		t.Fatalf("%v: %+v", err, out)
	}
	for _, res := range out.Resources {
		for _, l := range res.Locks {
			if l.Owner == 0 || l.AgeMs < 0 || (l.Queue == "waiting") != (len(l.BlockedBy) == 1) {
				t.Errorf("%s has %+v", res.Name, l)
			}
		}
	}
}
