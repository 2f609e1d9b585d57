package server_test

import (
	"encoding/binary"
	"testing"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
)

// TestS9_LoginsDoNotEndTheTerm: however many a node sends at once.
func TestS9_LoginsDoNotEndTheTerm(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		m := w.Master()
		a := w.login("n1", m)
		a.attach(0)
		a.join()
		for _, x := range w.servers() {
			for _, y := range w.servers() {
				if x != y {
					w.Net.SetDelay(x, y, 20*time.Millisecond, 0)
				}
			}
		}
		n := uint64(0)
		for range 80 {
			c := gulmv1.NewCoreServiceClient(w.conn("n2", m))
			for range 64 {
				n++
				id := make([]byte, 16)
				binary.BigEndian.PutUint64(id, n)
				go func() {
					for range 5 {
						_, _ = c.Login(t.Context(), &gulmv1.LoginRequest{Cluster: "sim", Node: "n2", BootId: "raw", LoginId: id, Process: "x"})
					}
				}()
			}
		}
		for range 500 {
			time.Sleep(time.Millisecond)
			a.seq++
			_ = a.stream.Send(&gulmv1.SessionRequest{Requests: []*gulmv1.Request{{Seq: a.seq, Op: gulmv1.Op_OP_JOIN, Name: []byte("fs")}}})
		}
		if ended := w.logs.find("term ended early"); len(ended) > 0 {
			t.Errorf("a node's logins ended the term: %v", ended)
		}
	})
}
