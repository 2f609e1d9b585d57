package ccs

import (
	"os"
	"strings"
	"testing"
)

// TestReference shows that the table of keys in the operator's handbook is the
// one by which files are read: the same keys, defaults and ranges.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../deploy/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n### cluster.ccs\n")
	if !ok {
		t.Fatal("operations.md has no section on cluster.ccs")
	}
	section, _, _ = strings.Cut(section, "\n#")
	var rows [][]string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "| \n"), "`", ""), " | ")
			rows = append(rows, cells)
		}
	}
	keys := Keys()
	if len(rows) != len(keys) {
		t.Errorf("the table has %d rows, there are %d keys", len(rows), len(keys))
	}
	for i, k := range keys[:min(len(keys), len(rows))] {
		row := rows[i]
		if len(row) != 4 || row[0] != k.Name || row[1] != k.Default || row[2] != k.Range || row[3] == "" {
			t.Errorf("row %d is %q, want the key %q with default %q and range %q", i+1, row, k.Name, k.Default, k.Range)
		}
	}
}
