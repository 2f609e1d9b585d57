package main

import (
	"testing"

	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// TestNodes_troubled: nodelist and nodeinfo say which probes fail, since when, and
// when the node stops beating for it, in one line whatever the node wrote.
func TestNodes_troubled(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) {
		n := s.Status.Nodes[1]
		n.Sessions[0].Troubles = []*gulmv1.ProbeTrouble{
			{Probe: "start a process", Error: "cannot start a process:\n\x1b[2Jno memory", FailingMs: 31_000, SinceMs: 1_790_000_150_000},
			{Probe: "write a file", Error: "/tmp: no space left on device", FailingMs: 26_000, StopsInMs: 4_000, SinceMs: 1_790_000_155_000},
		}
		n.Sessions = append(n.Sessions, &gulmv1.Session{Session: 13, Process: "lockd", Troubles: []*gulmv1.ProbeTrouble{
			{Probe: "work", Error: "stuck", SinceMs: 1_790_000_140_000},
		}})
	})
	golden(t, c, "nodes/troubled_list.txt", 0, on(c, "nodelist"))
	golden(t, c, "nodes/troubled.txt", 0, on(c, "nodeinfo", "fs01"))
	golden(t, c, "nodes/troubled.json", 0, on(c, "nodeinfo", "fs01", "--json"))
}
