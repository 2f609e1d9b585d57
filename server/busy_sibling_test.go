package server_test

import (
	"testing"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// TestS7_BusySiblingDoesNotKeepTheDeadOneAlive: one session of a node is dead and
// another one never rests; the node is expired all the same.
func TestS7_BusySiblingDoesNotKeepTheDeadOneAlive(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		m := w.Master()
		a := w.login("n1", m)
		a.attach(0)
		space := a.join()
		for _, x := range w.servers() {
			for _, y := range w.servers() {
				if x != y {
					w.Net.SetDelay(x, y, 2*time.Millisecond, 0)
				}
			}
		}
		_, err := gulmv1.NewCoreServiceClient(w.conn("n1", m)).Login(t.Context(), &gulmv1.LoginRequest{
			Cluster: "sim", Node: "n1", BootId: "raw", LoginId: []byte("0123456789abcdef"), Process: "dead",
		})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		go func() {
			for {
				if _, err := a.stream.Recv(); err != nil {
					return
				}
			}
		}()
		n := uint64(0)
		for time.Since(begun) < time.Minute && w.member("n1").State == member.LoggedIn {
			n++
			reqs := a.next(
				&gulmv1.Request{Op: gulmv1.Op_OP_LOCK, Lock: n, Lockspace: space, Name: []byte("x"), Mode: gulmv1.Mode_MODE_EX},
				&gulmv1.Request{Op: gulmv1.Op_OP_UNLOCK, Lock: n})
			confirmed := uint64(0)
			if a.seq > 200 {
				confirmed = a.seq - 200
			}
			if err := a.stream.Send(&gulmv1.SessionRequest{Requests: reqs, Beat: n, Confirmed: confirmed}); err != nil {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		if w.member("n1").State == member.LoggedIn {
			t.Error("the node of a session that has been silent for a minute is not expired")
		}
	})
}
