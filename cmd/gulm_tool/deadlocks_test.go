package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"lock_gulmd/client"
	"lock_gulmd/cmd/internal/tool/tooltest"
)

// TestRealDeadlock builds a deadlock on a real lock_gulmd, of requests that asked
// to be spared, and looks at it.
func TestRealDeadlock(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	dir, address, _ := realServer(t)
	args := func(more ...string) []string { return append([]string{"--config", dir}, more...) }
	eventually(t, "a master", func(r tooltest.Result) bool { return r.Code == 0 }, args("status")...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	one, two := login(ctx, t, "fs01", address), login(ctx, t, "fs02", address)
	owner := client.WithOwner(7)
	for _, held := range []struct {
		ls   *client.Lockspace
		name string
	}{{one, "a"}, {two, "b"}} {
		if _, err := held.ls.Lock(ctx, held.name, client.EX, owner); err != nil {
			t.Fatal(err)
		}
	}
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	waiting.Go(func() { _, _ = one.Lock(ctx, "b", client.PR, owner, client.NoVictim) })
	waiting.Go(func() { _, _ = two.Lock(ctx, "a", client.PR, owner, client.NoVictim) })
	r := eventually(t, "the deadlock", func(r tooltest.Result) bool { return strings.Contains(r.Stdout, "DEADLOCK: node ") }, args("locks")...)
	for _, part := range []string{
		`farm7:data/"a" held in EX by node fs01 (session`, `farm7:data/"b" held in EX by node fs02 (session`, "which waits for PR on",
		"all of them asked to be spared", "blocked by fs01/",
	} {
		if !strings.Contains(r.Stdout, part) {
			t.Errorf("%q is not in:\n%s", part, r.Stdout)
		}
	}
	var out locksJSON
	if err := json.Unmarshal([]byte(run(args("locks", "--json")...).Stdout), &out); err != nil || len(out.Deadlocks) != 1 || out.Deadlocks[0].Node != "" {
		t.Errorf("%v: %+v", err, out.Deadlocks)
	}
}
