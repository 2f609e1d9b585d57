package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lock_gulmd/client"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/state"
)

// TestS5_BeatsAreAcknowledgedByAMajorityOnly: a master that is cut off from the
// others acknowledges no beat that reaches it after that.
func TestS5_BeatsAreAcknowledgedByAMajorityOnly(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		old := w.Master()
		r := w.login("n1", old)
		r.attach(0)
		var newest, atCut atomic.Uint64
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		time.AfterFunc(3*time.Second, func() {
			w.Net.Partition([]string{old}, w.others(old))
			atCut.Store(newest.Load())
		})
		r.beats(ctx, 10*time.Millisecond, func(n uint64) { newest.Store(max(newest.Load(), n)) })
		// One beat may be acknowledged by what was on its way already.
		if atCut.Load() < 200 || newest.Load() > atCut.Load()+1 {
			t.Errorf("beat %d was acknowledged, %d were at the cut", newest.Load(), atCut.Load())
		}
	})
}

// TestS4_EveryRequestIsAppliedOnce, although streams are cut all the time and
// masters die: the numbers of the locks, of the grants and of what was answered
// agree.
func TestS4_EveryRequestIsAppliedOnce(t *testing.T) {
	const rounds, workers = 150, 3
	for seed := uint64(1); seed <= 3; seed++ {
		seeded(t, seed, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
			users := []*user{w.boot("n1"), w.boot("n2"), w.boot("n3")}
			before := w.tokens()
			var grants atomic.Uint64
			var working, cutting sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for _, u := range users {
				for i := range workers {
					working.Go(func() { countRounds(t, u, fmt.Sprint("r", i%2), rounds, &grants) })
				}
			}
			cutting.Go(func() { w.cutStreams(ctx, rand.New(rand.NewPCG(seed, 7))) })
			working.Wait()
			cancel()
			cutting.Wait()
			w.AwaitMaster(time.Minute)
			w.Await(time.Minute, "the last unlocks", func() bool { return w.counts().Locks == 0 })
			if got := w.tokens() - before; got != grants.Load() || got != rounds*workers*3*2 {
				t.Errorf("servers granted %d times, nodes know of %d, want %d", got, grants.Load(), rounds*workers*3*2)
			}
			w.nobodyDied()
			w.agree()
		})
	}
}

// countRounds locks, converts and unlocks, and counts the grants.
func countRounds(t *testing.T, u *user, resource string, rounds int, grants *atomic.Uint64) {
	for range rounds {
		l, err := u.Lock(context.Background(), resource, client.EX)
		if err != nil {
			t.Error(err)
			return
		}
		grants.Add(1)
		if err := l.Convert(context.Background(), client.PR); err != nil {
			t.Error(err)
			return
		}
		grants.Add(1)
		time.Sleep(5 * time.Millisecond)
		if err := l.Unlock(); err != nil {
			t.Error(err)
			return
		}
	}
}

// cutStreams breaks connections, and now and then kills the master.
func (w *world) cutStreams(ctx context.Context, rnd *rand.Rand) {
	for i := 1; ctx.Err() == nil; i++ {
		node := fmt.Sprint("n", 1+rnd.IntN(3))
		w.Net.Partition([]string{node}, w.servers(), gulmtest.Reset)
		time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
		w.mend(node)
		if master := w.Master(); i%25 == 0 && master != "" {
			w.KillServer(master)
			time.Sleep(time.Second)
			w.StartServer(master)
		}
		time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
	}
}

func (w *world) tokens() (n uint64) {
	w.view(w.AwaitMaster(time.Minute), func(s *state.State) { n = s.Locks().Counters().Token })
	return n
}

// TestGuide_ShutdownOfTheMasterHandsOver: a clean shutdown is no failure: another
// server serves at once, no lock is lost, nobody is fenced.
func TestGuide_ShutdownOfTheMasterHandsOver(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		l := n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		old := w.Master()
		began := time.Now()
		if err := w.ShutdownServer(t.Context(), old, false); err != nil {
			t.Fatal(err)
		}
		master := w.AwaitMaster(10 * time.Second)
		took := w.logs.find("master", "server="+master)
		if d := took[len(took)-1].At.Sub(began); d > 500*time.Millisecond {
			t.Errorf("hand-over took %v, as long as an election", d)
		}
		time.Sleep(5 * expiry)
		w.nobodyDied()
		if l.Valid() != nil || x.over() {
			t.Error("the lock did not survive")
		}
		st := w.status(master)
		for _, s := range st.GetServers() {
			if s.GetLoggedOut() != (s.GetName() == old) || s.GetReachable() == (s.GetName() == old) {
				t.Errorf("status says %v", s)
			}
		}
		w.StartServer(old)
		w.Await(10*time.Second, "the server to be back", func() bool {
			for _, s := range w.status(w.Master()).GetServers() {
				if s.GetLoggedOut() || !s.GetReachable() {
					return false
				}
			}
			return true
		})
	})
}

// TestGuide_LastQuorumIsNotShutDown while nodes are logged in, unless by force.
func TestGuide_LastQuorumIsNotShutDown(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		l := n1.take("r", client.EX)
		master := w.Master()
		standbys := w.others(master)
		if err := w.ShutdownServer(t.Context(), standbys[0], false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // until it counts as unreachable
		for _, s := range []string{standbys[1], master} {
			if _, err := w.admin(s).Shutdown(t.Context(), &gulmv1.ShutdownRequest{}); !is(err, gulmerr.ErrLastQuorum) {
				t.Errorf("shutdown of %s: %v", s, err)
			}
		}
		time.Sleep(3 * expiry)
		if l.Valid() != nil {
			t.Error("the refused shutdown did harm")
		}
		if err := w.ShutdownServer(t.Context(), standbys[1], true); err != nil {
			t.Errorf("forced: %v", err)
		}
		time.Sleep(3 * expiry)
		w.nobodyDied()
		w.StartServer(standbys[0])
		w.AwaitMaster(time.Minute)
		w.Await(time.Minute, "n1 to be safe", func() bool { return l.Valid() == nil })
		if err := n1.node.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.admin(w.Master()).Shutdown(t.Context(), &gulmv1.ShutdownRequest{}); err != nil {
			t.Errorf("without nodes: %v", err)
		}
	})
}

// TestGuide_SingleServerIsNotShutDownUnderItsNodes.
func TestGuide_SingleServerIsNotShutDownUnderItsNodes(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Servers: 1}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		if err := w.ShutdownServer(t.Context(), "lk1", false); !is(err, gulmerr.ErrLastQuorum) {
			t.Errorf("with a node: %v", err)
		}
		if err := n1.node.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.ShutdownServer(t.Context(), "lk1", false); err != nil {
			t.Errorf("without: %v", err)
		}
	})
}

// TestS9_WhatNobodyHoldsVanishes: resources, locks and lockspaces.
func TestS9_WhatNobodyHoldsVanishes(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		for i := range 500 {
			if err := n1.take(fmt.Sprint("r", i), client.PR).Unlock(); err != nil {
				t.Fatal(err)
			}
		}
		w.Await(time.Minute, "the last unlock", func() bool { return w.counts().Locks == 0 })
		if c := w.counts(); c.Resources != 0 || c.Lockspaces != 1 {
			t.Errorf("left are %+v", c)
		}
		if err := n1.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := w.counts(); c.Lockspaces != 0 {
			t.Errorf("left are %+v", c)
		}
	})
}
