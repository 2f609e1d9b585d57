package server_test

import (
	"context"
	"testing"
	"time"

	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// TestS7_LocksWithoutHoldersAreListed: value blocks outlive their locks where the
// lockspace says so, and names are bytes.
func TestS7_LocksWithoutHoldersAreListed(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		m := w.Master()
		r := w.login("n1", m)
		r.attach(0)
		rep := r.do(&gulmv1.Request{Op: gulmv1.Op_OP_JOIN, Name: []byte("kv\xff"), Flags: 4})[0]
		space := rep.GetNumber()
		r.do(
			&gulmv1.Request{Op: gulmv1.Op_OP_LOCK, Lock: 1, Lockspace: space, Name: []byte("a"), Mode: gulmv1.Mode_MODE_EX, Flags: uint32(gulmv1.Flag_FLAG_VALBLK)},
			&gulmv1.Request{Op: gulmv1.Op_OP_UNLOCK, Lock: 1, Flags: uint32(gulmv1.Flag_FLAG_VALBLK), Value: []byte("0123456789abcdef0123456789abcdef")},
		)
		stream, err := w.admin(m).Locks(t.Context(), &gulmv1.LocksRequest{})
		if err != nil {
			t.Fatal(err)
		}
		reply, err := stream.Recv()
		if err != nil || len(reply.GetResources()) != 1 || string(reply.GetResources()[0].GetName()) != "a" {
			t.Errorf("%v, %v", reply, err)
		}
	})
}

// TestS5_SiblingsWithDifferentExpiry: two sessions of one node were told
// different expiry times; the node lives as long as the longer one says.
func TestS5_SiblingsWithDifferentExpiry(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{AllowedMisses: 14}, func(t *testing.T, w *world) { // 30 s
		m := w.Master()
		a := w.login("n1", m)
		a.attach(0)
		// all servers restart with the shorter time
		for _, s := range w.servers() {
			w.KillServer(s)
		}
		w.Config.Lock.AllowedMisses = 2
		w.StartAll()
		w.AwaitMaster(time.Minute)
		m = w.Master()
		a.conn = w.conn("n1", m)
		a.attach(0)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last time.Time
		go a.beats(ctx, time.Second, func(uint64) { last = time.Now() })
		// a second process logs in and dies
		b := w.conn("n1", m)
		_, err := gulmv1.NewCoreServiceClient(b).Login(t.Context(), &gulmv1.LoginRequest{
			Cluster: "sim", Node: "n1", BootId: "raw", LoginId: []byte("0123456789abcdef"), Process: "b",
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for time.Since(began) < 2*time.Minute && w.member("n1").State == member.LoggedIn {
			time.Sleep(100 * time.Millisecond)
		}
		// The first session trusts its locks for 5/6 of 30 s after its last
		// acknowledged beat.
		if trusted := time.Since(last); w.member("n1").State == member.LoggedIn || trusted < 25*time.Second {
			t.Errorf("the node is %v %v after the first session's last acknowledged beat", w.member("n1").State, trusted)
		}
	})
}
