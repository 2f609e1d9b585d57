package main

import (
	"testing"

	"lock_gulmd/cmd/internal/tool/tooltest"
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/proto/gulmerr"
)

func busyJournals() *gulmv1.JournalsReply {
	return &gulmv1.JournalsReply{Lockspaces: []*gulmv1.JournalSpace{{
		Lockspace: "alpha:gfs01",
		Journals: []*gulmv1.JournalInfo{
			{Jid: 0, State: gulmv1.JournalState_JOURNAL_STATE_MOUNTED, Node: "fs01", Incarnation: 3, AgeMs: 90_000},
			{
				Jid: 1, State: gulmv1.JournalState_JOURNAL_STATE_RECOVERING, Node: "fs02", Incarnation: 1, Recoverer: "fs01", AgeMs: 1500, Begun: 2,
				Error: "i/o error", WaitsFor: "recovery by node fs01",
			},
			{Jid: 2, AgeMs: 3_600_000},
		},
		Mounts: []*gulmv1.MountInfo{
			{Node: "fs01", Incarnation: 3, Session: 7, State: gulmv1.MountState_MOUNT_STATE_MOUNTED, AgeMs: 90_000},
			{
				Node: "fs03", Incarnation: 2, Session: 9, Spectator: true, State: gulmv1.MountState_MOUNT_STATE_WAITING, Jid: -1, AgeMs: 500, Dead: true,
				WaitsFor: "fence of node fs03",
			},
		},
	}}}
}

func TestJournals_golden(t *testing.T) {
	c := tooltest.Start(t, 3, nil)
	golden(t, c, "journals/none.txt", 0, on(c, "journals"))
	golden(t, c, "journals/none.json", 0, on(c, "journals", "--json"))
	c.Servers[0].Set(func(s *tooltest.Script) { s.Journals = busyJournals() })
	golden(t, c, "journals/busy.txt", 0, on(c, "journals", "alpha:gfs01"))
	golden(t, c, "journals/busy.json", 0, on(c, "journals", "--json"))
}

func TestJournals_unknown(t *testing.T) {
	c := tooltest.Start(t, 1, nil)
	c.Servers[0].Set(func(s *tooltest.Script) { s.Refuse = map[string]error{"Journals": gulmerr.ErrNoLockspace} })
	if r := on(c, "journals", "nowhere"); r.Code != gulmerr.ExitNotFound {
		t.Errorf("exit %d: %s", r.Code, r.Stderr)
	}
}
