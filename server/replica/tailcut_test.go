package replica

import (
	"fmt"
	"log/slog"
	"maps"
	"testing"

	"github.com/hashicorp/raft"
)

// A master that was killed comes back with entries that nobody else has. They
// are cut off, and the log must still be readable after the next restart:
// raft-wal 0.4.0 left a segment without an index (its issue 31), so that a
// server which rejoined once could never start again.
func TestLogStore_CutTailSurvivesRestarts(t *testing.T) {
	for _, store := range []string{LogStoreWAL, LogStoreBolt} {
		t.Run(store, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), LogStore: store}.withDefaults()
			want := map[uint64]string{}
			last := uint64(0)
			// Each round opens the log, checks all of it, cuts it after an entry and
			// goes on with another term.
			for term, cut := range []uint64{0, 80, 70, 70, 1} {
				d, err := openDisk(cfg, newRaftLogger(slog.New(slog.DiscardHandler)))
				if err != nil {
					t.Fatal(err)
				}
				checkLog(t, d.log, want)
				if cut < last {
					if err := d.log.DeleteRange(cut+1, last); err != nil {
						t.Fatal(err)
					}
				}
				maps.DeleteFunc(want, func(i uint64, _ string) bool { return i > cut })
				for i := cut + 1; i <= cut+100; i++ {
					want[i] = fmt.Sprintf("entry %d of term %d", i, term)
					if err := d.log.StoreLogs([]*raft.Log{{Index: i, Term: uint64(term), Data: []byte(want[i])}}); err != nil {
						t.Fatal(err)
					}
				}
				last = cut + 100
				checkLog(t, d.log, want)
				if err := d.close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func checkLog(t *testing.T, log raft.LogStore, want map[uint64]string) {
	t.Helper()
	for i, text := range want {
		var l raft.Log
		if err := log.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if l.Index != i || string(l.Data) != text {
			t.Errorf("entry %d reads %q, want %q", i, l.Data, text)
		}
	}
}
