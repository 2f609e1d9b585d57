package server_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lock_gulmd/client"
	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
	"lock_gulmd/server/gulmtest"
	"lock_gulmd/server/member"
)

// TestS7_LocksAreListed with filters and limits, in chunks.
func TestS7_LocksAreListed(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1, n2 := w.boot("n1"), w.boot("n2")
		other, err := n1.node.Join(t.Context(), "other", client.JoinOptions{})
		if err != nil {
			t.Fatal(err)
		}
		const many = 600
		for i := range many {
			n1.take(fmt.Sprintf("inode/%04d", i), client.PR)
		}
		n1.take("rgrp/1", client.EX)
		if _, err := other.Lock(t.Context(), "inode/0001", client.EX); err != nil {
			t.Fatal(err)
		}
		n2.ask("inode/0007", client.EX)
		n2.take("inode/0008", client.CR)
		for _, c := range []struct {
			req  *gulmv1.LocksRequest
			want int
		}{
			{&gulmv1.LocksRequest{}, many + 2},
			{&gulmv1.LocksRequest{Lockspace: "fs"}, many + 1},
			{&gulmv1.LocksRequest{Lockspace: "other"}, 1},
			{&gulmv1.LocksRequest{Lockspace: "none"}, 0},
			{&gulmv1.LocksRequest{Prefix: []byte("rgrp/")}, 1},
			{&gulmv1.LocksRequest{Lockspace: "fs", Prefix: []byte("inode/00")}, 100},
			{&gulmv1.LocksRequest{Contended: true}, 1},
			{&gulmv1.LocksRequest{Contended: true, Lockspace: "other"}, 0},
			{&gulmv1.LocksRequest{Limit: 10}, 10},
			{&gulmv1.LocksRequest{Limit: many + 2}, many + 2},
		} {
			list, err := w.locks(c.req)
			if err != nil || len(list) != c.want {
				t.Errorf("%v listed %d, %v; want %d", c.req, len(list), err, c.want)
			}
			for _, r := range list {
				if !bytes.HasPrefix(r.GetName(), c.req.GetPrefix()) || len(r.GetLocks()) == 0 {
					t.Errorf("%v listed %v", c.req, r)
				}
			}
		}
		for limit, cut := range map[uint32]bool{10: true, many + 1: true, many + 2: false, 0: false} {
			stream, err := w.admin(w.Master()).Locks(t.Context(), &gulmv1.LocksRequest{Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			var last *gulmv1.LocksReply
			messages, err := drain(stream, func(r *gulmv1.LocksReply) {
				if last != nil && last.GetTruncated() {
					t.Error("a message follows the truncated one")
				}
				if last = r; len(r.GetResources()) > 256 {
					t.Errorf("one message has %d resources", len(r.GetResources()))
				}
			})
			if err != nil || last.GetTruncated() != cut || limit == 0 && messages < 3 {
				t.Errorf("limit %d: %d messages, truncated %v, %v", limit, messages, last.GetTruncated(), err)
			}
		}
		time.Sleep(5 * time.Second)
		list, _ := w.locks(&gulmv1.LocksRequest{Contended: true})
		l := list[0].GetLocks()
		if len(l) != 2 || l[0].GetNode() != "n1" || l[0].GetGranted() != gulmv1.Mode_MODE_PR || l[0].GetToken() == 0 ||
			l[1].GetNode() != "n2" || l[1].GetQueue() != gulmv1.Queue_QUEUE_WAITING || l[1].GetRequested() != gulmv1.Mode_MODE_EX ||
			l[1].GetAgeMs() < 4900 || l[0].GetFrozen() {
			t.Errorf("the contended one is %v", l)
		}
	})
}

