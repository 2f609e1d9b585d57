package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
	"lock_gulmd/server/state"
)

// six nodes, of which more than half that vanish are too many.
var six = gulmtest.ClusterOptions{Nodes: 6}

// bootAll boots nodes n1 to nCount.
func (w *world) bootAll(count int) []*user {
	w.t.Helper()
	var all []*user
	for i := range count {
		all = append(all, w.boot(fmt.Sprint("n", i+1)))
	}
	return all
}

// breaker returns what the state of the master says.
func (w *world) breaker() (b state.Breaker) {
	w.view(w.Master(), func(s *state.State) { b = s.Breaker() })
	return b
}

func (w *world) awaitPause() {
	w.t.Helper()
	w.Await(time.Minute, "a pause of fencing", func() bool { return w.breaker().Paused })
}

// TestBreaker_TooManyAtOnceAreNotFenced: four of six nodes behind one switch; the
// servers pause, say so everywhere, fence nobody and release nothing, also under a
// new master; when the nodes are back all is as before.
func TestBreaker_TooManyAtOnceAreNotFenced(t *testing.T) {
	bubble(t, six, func(t *testing.T, w *world) {
		users := w.bootAll(6)
		l := users[0].take("r", client.EX)
		x := users[4].ask("r", client.EX)
		for _, u := range users[:4] {
			w.cut(u.name)
		}
		w.awaitPause()
		time.Sleep(10 * expiry)
		w.nobodyDied()
		st := w.status(w.Master())
		if b := st.GetBreaker(); !b.GetPaused() || b.GetMissing() != 4 || b.GetLoggedIn() != 6 || b.GetTrips() != 1 ||
			!strings.Contains(b.GetReason(), "4 of 6") || st.GetCounters()["fencing_pauses"] != 1 {
			t.Errorf("status: %v, counters %v", b, st.GetCounters())
		}
		if len(st.GetWaitingFor()) == 0 || !strings.Contains(st.GetWaitingFor()[0], "gulm_tool fence resume") {
			t.Errorf("waiting for %q", st.GetWaitingFor())
		}
		w.KillServer(w.Master())
		w.AwaitMaster(time.Minute)
		time.Sleep(10 * expiry)
		w.nobodyDied()
		if !w.breaker().Paused || x.over() {
			t.Fatalf("after a takeover: %+v, lock given away: %v", w.breaker(), x.over())
		}
		for _, u := range users[:4] {
			w.mend(u.name)
		}
		w.Await(time.Minute, "an end of the pause", func() bool { return !w.breaker().Paused })
		w.Await(time.Minute, "n1 to be safe", func() bool { return l.Valid() == nil })
		w.nobodyDied()
		if b := w.breaker(); b.Resumes != 1 || b.Overridden || b.Operator != "" {
			t.Errorf("%+v", b)
		}
		_ = l.Unlock()
		x.granted(time.Minute)
		// It is ready again, and one dead node is fenced as ever.
		w.Node("n2").Kill()
		w.awaitState("n2", member.Fenced, time.Minute)
	})
}

// TestBreaker_OperatorResumes: those who are missing are then fenced, however many
// they are, and the breaker is ready again afterwards.
func TestBreaker_OperatorResumes(t *testing.T) {
	bubble(t, six, func(t *testing.T, w *world) {
		ctx := t.Context()
		admin := w.admin(w.Master())
		if _, err := admin.ResumeFencing(ctx, &gulmv1.ResumeFencingRequest{Operator: "alice"}); !is(err, gulmerr.ErrNotPending) {
			t.Errorf("resumed what is not paused: %v", err)
		}
		users := w.bootAll(6)
		users[0].take("r", client.EX)
		x := users[4].ask("r", client.EX)
		for _, u := range users[:4] {
			w.Node(u.name).Kill()
		}
		w.awaitPause()
		time.Sleep(3 * expiry)
		if _, err := admin.ResumeFencing(ctx, &gulmv1.ResumeFencingRequest{}); !is(err, gulmerr.ErrInvalid) {
			t.Errorf("resumed by nobody: %v", err)
		}
		if _, err := admin.ResumeFencing(ctx, &gulmv1.ResumeFencingRequest{Operator: "alice"}); err != nil {
			t.Fatal(err)
		}
		x.granted(time.Minute)
		for _, u := range users[:4] {
			w.awaitState(u.name, member.Fenced, time.Minute)
		}
		w.Await(2*time.Minute, "a breaker that is ready", func() bool { return !w.breaker().Overridden })
		if w.breaker().Paused || len(w.logs.find("automatic fencing is resumed", "operator=alice")) != 1 {
			t.Errorf("%+v, log %v", w.breaker(), w.logs.find("automatic fencing is resumed"))
		}
	})
}

