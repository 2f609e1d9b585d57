package server_test

import (
	"fmt"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/server/gulmtest"
)

// TestSLM_ClientsHoldTheirLocksOverALongOutage: one server, or all of three, down
// for many expiry times, and back on their disks: nobody is expired, every lock is
// still held by whom it was, waiting requests keep their places, and the library
// tells lost, since it cannot know that no server judges it, and safe again.
func TestSLM_ClientsHoldTheirLocksOverALongOutage(t *testing.T) {
	for _, servers := range []int{1, 3} {
		for _, fence := range []bool{false, true} {
			t.Run(fmt.Sprint(servers, " servers, fenced ", fence), func(t *testing.T) {
				opt := gulmtest.ClusterOptions{Servers: servers, FenceServers: fence}
				bubble(t, opt, func(t *testing.T, w *world) { outage(t, w) })
			})
		}
	}
}

func outage(t *testing.T, w *world) {
	n1, n2, n3 := w.boot("n1"), w.boot("n2"), w.boot("n3")
	l, shared := n1.take("r", client.EX), n3.take("s", client.PR)
	second, third := n2.ask("r", client.EX), n3.ask("r", client.EX)
	for _, s := range w.servers() {
		w.KillServer(s)
	}
	time.Sleep(50 * expiry)
	for _, told := range []*user{n1, n2, n3} {
		if len(told.told(client.EventLost)) != 1 || len(told.told(client.EventExpired)) != 0 || told.node.Err() != nil {
			t.Errorf("%s was told %v, node %v", told.name, told.events, told.node.Err())
		}
	}
	if second.over() || third.over() {
		t.Fatal("a request was answered without a server")
	}
	for _, s := range w.servers() {
		w.StartServer(s)
	}
	w.AwaitMaster(time.Minute)
	w.Await(time.Minute, "locks that are good again", func() bool { return l.Valid() == nil && shared.Valid() == nil })
	time.Sleep(5 * expiry)
	w.nobodyDied()
	if second.over() || third.over() {
		t.Fatal("a lock was given away")
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	second.granted(time.Minute)
	if third.over() {
		t.Error("n2 lost its place")
	}
}

// TestSLM_WhoDiesDuringTheOutageIsFencedAfterIt, and not before a full grace.
func TestSLM_WhoDiesDuringTheOutageIsFencedAfterIt(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{Servers: 1}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		n1.take("r", client.EX)
		x := n2.ask("r", client.EX)
		w.KillServer("lk1")
		w.Node("n1").Kill()
		time.Sleep(10 * expiry)
		w.StartServer("lk1")
		began := time.Now()
		if at := x.granted(time.Minute); at.Sub(began) < expiry {
			t.Errorf("granted %v after the server was back", at.Sub(began))
		}
		if calls := w.Power.Calls(); len(calls) != 1 || calls[0].Plan.Node != "n1" {
			t.Errorf("fences: %+v", calls)
		}
	})
}
