package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"lock_gulmd/cmd/internal/tool"
	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

// start runs a cluster with one pending fence, for the operator alice.
func start(t *testing.T) (c *tooltest.Cluster, operator string) {
	t.Helper()
	for _, name := range []string{"GULM_CONFIG", "SUDO_USER", tool.EnvCert, tool.EnvKey, tool.EnvCA} {
		t.Setenv(name, "")
	}
	t.Setenv("USER", "alice")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	c = tooltest.Start(t, 3, nil)
	c.Expire("fs01")
	return c, "alice@" + host
}

func run(c *tooltest.Cluster, stdin string, args ...string) tooltest.Result {
	return tooltest.Run(Main, stdin, append([]string{"--config", c.Dir}, args...)...)
}

func TestConfirmed(t *testing.T) {
	for _, typed := range []string{"fs01\n", "  fs01 \r\n", "fs01"} {
		c, operator := start(t)
		r := run(c, typed, "fs01")
		if r.Code != 0 || r.Stderr != "" {
			t.Errorf("%q: %+v", typed, r)
		}
		want := []string{`AcknowledgeFence node:"fs01" operator:"` + operator + `" incarnation:3`}
		if got := c.Servers[0].Requests(); !slices.Equal(got, want) {
			t.Errorf("%q: requests %q, want %q", typed, got, want)
		}
		if typed == "fs01\n" {
			tooltest.Golden(t, "confirmed.txt", strings.ReplaceAll(r.Stdout, operator, "OPERATOR"))
		}
	}
}

func TestNotConfirmed(t *testing.T) {
	for _, typed := range []string{"", "\n", "yes\n", "fs02\n", "FS01\n", "fs01 fs02\n", strings.Repeat("x", 10_000), "\x1b[2Jfs01\n"} {
		c, _ := start(t)
		r := run(c, typed, "fs01")
		if r.Code != gulmerr.ExitFailed || !strings.Contains(r.Stderr, "not confirmed") || strings.Contains(r.Stderr, "\x1b") {
			t.Errorf("%.20q: %+v", typed, r)
		}
		for _, s := range c.Servers {
			if got := s.Requests(); len(got) > 0 {
				t.Errorf("%.20q: %s got %q", typed, s.Name, got)
			}
		}
	}
}

func TestSure(t *testing.T) {
	c, operator := start(t)
	t.Setenv("SUDO_USER", "bob")
	if r := run(c, "", "--yes", "fs01"); r.Code != 0 || strings.Contains(r.Stdout, "Type the node's name") {
		t.Errorf("%+v", r)
	}
	want := []string{`AcknowledgeFence node:"fs01" operator:"` + strings.Replace(operator, "alice", "bob", 1) + `" incarnation:3`}
	if got := c.Servers[0].Requests(); !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
}

func TestJSON(t *testing.T) {
	c, operator := start(t)
	r := run(c, "fs01\n", "--json", "fs01")
	want := "{\n  \"node\": \"fs01\",\n  \"incarnation\": 3,\n  \"operator\": \"" + operator + "\",\n  \"acknowledged\": true\n}\n"
	if r.Code != 0 || r.Stdout != want || !strings.Contains(r.Stderr, "Type the node's name") {
		t.Errorf("%+v", r)
	}
}

func TestNothingPending(t *testing.T) {
	c, _ := start(t)
	for _, s := range c.Servers {
		s.Set(func(s *tooltest.Script) {
			n := s.Status.Nodes[3]
			n.State, n.Fence = gulmv1.NodeState_NODE_STATE_FENCED, &gulmv1.Fence{
				Node: "fs01", State: gulmv1.FenceState_FENCE_STATE_PROVED, By: "power/rackpdu", SettledMs: 1_790_000_200_000,
			}
		})
	}
	for node, want := range map[string]string{
		"fs01": "it is fenced (its latest fence was proved by power/rackpdu at 2026-09-21T14:16:40Z)",
		"lk2":  "no fence of node lk2 is pending: it is logged out",
		"fs09": `no node "fs09"`,
		"FS01": `no node "FS01"`,
	} {
		for _, args := range [][]string{{node}, {"--yes", node}} {
			r := run(c, node+"\n", args...)
			if r.Code != gulmerr.ExitNotFound || !strings.Contains(r.Stderr, want) || r.Stdout != "" {
				t.Errorf("%q: %+v, want %q", args, r, want)
			}
		}
	}
	if got := c.Servers[0].Requests(); len(got) > 0 {
		t.Errorf("requests %q", got)
	}
}

// While the operator walks to the machine, the world goes on: what they confirm
// must be what they were shown.
func TestChangedMeanwhile(t *testing.T) {
	tests := map[string]struct {
		change func(n *gulmv1.Node)
		want   string
	}{
		"fenced by an agent": {func(n *gulmv1.Node) {
			n.State, n.Fence.State, n.Fence.By = gulmv1.NodeState_NODE_STATE_FENCED, gulmv1.FenceState_FENCE_STATE_PROVED, "power/rackpdu"
		}, "was proved by power/rackpdu"},
		"back and expired again": {func(n *gulmv1.Node) {
			n.Incarnation, n.Fence.Incarnation = 4, 4
		}, "expired again (incarnation 4)"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, _ := start(t)
			asked := 0
			c.Servers[0].Set(func(s *tooltest.Script) {
				s.Before = func(method string, s *tooltest.Script) {
					if method != "Nodes" {
						return
					}
					if asked++; asked == 2 {
						test.change(s.Status.Nodes[3])
					}
				}
			})
			r := run(c, "fs01\n", "fs01")
			if r.Code != gulmerr.ExitNotFound || !strings.Contains(r.Stderr, test.want) || asked != 2 {
				t.Errorf("asked %d times: %+v", asked, r)
			}
			if got := c.Servers[0].Requests(); len(got) > 0 {
				t.Errorf("requests %q", got)
			}
		})
	}
}

func TestNoMaster(t *testing.T) {
	c, _ := start(t)
	for _, s := range c.Servers {
		s.Set(func(s *tooltest.Script) {
			s.Status.Role, s.Status.Master = gulmv1.ServerRole_SERVER_ROLE_PENDING, ""
		})
	}
	if r := run(c, "fs01\n", "--timeout", "200ms", "fs01"); r.Code != gulmerr.ExitNoQuorum || strings.Contains(r.Stdout, "Type") {
		t.Errorf("%+v", r)
	}
	for _, s := range c.Servers {
		s.Stop()
	}
	if r := run(c, "fs01\n", "fs01"); r.Code != gulmerr.ExitNoQuorum || !strings.Contains(r.Stderr, "connection refused") {
		t.Errorf("%+v", r)
	}
}

func TestUsage(t *testing.T) {
	c, _ := start(t)
	for _, args := range [][]string{{}, {"a", "b"}, {"--bogus", "fs01"}, {"-y", "fs01"}} {
		if r := run(c, "", args...); r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, "Usage:") || r.Stdout != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := tooltest.Run(Main, "", "--config", t.TempDir(), "fs01"); r.Code != gulmerr.ExitUsage || !strings.Contains(r.Stderr, "no cluster configuration") {
		t.Errorf("%+v", r)
	}
	if r := tooltest.Run(Main, "", "-V"); r.Code != 0 || r.Stdout != "fence_ack_manual "+tool.Version()+"\n" {
		t.Errorf("%+v", r)
	}
	if r := tooltest.Run(Main, "", "-h"); r.Code != 0 || !strings.Contains(r.Stdout, "fence_ack_manual [--yes]") {
		t.Errorf("%+v", r)
	}
}
