package rpc

import (
	gulmv1 "lock_gulmd/proto/gulm/v1"
	"lock_gulmd/server/journal"
)

func journalsToWire(in []journal.Event) []*gulmv1.JournalEvent {
	var out []*gulmv1.JournalEvent
	for _, e := range in {
		out = append(out, &gulmv1.JournalEvent{
			Kind: gulmv1.JournalEventKind(e.Kind), Lockspace: e.Lockspace, Jid: uint32(max(e.JID, 0)), First: e.First,
			Node: e.Life.Node, Incarnation: e.Life.Incarnation,
		})
	}
	return out
}
