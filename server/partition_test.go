package server_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// TestS3_MinorityMasterExpiresAndFencesNobody: the old master, cut off with one
// node, judges nobody; the majority side does.
func TestS3_MinorityMasterExpiresAndFencesNobody(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		old := w.Master()
		majority := append(w.others(old), "n2", "n3")
		w.Net.Partition([]string{old, "n1"}, majority)
		began := time.Now()
		x.granted(time.Minute)
		for _, e := range append(w.logs.find("node expired"), w.logs.find("fence begins")...) {
			if e.Attrs["server"] == old {
				t.Errorf("%s, without quorum, logged %q", old, e.Message)
			}
		}
		if calls := w.Power.Calls(); len(calls) != 1 || calls[0].Plan.Node != "n1" {
			t.Errorf("fences were %+v, want one of n1", calls)
		}
		lost := n1.told(client.EventLost)
		if len(lost) != 1 || !lost[0].At.Before(w.expiredAt("n1")) {
			t.Errorf("n1 was told lost at %v, expired at %v after the cut", lost, w.expiredAt("n1").Sub(began))
		}
		w.Net.HealAll()
		w.agree()
	})
}

// TestS3_WithoutAnyQuorumNobodyDies: all servers apart from each other, nodes
// silent for many expiry times; then all come back and hold what they held.
func TestS3_WithoutAnyQuorumNobodyDies(t *testing.T) {
	for _, servers := range []int{3, 5} {
		t.Run(fmt.Sprint(servers, " servers"), func(t *testing.T) {
			bubble(t, gulmtest.ClusterOptions{Servers: servers}, func(t *testing.T, w *world) {
				n1, n2 := w.boot("n1"), w.boot("n2")
				l := n1.take("r", client.EX)
				x := n2.ask("r", client.EX)
				w.Net.Partition(w.servers(), w.servers())
				time.Sleep(20 * expiry)
				if l.Valid() == nil {
					t.Error("the holder still believes in its lock")
				}
				for _, s := range w.servers() {
					if st := w.status(s); st.GetQuorate() || len(st.GetWaitingFor()) == 0 {
						t.Errorf("%s says quorate %v, waiting for %q", s, st.GetQuorate(), st.GetWaitingFor())
					}
				}
				w.Net.HealAll()
				w.AwaitMaster(time.Minute)
				w.Await(time.Minute, "n1 to be safe again", func() bool { return l.Valid() == nil })
				w.nobodyDied()
				if x.over() {
					t.Fatal("the lock was given away")
				}
				_ = l.Unlock()
				x.granted(time.Minute)
			})
		})
	}
}

// TestS3_TwoOfThreeServersGone: requests wait, nothing is expired or fenced;
// with one back, work goes on and the dead node gets its grace first.
func TestS3_TwoOfThreeServersGone(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("held", client.EX)
		gone := w.others("lk2")
		for _, s := range gone {
			w.KillServer(s)
		}
		w.Node("n1").Kill()
		free, behind := n2.askBlind("free", client.EX), n2.askBlind("held", client.EX)
		time.Sleep(10 * expiry)
		if free.over() || behind.over() {
			t.Fatal("a request was answered without quorum")
		}
		w.nobodyDied()
		w.StartServer(gone[0])
		master := w.AwaitMaster(time.Minute)
		free.granted(10 * time.Second)
		behind.granted(time.Minute)
		took := w.logs.find("master", "server="+master)
		if grace := w.expiredAt("n1").Sub(took[len(took)-1].At); grace < expiry {
			t.Errorf("n1 was expired only %v after the takeover", grace)
		}
	})
}

// TestS5_CutOffHolderKnowsFirst: jeopardy, then lost, then the servers expire
// it; after the network has healed it is told that it is expired.
func TestS5_CutOffHolderKnowsFirst(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		l := n1.take("r", client.EX)
		ended := l.Context()
		x := n2.ask("r", client.EX)
		w.Power.Set("n1", behaviourHang)
		w.cut("n1")
		w.awaitState("n1", member.Expired, time.Minute)
		jeopardy, lost, expired := n1.told(client.EventJeopardy), n1.told(client.EventLost), w.expiredAt("n1")
		if len(jeopardy) != 1 || len(lost) != 1 || !jeopardy[0].At.Before(lost[0].At) || expired.Sub(lost[0].At) < expiry/6 {
			t.Fatalf("jeopardy %v, lost %v, expired %v", jeopardy, lost, expired)
		}
		if ended.Err() == nil || !errors.Is(l.Valid(), client.ErrLost) {
			t.Errorf("context %v, valid %v", ended.Err(), l.Valid())
		}
		w.mend("n1")
		w.Await(10*time.Second, "n1 to hear that it is expired", func() bool { return len(n1.told(client.EventExpired)) == 1 })
		if !errors.Is(l.Valid(), client.ErrNodeExpired) || !errors.Is(n1.node.Err(), client.ErrNodeExpired) {
			t.Errorf("lock: %v, node: %v", l.Valid(), n1.node.Err())
		}
		if x.over() {
			t.Error("the lock was granted before the fence")
		}
	})
}

