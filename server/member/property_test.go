package member

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lock_gulmd/server/reason"
)

// operate does one random operation, now and then one that makes no sense, and
// returns what it did.
func operate(r *Registry, pick func(n int) int, index uint64) string {
	node := string(rune('a' + pick(3)))
	life := Life{Node: node}
	if n, ok := r.Node(node); ok {
		life.Incarnation = n.Incarnation
		if pick(8) == 0 {
			life.Incarnation += uint64(pick(3)) - 1
		}
	}
	stamp := int64(index) * 10
	switch pick(14) {
	case 0, 1, 2:
		req := request(node, fmt.Sprint("boot", pick(2)), byte(pick(5)))
		req.Flags = []SessionFlags{0, 0, Unimportant, Locked, Container, Server}[pick(6)]
		if req.Flags == Server {
			req.LoginID = ServerLogin()
		}
		s, why := r.Login(req, index, stamp, uint64(pick(8)))
		return fmt.Sprintf("login %+v: %+v %v", req, s, why)
	case 3:
		number := uint64(pick(int(r.LastSession()) + 2))
		return fmt.Sprintf("logout %d: %v", number, r.Logout(number, stamp))
	case 4:
		r.SawNode(node, index)
		return "saw " + node
	case 5:
		seen := index - uint64(pick(4))
		sessions, why := r.Expire(life, seen, "silent", stamp)
		if why == reason.None && pick(2) == 0 {
			r.NoteOperator(life, "alice")
		}
		return fmt.Sprintf("expire %v at %d: %v %v", life, seen, sessions, why)
	case 6:
		return fmt.Sprintf("begin %v: %v", life, r.BeginFence(life))
	case 7:
		a := Attempt{Method: fmt.Sprint("m", pick(2)), Start: stamp, Late: pick(3) == 0}
		return fmt.Sprintf("attempt %v: %v", life, r.NoteAttempt(life, a))
	case 9:
		return fmt.Sprintf("start %v: %v", life, r.StartAttempt(life, Attempt{Method: fmt.Sprint("m", pick(2)), Start: stamp}))
	case 10, 11:
		return fmt.Sprintf("release %v: %v", life, r.Release(life))
	case 12:
		o := Outlet{Device: fmt.Sprint("d", pick(40)), Power: []string{"on", "off", "no answer"}[pick(3)], Stamp: stamp}
		return fmt.Sprintf("see %v: %v", o, r.SeeOutlets(node, life.Incarnation*uint64(pick(2)), []Outlet{o}))
	case 13:
		m := ManualFence{Operator: "root", Stamp: stamp, Attempts: make([]Attempt, pick(7))}
		return fmt.Sprintf("manual %v: %v", m, r.NoteManual(node, m))
	}
	as := []FenceState{FenceProved, FenceAcknowledged, FenceLeaseEnded}[pick(3)]
	sessions, why := r.SettleFence(life, as, "by", stamp)
	if why == reason.None && as == FenceProved && pick(2) == 0 {
		r.NotePower(life)
	}
	return fmt.Sprintf("settle %v as %d: %v %v", life, as, sessions, why)
}

// TestProperty looks for a sequence of operations that breaks what must always
// hold, that a clone sees, or that a restored registry answers otherwise.
func TestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		var r Registry
		var clone Registry
		var shown string
		index := uint64(10)
		t.Repeat(map[string]func(*rapid.T){
			"operate": func(t *rapid.T) {
				index++
				if err := step(&r, pick, index, t.Log); err != nil {
					t.Fatal(err)
				}
			},
			"clone": func(*rapid.T) { clone = r.Clone(); shown = show(&clone) },
			"": func(t *rapid.T) {
				if show(&clone) != shown {
					t.Fatalf("the clone changed:\n%s\nbecame\n%s", shown, show(&clone))
				}
			},
		})
	})
}

// TestProperty_bulk does the same in long runs and sees to it that they reach
// everything.
func TestProperty_bulk(t *testing.T) {
	var reached [4]int
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var r Registry
		for index := range uint64(500) {
			if err := step(&r, rng.IntN, index+10, func(...any) {}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, n := range r.Nodes() {
				reached[n.State]++
			}
		}
	}
	for state, n := range reached {
		if n < 300 {
			t.Errorf("%v was seen %d times only", State(state), n)
		}
	}
}

// step operates on the registry and on one restored from it with the same
// choices, and checks both.
func step(r *Registry, pick func(int) int, index uint64, log func(...any)) error {
	var choices []int
	before := r.Clone()
	did := operate(r, func(n int) int { choices = append(choices, pick(n)); return choices[len(choices)-1] }, index)
	log(did)
	var again Registry
	c := before.Clone()
	if !again.Restore(c.nodes, c.sessions, c.lastSession) {
		return fmt.Errorf("a snapshot is refused:\n%s", show(&before))
	}
	did2 := operate(&again, func(int) int { n := choices[0]; choices = choices[1:]; return n }, index)
	if !reflect.DeepEqual(*r, again) || did != did2 {
		return fmt.Errorf("%s, restored %s\n%s", did, did2, cmp.Diff(*r, again, cmp.AllowUnexported(Registry{})))
	}
	if err := moved(&before, r); err != nil {
		return fmt.Errorf("%s: %w", did, err)
	}
	if err := sound(r); err != nil {
		return fmt.Errorf("%s: %w", did, err)
	}
	return nil
}

// TestClone_independent changes every part of the original.
func TestClone_independent(t *testing.T) {
	var r Registry
	r.Login(request("a", "boot1", 1), 1, 1, 0)
	r.Login(request("b", "boot1", 1), 1, 1, 0)
	r.Expire(Life{"b", 1}, 1, "silent", 1)
	for range MaxAttempts {
		r.NoteAttempt(Life{"b", 1}, Attempt{Method: "old"})
	}
	c := r.Clone()
	want := show(&c)
	if want != show(&r) {
		t.Fatalf("the clone differs:\n%s", want)
	}
	r.NoteAttempt(Life{"b", 1}, Attempt{Method: "new"})
	r.nodes[1].Fence.Attempts[0].Method = "changed"
	r.SawNode("a", 7)
	r.Expire(Life{"a", 1}, 9, "silent", 1)
	r.SettleFence(Life{"b", 1}, FenceProved, "by", 2)
	r.Login(request("c", "boot1", 1), 1, 1, 0)
	if got := show(&c); got != want {
		t.Errorf("the clone changed:\n%s", cmp.Diff(want, got))
	}
	c.Login(request("d", "boot1", 1), 1, 1, 0)
	if _, known := r.Node("d"); known {
		t.Error("the original changed with its clone")
	}
	if why := c.Logout(1, 9); why != reason.None {
		t.Errorf("session 1 of the clone: %v", why)
	}
}
