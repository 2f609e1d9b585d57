package server_test

import (
	"slices"
	"testing"
	"time"

	"lock_gulmd/client"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// TestLease_OldProcessOfTheSameBoot: the process that lost a lease lives on, on a
// machine that has not booted. Nothing that it sends counts any more: not on the
// stream that it has, not on another one, and not if it logs in under its old id,
// which makes a session without locks of it, in the life of whoever came before.
func TestLease_OldProcessOfTheSameBoot(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n2 := w.boot("n2").leaseOnly()
		old := w.login("n1", w.Master())
		old.attach(0)
		reply := old.do(&gulmv1.Request{
			Op: gulmv1.Op_OP_JOIN, Name: []byte("app"), Policy: gulmv1.Policy_POLICY_LEASE, LeaseMs: uint32(lease.Milliseconds()),
		})[0]
		app := reply.GetNumber()
		reply = old.do(&gulmv1.Request{Op: gulmv1.Op_OP_LOCK, Lock: 1, Lockspace: app, Name: []byte("r"), Mode: gulmv1.Mode_MODE_EX})[0]
		if reply.GetOutcome() != gulmv1.Outcome_OUTCOME_GRANTED {
			t.Fatalf("%v", reply)
		}
		x := n2.ask("r", client.EX)
		x.granted(time.Minute) // the old process says nothing all the while
		if n := w.member("n1"); n.State != member.Fenced || n.Fence.State != member.FenceLeaseEnded {
			t.Fatalf("%+v", n)
		}
		_ = old.stream.Send(&gulmv1.SessionRequest{Beat: 1, Requests: old.next(&gulmv1.Request{Op: gulmv1.Op_OP_UNLOCK, Lock: 1})})
		for {
			m, err := old.stream.Recv()
			if err != nil {
				if err = gulmerr.FromStatus(err); !is(err, gulmerr.ErrNodeExpired) {
					t.Errorf("the old stream ended with %v", err)
				}
				break
			}
			if m.GetBeat() > 0 || len(m.GetReplies()) > 0 {
				t.Errorf("the old stream was answered %v", m)
			}
		}
		resume := &gulmv1.SessionRequest{Attach: &gulmv1.Attach{Session: old.session, LoginId: old.loginID}}
		if m, err := old.open(t.Context(), resume); err == nil {
			t.Errorf("the old session goes on: %v", m)
		}
		again := &raw{t: t, conn: old.conn, loginID: slices.Repeat([]byte{8}, 16)}
		for _, r := range []*raw{again, old} {
			reply, err := w.core(w.Master()).Login(t.Context(), &gulmv1.LoginRequest{
				Cluster: "sim", Node: "n1", BootId: "raw", LoginId: r.loginID, Process: "raw",
			})
			if err != nil || reply.GetIncarnation() != 2 || reply.GetSession() == old.session {
				t.Fatalf("login: %v, %v", reply, err)
			}
			if r == again {
				continue
			}
			number := old.session
			old.session, old.seq = reply.GetSession(), 0
			old.attach(0)
			if got := old.do(&gulmv1.Request{Op: gulmv1.Op_OP_UNLOCK, Lock: 1})[0]; got.GetOutcome() != gulmv1.Outcome_OUTCOME_REFUSED {
				t.Errorf("session %d has the lock of session %d: %v", old.session, number, got)
			}
		}
		if x.lock.Valid() != nil {
			t.Error("the new holder has lost the lock")
		}
	})
}
