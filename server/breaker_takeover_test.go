package server_test

import (
	"fmt"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// twenty nodes, of which eleven are too many with the default settings.
var twenty = gulmtest.ClusterOptions{Nodes: 20}

// window is the default of breaker_window.
const window = 30 * time.Second

// vanished returns who vanished lately, by the master's state.
func (w *world) vanished() (lives []member.Life) {
	w.view(w.Master(), func(s *state.State) { lives = append(lives, s.Vanished()...) })
	return lives
}

// TestBreaker_ManyAndTheMasterVanishTogether: a switch dies, and with it eleven of
// twenty nodes and the master. The new one gives them all the same grace, so they
// are late together, and counted before any of them is judged: automatic fencing
// pauses, nobody is fenced, and when the switch is back all is as before.
func TestBreaker_ManyAndTheMasterVanishTogether(t *testing.T) {
	for _, c := range []struct {
		name         string
		fenceServers bool
		together     bool // they reach each other, but nobody else
	}{{name: "powerless"}, {name: "with servers as nodes", fenceServers: true}, {name: "an island", together: true}} {
		t.Run(c.name, func(t *testing.T) {
			opt := twenty
			opt.FenceServers = c.fenceServers
			bubble(t, opt, func(t *testing.T, w *world) {
				users := w.bootAll(20)
				l := users[0].take("r", client.EX)
				x := users[19].ask("r", client.EX)
				old, gone := w.Master(), []string{w.Master()}
				for _, u := range users[:11] {
					gone = append(gone, u.name)
				}
				rest := w.others(old)
				for _, u := range users[11:] {
					rest = append(rest, u.name)
				}
				w.Net.Partition(gone, rest)
				if !c.together {
					w.Net.Partition([]string{old}, gone[1:])
				}
				w.Await(time.Minute, "another master", func() bool { return w.Master() != old && w.Master() != "" })
				w.awaitPause()
				time.Sleep(10 * expiry)
				w.nobodyDied()
				if x.over() {
					t.Error("a lock was given away")
				}
				for _, a := range gone {
					for _, b := range append(rest, gone...) {
						w.Net.Heal(a, b)
					}
				}
				w.Await(2*time.Minute, "an end of the pause", func() bool { return !w.breaker().Paused })
				w.Await(time.Minute, "n1 to be safe", func() bool { return l.Valid() == nil })
				w.nobodyDied()
				_ = l.Unlock()
				x.granted(time.Minute)
			})
		})
	}
}

// TestBreaker_HalfBeforeTheNewMaster: nodes vanish one after the other, five under
// one master, which fences them, and six under the next. It knows of the five from
// the state, so that it counts eleven, and fences none of the six.
func TestBreaker_HalfBeforeTheNewMaster(t *testing.T) {
	bubble(t, twenty, func(t *testing.T, w *world) {
		w.bootAll(20)
		w.killInTurn(1, 5)
		for i := 1; i <= 5; i++ {
			w.awaitState(fmt.Sprint("n", i), member.Fenced, time.Minute)
		}
		w.KillServer(w.Master())
		w.AwaitMaster(time.Minute)
		if got := w.vanished(); len(got) != 5 {
			t.Fatalf("the new master knows of %v", got)
		}
		w.killInTurn(6, 11)
		w.awaitPause()
		time.Sleep(10 * expiry)
		for i := 6; i <= 11; i++ {
			if n := w.member(fmt.Sprint("n", i)); n.State != member.LoggedIn {
				t.Errorf("node %s is %v", n.Name, n.State)
			}
		}
		if n := len(w.Power.Calls()); n != 5 {
			t.Errorf("%d fences, want the first 5", n)
		}
	})
}

// killInTurn kills some nodes, half a second apart.
func (w *world) killInTurn(first, last int) {
	for i := first; i <= last; i++ {
		w.Node(fmt.Sprint("n", i)).Kill()
		time.Sleep(500 * time.Millisecond)
	}
}

// TestBreaker_TheWindowEnds: at its end a life counts no more; one look before it
// does. The next master begins with what the state still lists, and with the whole
// window for each.
func TestBreaker_TheWindowEnds(t *testing.T) {
	bubble(t, twenty, func(t *testing.T, w *world) {
		w.bootAll(20)
		w.Node("n1").Kill()
		w.awaitState("n1", member.Fenced, time.Minute)
		at := w.expiredAt("n1")
		time.Sleep(time.Until(at.Add(window - time.Millisecond)))
		if got := w.vanished(); len(got) != 1 || got[0].Node != "n1" {
			t.Errorf("before the end of the window: %v", got)
		}
		// Learned of within one look, and found to be over within another.
		time.Sleep(2*look + 10*time.Millisecond)
		if got := w.vanished(); len(got) != 0 {
			t.Errorf("after the window: %v", got)
		}

		w.Node("n2").Kill()
		w.awaitState("n2", member.Fenced, time.Minute)
		time.Sleep(window - 10*time.Second)
		w.KillServer(w.Master())
		w.AwaitMaster(time.Minute)
		took := time.Now()
		w.StartServer(w.downServer())
		time.Sleep(time.Until(took.Add(window - look)))
		if got := w.vanished(); len(got) != 1 || got[0].Node != "n2" {
			t.Errorf("before the end of the window of the new master: %v", got)
		}
		time.Sleep(4 * look)
		if got := w.vanished(); len(got) != 0 {
			t.Errorf("after the window of the new master: %v", got)
		}

		// Five that were fenced long ago are no part of what happens now.
		w.killInTurn(3, 7)
		for i := 3; i <= 7; i++ {
			w.awaitState(fmt.Sprint("n", i), member.Fenced, time.Minute)
		}
		time.Sleep(window + 2*look)
		w.KillServer(w.Master())
		w.AwaitMaster(time.Minute)
		w.killInTurn(8, 13)
		for i := 8; i <= 13; i++ {
			w.awaitState(fmt.Sprint("n", i), member.Fenced, time.Minute)
		}
	})
}

// downServer returns a server that does not run.
func (w *world) downServer() string {
	for _, s := range w.servers() {
		if w.Server(s) == nil {
			return s
		}
	}
	w.t.Fatal("all servers run")
	return ""
}

// TestBreaker_WhoCameBackAndLoggedOut: nodes under leases only are expired during the
// pause that they caused. They are back when a newer life has logged in, also if that
// has logged out by now: nothing is missing, and the pause ends.
func TestBreaker_WhoCameBackAndLoggedOut(t *testing.T) {
	bubble(t, six, func(t *testing.T, w *world) {
		users := w.bootAll(6)
		for _, u := range users[:4] {
			u.leaseOnly()
			w.Node(u.name).Kill()
		}
		w.awaitPause()
		for _, u := range users[:4] {
			w.awaitState(u.name, member.Fenced, 2*time.Minute)
		}
		time.Sleep(2 * window)
		if b := w.breaker(); !b.Paused || len(w.Power.Calls()) > 0 {
			t.Fatalf("while they are missing: %+v, agents ran %d times", b, len(w.Power.Calls()))
		}
		for _, u := range users[:4] {
			again := w.boot(u.name)
			if err := again.node.Logout(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.awaitState(u.name, member.LoggedOut, time.Minute)
		}
		w.Await(2*time.Minute, "an end of the pause", func() bool { return !w.breaker().Paused })
		if got := w.vanished(); len(got) != 0 {
			t.Errorf("still vanished are %v", got)
		}
		w.Node("n5").Kill()
		w.awaitState("n5", member.Fenced, time.Minute)
	})
}