// TestBreaker_PausedByHand: nothing but a person ends it; who is expired by force
// is fenced nevertheless.
func TestBreaker_PausedByHand(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.bootAll(3)
		admin := w.admin(w.Master())
		if _, err := admin.PauseFencing(ctx, &gulmv1.PauseFencingRequest{Operator: "bob"}); !is(err, gulmerr.ErrInvalid) {
			t.Errorf("paused without a reason: %v", err)
		}
		if _, err := admin.PauseFencing(ctx, &gulmv1.PauseFencingRequest{Operator: "bob", Reason: "switch upgrade"}); err != nil {
			t.Fatal(err)
		}
		w.Node("n1").Kill()
		time.Sleep(10 * expiry)
		w.nobodyDied()
		w.Power.Set("n2", sim.Behaviour{Delay: expiry})
		if _, err := admin.ForceExpire(ctx, &gulmv1.ForceExpireRequest{Node: "n2", Operator: "bob", Reason: "on fire"}); err != nil {
			t.Fatal(err)
		}
		w.awaitState("n2", member.Fenced, time.Minute)
		if n := w.member("n2"); n.Fence.Operator != "bob" || !strings.Contains(n.Fence.Reason, "on fire") {
			t.Errorf("record of the fence: %+v", n.Fence)
		}
		if w.member("n1").State != member.LoggedIn {
			t.Error("n1 was expired while fencing is paused")
		}
		if _, err := admin.ResumeFencing(ctx, &gulmv1.ResumeFencingRequest{Operator: "bob"}); err != nil {
			t.Fatal(err)
		}
		w.awaitState("n1", member.Fenced, time.Minute)
	})
}

// TestBreaker_SmallClustersAreFencedAsEver: one or two nodes are no storm, even if
// they are all there are; nor are many that die one after the other.
func TestBreaker_SmallClustersAreFencedAsEver(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		bubble(t, gulmtest.ClusterOptions{Nodes: nodes}, func(t *testing.T, w *world) {
			for _, u := range w.bootAll(nodes) {
				w.Node(u.name).Kill()
			}
			for i := range nodes {
				w.awaitState(fmt.Sprint("n", i+1), member.Fenced, time.Minute)
			}
		})
	}
	bubble(t, six, func(t *testing.T, w *world) {
		for _, u := range w.bootAll(6) {
			w.Node(u.name).Kill()
			w.awaitState(u.name, member.Fenced, time.Minute)
			time.Sleep(20 * time.Second)
		}
	})
}

// TestBreaker_Settings: an absolute limit, and none at all.
func TestBreaker_Settings(t *testing.T) {
	opt := gulmtest.ClusterOptions{Nodes: 7, Settings: "breaker_nodes = 2"}
	bubble(t, opt, func(t *testing.T, w *world) {
		w.bootAll(7)
		for i := range 3 {
			w.Node(fmt.Sprint("n", i+1)).Kill()
		}
		w.awaitPause()
		w.nobodyDied()
	})
	opt = gulmtest.ClusterOptions{Nodes: 4, Settings: "breaker_nodes = 0 breaker_percent = 100"}
	bubble(t, opt, func(t *testing.T, w *world) {
		for _, u := range w.bootAll(4) {
			w.Node(u.name).Kill()
		}
		for i := range 4 {
			w.awaitState(fmt.Sprint("n", i+1), member.Fenced, time.Minute)
		}
	})
}