// TestS7_WatchSeesEveryState of a node, in order, then the end of the term.
func TestS7_WatchSeesEveryState(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		master := w.Master()
		stream, err := w.core(master).Watch(t.Context(), &gulmv1.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		listed := map[string]bool{}
		for {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			listed[m.GetNode().GetName()] = m.GetNode().GetServer()
			if m.GetListed() {
				break
			}
		}
		if len(listed) != 6 || !listed["lk1"] || listed["n1"] {
			t.Errorf("first listed were %v", listed)
		}
		var seen []string
		var index uint64
		done := make(chan error, 1)
		go func() {
			for {
				m, err := stream.Recv()
				if err != nil {
					done <- err
					return
				}
				if m.GetIndex() < index {
					t.Errorf("index went from %d to %d", index, m.GetIndex())
				}
				index = m.GetIndex()
				n := m.GetNode()
				seen = append(seen, fmt.Sprintf("%s/%d %s", n.GetName(), n.GetIncarnation(), strings.TrimPrefix(n.GetState().String(), "NODE_STATE_")))
			}
		}()
		w.Power.Set("n1", sim.Behaviour{Delay: 5 * time.Second})
		w.boot("n1")
		w.Node("n1").Kill()
		w.awaitState("n1", member.Fenced, time.Minute)
		again := w.boot("n1")
		if err := again.node.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.KillServer(master)
		if err := <-done; err == nil {
			t.Error("the stream went on after its server")
		}
		want := []string{"n1/1 LOGGED_IN", "n1/1 EXPIRED", "n1/1 FENCED", "n1/2 LOGGED_IN", "n1/2 LOGGED_OUT"}
		if got := slices.Compact(seen); !slices.Equal(got, want) {
			t.Errorf("watched %q, want %q", got, want)
		}
	})
}

// TestS7_StatusTells who is what, on every server.
func TestS7_StatusTells(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		n1 := w.boot("n1")
		n1.take("r", client.EX)
		w.boot("n2").ask("r", client.EX)
		time.Sleep(10 * time.Second)
		master := w.Master()
		m := w.status(master)
		if m.GetRole() != gulmv1.ServerRole_SERVER_ROLE_MASTER || m.GetMaster() != master || m.GetServer() != master || m.GetCluster() != "sim" ||
			!m.GetQuorate() || m.GetQuorum() != 2 || m.GetTerm() == 0 || m.GetVersion() != "sim" || m.GetDurability() != "disk" ||
			m.GetSessions() != 2 || m.GetLocks() != 2 || m.GetWaiters() != 1 || m.GetResources() != 1 || m.GetLockspaces() != 1 ||
			m.GetUptimeMs() < 10_000 || m.GetAppliedIndex() == 0 || m.GetCommitIndex() < m.GetAppliedIndex() {
			t.Errorf("the master says %v", m)
		}
		for _, s := range m.GetServers() {
			if !s.GetReachable() || s.GetLastContactMs() < 0 || s.GetLoggedOut() {
				t.Errorf("the master says of %s: %v", s.GetName(), s)
			}
		}
		for _, n := range m.GetNodes() {
			in := n.GetName() == "n1" || n.GetName() == "n2"
			if in != (n.GetState() == gulmv1.NodeState_NODE_STATE_LOGGED_IN) || in != (n.GetLastBeatMs() >= 0) || in != (len(n.GetSessions()) == 1) {
				t.Errorf("node %v", n)
			}
			if in && (n.GetLastBeatMs() > 2000 || !n.GetSessions()[0].GetAttached() || n.GetLocks() != 1 || n.GetBootId() == "") {
				t.Errorf("node %v", n)
			}
		}
		for _, standby := range w.others(master) {
			s := w.status(standby)
			if s.GetRole() != gulmv1.ServerRole_SERVER_ROLE_STANDBY || s.GetMaster() != master || s.GetLocks() != 2 || !s.GetQuorate() {
				t.Errorf("%s says %v", standby, s)
			}
			if s.GetAppliedIndex() == m.GetAppliedIndex() && s.GetDigest() != m.GetDigest() {
				t.Errorf("%s has another digest", standby)
			}
		}
	})
}

// TestS7_WithoutQuorumStatusSaysSo, of a server alone.
func TestS7_WithoutQuorumStatusSaysSo(t *testing.T) {
	bubble(t, gulmtest.ClusterOptions{}, func(t *testing.T, w *world) {
		left := w.Master()
		for _, s := range w.others(left) {
			w.KillServer(s)
		}
		time.Sleep(10 * time.Second)
		s := w.status(left)
		if s.GetQuorate() || s.GetRole() == gulmv1.ServerRole_SERVER_ROLE_MASTER || len(s.GetWaitingFor()) != 1 ||
			!strings.HasPrefix(s.GetWaitingFor()[0], "quorum") {
			t.Errorf("%s says %v", left, s)
		}
		for _, peer := range s.GetServers() {
			if peer.GetReachable() != (peer.GetName() == left) {
				t.Errorf("%s says %v", left, peer)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		id := slices.Repeat([]byte{1}, 16)
		if _, err := w.core(left).Login(ctx, &gulmv1.LoginRequest{Cluster: "sim", Node: "n1", BootId: "b", LoginId: id}); !is(err, gulmerr.ErrNotMaster) {
			t.Errorf("login without quorum: %v", err)
		}
	})
}
