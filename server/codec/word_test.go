package codec

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lock_gulmd/server/lock"
	"lock_gulmd/server/member"
	"lock_gulmd/server/reason"
	"lock_gulmd/server/state"
)

// wordState is a state in which all that can wait for an operator's word does, and
// in which a word was given.
func wordState(t *testing.T) *state.State {
	t.Helper()
	s := state.New()
	apply := func(c state.Command) state.Result {
		t.Helper()
		r := s.Apply(s.Index()+1, 1_700_000_000_000, c)
		if r.Reason != reason.None {
			t.Fatalf("%+v: %v", c, r.Reason)
		}
		return r
	}
	sessions := map[string]uint64{}
	ask := func(node string, req state.Request) {
		t.Helper()
		req.Seq, req.Lockspace = s.Applied(sessions[node])+1, 1
		r := apply(&state.Batch{Groups: []state.Group{{Session: sessions[node], Confirmed: req.Seq - 1, Requests: []state.Request{req}}}})
		if p := r.Replies[0]; p.Reason != reason.None {
			t.Fatalf("%+v: %v", req, p.Reason)
		}
	}
	life := func(node string) member.Life { return member.Life{Node: node, Incarnation: 1} }
	gone := func(node string) {
		t.Helper()
		apply(state.Expire{Term: 1, Life: life(node), Seen: s.Index(), Reason: "silent"})
		apply(state.FenceProved{Term: 1, Life: life(node), By: "m/d"})
	}
	apply(state.BeginTerm{Term: 1, Server: "s1"})
	for _, node := range []string{"a", "b", "c", "d"} {
		r := apply(state.Login{LoginRequest: member.LoginRequest{Node: node, BootID: "boot", LoginID: member.LoginID{1}, Process: "fs"}})
		sessions[node] = r.Login.Number
		ask(node, state.Request{Op: state.OpJoin, Name: []byte("gfs"), Policy: lock.PolicyManual})
	}
	ask("d", state.Request{Op: state.OpLock, Lock: 1, Name: []byte("given"), Mode: lock.EX})
	ask("d", state.Request{Op: state.OpGulmWithdraw, Name: []byte("given")})
	ask("d", state.Request{Op: state.OpLock, Lock: 2, Name: []byte("died with"), Mode: lock.PR})
	gone("d")
	ask("a", state.Request{Op: state.OpMount, Journals: 3})
	ask("a", state.Request{Op: state.OpMounted})
	for _, node := range []string{"b", "c"} {
		ask(node, state.Request{Op: state.OpMount, Journals: 3})
		ask(node, state.Request{Op: state.OpLock, Lock: 1, Name: []byte(node), Mode: lock.EX})
	}
	gone("b")
	apply(state.FenceAcknowledged{Term: 1, Life: life("b"), Operator: "alice"})
	gone("a") // which replays what b left
	return s
}

// TestSnapshot_word: what waits for an operator's word is read from a snapshot of any
// earlier version as it was. The bytes in testdata/snapshot are never changed.
func TestSnapshot_word(t *testing.T) {
	s := wordState(t)
	file := filepath.Join("testdata", "snapshot", "word.hex")
	if _, err := os.Stat(file); *rewrite && os.IsNotExist(err) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(lines(hex.EncodeToString(written(t, s)))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: -rewrite makes it", err)
	}
	golden, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadSnapshot(bytes.NewReader(golden))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []*state.State{s, again} {
		sp, _ := x.Journals().Space(1)
		words := 0
		for i := range sp.Journals {
			for _, r := range sp.Journals[i].Left {
				if r.Word {
					words++
				}
			}
		}
		b, _ := x.Members().Node("b")
		if words != 1 || sp.Journals[1].Awaits != "a" || b.Fence.Word != "alice" || len(sp.Late) != 1 || !sp.Late[0].Word {
			t.Errorf("%d words, journals %+v, late %+v, word %q", words, sp.Journals, sp.Late, b.Fence.Word)
		}
		for node, want := range map[string]uint64{"a": 0, "b": 0, "c": 0, "d": 2} {
			if got := x.Awaiting(node); got != want {
				t.Errorf("%d locks wait for a word about %s, want %d", got, node, want)
			}
		}
		if err := x.Check(); err != nil {
			t.Error(err)
		}
	}
}
