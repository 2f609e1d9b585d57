package main

import (
	"encoding/json"
	"strings"
	"testing"

	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// noMaster makes all servers but those stopped lose their master.
func noMaster(c *tooltest.Cluster) {
	for _, s := range c.Servers {
		s.Set(func(script *tooltest.Script) {
			script.Status.Role, script.Status.Master, script.Status.Quorate = gulmv1.ServerRole_SERVER_ROLE_PENDING, "", false
		})
	}
}

func TestStatus_golden(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*tooltest.Cluster)
		code  int
	}{
		{"healthy", func(*tooltest.Cluster) {}, 0},
		{"fence_pending", func(c *tooltest.Cluster) {
			c.Expire("fs01")
			c.Servers[2].Stop()
			c.Servers[0].Set(func(s *tooltest.Script) { s.Status.Servers[2].LoggedOut = true })
		}, 0},
		{"no_quorum", func(c *tooltest.Cluster) {
			noMaster(c)
			c.Servers[0].Stop()
			c.Servers[2].Stop()
		}, gulmerr.ExitNoQuorum},
		{"silent", func(c *tooltest.Cluster) {
			for _, s := range c.Servers {
				s.Stop()
			}
		}, gulmerr.ExitNoQuorum},
		{"two_masters", func(c *tooltest.Cluster) {
			c.Servers[1].Set(func(s *tooltest.Script) {
				s.Status.Role, s.Status.Term, s.Status.Master = gulmv1.ServerRole_SERVER_ROLE_MASTER, 5, "lk2"
			})
			c.Servers[2].Set(func(s *tooltest.Script) { s.Status.Term, s.Status.Master = 5, "lk3" })
		}, 0},
		{"states_differ", func(c *tooltest.Cluster) {
			c.Servers[1].Set(func(s *tooltest.Script) { s.Status.Digest = 1 })
		}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := tooltest.Start(t, 3, nil)
			test.setup(c)
			golden(t, c, "status/"+test.name+".txt", test.code, on(c, "status"))
			golden(t, c, "status/"+test.name+".json", test.code, on(c, "status", "--json"))
		})
	}
}

func TestStatus_oneObject(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	var got statusJSON
	dec := json.NewDecoder(strings.NewReader(on(c, "status", "--json").Stdout))
	if err := dec.Decode(&got); err != nil || dec.More() {
		t.Fatalf("not one object: %v", err)
	}
	if !got.Quorate || got.Master != "lk1" || len(got.Servers) != 3 || got.Servers[1].Digest != "feedc0de12345678" || got.Nodes[3].Name != "fs01" {
		t.Errorf("%+v", got)
	}
}

// An index and a digest may be of two moments if the server is busy.
func TestStatus_passingDifferenceIsNone(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	calls := 0
	c.Servers[1].Set(func(s *tooltest.Script) {
		s.Status.Digest = 1
		s.Before = func(_ string, s *tooltest.Script) {
			if calls++; calls == digestChecks {
				s.Status.Digest = 0xfeedc0de12345678
			}
		}
	})
	if r := on(c, "status"); r.Code != 0 || strings.Contains(r.Stdout, "DISAGREEMENT") || calls != digestChecks {
		t.Errorf("%d calls: %+v", calls, r)
	}
}

func TestStatus_masterWithoutQuorumIsNone(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Status.Quorate = false })
	if r := on(c, "status"); r.Code != gulmerr.ExitNoQuorum || !strings.Contains(r.Stdout, "NO MASTER SERVES") {
		t.Errorf("%+v", r)
	}
}

func TestStatus_wrongServerAnswers(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Status.Server, s.Status.Cluster = "lk7", "other" })
	r := on(c, "status")
	if !strings.Contains(r.Stdout, `answers as lock server "lk7", not "lk1"`) || !strings.Contains(r.Stdout, `belongs to cluster "other"`) {
		t.Errorf("%+v", r)
	}
}

func TestNodes_golden(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	golden(t, c, "nodes/list.txt", 0, on(c, "nodelist"))
	golden(t, c, "nodes/list.json", 0, on(c, "nodelist", "--json"))
	golden(t, c, "nodes/logged_in.txt", 0, on(c, "nodeinfo", "fs01"))
	c.Expire("fs01")
	golden(t, c, "nodes/expired.txt", 0, on(c, "nodeinfo", "fs01"))
	golden(t, c, "nodes/expired.json", 0, on(c, "nodeinfo", "fs01", "--json"))
	golden(t, c, "nodes/unknown.txt", gulmerr.ExitNotFound, on(c, "nodeinfo", "fs09"))
	noMaster(c)
	golden(t, c, "nodes/no_master.txt", gulmerr.ExitNoQuorum, on(c, "nodelist"))
	golden(t, c, "nodes/no_master_info.txt", gulmerr.ExitNoQuorum, on(c, "nodeinfo", "lk1"))
}

func TestNodes_settledFence(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Expire("fs01")
	c.Servers[0].Set(func(s *tooltest.Script) {
		n := s.Status.Nodes[1]
		n.State, n.Fence.State, n.Fence.By = gulmv1.NodeState_NODE_STATE_FENCED, gulmv1.FenceState_FENCE_STATE_ACKNOWLEDGED, "alice@desk"
		n.Fence.SettledMs = 1_790_000_200_000
	})
	want := "acknowledged by alice@desk at 2026-09-21T14:16:40Z (incarnation 3: missed 3 heartbeats)"
	if r := on(c, "nodeinfo", "fs01"); r.Code != 0 || !strings.Contains(r.Stdout, want) {
		t.Errorf("want %q in\n%s", want, r.Stdout)
	}
}
