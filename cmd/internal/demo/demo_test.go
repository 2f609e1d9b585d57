package demo

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckDisk(t *testing.T) {
	line := func(node string, life, seq int, token uint64) string {
		return fmt.Sprintf("node=%s life=%d seq=%d token=%d\n", node, life, seq, token)
	}
	tests := []struct {
		name              string
		file              string
		records, bad, gap int
		damaged           bool
	}{
		{"empty", "", 0, 0, 0, false},
		{"turns", line("n1", 1, 1, 1) + line("n1", 1, 2, 1) + line("n2", 1, 1, 2) + line("n1", 1, 3, 3), 4, 0, 0, false},
		{"a second life counts anew", line("n1", 1, 1, 1) + line("n1", 2, 1, 2), 2, 0, 0, false},
		{"a late write", line("n1", 1, 1, 1) + line("n2", 1, 1, 2) + line("n1", 1, 2, 1), 3, 1, 0, false},
		{"two holders of one token", line("n1", 1, 1, 1) + line("n2", 1, 1, 1), 2, 1, 0, false},
		{"a lost record", line("n1", 1, 1, 1) + line("n1", 1, 3, 1), 2, 0, 1, false},
		{"damaged", line("n1", 1, 1, 1) + "node=n1 li\n", 1, 0, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			v, err := checkDisk(path)
			if (err != nil) != test.damaged {
				t.Fatalf("error %v, damaged %v", err, test.damaged)
			}
			if !test.damaged && (v.Records != test.records || v.Unprotected != test.bad || v.Gaps != test.gap) {
				t.Errorf("got %+v, want %d records, %d unprotected, %d gaps", v, test.records, test.bad, test.gap)
			}
		})
	}
}

func TestDisk_AppendIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	d, err := openDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.file.Close()
	for seq := range 3 {
		if err := d.append(record{Node: "n1", Life: 1, Seq: seq + 1, Token: 7}); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := checkDisk(path); err != nil || v.Records != 3 || v.Unprotected+v.Gaps != 0 {
		t.Errorf("got %+v, %v", v, err)
	}
}

// The lease server must be an honest one: in order, one holder at a time, and
// handed on only when released or over.
func TestLeaseServer_HandsOnInOrder(t *testing.T) {
	s, err := newLeaseServer()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	ask := func(node string) (send func(string), recv func() string) {
		conn, err := net.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		in := bufio.NewReader(conn)
		return func(verb string) { fmt.Fprintln(conn, verb, node) }, func() string {
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(line)
		}
	}
	send1, recv1 := ask("n1")
	send2, recv2 := ask("n2")
	send1("lock")
	if got := recv1(); got != "granted 1" {
		t.Fatalf("n1 got %q", got)
	}
	send2("renew")
	if got := recv2(); got != "no" {
		t.Fatalf("n2 renewed a lease that it does not hold: %q", got)
	}
	send2("lock")
	send1("renew")
	if got := recv1(); got != "ok" {
		t.Fatalf("n1 could not renew: %q", got)
	}
	send1("unlock")
	if got := recv1(); got != "ok" {
		t.Fatalf("n1 could not unlock: %q", got)
	}
	if got := recv2(); got != "granted 2" {
		t.Fatalf("n2 got %q", got)
	}
	send1("unlock")
	if got := recv1(); got != "no" {
		t.Fatalf("n1 unlocked the lease of n2: %q", got)
	}
}

func TestReport_KeepsOnlyWhatHeld(t *testing.T) {
	r := &report{began: time.Now()}
	if r.kept() {
		t.Error("nothing was checked, and that counts as kept")
	}
	r.promise(true, "a")
	if !r.kept() {
		t.Error("a promise that held counts as broken")
	}
	r.promise(false, "b")
	if r.kept() {
		t.Error("a broken promise counts as kept")
	}
}