// TestS5_LostBeforeExpiredWheneverTheNetworkHeals: at no moment of healing, also
// not between the master's judgement and its entry in the log, is a node told
// that it is safe and then expired.
func TestS5_LostBeforeExpiredWheneverTheNetworkHeals(t *testing.T) {
	for healed := expiry - time.Second; healed < expiry+1500*time.Millisecond; healed += 50 * time.Millisecond {
		seeded(t, uint64(healed), gulmtest.ClusterOptions{Nodes: 1}, func(t *testing.T, w *world) {
			n1 := w.boot("n1")
			n1.take("r", client.EX)
			w.Power.Set("n1", behaviourHang)
			master := w.Master()
			w.logs.on(func(e entry) {
				if !e.is("node expired") {
					return
				}
				if state := n1.node.State(); state == client.StateSafe || state == client.StateJeopardy {
					t.Errorf("healed after %v: n1 believed to be %v when it was expired", healed, state)
				}
			})
			for _, s := range w.others(master) { // majorities take a while
				w.Net.SetDelay(master, s, 50*time.Millisecond, 0)
				w.Net.SetDelay(s, master, 50*time.Millisecond, 0)
			}
			time.Sleep(expiry)
			w.cut("n1")
			time.Sleep(healed)
			w.mend("n1")
			time.Sleep(2 * expiry)
		})
		if t.Failed() {
			return
		}
	}
}

// TestS5_SiblingOfADeadProcessKnowsFirst: one process that crashed without a
// logout expires its node, and the node's other processes are told in time.
func TestS5_SiblingOfADeadProcessKnowsFirst(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		var first, second *client.Node
		ready := make(chan error, 1)
		w.Node("n1").Boot(func(ctx context.Context, life *gulmtest.Life) {
			var err error
			if first, err = life.Dial(ctx); err == nil {
				second, err = life.Dial(ctx)
			}
			ready <- err
			<-ctx.Done()
		})
		if err := <-ready; err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * expiry)
		w.nobodyDied()
		if second.State() != client.StateSafe {
			t.Errorf("with both alive the second is %v", second.State())
		}
		// By the time that its node is expired it must have been told that its locks
		// are lost; it may have heard of the expiry itself as well.
		w.logs.on(func(e entry) {
			if e.is("node expired") && second.State() < client.StateLost {
				t.Errorf("the second was %v when its node was expired", second.State())
			}
		})
		w.Power.Set("n1", behaviourHang)
		_ = first.Close()
		w.awaitState("n1", member.Expired, time.Minute)
		lost := false
		for e := range second.Events() {
			lost = e.Kind == client.EventLost || lost && e.Kind != client.EventSafe
			if e.Kind == client.EventExpired {
				break
			}
		}
		if !lost {
			t.Error("the second was told that it is expired, and not before that its locks are lost")
		}
	})
}

// TestS5_ShortCutKeepsLocksAndPlaces: less than the expiry time costs nothing.
func TestS5_ShortCutKeepsLocksAndPlaces(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2, n3 := w.boot("n1"), w.boot("n2"), w.boot("n3")
		l := n1.take("r", client.EX)
		second, third := n2.ask("r", client.EX), n3.ask("r", client.EX)
		for range 3 {
			w.cut("n1")
			w.cut("n2")
			time.Sleep(expiry - 2500*time.Millisecond)
			w.mend("n1")
			w.mend("n2")
			w.Await(10*time.Second, "both to be safe", func() bool {
				return n1.node.State() == client.StateSafe && n2.node.State() == client.StateSafe
			})
		}
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
		second.granted(time.Minute)
		if third.over() {
			t.Error("n2 lost its place")
		}
		w.nobodyDied()
	})
}

// TestS6_SlowMajoritiesDoNotKeepTheDeadAlive: a master that needs long for a
// majority, over slow links or disks, still expires who is dead, and only them.
func TestS6_SlowMajoritiesDoNotKeepTheDeadAlive(t *testing.T) {
	for _, delay := range []time.Duration{100 * time.Millisecond, 150 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
				n1, n2 := w.boot("n1"), w.boot("n2")
				n1.take("r", client.EX)
				x := n2.ask("r", client.EX)
				for _, a := range w.servers() {
					for _, b := range w.others(a) {
						w.Net.SetDelay(a, b, delay, 0)
					}
				}
				time.Sleep(10 * expiry)
				w.nobodyDied()
				w.Node("n1").Kill()
				x.granted(2 * time.Minute)
				if w.member("n2").State != member.LoggedIn {
					t.Error("n2 suffered")
				}
			})
		})
	}
}
