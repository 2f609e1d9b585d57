package replica

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestVerify_OldAnswersDoNotCount: an answer that was on its way before the
// question proves nothing about now, however late it is read. raft itself takes
// it, and a master that was stopped would tell a node that it is safe.
func TestVerify_OldAnswersDoNotCount(t *testing.T) {
	tr := &transport{contacts: map[raft.ServerID]contact{}}
	peers := []Peer{{Name: "b"}, {Name: "c"}}
	asked := time.Now()
	before, after := asked.Add(-time.Minute), asked.Add(time.Millisecond)
	accept := &raft.AppendEntriesResponse{Term: 7, Success: true}
	count := func(want int, what string) {
		t.Helper()
		if got := tr.askedSince(peers, 7, asked); got != want {
			t.Errorf("%s: %d of 2 confirm, want %d", what, got, want)
		}
	}
	count(0, "nobody was asked")
	tr.note("b", &raft.AppendEntriesRequest{Term: 7}, accept, before)
	count(0, "an answer to an old request")
	tr.note("b", &raft.AppendEntriesRequest{Term: 7}, accept, after)
	count(1, "an answer to a new request")
	tr.note("b", &raft.AppendEntriesRequest{Term: 7}, accept, before)
	count(1, "an old one that comes later")
	tr.note("c", &raft.AppendEntriesRequest{Term: 6}, &raft.AppendEntriesResponse{Term: 6, Success: true}, after)
	count(1, "an answer in an earlier term")
	tr.note("c", &raft.AppendEntriesRequest{Term: 7}, &raft.AppendEntriesResponse{Term: 8}, after)
	count(1, "a refusal by a newer term")
	tr.note("c", &raft.AppendEntriesRequest{Term: 7}, accept, asked)
	count(2, "an answer to a request begun in the same moment")
}
