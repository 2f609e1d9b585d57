package demo

import (
	"errors"
	"os"
	"slices"
	"testing"
)

var errStopped = errors.New("stopped")

func stopped() error { return errStopped }
func goOn() error    { return nil }

// A machine that dies between its journal and its file leaves exactly one record
// to bring home, and bringing it home twice, since the first who did so died as
// well, does not write it twice.
func TestVolume_ReplayBringsHomeOnce(t *testing.T) {
	v := volume{t.TempDir()}
	first := intent{"a", record{"n1", 1, 1, 7}}
	torn := intent{"a", record{"n1", 1, 2, 7}}
	if err := v.write(0, first, goOn); err != nil {
		t.Fatal(err)
	}
	if err := v.write(0, torn, stopped); !errors.Is(err, errStopped) {
		t.Fatalf("writing ended with %v", err)
	}
	if there, err := v.holds(torn); err != nil || there {
		t.Fatalf("the torn record is there: %v, %v", there, err)
	}
	if home, err := v.replay(0, stopped); home != 1 || !errors.Is(err, errStopped) {
		t.Fatalf("the first replay brought %d home and ended with %v", home, err)
	}
	if home, err := v.replay(0, goOn); home != 0 || err != nil {
		t.Fatalf("the second replay brought %d home and ended with %v", home, err)
	}
	if left, err := v.pending(0); err != nil || len(left) != 0 {
		t.Errorf("the journal still has %v, %v", left, err)
	}
	got, err := readRecords(v.file("a"))
	if want := []record{first.record, torn.record}; err != nil || !slices.Equal(got, want) {
		t.Errorf("the file has %v, want %v (%v)", got, want, err)
	}
}

func TestVolume_UnusedJournal(t *testing.T) {
	v := volume{t.TempDir()}
	if home, err := v.replay(3, goOn); home != 0 || err != nil {
		t.Errorf("an unused journal brought %d home and ended with %v", home, err)
	}
}

func TestVolume_DamagedJournal(t *testing.T) {
	v := volume{t.TempDir()}
	if err := os.WriteFile(v.journal(1), []byte("file=a node=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.replay(1, goOn); err == nil {
		t.Error("a damaged journal was replayed")
	}
	if left, _ := os.ReadFile(v.journal(1)); len(left) == 0 {
		t.Error("a damaged journal was emptied")
	}
}
