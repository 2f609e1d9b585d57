package ccs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write expected.txt anew from what the code says")

// golden compares got with dir/expected.txt.
func golden(t *testing.T, dir, got string) {
	t.Helper()
	file := filepath.Join(dir, "expected.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run the test with -update and read what it writes", err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant (%s):\n%s", got, file, want)
	}
}

// folders calls do for each configuration below a folder.
func folders(t *testing.T, root string, atLeast int, do func(t *testing.T, dir string)) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < atLeast {
		t.Fatalf("%s holds %d folders, want at least %d", root, len(entries), atLeast)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) { do(t, filepath.Join(root, e.Name())) })
	}
}

// source reads a folder without the modes of its files, which a check-out
// does not keep.
func source(t testing.TB, dir string) Source {
	t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	return Source{Dir: dir, Cluster: read(ClusterFile), Nodes: read(NodesFile), Fence: read(FenceFile)}
}

// printed returns what Print writes.
func printed(t testing.TB, c *Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// again parses what Print writes.
func again(t testing.TB, c *Config) *Config {
	t.Helper()
	text := func(file string) []byte {
		var b bytes.Buffer
		if err := c.tree(file).write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	second, err := Parse(Source{Cluster: text(ClusterFile), Nodes: text(NodesFile), Fence: text(FenceFile)})
	if err != nil {
		t.Fatalf("what was printed is refused: %v\n%s", err, printed(t, c))
	}
	return second
}

func TestBad(t *testing.T) {
	folders(t, "testdata/bad", 80, func(t *testing.T, dir string) {
		cfg, err := Load(dir)
		if err == nil {
			t.Fatalf("it was accepted:\n%s", printed(t, cfg))
		}
		var faults *Faults
		if !errors.As(err, &faults) || len(faults.List) == 0 {
			t.Fatalf("the error is %#v, want *Faults", err)
		}
		var b strings.Builder
		for _, f := range faults.List {
			fmt.Fprintln(&b, f)
			if !strings.Contains(err.Error(), f.String()) {
				t.Errorf("Error does not show %v", f)
			}
			if f.Cure == "" {
				t.Errorf("no cure: %v", f)
			}
		}
		golden(t, dir, b.String())
		for _, part := range []string{"geheim", "never-shown", "0123456"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("the error shows the part %q of a secret: %v", part, err)
			}
		}
	})
}

func TestGood(t *testing.T) {
	folders(t, "testdata/good", 10, func(t *testing.T, dir string) {
		cfg, err := Parse(source(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		text := printed(t, cfg)
		got := text
		for _, w := range cfg.Warnings() {
			got += fmt.Sprintf("# warning: %v\n", w)
		}
		golden(t, dir, got)
		if second := printed(t, again(t, cfg)); second != text {
			t.Errorf("printing what was printed gives:\n%s\nwant:\n%s", second, text)
		}
	})
}

// TestSpellings proves that the same configuration in other clothes is the same.
func TestSpellings(t *testing.T) {
	load := func(name string) *Config {
		cfg, err := Parse(source(t, filepath.Join("testdata/good", name)))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	plain := load("plain")
	for _, name := range []string{"one-line", "windows", "array-without-commas"} {
		other := load(name)
		if printed(t, other) != printed(t, plain) || other.Digest() != plain.Digest() {
			t.Errorf("%s is not the same as plain", name)
		}
	}
}

// TestExamples loads every example that users are told to start from.
func TestExamples(t *testing.T) {
	dirs, err := filepath.Glob("../deploy/examples/*/" + ClusterFile)
	if err != nil || len(dirs) < 2 {
		t.Fatalf("found %d examples, error %v", len(dirs), err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			if _, err := Load(dir); err != nil {
				t.Fatal(err)
			}
			cfg, err := Parse(source(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			if len(cfg.Warnings()) > 0 {
				t.Errorf("the example earns warnings: %v", cfg.Warnings())
			}
			for _, s := range cfg.Servers() {
				if !strings.HasPrefix(s.CoreAddr, "127.") {
					t.Errorf("server %s listens on %s, want an address that every machine has", s.Name, s.CoreAddr)
				}
			}
			again(t, cfg)
		})
	}
}

func TestFileTooLarge(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ClusterFile), bytes.Repeat([]byte("\n"), maxFileSize+2), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Load(dir)
	if err == nil || !strings.Contains(err.Error(), "more than 4194304") {
		t.Fatalf("got %v", err)
	}
}

func TestBoolean(t *testing.T) {
	for text, want := range map[string]bool{
		`"y"`: true, `"YES"`: true, `"On"`: true, `"true"`: true, `1`: true, `0x2`: true,
		`"n"`: false, `"No"`: false, `"OFF"`: false, `"False"`: false, `0`: false,
	} {
		root, faults := parseFile(ClusterFile, []byte("key = "+text))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		l := &loader{}
		if got, ok := l.boolean(root, root.items[0]); !ok || got != want {
			t.Errorf("%s reads as %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{`"maybe"`, `1.0`, `[1]`, `""`} {
		root, _ := parseFile(ClusterFile, []byte("key = "+text))
		l := &loader{}
		if _, ok := l.boolean(root, root.items[0]); ok || len(l.faults) != 1 {
			t.Errorf("%s was taken for a boolean", text)
		}
	}
}
