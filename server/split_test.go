package server_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// splits are ways to cut servers apart: which of them are on the first side, and
// whether one direction stays open.
var splits = []struct {
	servers int
	side    []string
	oneWay  bool
}{
	{3, []string{"lk1"}, false},
	{3, []string{"lk2", "lk3"}, false},
	{3, []string{"lk2"}, true},
	{3, []string{"lk1", "lk3"}, true},
	{5, []string{"lk1", "lk2"}, false},
	{5, []string{"lk3"}, false},
	{5, []string{"lk1", "lk4"}, true},
	{5, []string{"lk2", "lk3", "lk5"}, true},
}

// TestS3_SidesOfASplitNeverFenceEachOther: with servers as nodes, whichever way
// they are cut apart, and although the fences take so long that the other side had
// all the time to answer in kind: who fences is not fenced, what is fenced lies
// on one side, and a quorum is left.
func TestS3_SidesOfASplitNeverFenceEachOther(t *testing.T) {
	fences := 0
	for i, split := range splits {
		t.Run(fmt.Sprint(split), func(t *testing.T) {
			seeded(t, uint64(i), gulmtest.ClusterOptions{Servers: split.servers, FenceServers: true}, func(t *testing.T, w *world) {
				w.awaitServers()
				other := slices.DeleteFunc(slices.Clone(w.servers()), func(s string) bool { return slices.Contains(split.side, s) })
				for _, s := range w.servers() {
					w.Power.Set(s, sim.Behaviour{Delay: 5 * expiry})
				}
				if split.oneWay {
					for _, a := range split.side {
						for _, b := range other {
							w.Net.CutOneWay(a, b)
						}
					}
				} else {
					w.Net.Partition(split.side, other)
				}
				time.Sleep(20 * expiry)
				by, victims := map[string]bool{}, map[string]bool{}
				for _, e := range w.logs.find("fence agent starts") {
					by[e.Attrs["server"]], victims[e.Attrs["node"]] = true, true
				}
				sides := [2]bool{}
				for v := range victims {
					if by[v] {
						t.Errorf("%s was to be fenced, and fenced others", v)
					}
					if slices.Contains(split.side, v) {
						sides[0] = true
					} else {
						sides[1] = true
					}
				}
				if sides[0] && sides[1] || len(victims) > split.servers-w.Config.Quorum() {
					t.Errorf("%v were fenced, by %v", victims, by)
				}
				fences += len(victims)
			})
		})
	}
	if fences == 0 {
		t.Error("nobody was fenced at all, so nothing was shown")
	}
}

// TestS2S5_ClientThatIsCutOffLosesItsLocksAfterItsFence: it is told that they are
// lost first, then it is expired, then its fence is proved, and only then does
// the next one get them, although its machine runs on all the while.
func TestS2S5_ClientThatIsCutOffLosesItsLocksAfterItsFence(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		l := n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", sim.Behaviour{Delay: 2 * expiry})
		w.cut("n1")
		at := x.granted(5 * time.Minute)
		w.awaitState("n1", member.Fenced, time.Minute)
		time.Sleep(time.Millisecond) // the log follows the grant
		lost, proved, calls := n1.told(client.EventLost), w.logs.find("fence proved", "node=n1"), w.Power.CallsFor("n1")
		if len(lost) != 1 || len(proved) != 1 || len(calls) != 1 {
			t.Fatalf("told lost %d times, proved %d times, fenced %d times", len(lost), len(proved), len(calls))
		}
		expired := w.expiredAt("n1")
		if !lost[0].At.Before(expired) || calls[0].Start.Before(expired) || at.Before(calls[0].Start.Add(calls[0].Dur)) {
			t.Errorf("lost %v, expired %v, fenced from %v for %v, granted %v", lost[0].At, expired, calls[0].Start, calls[0].Dur, at)
		}
		if l.Valid() == nil {
			t.Error("the holder still believes in its lock")
		}
	})
}

// TestServers_HeldMasterLogsInLater: a server whose machine is held, since an
// attempt that was given up may still cut it off, is elected before that is over.
// It is logged in like a node as soon as it may be, not only with its next term:
// else nobody would fence it when it vanishes.
func TestServers_HeldMasterLogsInLater(t *testing.T) {
	elected := 0
	for seed := range uint64(6) {
		seeded(t, seed, fenced, func(t *testing.T, w *world) {
			w.awaitServers()
			master := w.Master()
			held := w.others(master)[0]
			w.Power.Set(held, sim.Behaviour{Fail: 1, Late: true})
			w.KillServer(held)
			w.awaitState(held, member.Fenced, time.Minute)
			w.StartServer(held)
			w.agree()
			w.KillServer(master)
			if w.AwaitMaster(time.Minute) != held {
				return
			}
			elected++
			w.StartServer(master)
			if n := w.member(held); n.State != member.Fenced || !n.Ledger.Held {
				t.Errorf("%s is %v, held %v: nothing is shown", held, n.State, n.Ledger.Held)
			}
			w.awaitState(held, member.LoggedIn, 5*time.Minute)
			if w.Master() != held {
				t.Errorf("%s is master", w.Master())
			}
		})
	}
	if elected == 0 {
		t.Error("the held server was never elected, so nothing was shown")
	}
}
