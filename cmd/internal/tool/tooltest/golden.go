package tooltest

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// update rewrites golden files instead of comparing with them.
var update = flag.Bool("update", false, "rewrite the golden files")

// Result is what one command line did.
type Result struct {
	// Code is the exit code.
	Code int
	// Stdout and Stderr are what it wrote.
	Stdout, Stderr string
}

// Run calls a command's Main with a configuration and what is typed into it.
func Run(main func([]string, io.Reader, io.Writer, io.Writer) int, stdin string, args ...string) Result {
	var stdout, stderr bytes.Buffer
	code := main(args, strings.NewReader(stdin), &stdout, &stderr)
	return Result{code, stdout.String(), stderr.String()}
}

// Stable replaces what differs from run to run, addresses of servers, by words
// of the same width.
func (c *Cluster) Stable(text string) string {
	for _, s := range c.Servers {
		port := s.Address[strings.LastIndex(s.Address, ":")+1:]
		word := "P" + s.Name
		text = strings.ReplaceAll(text, s.Address, strings.TrimSuffix(s.Address, port)+word+strings.Repeat("_", max(0, len(port)-len(word))))
	}
	return text
}

// Golden compares text with testdata/NAME, or rewrites that with -update.
func Golden(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update writes it", err)
	}
	if text != string(want) {
		t.Errorf("%s differs:\n--- want\n%s\n--- have\n%s", path, want, text)
	}
}
